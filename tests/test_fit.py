"""Whether two adapters fit, by their names, bases, revisions, task types, numbers: instances of every kind, made here."""

import json
import shutil
import zipfile
from dataclasses import replace

import pytest
import torch
from foreign import SD15, kohya_file
from safetensors.torch import load_file, save_file

from tada_studio import cli, pipeline
from tada_studio.errors import AdapterError, MismatchError
from tada_studio.files import plain_json
from tada_studio.lora import CONFIG, WEIGHTS, Adapter, LoraModule, Pair
from tada_studio.pipeline.merge import merge
from tada_studio.pipeline.origin import MergeOrigin
from tada_studio.read import pair_up, read_adapter
from tada_studio.read.base_names import compare
from tada_studio.read.two_names import one_layer_two_names
from tada_studio.recipe import Recipe


def made(folder, names, seed=0, whole=(), **config):
    """An adapter folder of rank 2 whose modules have the names given, each 6 x 4."""
    folder.mkdir(parents=True)
    draw = torch.Generator().manual_seed(seed)
    tensors = {f"base_model.model.{n}.lora_{side}.weight": torch.randn(*shape, generator=draw)
               for n in names for side, shape in (("A", (2, 4)), ("B", (6, 2)))}  # fmt: skip
    tensors |= {f"base_model.model.{name}": torch.ones(3, 4) for name in whole}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    about = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "task_type": None,
        "base_model_name_or_path": "acme/base",
        **config,
    }
    (folder / CONFIG).write_text(json.dumps(about))
    return folder


LLAMA = [f"model.layers.{i}.self_attn.{p}_proj" for i in range(2) for p in "qv"]


# -- bases -----------------------------------------------------------------------------------------------------------

ONE_MODEL = [  # the first two of each kind, a third that the rule was not written with
    ("unsloth/meta-llama-3.1-8b-instruct-bnb-4bit", "meta-llama/Llama-3.1-8B-Instruct"),
    ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "meta-llama/Llama-3.1-8B-Instruct"),
    ("nvidia/Llama-3.1-8B-Instruct-NVFP4", "meta-llama/Llama-3.1-8B-Instruct"),
    ("Qwen/Qwen3-8B-FP8", "Qwen/Qwen3-8B"), ("RedHatAI/Qwen3-8B-FP8-dynamic", "Qwen/Qwen3-8B"),
    ("unsloth/gpt-oss-20b-BF16", "openai/gpt-oss-20b"), ("Qwen/Qwen2.5-7B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct"),
    ("TheBloke/Llama-2-7B-GPTQ", "meta-llama/Llama-2-7b-hf"), ("bartowski/google_gemma-3-4b-it-GGUF", "google/gemma-3-4b-it"),
    ("mlx-community/Qwen3-8B-4bit", "Qwen/Qwen3-8B"), ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-7B-Instruct"),
    ("gemma3-270m-it", "google/gemma-3-270m-it"), ("Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),
    ("roberta-base", "FacebookAI/roberta-base"), ("bert-base-uncased", "google-bert/bert-base-uncased"),
    ("distilgpt2", "distilbert/distilgpt2"), ("ACME/Base", "acme/base"), ("unsloth/Llama-3.2-1B", "meta-llama/Llama-3.2-1B"),
    ("C:\\models\\gemma-2-2b", "google/gemma-2-2b"), ("/data/llama-3.1-8b/", "meta-llama/Llama-3.1-8B"),
    ("/home/me/.cache/huggingface/hub/models--google--gemma-2-2b/snapshots/0af1", "google/gemma-2-2b"),
    ("models/my-base", "acme/my-base"),
]  # fmt: skip
TWO_MODELS = [
    ("klue/roberta-base", "roberta-base"), ("acme/bert-base-uncased", "bert-base-uncased"), ("acme/gpt2", "openai-community/gpt2"),
    ("acme/base", "other/base"), ("facebook/opt-1.3b", "facebook/opt-13b"), ("google/gemma-2-2b", "google/gemma-2-2b-it"),
    ("bert-base-cased", "bert-base-uncased"), ("Qwen/Qwen2.5-7B", "Qwen/Qwen3-8B"), ("gpt2", "gpt2-medium"),
    ("acme/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"), ("Qwen/Qwen2.5-7B-AWQ", "Qwen/Qwen2.5-7B-Instruct-AWQ"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ONE_MODEL)
def test_spellings_and_quantised_copies_of_a_base_are_one_model_with_a_note(one, other):
    for pair in ((one, other), (other, one)):
        same, says = compare(*pair)
        assert same and one in says and other in says and says.endswith(".")


@pytest.mark.parametrize(("one", "other"), TWO_MODELS)
def test_two_models_are_two_whatever_they_share_of_their_names(one, other):
    assert not compare(one, other)[0] and not compare(other, one)[0]


def test_somebody_can_vouch_for_a_base_and_recipe_and_card_say_so(tmp_path, capsys):
    task = made(tmp_path / "task", LLAMA, base_model_name_or_path="acme/base")
    domain = made(tmp_path / "domain", LLAMA, 1, base_model_name_or_path="other/base")
    with pytest.raises(MismatchError, match=r"different owners.*--same-base"):
        pipeline.read_pair(task, domain)
    pair = pipeline.read_pair(task, domain, same_base=True)
    assert pair.same_base and any("you said so" in note for note in pair.problems)
    assert MergeOrigin(pair, None, Recipe()).to_dict()["inputs"]["same_base"] is True
    command = ["merge", "--task", str(task), "--domain", str(domain)]
    assert cli.main([*command, "-o", str(tmp_path / "no")]) == 2 and not (tmp_path / "no").exists()
    assert cli.main([*command, "-o", str(tmp_path / "out"), "--same-base"]) == 0
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["inputs"]["same_base"] is True
    again = [*command, "--recipe", str(tmp_path / "out" / "recipe.json"), "-o", str(tmp_path / "again")]
    assert cli.main(again) == 0, "the recipe itself says that the bases were vouched for"
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / "out" / WEIGHTS).read_bytes()
    assert cli.main(["passport", str(task), str(domain), "--same-base"]) == 0
    capsys.readouterr()


def test_vouching_changes_nothing_where_the_bases_are_the_same(tmp_path):
    task, domain = made(tmp_path / "task", LLAMA), made(tmp_path / "domain", LLAMA, 1)
    pair = pipeline.read_pair(task, domain, same_base=True)
    assert not pair.same_base and pair.problems == pipeline.read_pair(task, domain).problems
    assert "same_base" not in MergeOrigin(pair, None, Recipe()).to_dict()["inputs"]


@pytest.mark.parametrize(("ours", "theirs", "noted"), [("v1.0", "v2.0", True), (None, "a" * 40, True),
                         ("abc1234", "abc1234" + "f" * 33, False), (None, "main", False), ("main", "main", False)])  # fmt: skip
def test_two_revisions_of_a_base_are_noted(ours, theirs, noted, tmp_path):
    task, domain = made(tmp_path / "t", LLAMA, revision=ours), made(tmp_path / "d", LLAMA, 1, revision=theirs)
    notes = pipeline.read_pair(task, domain).problems
    assert any("revisions of the base differ" in note for note in notes) == noted
    assert any("revisions" in note for note in pipeline.passports([task, domain])[1].notes) == noted


# -- task types ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "other", "head"), [("CAUSAL_LM", "SEQ_CLS", "score"), ("CAUSAL_LM", "TOKEN_CLS", "classifier"),
                                                     ("SEQ_2_SEQ_LM", "QUESTION_ANS", "qa_outputs")])  # fmt: skip
def test_a_writer_beside_a_classifier_is_noted_and_carries_no_classifiers_head(kind, other, head, tmp_path):
    task = made(tmp_path / "t", LLAMA, task_type=kind)
    domain = made(tmp_path / "d", LLAMA, 1, whole=[f"{head}.weight"], task_type=other, modules_to_save=[head])
    pair = pipeline.read_pair(task, domain)
    assert any(kind in note and other in note and head in note for note in pair.problems)
    assert not any("the merge keeps them" in note for note in pair.problems)
    assert not pair.domain.heads and not pair.domain.whole
    back = pipeline.read_pair(domain, task)
    assert back.task.heads == (head,), "a classifier keeps its own head"


@pytest.mark.parametrize("head", ["score", "classifier"])
def test_an_update_of_a_head_that_the_model_lacks_is_said_and_no_pair(head, tmp_path):
    task = made(tmp_path / "t", LLAMA, task_type="CAUSAL_LM")
    domain = made(tmp_path / "d", [*LLAMA, head], 1, task_type="CAUSAL_LM")
    assert any(head in remark and "never loads" in remark for remark in read_adapter(domain).passport.remarks)
    with pytest.raises(MismatchError, match=head):
        pipeline.read_pair(task, domain)


@pytest.mark.parametrize("of", ["IMAGE_CLASSIFICATION", "OBJECT_DETECTION", "CAUSAL-LM"])
def test_task_types_that_peft_does_not_take_are_said(of, tmp_path):
    remarks = read_adapter(made(tmp_path / "t", LLAMA, task_type=of)).passport.remarks
    assert any(of in remark and "none that PEFT takes" in remark for remark in remarks)


@pytest.mark.parametrize(
    ("of", "named"), [("TOKEN_CLS", ["classifier", "score"]), ("QUESTION_ANS", ["qa_outputs"]), ("SEQ_CLS", ["score"])]
)
def test_heads_that_peft_names_unasked_need_not_be_there(of, named, tmp_path):
    found = read_adapter(made(tmp_path / "t", LLAMA, task_type=of, modules_to_save=named))
    assert not found.heads and any(named[0] in remark for remark in found.passport.remarks)


@pytest.mark.parametrize(("targets", "ties"), [(["q_proj"], True), (["v_proj", "k_proj"], True)])
def test_tying_means_nothing_without_embeddings_and_is_refused_with_them(targets, ties, tmp_path):
    names = [f"model.layers.0.self_attn.{target}" for target in targets]
    assert read_adapter(made(tmp_path / "a", names, ensure_weight_tying=ties)).modules
    for i, vocabulary in enumerate(("lm_head", "model.embed_tokens")):
        with pytest.raises(AdapterError, match="ensure_weight_tying"):
            read_adapter(made(tmp_path / str(i), [*names, vocabulary], ensure_weight_tying=ties))


@pytest.mark.parametrize("head", ["score", "qa_outputs", "lm_head"])
def test_a_head_that_is_updated_and_kept_whole_is_refused(head, tmp_path):
    folder = made(tmp_path / "a", [*LLAMA, head], whole=[f"{head}.weight"], modules_to_save=[head])
    with pytest.raises(AdapterError, match=f"{head} is both updated"):
        read_adapter(folder)
    assert cli.main(["passport", str(folder)]) == 2


# -- numbers ---------------------------------------------------------------------------------------------------------


def spoiled(folder, key, number):
    tensors = load_file(folder / WEIGHTS)
    name = next(name for name in tensors if key in name)
    tensors[name].flatten()[-1] = number
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("key", ["0.self_attn.q_proj.lora_A", "1.self_attn.v_proj.lora_B"])
def test_nan_and_infinity_are_said_at_the_passport_in_json_that_is_json(number, key, tmp_path, capsys):
    bad, good = spoiled(made(tmp_path / "bad", LLAMA), key, number), made(tmp_path / "good", LLAMA, 1)
    for refs in ([bad], [bad, good], [good, bad]):
        assert cli.main(["passport", *map(str, refs), "--json"]) == 2
        content = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        about = next(one for one in content if one["name"] == "bad")
        assert about["norm"] is None and any("NaN or infinity" in remark for remark in about["remarks"])
    with pytest.raises(AdapterError, match="NaN or infinity"):
        pipeline.read_pair(good, bad)


def test_json_of_any_content_is_json():
    content = {"a": [1.5, float("nan"), {"b": (float("inf"), None, "NaN")}], "c": -float("inf")}
    assert json.loads(plain_json(content)) == {"a": [1.5, None, {"b": [None, None, "NaN"]}], "c": None}


@pytest.mark.parametrize("where", ["another folder", "another number format"])
def test_one_adapter_from_two_places_is_recognised(where, tmp_path):
    one, other = made(tmp_path / "one", LLAMA), made(tmp_path / "other", LLAMA)
    if where == "another number format":
        save_file({k: t.double() for k, t in load_file(one / WEIGHTS).items()}, other / WEIGHTS)
    assert any("Both are the same adapter" in note for note in pipeline.read_pair(one, other).problems)
    spoiled(other, "q_proj", 3.0)
    assert not any("Both are the same adapter" in note for note in pipeline.read_pair(one, other).problems)


# -- files beside ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["non_lora_trainables.bin", "non_lora_state_dict.bin", "new_embeddings.safetensors",
                                  "value_head.safetensors", "v_head.bin", "mm_projector.bin", "connector.pt"])  # fmt: skip
def test_weights_beside_the_adapter_are_said(name, tmp_path):
    folder = made(tmp_path / "a", LLAMA)
    (folder / name).write_bytes(b"weights")
    assert any(name in remark and "not read" in remark for remark in pipeline.passports([folder])[0][0].remarks)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for file in folder.iterdir():
            packed.write(file, f"a/{file.name}")
    assert any(name in remark for remark in pipeline.passports([tmp_path / "a.zip"])[0][0].remarks)


def test_weights_beside_another_program_s_file_are_said(tmp_path):
    kohya_file(tmp_path / "pytorch_lora_weights.safetensors", SD15)
    (tmp_path / "learned_embeds.safetensors").write_bytes(b"weights")
    remarks = pipeline.passports([tmp_path])[0][0].remarks
    assert any("(learned_embeds.safetensors)" in remark for remark in remarks)
    assert not any(
        "not read" in r for r in read_adapter(tmp_path / "pytorch_lora_weights.safetensors").passport.remarks
    )


@pytest.mark.parametrize(("config", "said"), [({}, False), ({"r": None}, True), ({"r": None, "lora_alpha": 16}, True)])
def test_a_config_without_a_rank_is_said(config, said, tmp_path):
    folder = made(tmp_path / "a", LLAMA, **config)
    about = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in about.items() if v is not None}))
    found = read_adapter(folder)
    assert any("names no rank" in remark for remark in found.passport.remarks) == said
    assert {m.scale for m in found.modules.values()} == {about["lora_alpha"] / 2}


@pytest.mark.parametrize("name", ["training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_0.pth",
                                  "adapter_model.bin", "scaler.pt", "README.md", "tokenizer.json"])  # fmt: skip
def test_what_a_trainer_leaves_is_nothing_to_say(name, tmp_path):
    folder = made(tmp_path / "a", LLAMA)
    (folder / name).write_bytes(b"x")
    assert not any(name in remark for remark in pipeline.passports([folder])[0][0].remarks)


# -- other formats ---------------------------------------------------------------------------------------------------

MLX = {f"model.layers.0.self_attn.q_proj.lora_{side}": torch.ones(4, 4) for side in "ab"}
FOREIGN = {
    "MLX": ("0000900_adapters.safetensors", MLX, "MLX-LM"),
    "MLX under another name": ("best.safetensors", MLX, "MLX-LM"),
    "PEFT's weights alone": ("only.safetensors", {"base_model.model.a.lora_A.weight": torch.ones(2, 2)}, CONFIG),
    "nothing, as ZeRO-3 leaves it": ("lora.safetensors", {}, "ZeRO-3"),
    "LyCORIS": ("x.safetensors", {f"blocks.0.q.hada_w1_{side}": torch.ones(2, 2) for side in "ab"}, "LyCORIS"),
}


@pytest.mark.parametrize(("name", "tensors", "says"), FOREIGN.values(), ids=FOREIGN)
def test_single_files_that_are_no_adapter_are_named_for_file_and_folder(name, tensors, says, tmp_path):
    save_file(tensors, tmp_path / name)
    for ref in (tmp_path, tmp_path / name):
        with pytest.raises(AdapterError, match=says) as refused:
            read_adapter(ref)
        assert "\n" not in str(refused.value)


# -- one layer under two names ---------------------------------------------------------------------------------------


def stack(prefix, *inside, layers=2):
    return [f"{prefix}.{i}.{name}" for i in range(layers) for name in inside]


TWO_NAMES = {
    "text model and vision-language model": (LLAMA, stack("model.language_model.layers", "self_attn.q_proj"), "model.layers.N"),
    "before and after a renaming": (
        stack("language_model.model.layers", "self_attn.q_proj"), stack("model.language_model.layers", "self_attn.q_proj"), "4.52"),
    "bare encoder and a model with a head": (
        stack("encoder.layer", "attention.self.query"), stack("bert.encoder.layer", "attention.self.query"), "bare encoder"),
    "GPT-2 with and without its head": (stack("h", "attn.c_attn"), stack("transformer.h", "attn.c_attn"), "transformer.h.N"),
    "other projections under another prefix": (
        stack("encoder.layer", "attention.self.query"), stack("roberta.encoder.layer", "output.dense"), "roberta.encoder.layer.N"),
    "Megatron and transformers": (
        stack("language_model.encoder.layers", "self_attention.linear_qkv"), LLAMA, "Megatron"),
    "a UNet and a ConvNeXt": (
        stack("down_blocks", "attentions.0.to_q"), stack("convnext.encoder.stages", "layers.0.pwconv1"), "UNet"),
    "partly": ([*LLAMA, *stack("model.extra", "q_proj")], [*stack("model.language_model.layers", "self_attn.q_proj"),
                                                           *stack("model.extra", "q_proj")], "only some"),
    "fused and split qkv": (stack("model.layers", "self_attn.qkv_proj"), LLAMA, "as one layer"),
    "split and fused gates": (
        [*LLAMA, *stack("model.layers", "mlp.gate_proj", "mlp.up_proj")], [*LLAMA, *stack("model.layers", "mlp.gate_up_proj")],
        "The domain adapter updates model.layers.0.mlp.gate_up_proj as one layer"),
}  # fmt: skip
ONE_NAME = {
    "attention and MLP": (LLAMA, stack("model.layers", "mlp.up_proj")),
    "encoder and decoder": (stack("encoder.block", "layer.0.SelfAttention.q"), stack("decoder.block", "layer.0.SelfAttention.q")),
    "two towers": (stack("vision_tower.encoder.layers", "self_attn.q_proj"), stack("language_model.layers", "self_attn.q_proj")),
    "speech and text": (stack("audio_tower.layers", "self_attn.q_proj"), stack("model.layers", "self_attn.q_proj")),
    "down and up": (stack("down_blocks", "attentions.0.to_q"), stack("up_blocks", "attentions.0.to_q")),
    "a head alone": (LLAMA, ["lm_head"]),
    "some layers": (LLAMA[:2], LLAMA[2:]),
    "one tower of two": ([*LLAMA, *stack("visual.blocks", "attn.qkv")], LLAMA),
}  # fmt: skip


@pytest.mark.parametrize(("task", "domain", "says"), TWO_NAMES.values(), ids=TWO_NAMES)
def test_one_layer_under_two_names_is_refused_with_both(task, domain, says, tmp_path):
    one, other = made(tmp_path / "t", task), made(tmp_path / "d", domain, 1)
    with pytest.raises(MismatchError) as refused:
        pipeline.read_pair(one, other)
    assert says in str(refused.value)
    assert cli.main(["passport", str(one), str(other)]) == 2
    assert one_layer_two_names(domain, task) is not None


@pytest.mark.parametrize(("task", "domain"), ONE_NAME.values(), ids=ONE_NAME)
def test_parts_of_one_model_are_no_two_names(task, domain, tmp_path):
    assert pipeline.read_pair(made(tmp_path / "t", task), made(tmp_path / "d", domain, 1)).names
    assert one_layer_two_names(domain, task) is None


def test_a_pair_in_memory_is_judged_the_same(tmp_path):
    def adapter(prefix):
        names = stack(prefix, "self_attn.q_proj")
        return Adapter(
            prefix, {n: LoraModule(n, torch.ones(3, 1), torch.ones(1, 2), 1.0) for n in names}, base="acme/base"
        )

    with pytest.raises(MismatchError, match="layers are called"):
        pair_up(adapter("model.layers"), adapter("model.language_model.layers"))
    same = adapter("model.layers")
    assert isinstance(pair_up(same, replace(same, label="other")), Pair)
    shutil.rmtree(tmp_path)


# -- MLX-LM ----------------------------------------------------------------------------------------------------------


def mlx_folder(
    folder, scale=10.0, rank=3, name="adapters.safetensors", kind="lora", tensors=None, seed=0, **parameters
):
    """An adapter as MLX-LM writes it: lora_a (d_in, r), lora_b (r, d_out), y + scale * (x @ lora_a) @ lora_b."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(seed)
    made_here = {f"{n}.lora_{side}": torch.randn(*shape, generator=draw) for n in LLAMA
                 for side, shape in (("a", (4, rank)), ("b", (rank, 6)))}  # fmt: skip
    save_file(made_here if tensors is None else tensors, folder / name)
    about = {"fine_tune_type": kind, "model": "acme/base", "num_layers": 2,
             "lora_parameters": {"rank": rank, "scale": scale, "dropout": 0.0, **parameters}}  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize(("scale", "rank", "name"), [(10.0, 3, "adapters.safetensors"), (20.0, 1, "0000100_adapters.safetensors"),
                                                     (0.5, 4, "adapters.safetensors")])  # fmt: skip
def test_mlx_adapters_are_read_exactly_and_merge_with_others(scale, rank, name, tmp_path):
    folder = mlx_folder(tmp_path / "mlx", scale, rank, name)
    found, stored = read_adapter(folder), load_file(folder / name)
    for module in LLAMA:
        wanted = scale * (stored[f"{module}.lora_a"].double() @ stored[f"{module}.lora_b"].double()).mT
        torch.testing.assert_close(found.modules[module].delta(), wanted, rtol=1e-12, atol=0)
    assert found.passport.facts["written by"] == "MLX-LM" and found.base == "acme/base"
    pair = pipeline.read_pair(folder, made(tmp_path / "peft", LLAMA, 1))
    assert pipeline.export(merge(pair), tmp_path / "out").holds
    with zipfile.ZipFile(tmp_path / "mlx.zip", "w") as packed:
        for file in folder.iterdir():
            packed.write(file, file.name)
    assert pipeline.read_adapter(tmp_path / "mlx.zip").digest == found.digest


def test_the_last_weights_of_mlx_are_read_and_several_steps_are_asked_about(tmp_path):
    folder = mlx_folder(tmp_path / "a", name="0000100_adapters.safetensors")
    mlx_folder(folder, name="0000200_adapters.safetensors", seed=1)
    with pytest.raises(AdapterError, match="2 steps of MLX-LM"):
        read_adapter(folder)
    mlx_folder(folder, seed=2)
    assert read_adapter(folder).digest == read_adapter(mlx_folder(tmp_path / "b", seed=2)).digest


@pytest.mark.parametrize("wrong", [{"kind": "dora"}, {"kind": "full"}, {"scale": "ten"}, {"scale": float("inf")},
                                   {"tensors": {"model.layers.0.q_proj.m": torch.ones(4)}},
                                   {"tensors": {"model.experts.lora_a": torch.ones(2, 4, 3)}}])  # fmt: skip
def test_what_of_mlx_is_no_lora_of_one_scale_is_one_sentence(wrong, tmp_path):
    with pytest.raises(AdapterError, match="MLX-LM") as refused:
        read_adapter(mlx_folder(tmp_path / "a", **wrong))
    assert "\n" not in str(refused.value)
