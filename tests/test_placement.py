"""Bases that are not small: spread over devices and the disk, rounded, in batches that memory has room for."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from accelerate.hooks import attach_align_device_hook_on_blocks
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM

from tada_studio import cli, pipeline, probing
from tada_studio.app.visitors import Visitors
from tada_studio.base_model import devices
from tada_studio.base_model.devices import is_spread, runs_on
from tada_studio.base_model.families import causal
from tada_studio.base_model.family import Batch
from tada_studio.base_model.generate import Sampling
from tada_studio.base_model.placement import Placement
from tada_studio.base_model.weights import weights_of
from tada_studio.errors import BaseError, Stopped
from tada_studio.evaluation import prompts, read_items
from tada_studio.evaluation.answers import ShortItem
from tada_studio.evaluation.passages import Passage
from tada_studio.lora import Pair
from tada_studio.pipeline.cache import LruCache
from tada_studio.pipeline.merge import merge
from tada_studio.probing import read_inputs
from tada_studio.progress import silent
from tada_studio.recipe import Recipe
from tada_studio.session import Session
from tada_studio.session.visitor import Runs

#: The last two layers and the head lie on the disk; as with `auto` and too little memory, but always the same.
DISK = {
    "model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu",
    "model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "disk", "lm_head": "disk",
}  # fmt: skip


@pytest.fixture(scope="module")
def base(pico):
    return pipeline.load_base(pico.base, device="cpu")


@pytest.fixture(scope="module")
def spread(pico):
    return pipeline.load_base(pico.base, device_map=DISK)


@pytest.fixture(scope="module")
def pair(pico):
    return pipeline.read_pair(pico.task, pico.domain)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing is remembered: equal files have one digest, however they are placed."""
    monkeypatch.setattr("tada_studio.pipeline.probing._READINGS", LruCache(1))
    monkeypatch.setattr("tada_studio.pipeline.scoring._SCORES", LruCache(1))


# -- spread --------------------------------------------------------------------------------------------------------------


def test_a_base_on_cpu_and_disk_gives_the_same_readings(base, spread, pair, pico):
    inputs = read_inputs(pico.inputs)
    whole = pipeline.probe(pair, base, inputs)
    pipeline.probing._READINGS.results.clear()
    found = pipeline.probe(pair, spread, inputs)
    assert found is not whole and not spread.whole and base.whole and spread.digest == base.digest
    assert any(p.is_meta for p in spread.model.parameters()) and "GB on the disk" in spread.says[-1]
    for name in ("task", "domain", "rms_task", "rms_domain", "moment"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=1e-3, atol=1e-9)


def test_it_scores_and_answers_the_same(base, spread, pair, pico):
    sides = {
        "choices": read_items(pico.items)[:12],
        "words": [ShortItem("what is the rock", ("gold",)), ShortItem("is iron a metal", ("yes",))],
        "texts": [Passage("the iron crystal of the rock is hard"), Passage("gold and salt and fire")],
    }
    variants = {"base": None, "task": pair.task}
    whole = pipeline.score_sides(base, variants, sides)
    pipeline.scoring._SCORES.results.clear()
    found = pipeline.score_sides(spread, variants, sides)
    for name in variants:
        one, two = whole["choices"][name], found["choices"][name]
        torch.testing.assert_close(two.loglik, one.loglik, rtol=1e-3, atol=1e-5)
        assert two.correct.equal(one.correct) and two is not one
        assert found["words"][name].replies == whole["words"][name].replies
        torch.testing.assert_close(found["texts"][name].gold, whole["texts"][name].gold, rtol=1e-3, atol=1e-5)
    question, how = prompts.Question("the old rock"), Sampling(most=5)
    said = [prompts.ask(one, variants, question, how)["task"].text for one in (base, spread)]
    assert said[0] == said[1] != ""


def test_it_counts_its_bytes_while_it_loads_and_stops_between_two_tensors(pico):
    steps = []

    def stop(step):
        steps.append(step)
        if step.done > step.total / 2:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        pipeline.load_base(pico.base, device_map=DISK, progress=stop)
    assert len(steps) > 5 and [step.done for step in steps] == sorted(step.done for step in steps)


def test_the_screen_places_bases_as_it_was_started(pico):
    session = Session(Visitors(runs=Runs(Placement(device_map=DISK))).visitor(""))
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    plain = Session()
    plain.open(str(pico.task), str(pico.domain), str(pico.base))
    assert not session.load_base().whole and plain.load_base().whole, "each has its own place among the shared ones"


def test_what_needs_the_weights_reads_them_from_the_files(base, spread, pair, pico, tmp_path):
    name = "model.layers.2.self_attn.q_proj"
    layer = pair.task.modules[name]
    there = weights_of(spread)(name, ("linear", (), *layer.layer_size))
    assert torch.equal(there, base.model.get_submodule(name).weight)
    certificate = pipeline.export(merge(pair, None, Recipe(method="linear")), tmp_path / "out", base=spread)
    assert certificate.holds and certificate.base is None and certificate.logit_error is None


def on_two_devices(config):
    """A Llama without numbers, whose last two layers and norm are on the second of two devices, with accelerate's hooks."""
    halves = {"model.layers.0": "cpu", "model.layers.1": "cpu:1", "model.layers.2": "cpu:1", "lm_head": "cpu"}
    places = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu:1", **halves}
    model = AutoModelForCausalLM.from_config(config).requires_grad_(False).eval()
    for name, where in places.items():
        for layer in model.get_submodule(name).modules():
            for kept in (layer._parameters, layer._buffers):
                moved = {key: torch.empty_like(t, device=where) for key, t in kept.items() if t is not None}
                make = torch.nn.Parameter if kept is layer._parameters else torch.Tensor.clone
                kept.update({key: make(t) for key, t in moved.items()})
    attach_align_device_hook_on_blocks(model, execution_device={name: torch.device(p) for name, p in places.items()})
    model.hf_device_map = places
    return model


def test_no_tensor_meets_one_of_another_device(base, pair):
    """torch's fake tensors hold no numbers, and refuse an operation on tensors of two devices as those of two GPUs do."""
    both = {torch.device("cpu"), torch.device("cpu", 1)}
    with FakeTensorMode() as mode, torch.no_grad():
        model = on_two_devices(base.model.config)
        fake = {
            side: replace(adapter, modules={
                name: replace(m, up=mode.from_tensor(m.up), down=mode.from_tensor(m.down)) for name, m in adapter.modules.items()
            })
            for side, adapter in (("task", pair.task), ("domain", pair.domain))
        }  # fmt: skip
        spread = replace(base, model=model)
        assert is_spread(model) and {runs_on(model.get_submodule(n)) for n in pair.names} == both
        ids = torch.tensor([[4, 5, 6], [5, 6, 7]])
        with spread.with_adapter(fake["task"]):
            hidden = causal.hidden_states(model, {"input_ids": ids})
            each = causal.token_logliks(model, hidden[0], torch.tensor([5, 6, 7], device=hidden.device))
        assert {hidden.device, each.device} == both and hidden.device.index == 1
        batch = Batch({"input_ids": ids, "use_cache": False}, torch.tensor([0, 1]), torch.tensor([1, 2, 4, 5]), 3)
        groups = [[name] for name in pair.names]
        hooks = probing._passed(Pair(**fake), model, groups, [batch], 2, silent, "")
        assert {hook.sums.device for hook in hooks} == both
        with pytest.raises(Exception, match="Expected all tensors to be on the same device"):
            hidden + each.sum()[None]


# -- rounded -------------------------------------------------------------------------------------------------------------


def test_without_bitsandbytes_one_sentence_says_what_to_install(pico, monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BaseError, match=r"--quantize 4bit needs bitsandbytes.*pip install bitsandbytes"):
        pipeline.load_base(pico.base, quantize="4bit")


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize(("bits", "room"), [("8bit", 0.05), ("4bit", 0.3)])
def test_a_rounded_base_reads_and_scores_about_the_same(bits, room, base, pair, pico):
    inputs, items = read_inputs(pico.inputs), read_items(pico.items)[:12]
    rounded = pipeline.load_base(pico.base, quantize=bits)
    assert rounded.digest != base.digest and not rounded.whole and f"rounded to {bits}" in rounded.says[-1]
    whole, found = pipeline.probe(pair, base, inputs), pipeline.probe(pair, rounded, inputs)
    assert 0 < float((found.task - whole.task).norm() / whole.task.norm()) < room
    one, two = (pipeline.evaluate(each, {"task": pair.task}, items)["task"].loglik for each in (base, rounded))
    assert 0 < float((one - two).abs().mean()) < room


@pytest.mark.parametrize(
    ("placed", "says"),
    [
        ({"device": "cpu", "device_map": "auto"}, "a map names the devices itself"),
        ({"device_map": "balanced"}, "give auto, or a mapping"),
        ({"quantize": "3bit"}, "give 4bit or 8bit"),
    ],
)
def test_a_placement_that_means_nothing_is_refused(placed, says, pico):
    with pytest.raises(BaseError, match=says):
        pipeline.load_base(pico.base, **placed)


def test_the_command_line_spreads_a_base(pico, tmp_path, monkeypatch):
    seen = []
    load = pipeline.load_base
    monkeypatch.setattr(pipeline, "load_base", lambda ref, **how: seen.append(how) or load(ref, **how))
    words = ["probe", "--task", pico.task, "--domain", pico.domain, "--base", pico.base, "--inputs", pico.inputs]
    assert cli.main([*map(str, words), "-q", "--device-map", "auto", "-o", str(tmp_path / "r.json")]) == 0
    assert (seen[0]["device_map"], seen[0]["quantize"], seen[0]["dtype"]) == ("auto", None, "auto")


# -- memory --------------------------------------------------------------------------------------------------------------


def test_a_probe_goes_on_in_half_batches_when_memory_runs_out(base, pair, pico):
    inputs = read_inputs(pico.inputs)
    whole, steps = pipeline.probe(pair, base, inputs), []
    pipeline.probing._READINGS.results.clear()

    def full(layer, given):
        if len(given[0]) > 3:
            raise torch.OutOfMemoryError

    hook = base.model.model.layers[1].register_forward_pre_hook(full)  # in the middle of a pass
    try:
        found = pipeline.probe(pair, base, inputs, progress=steps.append)
    finally:
        hook.remove()
    torch.testing.assert_close(found.task, whole.task, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.moment, whole.moment, rtol=1e-5, atol=1e-7)
    assert "memory ran out, now at most 3 inputs at once" in steps[-1].note
    assert torch.equal(found.tokens, whole.tokens), "no token is counted twice"


def test_a_probe_of_which_not_one_input_fits_says_so(base, pair, pico):
    def full(layer, given):
        raise torch.OutOfMemoryError

    hook = base.model.model.layers[1].register_forward_pre_hook(full)
    try:
        with pytest.raises(BaseError, match="memory ran out while probing"):
            pipeline.probe(pair, base, read_inputs(pico.inputs))
    finally:
        hook.remove()


# -- the number format ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("processor", "dtype", "slow"), [
    ("AVX2", "bfloat16", True), ("AVX2", "float32", False), ("AVX2", "auto", False), ("AVX512", "bfloat16", False),
])  # fmt: skip
def test_a_processor_that_does_not_compute_in_bfloat16_is_told_of(pico, monkeypatch, processor, dtype, slow):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    says = " ".join(pipeline.load_base(pico.base, device="cpu", dtype=dtype).says)
    assert ("does not compute in bfloat16" in says) is slow
