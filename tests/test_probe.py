"""The probe against a dense reference that holds every activation, and its invariances."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pico import pico_adapter
from safetensors.torch import load_file, save_file

from tada_studio import pipeline, probing, report
from tada_studio.base_model.family import BATCH_TOKENS
from tada_studio.core.gates import gates as gates_of
from tada_studio.errors import InputError, MismatchError
from tada_studio.lora import WEIGHTS, Adapter, LoraModule, Pair
from tada_studio.pipeline.merge import merge
from tada_studio.probing import Readings, choose, read_inputs
from tada_studio.recipe import Recipe


@pytest.fixture(scope="module")
def base(pico):
    return pipeline.load_base(pico.base, device="cpu")


@pytest.fixture(scope="module")
def pair(pico):
    return pipeline.read_pair(pico.task, pico.domain)


@pytest.fixture(scope="module")
def inputs(pico):
    return read_inputs(pico.inputs)


def dense_response(base, module, text):
    """Mean and root mean square over tokens 1.. of |dW x| / (|dW|_F |x|), from the dense update and plain hooks."""
    seen = []
    hook = base.model.get_submodule(module.name).register_forward_pre_hook(
        lambda _, x: seen.append(x[0][0, 1:].double())
    )
    base.model(input_ids=torch.tensor([base.tokenizer(text).input_ids]))
    hook.remove()
    delta, x = module.delta(), seen[0]
    ratio = (x @ delta.T).norm(dim=1) / (delta.norm() * x.norm(dim=1))
    return ratio.mean(), ratio.square().mean().sqrt()


def test_readings_equal_the_dense_reference_one_input_at_a_time(base, pair, inputs):
    readings = pipeline.probe(pair, base, inputs)
    for i, name in enumerate(readings.names):
        for j, text in enumerate(inputs):
            for side, mean, rms in (
                ("task", readings.task, readings.rms_task),
                ("domain", readings.domain, readings.rms_domain),
            ):
                want = torch.stack(dense_response(base, getattr(pair, side).modules[name], text))
                torch.testing.assert_close(torch.stack([mean[i, j], rms[i, j]]), want, rtol=2e-5, atol=0)


def test_the_moment_is_the_mean_outer_product_of_the_low_rank_inputs(base, pair, inputs):
    readings = pipeline.probe(pair, base, inputs[:3])
    name = pair.names[5]
    seen = []
    hook = base.model.get_submodule(name).register_forward_pre_hook(lambda _, x: seen.append(x[0][0, 1:].double()))
    for text in inputs[:3]:
        base.model(input_ids=torch.tensor([base.tokenizer(text).input_ids]))
    hook.remove()
    x = torch.cat(seen)
    z = x @ torch.cat([module.down.double() for module in pair.both(name)]).T / x.norm(dim=1, keepdim=True)
    torch.testing.assert_close(readings.moment[5], z.T @ z / len(z), rtol=1e-5, atol=1e-9)


def scaled(adapter: Adapter, up: float, down: float, scale: float) -> Adapter:
    modules = {n: LoraModule(n, m.up * up, m.down * down, m.scale * scale) for n, m in adapter.modules.items()}
    return replace(adapter, modules=modules)


@given(power=st.floats(-6, 6), where=st.sampled_from(["up", "down", "scale"]), sign=st.sampled_from([1, -1]))
def test_scaling_an_adapter_leaves_its_gates_unchanged(power, where, sign, base, pair, inputs):
    factors = {"up": 1.0, "down": 1.0, "scale": 1.0} | {where: sign * 10.0**power}
    louder = Pair(scaled(pair.task, **factors), pair.domain)
    before, after = (gates_of(pipeline.probe(p, base, inputs), Recipe()).values for p in (pair, louder))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=0)


def test_another_factorisation_of_the_same_update_reads_the_same(base, pair, inputs):
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))[0]
    modules = {n: LoraModule(n, m.up @ turn, turn.T @ m.down, m.scale) for n, m in pair.task.modules.items()}
    other = Pair(replace(pair.task, modules=modules), pair.domain)
    before, after = (pipeline.probe(p, base, inputs).task for p in (pair, other))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=0)


def test_batching_and_padding_do_not_matter(base, pair, inputs, monkeypatch):
    together = pipeline.probe(pair, base, inputs)
    monkeypatch.setattr("tada_studio.pipeline.probing._READINGS", pipeline.LruCache(1))
    import sys

    monkeypatch.setattr(sys.modules["tada_studio.base_model.family"], "BATCH_TOKENS", 1)
    alone = pipeline.probe(pair, base, inputs)
    assert BATCH_TOKENS > 1 and alone is not together
    torch.testing.assert_close(alone.task, together.task, rtol=1e-5, atol=0)


def test_modules_that_one_adapter_lacks_and_zero_modules_give_gates_of_0_and_1(base, pico, tmp_path, inputs):
    attention = pico_adapter(tmp_path / "attention", pico.base, seed=3, rank=2, targets=("q_proj", "v_proj"))
    shutil.copytree(pico.task, tmp_path / "zero")
    tensors = load_file(tmp_path / "zero" / WEIGHTS)
    save_file({k: t * 0 if "q_proj.lora_B" in k else t for k, t in tensors.items()}, tmp_path / "zero" / WEIGHTS)
    pair = pipeline.read_pair(tmp_path / "zero", attention)
    gates = gates_of(pipeline.probe(pair, base, inputs))
    column = dict(zip(gates.projections, gates.values.T, strict=True))
    assert column["q_proj"].tolist() == [1.0] * 3 and column["up_proj"].tolist() == [0.0] * 3
    assert ((column["v_proj"] > 0) & (column["v_proj"] < 1)).all()


def test_saved_readings_come_back_and_give_the_same_gates(base, pair, inputs, tmp_path):
    readings = pipeline.probe(pair, base, inputs)
    readings.save(tmp_path / "readings.json")
    again = Readings.load(tmp_path / "readings.json")
    assert again.digest == readings.digest and again.about == readings.about
    assert torch.equal(gates_of(again).values, gates_of(readings).values)


def test_readings_whose_numbers_share_memory_are_saved(base, pair, inputs, tmp_path):
    readings = pipeline.probe(pair, base, inputs)
    shared = replace(readings, rms_task=readings.task)
    shared.save(tmp_path / "readings.json")
    assert Readings.load(tmp_path / "readings.json").digest == shared.digest


# -- task inputs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(base, pair, inputs):
    """Readings of five domain inputs and of the other seven as task inputs."""
    return pipeline.probe(pair, base, inputs[:5], task_inputs=inputs[5:])


def test_task_inputs_are_read_like_domain_inputs(base, pair, inputs, both):
    task, domain = pipeline.probe(pair, base, inputs[5:]), pipeline.probe(pair, base, inputs[:5])
    assert torch.equal(both.moments.task, task.moment) and torch.equal(both.moments.domain, domain.moment)
    assert torch.equal(both.on_task.domain, task.domain) and torch.equal(both.domain, domain.domain)
    assert both.about["task_inputs"] == task.about["inputs"] != both.about["inputs"]
    assert domain.on_task is None and domain.moments is None


def test_both_kinds_come_back_from_disk(both, tmp_path):
    both.save(tmp_path / "readings.json")
    again = Readings.load(tmp_path / "readings.json")
    assert again.digest == both.digest and again.about == both.about and again.on_task.about == both.on_task.about
    assert torch.equal(again.moments.task, both.moments.task) and torch.equal(again.on_task.task, both.on_task.task)
    assert again.digest not in (
        replace(both, on_task=None).digest,
        replace(both, on_task=replace(both, on_task=None)).digest,
    )


def test_readings_of_version_0_1_open_and_say_what_they_lack(both, tmp_path):
    """Their file held what is read of domain inputs, and their digest was that of it: recipes name it."""
    old = replace(both, on_task=None)
    old.save(tmp_path / "readings.json")
    content = json.loads((tmp_path / "readings.json").read_text())
    (tmp_path / "readings.json").write_text(json.dumps({**content, "format": "tada-studio readings 1"}))
    again = Readings.load(tmp_path / "readings.json")
    assert again.digest == old.digest and again.moments is None
    assert "Only domain inputs were read" in report.inputs_sentence(again)
    content["format"] = "tada-studio readings 3"
    (tmp_path / "readings.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="format: Input should be 'tada-studio readings 1'"):
        Readings.load(tmp_path / "readings.json")


def test_a_recipe_of_domain_inputs_alone_belongs_to_readings_of_both(pair, both):
    of_old = pipeline.MergeOrigin(pair, replace(both, on_task=None), Recipe()).to_dict()
    assert pipeline.remarks_on_recipe(of_old, pair, both) == []
    assert pipeline.remarks_on_recipe(of_old, pair, both.on_task)
    assert pipeline.remarks_on_recipe(pipeline.MergeOrigin(pair, both, Recipe()).to_dict(), pair, both) == []


def test_equal_inputs_are_counted_and_inputs_that_are_all_equal_refused(base, pair, inputs):
    found = pipeline.probe(pair, base, inputs[:5], task_inputs=inputs[3:])
    assert found.about["equal_inputs"] == "2 of 9" and "2 of 9 task inputs are also" in report.inputs_sentence(found)
    with pytest.raises(InputError, match="are the domain inputs"):
        pipeline.probe(pair, base, inputs, task_inputs=inputs[:3])
    with pytest.raises(InputError, match="No task inputs"):
        pipeline.probe(pair, base, inputs, task_inputs=[])


def test_inputs_that_are_hardly_distinct_are_said_to_be(both):
    twice = replace(both, on_task=replace(both, about={}))
    assert "hardly told apart by the adapters' codes (0.00" in report.inputs_sentence(twice)
    assert "clearly told apart" in report.inputs_sentence(both)  # few inputs of few words each


def test_readings_of_another_pair_are_refused(base, pair, pico, inputs):
    readings = pipeline.probe(pair, base, inputs)
    with pytest.raises(MismatchError, match="another task adapter"):
        merge(pipeline.read_pair(pico.domain, pico.domain), readings)


def test_an_adapter_of_another_base_is_refused(base, pico, tmp_path, inputs):
    deep = {n.replace("layers.0", "layers.7"): m for n, m in pipeline.read_adapter(pico.task).modules.items()}
    deep = {n: LoraModule(n, m.up, m.down, m.scale) for n, m in deep.items()}
    pair = Pair(Adapter("deep", deep), pipeline.read_adapter(pico.domain))
    with pytest.raises(MismatchError, match=r"layers\.7.*has no such layer"):
        pipeline.probe(pair, base, inputs)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.txt", "\n \n", "holds no probe input"),
        ("bad.jsonl", '{"text": "a"}\n{"txt": "b"}', "line 2"),
        ("bad.jsonl", "[1, 2]", "line 1"),
        ("bad.txt", b"\xff\xfe\x00", "cannot be read"),
        ("bad.csv", "frage;antwort\na;b\n", "no column named text, question, prompt or input, only frage, antwort"),
        ("bad.csv", "", "no column named"),
        ("bad.csv", "question,answer\n,b\n", "holds no probe input"),
    ],
)
def test_a_wrong_input_file_is_refused_by_its_line(name, content, says, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=says):
        read_inputs(path)


def test_a_table_gives_what_is_asked_and_not_what_is_right(tmp_path):
    for name, content in (
        (
            "quiz.csv",
            'id,Question,A,B,answer\n1,"Is iron, when wet,\nred?",yes,no,A\n2,Is gold red?,yes,no,B\n3,,yes,no,B\n',
        ),
        ("quiz.tsv", "prompt\tanswer\nIs iron, when wet,  red?\tyes\nIs gold red?\tno\n"),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8-sig")
        first, second = read_inputs(tmp_path / name)
        assert first.split() == "Is iron, when wet, red?".split() and second == "Is gold red?"


def test_inputs_without_tokens_and_a_missing_file_are_refused(base, pair, tmp_path):
    with pytest.raises(InputError, match="fewer than two tokens"):
        pipeline.probe(pair, base, ["quartz is hard", "quartz"])
    with pytest.raises(InputError, match="cannot be read"):
        read_inputs(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match="No probe inputs"):
        pipeline.probe(pair, base, [])


def test_n_inputs_are_drawn_by_seed_and_kept_in_order():
    picked = choose([str(i) for i in range(100)], 10, seed=3)
    assert picked == choose([str(i) for i in range(100)], 10, seed=3) and picked == sorted(picked, key=int)
    assert choose(["a", "b"], 32) == ["a", "b"]


def test_small_products_before_and_after_the_pass_are_on_one_thread_and_the_pass_is_not(
    base, pair, inputs, monkeypatch
):
    """On a busy machine torch's threads wait for each other at each of them: 24 s for what takes a tenth of a second."""
    seen, before = {}, torch.get_num_threads()

    def noted(what, work):
        def note(*args):
            seen.setdefault(what, set()).add(torch.get_num_threads())
            return work(*args)

        return note

    monkeypatch.setattr(probing._Reader, "__init__", noted("set up", probing._Reader.__init__))
    monkeypatch.setattr(probing, "_readings", noted("summed up", probing._readings))
    monkeypatch.setattr(probing, "_run", noted("run", probing._run))
    torch.set_num_threads(3)
    try:
        probing.probe(pair, base.model, base.tokenizer, inputs[:3])  # not pipeline's, which remembers
        assert seen == {"set up": {1}, "summed up": {1}, "run": {3}} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
