"""The whole vision path on a ViT of a few thousand parameters, against dense references, transformers and PEFT themselves."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from pico_vision import LABELS_OF_BASE, SIDE, TARGETS, by_label, pico_vit, pico_vit_adapter, picture, pictures
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, ViTImageProcessorPil, ViTModel

from tada_studio import cli, pipeline, report
from tada_studio.base_model.images import image_files
from tada_studio.base_model.inputs import read_inputs
from tada_studio.errors import AdapterError, BaseError, InputError, MismatchError
from tada_studio.evaluation import LabelItem, read_items
from tada_studio.exporting.certify import _test_input as input_for_logits
from tada_studio.exporting.certify import certify
from tada_studio.lora import CONFIG, LABELS, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe

NEW = ("ant", "bee", "fly", "wasp", "mite")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A base of three labels, a domain adapter of those, a task adapter with a head for five others, pictures of both."""
    folder = tmp_path_factory.mktemp("zoo")
    base = pico_vit(folder / "base")
    pico_vit_adapter(folder / "domain", base, seed=1)
    pico_vit_adapter(folder / "task", base, seed=2, labels=NEW)
    by_label(folder / "new", NEW, 4, seed=1)
    by_label(folder / "old", LABELS_OF_BASE, 4, seed=2)
    pictures(folder / "probe", 5, seed=3)
    return folder


@pytest.fixture(scope="module")
def base(zoo):
    return pipeline.load_base(zoo / "base", device="cpu")


@pytest.fixture(scope="module")
def pair(zoo):
    return pipeline.read_pair(zoo / "task", zoo / "domain")


@pytest.fixture
def same_base(base):
    """The base, and a check at the end that it is bit for bit what it was."""
    before = {name: (id(tensor), tensor.clone()) for name, tensor in base.model.state_dict(keep_vars=True).items()}
    layers = {name: id(module) for name, module in base.model.named_modules()}
    yield base
    after = base.model.state_dict(keep_vars=True)
    assert list(after) == list(before) and {n: id(m) for n, m in base.model.named_modules()} == layers
    assert all(
        id(after[name]) == where and torch.equal(after[name], tensor) for name, (where, tensor) in before.items()
    )
    assert not any(module._forward_hooks for module in base.model.modules())


# -- bases -----------------------------------------------------------------------------------------------------------


def test_a_folder_says_by_its_config_that_it_classifies_images(base, zoo):
    assert (base.kind, base.labels) == ("image", LABELS_OF_BASE)
    files = image_files(zoo / "probe")
    theirs = ViTImageProcessorPil.from_pretrained(zoo / "base")
    wanted = theirs(images=[picture(3000), picture(3001)], return_tensors="pt")["pixel_values"]
    assert torch.equal(base.tokenizer(files[:2]), wanted)


@pytest.mark.parametrize("channels", [1, 3])
def test_without_a_preprocessor_config_images_are_scaled_and_that_is_said(channels, tmp_path):
    base = pipeline.load_base(pico_vit(tmp_path / "b", channels, settings=False), device="cpu")
    assert "mean = std = .5" in " ".join(base.says) and base.tokenizer.channels == channels
    image = picture(1, side=SIDE, mode="L" if channels == 1 else "RGB")
    image.save(tmp_path / "one.png")
    values = base.tokenizer(image_files(tmp_path))
    bytes_ = torch.tensor(list(image.tobytes()), dtype=torch.float32).reshape(SIDE, SIDE, channels).permute(2, 0, 1)
    torch.testing.assert_close(values[0], (bytes_ / 255 - 0.5) / 0.5)
    assert not torch.equal(
        values, pipeline.load_base(pico_vit(tmp_path / "c", channels), device="cpu").tokenizer(image_files(tmp_path))
    )


def test_the_settings_are_part_of_what_tells_bases_apart(tmp_path):
    one, other = pico_vit(tmp_path / "1" / "b"), pico_vit(tmp_path / "2" / "b")
    assert pipeline.load_base(one, device="cpu").digest == pipeline.load_base(other, device="cpu").digest
    (other / "preprocessor_config.json").unlink()
    assert pipeline.load_base(one, device="cpu").digest != pipeline.load_base(other, device="cpu").digest


def test_a_bare_body_is_a_base_whose_head_an_adapter_brings(zoo, tmp_path):
    body = pipeline.load_base(pico_vit(tmp_path / "body", kind=ViTModel), device="cpu")
    assert not body.has_head and body.labels == () and "no classifier head" in " ".join(body.says)
    assert not body.model.classifier.weight.any()
    items, task = read_items(zoo / "new"), pipeline.read_adapter(zoo / "task")
    scores = pipeline.evaluate(body, {"base": None, "task": task}, items)
    assert "head of task" in scores["base"].note and scores["base"].nll is not None
    assert pipeline.export(task_only(zoo), tmp_path / "out", base=body).holds


def test_a_base_that_lacks_more_than_its_head_is_refused(tmp_path):
    folder = pico_vit(tmp_path / "b")
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {n: t for n, t in tensors.items() if "layer.1.output" not in n}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(BaseError, match="its weights lack vit"):
        pipeline.load_base(folder, device="cpu")


def test_pickles_remote_code_and_images_of_other_channels_are_refused(tmp_path):
    folder = pico_vit(tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BaseError, match="safetensors"):
        pipeline.load_base(folder, device="cpu")
    settings = json.loads((pico_vit(tmp_path / "code") / "preprocessor_config.json").read_text())
    settings = {**settings, "image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.Evil"}}
    (tmp_path / "code" / "preprocessor_config.json").write_text(json.dumps(settings))
    (tmp_path / "code" / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(BaseError, match="could not be loaded"):
        pipeline.load_base(tmp_path / "code", device="cpu")
    with pytest.raises(BaseError, match="4 channels"):
        pipeline.load_base(pico_vit(tmp_path / "four", 4, settings=False), device="cpu")


def test_images_of_a_size_that_the_model_does_not_take_are_refused_in_words(zoo, pair, tmp_path):
    shutil.copytree(zoo / "base", tmp_path / "b")
    settings = json.loads((tmp_path / "b" / "preprocessor_config.json").read_text())
    (tmp_path / "b" / "preprocessor_config.json").write_text(
        json.dumps({**settings, "size": {"height": 32, "width": 32}})
    )
    base = pipeline.load_base(tmp_path / "b", device="cpu")
    with pytest.raises(BaseError, match=r"as its own settings prepare them .*32"):
        pipeline.probe(pair, base, read_inputs(zoo / "probe"))
    with pytest.raises(BaseError, match=r"as its own settings prepare them .*32"):
        pipeline.evaluate(base, {"base": None}, read_items(zoo / "old"))


# -- probe -----------------------------------------------------------------------------------------------------------


def dense_response(base, module, file):
    """Mean over all tokens, the class token too, of |dW x| / (|dW|_F |x|), from the dense update and a plain hook."""
    seen = []
    layer = base.model.get_submodule(module.name)
    hook = layer.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach()))
    base.model(pixel_values=base.tokenizer([file]))
    hook.remove()
    x = seen[0]
    if module.kind == "conv":
        x = torch.stack([patch.reshape(-1) for row in x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5) for r in row
                         for patch in r])  # fmt: skip
    x = x.reshape(-1, x.shape[-1]).double()
    return ((x @ module.delta().T).norm(dim=1) / (module.delta().norm() * x.norm(dim=1))).mean()


def test_readings_of_images_equal_the_dense_reference(base, pair, zoo, monkeypatch):
    monkeypatch.setattr(
        sys.modules["tada_studio.base_model.images"], "BATCH_NUMBERS", 2 * 3 * SIDE * SIDE
    )  # three batches
    files = read_inputs(zoo / "probe")
    readings = pipeline.probe(pair, base, files)
    assert readings.tokens.tolist() == [5] * 5  # four patches and the class token
    for i, name in enumerate(readings.names):
        for j, file in enumerate(files):
            for side in ("task", "domain"):
                wanted = dense_response(base, getattr(pair, side).modules[name], file)
                torch.testing.assert_close(getattr(readings, side)[i, j], wanted, rtol=2e-5, atol=0)


def test_the_patch_embedding_is_probed_patch_by_patch(base, zoo, tmp_path):
    targets = ("projection", "q_proj")
    folders = [pico_vit_adapter(tmp_path / f"{seed}", zoo / "base", seed, targets=targets) for seed in (1, 2)]
    pair, files = pipeline.read_pair(*folders), read_inputs(zoo / "probe")
    readings = pipeline.probe(pair, base, files)
    row = next(i for i, name in enumerate(readings.names) if name.endswith("projection"))
    module = pair.task.modules[readings.names[row]]
    torch.testing.assert_close(readings.task[row, 0], dense_response(base, module, files[0]), rtol=2e-5, atol=0)
    assert readings.tokens.tolist() == [5] * 5  # the patch embedding alone sees four


def test_readings_belong_to_the_content_of_the_images(base, pair, zoo, tmp_path):
    shutil.copytree(zoo / "probe", tmp_path / "elsewhere")
    first, again = (
        pipeline.probe(pair, base, read_inputs(folder)) for folder in (zoo / "probe", tmp_path / "elsewhere")
    )
    assert first.digest == again.digest and first.about["inputs"] == again.about["inputs"]
    picture(99).save(tmp_path / "elsewhere" / "000.png")
    assert pipeline.probe(pair, base, read_inputs(tmp_path / "elsewhere")).about["inputs"] != first.about["inputs"]


def test_the_wrong_kind_of_input_or_item_is_refused_in_words(base, pair, zoo, pico):
    files = read_inputs(zoo / "probe")
    with pytest.raises(InputError, match="reads image, and these probe inputs are text"):
        pipeline.probe(pair, base, ["what is this"])
    with pytest.raises(InputError, match="reads image"):
        pipeline.probe(pair, base, [*files, "what is this"])
    text = pipeline.load_base(pico.base, device="cpu")
    with pytest.raises(InputError, match="reads text"):
        pipeline.probe(pipeline.read_pair(pico.task, pico.domain), text, files)
    with pytest.raises(InputError, match="these items are of image"):
        pipeline.evaluate(text, {"base": None}, read_items(zoo / "old"))
    with pytest.raises(InputError, match="these items are of text"):
        pipeline.evaluate(base, {"base": None}, read_items(pico.items))


# -- heads and items -------------------------------------------------------------------------------------------------


def plain_loglik(model, base, items):
    with torch.inference_mode():
        return model(pixel_values=base.tokenizer([item.content for item in items])).logits.double().log_softmax(-1)


def with_head_of(zoo, adapter):
    """What PEFT makes of the base and an adapter, the head made to the size that the task brings."""
    model = AutoModelForImageClassification.from_pretrained(
        zoo / "base", num_labels=len(NEW), ignore_mismatched_sizes=True
    )
    return PeftModel.from_pretrained(model, adapter).eval()


def task_only(zoo):
    """The merge that is the task adapter and nothing else."""
    pair = pipeline.read_pair(zoo / "task", zoo / "domain")
    return merge(pair, recipe=Recipe(method="gates", overrides=("* : 0",), drop="none", dtype="float32"))


def test_an_adapter_with_a_head_of_another_size_answers_as_peft(same_base, pair, zoo):
    items = read_items(zoo / "new")
    found = pipeline.evaluate(same_base, {"task": pair.task}, items)["task"]
    wanted = plain_loglik(with_head_of(zoo, zoo / "task"), same_base, items)
    torch.testing.assert_close(found.loglik.double(), wanted, rtol=0, atol=1e-5)
    answers = torch.tensor([NEW.index(item.label) for item in items])
    assert torch.equal(found.correct, wanted.argmax(1) == answers) and found.kind == "image" and found.note == ""
    assert found.nll == pytest.approx(float(-wanted[torch.arange(len(items)), answers].mean()), abs=1e-5)


def test_base_and_domain_answer_new_labels_with_the_heads_of_the_task_and_it_is_said(same_base, pair, zoo):
    items = read_items(zoo / "new")
    scores = pipeline.evaluate(same_base, {"base": None, "domain": pair.domain, "task": pair.task}, items)
    head = load_file(zoo / "task" / WEIGHTS)
    model = AutoModelForImageClassification.from_pretrained(zoo / "base")
    model.classifier = torch.nn.Linear(16, len(NEW))
    model.classifier.load_state_dict({n: head[f"base_model.model.classifier.{n}"] for n in ("weight", "bias")})
    torch.testing.assert_close(scores["base"].loglik.double(), plain_loglik(model, same_base, items), rtol=0, atol=1e-5)
    domain = PeftModel.from_pretrained(model, zoo / "domain").eval()
    torch.testing.assert_close(
        scores["domain"].loglik.double(), plain_loglik(domain, same_base, items), rtol=0, atol=1e-5
    )
    assert scores["base"].note == "base answers with the head of task (5 labels): its own has other labels."
    assert scores["base"].note in report.comparison_sentences({"items": scores})
    assert scores["task"].note == ""


def test_the_task_answers_old_labels_with_the_head_of_the_base(same_base, pair, zoo):
    items = read_items(zoo / "old")
    score = pipeline.evaluate(same_base, {"base": None, "task": pair.task}, items)["task"]
    bare = replace(pair.task, whole={}, heads=(), labels=())
    wanted = pipeline.evaluate(same_base, {"bare": bare}, items)["bare"]
    assert torch.equal(score.loglik, wanted.loglik) and score.loglik.shape == (12, 3)
    assert score.note == "task answers with the head of base (3 labels): its own has other labels."


def test_labels_that_no_head_has_are_misses(same_base, pair, zoo, tmp_path):
    shutil.copytree(zoo / "old" / "cat", tmp_path / "items" / "yeti")
    shutil.copytree(zoo / "old" / "dog", tmp_path / "items" / "dog")
    score = pipeline.evaluate(same_base, {"base": None, "task": pair.task}, read_items(tmp_path / "items"))["base"]
    yeti = torch.tensor([item.label == "yeti" for item in read_items(tmp_path / "items")])
    assert not score.correct[yeti].any() and score.nll is None and score.n == 8
    assert json.dumps(score.to_dict()) and "" in report.score_table({"items": {"base": score}})[1][0]
    row = [LabelItem(item.content, 7) for item in read_items(zoo / "old")]
    assert pipeline.evaluate(same_base, {"base": None}, row)["base"].accuracy == 0.0


def test_rows_can_be_named_by_number(same_base, pair, zoo):
    named = read_items(zoo / "new")
    numbered = [LabelItem(item.content, NEW.index(item.label)) for item in named]
    first, second = (pipeline.evaluate(same_base, {"task": pair.task}, items)["task"] for items in (named, numbered))
    assert torch.equal(first.correct, second.correct) and first.nll == second.nll


def test_a_head_without_names_takes_the_labels_in_alphabetical_order_and_says_so(same_base, zoo, tmp_path):
    order = tuple(sorted(NEW))
    pico_vit_adapter(tmp_path / "unnamed", zoo / "base", seed=2, labels=NEW, named=False)
    pico_vit_adapter(tmp_path / "named", zoo / "base", seed=2, labels=order)
    items = read_items(zoo / "new")
    variants = {name: pipeline.read_adapter(tmp_path / name) for name in ("unnamed", "named")}
    alone = pipeline.evaluate(same_base, {"unnamed": variants["unnamed"]}, items)["unnamed"]
    assert "5 rows without names: taken as the labels in alphabetical order" in alone.note
    assert torch.equal(
        alone.correct, pipeline.evaluate(same_base, {"named": variants["named"]}, items)["named"].correct
    )


@pytest.mark.parametrize("labels", [["a", "b"], ["a"] * 5, ["a", "b", "c", "d", 5], "abcde", ["a", "b", "c", "d", " "]])
def test_wrong_names_of_labels_are_refused(labels, zoo, tmp_path):
    shutil.copytree(zoo / "task", tmp_path / "task")
    (tmp_path / "task" / LABELS).write_text(json.dumps({"labels": labels}))
    with pytest.raises(AdapterError, match=r"labels\.json.*5 rows"):
        pipeline.read_adapter(tmp_path / "task")


def test_half_a_head_and_a_head_of_another_width_are_refused(base, pair):
    weight = pair.task.whole["classifier.weight"]
    half = replace(pair.task, whole={"classifier.weight": weight}, labels=())
    wide = replace(pair.task, whole={**pair.task.whole, "classifier.weight": weight.new_zeros(5, 17)})
    for wrong in (half, wide):
        with pytest.raises(MismatchError, match="a tensor of 5x1"):
            base.check_fits(wrong)


# -- export ----------------------------------------------------------------------------------------------------------


def test_the_merge_carries_the_head_of_the_task_certified_and_loads_with_peft(same_base, pair, zoo, tmp_path):
    merged = merge(pair, pipeline.probe(pair, same_base, read_inputs(zoo / "probe")))
    certificate = pipeline.export(merged, tmp_path / "out", base=same_base)
    assert certificate.holds and certificate.logit_error is not None and certificate.logit_error < 1e-5
    says = "classifier (5 rows, for ant, bee, fly, wasp, mite) is the task adapter's, kept whole in modules_to_save."
    assert says in certificate.sentences
    written = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert written["heads"]["classifier"]["of"] == "task" and LABELS in written["outputs"]
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["modules_to_save"] == ["classifier"]
    assert json.loads((tmp_path / "out" / LABELS).read_text()) == {"labels": list(NEW)}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "num_labels=5, ignore_mismatched_sizes=True" in card and "the task adapter's, 5 labels" in card

    items = read_items(zoo / "new")
    wanted = plain_loglik(with_head_of(zoo, tmp_path / "out"), same_base, items)
    found = pipeline.evaluate(same_base, {"tada": merged}, items)["tada"]
    torch.testing.assert_close(found.loglik.double(), wanted, rtol=0, atol=1e-5)
    wrong, again = pipeline.verify(tmp_path / "out", same_base)
    assert wrong == [] and again.heads["classifier"].rows == 5
    assert pipeline.read_adapter(tmp_path / "out").labels == NEW


def test_the_picture_that_logits_are_compared_on_is_noise_and_always_the_same(base):
    once, again = (input_for_logits(base)["pixel_values"] for _ in range(2))
    assert torch.equal(once, again) and once.shape == (1, 3, SIDE, SIDE) and once.std() > 0.1


def test_a_lost_row_of_the_head_fails_the_certificate(same_base, pair, tmp_path):
    merged = merge(pair)
    pipeline.export(merged, tmp_path / "out", base=same_base)
    tensors = load_file(tmp_path / "out" / WEIGHTS)
    tensors["base_model.model.classifier.weight"][3, 0] += 1
    save_file(tensors, tmp_path / "out" / WEIGHTS, {"format": "pt"})
    found = certify(merged, tmp_path / "out", same_base)
    assert not found.holds and found.missing == ("classifier.weight",) and found.logit_error > 0.1


def test_the_head_knob_moves_the_labels_with_the_head(zoo, tmp_path):
    other = pico_vit_adapter(tmp_path / "other", zoo / "base", seed=5, labels=("x", "y"))
    pair = pipeline.read_pair(zoo / "task", other)
    merged = merge(pair, recipe=Recipe(head="domain"))
    assert merged.labels == ("x", "y") and merged.origin.to_dict()["heads"] == {"classifier": "domain"}
    assert merge(pair).labels == NEW


# -- transformers 4 and 5 --------------------------------------------------------------------------------------------

FOUR = {
    "layers.": "encoder.layer.",
    "attention.q_proj": "attention.attention.query",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def as_four(folder, to):
    """An adapter as PEFT saved it under transformers 4: the names that model had there."""
    shutil.copytree(folder, to)

    def old(key):
        for new, four in FOUR.items():
            key = key.replace(new, four)
        return key

    save_file({old(key): tensor for key, tensor in load_file(to / WEIGHTS).items()}, to / WEIGHTS, {"format": "pt"})
    config = json.loads((to / CONFIG).read_text())
    (to / CONFIG).write_text(json.dumps({**config, "target_modules": ["query", "value", "dense"]}))
    return to


def test_an_adapter_of_transformers_4_goes_the_whole_way_with_one_of_5(same_base, pair, zoo, tmp_path):
    """It pairs up, probes, merges and exports to the same bytes as the same numbers under names of version 5."""
    four = pipeline.read_pair(as_four(zoo / "task", tmp_path / "task"), zoo / "domain")
    assert four.names == pair.names and all(None not in four.both(name) for name in four.names)
    assert four.task.digest == pair.task.digest and len(pair.names) == 2 * len(TARGETS)
    assert "names of transformers 4 (vit.encoder.layer.0" in " ".join(four.task.passport.remarks)
    readings = pipeline.probe(four, same_base, read_inputs(zoo / "probe"))
    merged = merge(four, readings)
    assert pipeline.export(merged, tmp_path / "out", base=same_base).holds
    again = tmp_path / "again"
    pipeline.export(merge(pair, pipeline.probe(pair, same_base, read_inputs(zoo / "probe"))), again, base=same_base)
    assert (again / WEIGHTS).read_bytes() == (tmp_path / "out" / WEIGHTS).read_bytes()
    model = with_head_of(zoo, tmp_path / "out")
    items = read_items(zoo / "new")
    found = pipeline.evaluate(same_base, {"tada": merged}, items)["tada"].loglik
    torch.testing.assert_close(found.double(), plain_loglik(model, same_base, items), rtol=0, atol=1e-5)


# -- by the command line ---------------------------------------------------------------------------------------------


def test_the_main_job_on_images_by_the_command_line(zoo, tmp_path, capsys):
    def run(*words):
        assert cli.main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    where = ("--task", zoo / "task", "--domain", zoo / "domain", "--base", zoo / "base")
    run("probe", *where, "--inputs", zoo / "probe", "-o", tmp_path / "readings.json")
    run("merge", *where, "--readings", tmp_path / "readings.json", "-o", tmp_path / "out")
    adapters = ("--adapter", f"task={zoo / 'task'}", "--adapter", f"tada={tmp_path / 'out'}")
    said = json.loads(run("evaluate", "--base", zoo / "base", "--items", zoo / "new", *adapters, "--json"))
    rows = {row["name"]: row for row in said} if isinstance(said, list) else said
    assert set(rows) >= {"base", "task", "tada"} and "head of task" in rows["base"]["note"]
    assert run("verify", tmp_path / "out", "--base", zoo / "base").rstrip().endswith("PASS")
