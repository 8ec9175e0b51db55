"""What a method says it uses is what it uses: each knob turned alone, and the map painted, against the bytes that come out."""

import hashlib
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from dense import lora, name_of

from tada_studio import core
from tada_studio.core.gates import Readings
from tada_studio.core.methods import EVERY, METHODS, OF_READINGS, idle, ignored
from tada_studio.lora import Adapter, LoraModule, Pair
from tada_studio.pipeline.merge import Merge
from tada_studio.recipe import Recipe, knobs
from tada_studio.report import ignored_sentence

#: Some of these are dropped by the rule.
KEPT = tuple(f"layer 0 : q_proj : {side} {i}" for side in ("task", "domain") for i in range(3))
#: Another value for every knob; each takes effect from ``START`` on the pair below.
TURNED = {
    "rank": 2, "sharpness": 2.5, "strength": 1.25, "balance": 0.5, "calibration": "none", "response": "rms",
    "conflict_threshold": 4.0, "conflict_floor": 0.3, "conflict_space": "activation", "drop": "both", "density": 0.8,
    "ridge": 5.0, "own_weight": 1.0, "whole": "no",
    "overrides": ("layer 1 : 0.8",), "keep": KEPT, "discard": ("layer 1 : q_proj : domain 1",),
    "weights": "0.1", "head": "domain", "dtype": "bfloat16", "seed": 7,
}  # fmt: skip
START = {"conflict_threshold": 0.5}


@lru_cache(1)
def conflicting() -> Pair:
    """Two adapters of three layers that oppose each other in part, are of unequal size, and both bring a head; the task's has a
    fourth layer alone."""
    modules = {"task": [], "domain": []}
    for layer in range(3):
        task = lora(name_of(layer), layer, 10, 9, 3)
        other = lora(name_of(layer), 50 + layer, 10, 9, 3, size=1.7)
        up = torch.cat([-1.5 * task.up[:, :1], other.up[:, 1:]], 1)
        down = torch.cat([task.down[:1] + 0.3 * other.down[:1], other.down[1:]])
        modules["task"].append(task)
        modules["domain"].append(LoraModule(task.name, up, down, 1.0))
    modules["task"].append(lora(name_of(3), 9, 10, 9, 3))
    adapters = [
        Adapter(
            role,
            {m.name: m for m in some},
            whole={"score.weight": torch.full((2, 9), float(len(role)))},
            heads=("score",),
        )
        for role, some in modules.items()
    ]
    return Pair(*adapters)


@lru_cache(1)
def readings() -> Readings:
    pair, draw = conflicting(), torch.Generator().manual_seed(3)
    n, k = len(pair.names), pair.task.rank + pair.domain.rank
    responses = [0.1 + 0.8 * torch.rand(n, 5, generator=draw, dtype=torch.float64) for _ in range(4)]
    codes = torch.randn(n, k, 40, generator=draw, dtype=torch.float64)
    about = {"task": pair.task.digest, "domain": pair.domain.digest}
    present = torch.ones(n, 2, dtype=torch.bool)
    moments = [some @ some.mT / 20 for some in codes.split(20, 2)]
    tokens = torch.tensor([3, 5, 2, 7, 4])
    on_task = Readings(pair.names, *responses, moments[1], tokens, present, about=about)
    return Readings(pair.names, *responses, moments[0], tokens, present, about=about, on_task=on_task)


@lru_cache(1000)
def bytes_of(recipe: Recipe, probed: bool = True) -> str:
    adapter = Merge(conflicting(), readings() if probed else None, recipe).adapter
    tensors = [t for name in sorted(adapter.modules) for t in (adapter.modules[name].up, adapter.modules[name].down)]
    sha = hashlib.sha256()
    for tensor in (*tensors, *adapter.whole.values()):
        sha.update(str(tensor.dtype).encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def test_every_knob_has_another_value_here():
    assert set(TURNED) | {"method"} == set(knobs())


@pytest.mark.parametrize("method", METHODS)
def test_a_knob_changes_the_bytes_if_and_only_if_the_method_says_so(method):
    start = Recipe(method=method, **START)
    changed = {name for name, value in TURNED.items() if bytes_of(start.but(**{name: value})) != bytes_of(start)}
    assert changed == METHODS[method].uses | EVERY - {"method"}


@pytest.mark.parametrize("method", METHODS)
def test_without_readings_what_shapes_computed_gates_changes_nothing(method):
    start = Recipe(method=method, **START)
    for name in OF_READINGS:
        assert bytes_of(start.but(**{name: TURNED[name]}), probed=False) == bytes_of(start, probed=False)
        assert name in idle(method, probed=False)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_a_file_that_is_called_like_it_and_says_what_it_is(method):
    one, folder = METHODS[method], Path(core.__file__).parent / "methods"
    assert one.name == method and (folder / f"{method}.py").is_file()
    assert one.says and "\n" not in one.says and one.uses <= set(knobs())


def test_a_merge_knows_what_counts_for_nothing():
    recipe = Recipe(method="linear", overrides=("* : 1",), sharpness=2.0, strength=1.5, seed=5)
    assert Merge(conflicting(), readings(), recipe).ignored == ("sharpness", "overrides")
    assert Merge(conflicting(), readings(), recipe.but(method="gates")).ignored == ()
    assert Merge(conflicting(), None, recipe.but(method="gates")).ignored == ("sharpness",)
    assert ignored(Recipe(method="svd"), True, given={"rank", "density"}) == ("density",)


def test_what_counts_for_nothing_is_said_with_who_would_use_it():
    assert ignored_sentence((), "svd") == ""
    assert (
        ignored_sentence(("density",), "gates")
        == "The method gates does not use density; core_dare, core_ties, dare_ties, knots_ties, magnitude_prune and ties do."
    )
    assert "linear does not use sharpness and overrides; gates does." in ignored_sentence(
        ("sharpness", "overrides"), "linear"
    )
    assert ignored_sentence(("sharpness",), "gates").startswith("Without probe readings sharpness changes nothing")
