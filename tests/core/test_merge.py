"""Merges against full width: what is mixed, what rank r keeps, what comes out, and that it is the same every time."""

from dataclasses import replace

import dense
import pytest
import torch
from dense import analysis, deltas, lora, merge, name_of, near, pair_of, pairs, size_of, sizes_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tada_studio.core import merge as merging
from tada_studio.core.factor import stacked
from tada_studio.core.merge import expand, output_dtype, recompress, recompressed
from tada_studio.core.methods import METHODS
from tada_studio.core.mix import gate_weights
from tada_studio.lora import LoraModule
from tada_studio.recipe import Recipe, knobs

#: Weighted sums of the two updates, or of what is left of them: the reference knows them for any pair, however degenerate.
SUMS = ("gates", "tada", "linear", "svd", "balanced", "ramp")


@st.composite
def recipes(draw, methods=tuple(METHODS)):
    """Recipes whose map is set by hand, a share and two multipliers for each of the three layers that ``pairs`` can have."""
    shares = [draw(st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0])) for _ in range(3)]
    multipliers = [tuple(draw(st.sampled_from([1.0, 0.5, -1.0, 0.0])) for _ in range(2)) for _ in range(3)]
    return (
        shares,
        multipliers,
        {
            "method": draw(st.sampled_from(sorted(methods))),
            "rank": draw(st.sampled_from([None, 1, 2, 5, 40])),
            "strength": draw(st.sampled_from([0.0, 0.5, 1.0, 1.75])),
            "weights": draw(st.sampled_from(["whole", "whole", "0.1"])),
            "balance": draw(st.sampled_from([0.0, 0.4, 1.0])),
            "conflict_threshold": draw(st.sampled_from([0.0, 0.5, 8.0])),
            "drop": draw(st.sampled_from(["weaker", "both", "none"])),
        },
    )


def recipe_for(pair, drawn):
    shares, multipliers, knobs = drawn
    lines = []
    for layer in {place.layer for place in pair.addresses.values()}:
        task, domain = multipliers[layer]
        lines += [f"layer {layer} : {shares[layer]}", f"layer {layer} : x {task}", f"layer {layer} : domain x {domain}"]
    return Recipe(overrides=lines, **knobs)


def in_full(pair, known, merged, i):
    """The merge of module i in float64, from the core's coefficients and the factors as they are stored."""
    if merged.full:
        return merged.full[i].up.double(), merged.full[i].down.double()
    stack = stacked([pair.both(pair.names[i])], known.space.rank_task, torch.float64)
    up, down = merged.up[i, stack.columns], merged.down[i][:, stack.columns]
    return stack.up[0] @ up, down @ stack.down[0]


def put_in(pair, name, recipe):
    levels = dense.balance_levels(pair, recipe.but(balance=1.0) if recipe.method == "balanced" else recipe)
    return (
        4 * sum(size_of(module) * max(1.0, level) for module, level in zip(pair.both(name), levels, strict=True)) or 1.0
    )


def cut_off(want, rank):
    """How far the nearest matrix of that rank is from the dense one."""
    return torch.linalg.svdvals(want)[rank:].norm()


@settings(derandomize=True)  # thousands of examples find factors that cancel inside: see the lab log
@given(pairs(), recipes(SUMS))
def test_a_merge_is_the_best_rank_r_approximation_of_the_full_mixture(pair, drawn):
    recipe, known = recipe_for(pair, drawn), analysis(pair)
    merged = merge(known, recipe)
    energies = []
    for i, name in enumerate(pair.names):
        layer, size = pair.addresses[name].layer, put_in(pair, name, recipe)
        want = dense.merged(pair, name, drawn[0][layer], recipe, drawn[1][layer])
        u, s, vt = torch.linalg.svd(want, full_matrices=False)
        # below this rounding decides: factors that cancel inside leave directions of that size, which the product does not notice
        s, values = (torch.where(spectrum > 1e-5 * size, spectrum, 0) for spectrum in (s, merged.spectrum[i]))
        energies.append(s.square())
        k = min(len(s), len(values))
        near(values[:k], s[:k], size)
        assert not values[k:].any()

        lora_b, lora_a = in_full(pair, known, merged, i)
        got, r = lora_b @ lora_a, merged.rank
        near((got - want).norm(), cut_off(want, r), size, rounding=1e-8)  # no rank-r matrix is nearer
        if r >= len(s) or s[r - 1] - s[r] > 1e-3 * size:
            near(got, (u[:, :r] * s[:r]) @ vt[:r], size, rounding=1e-8)
        split = min(r, int((values > 0).sum()))  # evenly between the factors
        near(lora_b.norm(dim=0)[:split], lora_a.norm(dim=1)[:split], size**0.5, rounding=1e-7)

        if s[0] > 1e-5 * size:
            near(merged.kept[i], s[:r].square().sum() / s.square().sum())
    total = sum(float(energy.sum()) for energy in energies)
    if total > 0:
        kept = sum(float(energy[: merged.rank].sum()) for energy in energies) / total
        assert merged.kept_in_all == pytest.approx(kept, abs=1e-9)


@given(pairs(), recipes())
def test_what_comes_out_has_rank_r_everywhere_scale_one_and_zeros_where_directions_are_missing(pair, drawn):
    recipe, known = recipe_for(pair, drawn), analysis(pair)
    merged = merge(known, recipe)
    modules = expand(known, merged, torch.float32)
    rank = recipe.rank or max(pair.task.rank, pair.domain.rank)
    assert tuple(modules) == pair.names and merged.rank == rank
    for i, (name, module) in enumerate(modules.items()):
        assert module.name == name and module.scale == 1.0
        task, domain = pair.both(name)
        assert module.layer_size == (task or domain).layer_size and module.up.shape[1] == module.down.shape[0] == rank
        assert module.up.dtype == module.down.dtype == torch.float32
        assert module.up.is_contiguous() and module.down.is_contiguous()
        there = int((merged.spectrum[i] > 0).sum())
        assert not module.up[:, there:].any() and not module.down[there:].any()
        lora_b, lora_a = in_full(pair, known, merged, i)
        near(module.delta(), lora_b @ lora_a, put_in(pair, name, recipe), rounding=1e-6)


def test_energy_kept_by_hand():
    # T = diag(3, 0), D = diag(0, 1), sum: singular values 3 and 1. Rank 1 keeps 9 / 10; the other module all of 4.
    eye = torch.eye(2)
    task = [LoraModule(name_of(0), 3 * eye[:, :1], eye[:1], 1.0), LoraModule(name_of(1), 2 * eye[:, :1], eye[:1], 1.0)]
    domain = [LoraModule(name_of(0), eye[:, 1:], eye[1:], 1.0)]
    pair, recipe = pair_of(task, domain), Recipe(method="svd")
    merged = merge(analysis(pair), recipe)
    near(merged.spectrum, torch.tensor([[3.0, 1.0], [2.0, 0.0]], dtype=torch.float64))
    near(merged.kept, torch.tensor([0.9, 1.0], dtype=torch.float64))
    assert merged.kept_in_all == pytest.approx(13 / 14)


@pytest.mark.parametrize(
    ("gate", "want"),
    [
        # weights 1 and 1: of 5 and -4 the domain's goes, of 3 and -3.5 the task's
        (0.5, [5.0, -3.5, 1.0, 2.0]),
        # weights .5 and 1: of 2.5 and -4, of 1.5 and -3.5 the task's go; what stays is .5 and 2
        (0.75, [-4.0, -3.5, 0.5, 2.0]),
        # weights 1 and .8: of 5 and -3.2, of 3 and -2.8 the domain's go; what stays is 1 and 1.6
        (0.4, [5.0, 3.0, 1.0, 1.6]),
    ],
)
def test_planted_conflicts_are_gone_from_the_merge(gate, want):
    eye = torch.eye(20)
    task = LoraModule(name_of(0), eye[:, :3], torch.diag(torch.tensor([5.0, 3.0, 1.0])) @ eye[:3], 1.0)
    domain = LoraModule(
        name_of(0), -eye[:, [0, 1, 3]], torch.diag(torch.tensor([2.0, 1.75, -1.0])) @ eye[[0, 1, 3]], 2.0
    )
    known, recipe = analysis(pair_of([task], [domain])), Recipe(rank=4, overrides=[f"* : {gate}"])
    out = expand(known, merge(known, recipe), torch.float32)[task.name]
    near(out.delta(), torch.diag(torch.tensor(want + [0.0] * 16, dtype=torch.float64)), rounding=1e-5)


@pytest.mark.parametrize(
    "knobs",
    [
        {"strength": 0.0},
        {"drop": "none"},  # D = -T: the sum is zero
        {"drop": "both", "conflict_threshold": 1.0},
        {"discard": [f"layer 0 : q_proj : {side} {i}" for side in ("task", "domain") for i in range(4)]},
    ],
)
def test_a_merge_that_leaves_nothing_is_zero_and_loses_nothing_to_rank(knobs):
    task = lora(name_of(0), 1, 11, 12, 4)
    pair, recipe = pair_of([task], [LoraModule(task.name, -task.up, task.down, 1.0)]), Recipe(rank=2, **knobs)
    known = analysis(pair)
    merged = merge(known, recipe)
    assert not merged.spectrum.any() and merged.kept.tolist() == [1.0] and merged.kept_in_all == 1.0
    out = expand(known, merged, torch.float32)[task.name]
    assert not out.up.any() and not out.down.any()


# -- weights ---------------------------------------------------------------------------------------------------------


def test_weights_by_hand():
    # Norms: task 4, domain 1 (one module each way). Geometric mean 2, so balance 1 scales them by 2/4 and 2/1,
    # balance .5 by sqrt(1/2) and sqrt(2). Share .25: weights 1 and 2 * .25 = .5 before that.
    eye = torch.eye(3)
    pair = pair_of(
        [LoraModule(name_of(0), 4 * eye[:, :1], eye[:1], 1.0)], [LoraModule(name_of(0), eye[:, 1:2], eye[1:2], 1.0)]
    )
    gate = torch.tensor([0.25], dtype=torch.float64)
    for balance, want in ((0.0, [1.0, 0.5]), (1.0, [0.5, 1.0]), (0.5, [0.5**0.5, 0.5 * 2**0.5])):
        weights = gate_weights(analysis(pair).space, gate, Recipe(balance=balance))
        near(weights, torch.tensor([want], dtype=torch.float64))


def test_balance_goes_by_the_norm_over_all_modules():
    # task 3 and 4 in two modules: 5 in all; domain 20 in one. Geometric mean 10, so 10 / 5 = 2 and 10 / 20 = 1/2
    one = torch.ones(1, 1)
    task = [LoraModule(name_of(i), one, one, size) for i, size in enumerate((3.0, 4.0))]
    pair = pair_of(task, [LoraModule(name_of(0), one, one, 20.0)])
    weights = gate_weights(analysis(pair).space, torch.full((2,), 0.5, dtype=torch.float64), Recipe(balance=1.0))
    near(weights, torch.tensor([[2.0, 0.5], [2.0, 0.0]], dtype=torch.float64))


def test_an_adapter_that_is_zero_everywhere_leaves_balance_alone():
    pair = pair_of([lora(name_of(0), 1, 4, 4, 2)], [lora(name_of(0), 2, 4, 4, 2, kind="zero up")])
    weights = gate_weights(analysis(pair).space, torch.tensor([0.5], dtype=torch.float64), Recipe(balance=1.0))
    assert weights.tolist() == [[1.0, 0.0]]


def test_every_method_of_the_recipe_is_there():
    assert set(METHODS) == set(knobs()["method"].metadata["options"])


def test_only_methods_that_say_so_drop_directions():
    pair = pair_of([lora(name_of(0), 1, 4, 4, 2)], [lora(name_of(0), 2, 4, 4, 2)])
    for method in METHODS:
        recipe = Recipe(method=method)
        how = merge(analysis(pair), recipe).how
        assert (how.drops is not None) == ("drop" in METHODS[method].uses)


# -- identities ------------------------------------------------------------------------------------------------------


def assert_gives(known, recipe, adapter):
    """The merge is that adapter, to 1e-6 of each module's size, in float32."""
    pair = known.pair
    out = expand(known, merge(known, recipe), torch.float32)
    for name in pair.names:
        module = adapter.modules.get(name)
        want = torch.zeros_like(deltas(pair, name)[0]) if module is None else module.delta()
        near(out[name].delta(), want, sizes_of(pair, name), rounding=1e-6)


@given(
    pairs(relations=("same",)), st.sampled_from(["gates", "linear"]), st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.sampled_from(["weaker", "both", "none"]), st.sampled_from([0.0, 1.0]),
)  # fmt: skip
def test_an_adapter_averaged_with_itself_is_that_adapter(pair, method, gate, drop, balance):
    recipe = Recipe(
        method=method, strength=0.5, weights="0.1", overrides=[f"* : {gate}"], drop=drop, balance=balance,
        conflict_threshold=0.0,
    )  # fmt: skip
    assert_gives(analysis(pair), recipe, pair.task)


def _with_lone_modules_of_both(pair, adapter):
    """The adapter, with the other's update where it has none itself: a lone module stays, whatever its share."""
    other = pair.domain if adapter is pair.task else pair.task
    changes = {name: module for name, module in adapter.modules.items() if module.delta().any()}
    return replace(adapter, modules={**other.modules, **changes})


@given(pairs(), st.sampled_from(["weaker", "both", "none"]), st.sampled_from([0.0, 8.0]))
def test_a_share_of_zero_or_one_gives_one_adapter_back(pair, drop, threshold):
    known = analysis(pair)
    for gate, adapter in ((0, pair.task), (1, pair.domain)):
        recipe = Recipe(method="gates", overrides=[f"* : {gate}"], drop=drop, conflict_threshold=threshold)
        assert_gives(known, recipe, _with_lone_modules_of_both(pair, adapter))


def test_gates_of_zero_and_one_give_back_an_opposed_adapter_although_both_would_drop():
    task = lora(name_of(0), 1, 30, 40, 6)
    pair = pair_of([task], [LoraModule(task.name, -3 * task.up, task.down, 1.0)])
    known = analysis(pair)
    for gate, adapter in ((0, pair.task), (1, pair.domain)):
        recipe = Recipe(method="gates", overrides=[f"* : {gate}"], drop="both", conflict_threshold=0.0)
        assert_gives(known, recipe, adapter)


@given(pairs())
def test_even_shares_without_drops_are_the_plain_sum(pair):
    even = [f"layer {place.layer} : even" for place in pair.addresses.values()]
    ways = [
        Recipe(method="gates", drop="none", overrides=even),
        Recipe(method="linear"),
        Recipe(method="svd", strength=0.3),
    ]
    known = analysis(pair)
    spectra = [merge(known, recipe).spectrum for recipe in ways]
    for spectrum in spectra[1:]:
        assert torch.equal(spectrum, spectra[0])


# -- bytes and dtypes ------------------------------------------------------------------------------------------------


def merged_bytes(pair, recipe):
    known = analysis(pair)
    out = expand(known, merge(known, recipe), torch.float32)
    return b"".join(t.numpy().tobytes() for module in out.values() for t in (module.up, module.down))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_equal_recipes_give_equal_bytes_whatever_the_number_of_threads(method):
    task = [lora(name_of(i), i, 96, 128, 16) for i in range(7)]
    domain = [lora(name_of(i), 100 + i, 96, 128, 8) for i in range(7)]
    recipe = Recipe(method=method, conflict_threshold=2.0)
    first, before = merged_bytes(pair_of(task, domain), recipe), torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert merged_bytes(pair_of(task[::-1], domain[::-1]), recipe) == first
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_result_is_rounded_once_to_the_format_asked_for(dtype):
    pair, recipe = pair_of([lora(name_of(0), 1, 6, 7, 3)], [lora(name_of(0), 2, 6, 7, 2)]), Recipe()
    known = analysis(pair)
    merged = merge(known, recipe)
    wide, narrow = (expand(known, merged, kind)[name_of(0)] for kind in (torch.float32, dtype))
    assert narrow.up.dtype == narrow.down.dtype == dtype
    assert torch.equal(narrow.up, wide.up.to(dtype)) and torch.equal(narrow.down, wide.down.to(dtype))


def test_the_format_is_the_recipes_or_the_wider_of_the_two_adapters():
    wide = lora(name_of(0), 1, 3, 3, 1)
    half, brain = (
        LoraModule(wide.name, wide.up.to(kind), wide.down.to(kind), 1.0) for kind in (torch.float16, torch.bfloat16)
    )
    assert output_dtype(pair_of([half], [wide]), Recipe()) == torch.float32
    assert output_dtype(pair_of([brain], [brain]), Recipe()) == torch.bfloat16
    assert output_dtype(pair_of([half], [brain]), Recipe()) == output_dtype(pair_of([brain], [half]), Recipe())
    assert output_dtype(pair_of([wide], [wide]), Recipe(dtype="float16")) == torch.float16


@given(pairs(), recipes(), recipes())
def test_a_merge_that_borrows_from_an_earlier_one_is_the_merge(pair, drawn, earlier):
    known, recipe = analysis(pair), recipe_for(pair, drawn)
    before, fresh = merge(known, recipe_for(pair, earlier)), merge(known, recipe)
    again = recompressed(known, fresh.how, recipe, before)
    assert again.rank == fresh.rank and again.how is fresh.how
    for name in ("spectrum", "energy", "up", "down", "met"):
        got, want = getattr(again, name), getattr(fresh, name)
        assert (got is None) == (want is None)
        if want is not None:
            near(got, want, size=max(1.0, float(want.abs().max())))


def test_a_stroke_costs_the_modules_that_it_touched(monkeypatch):
    names = [name_of(i) for i in range(4)]
    pair = pair_of([lora(n, 1, 6, 5, 2) for n in names], [lora(n, 2, 6, 5, 3) for n in names])
    known, counted = analysis(pair), []
    monkeypatch.setattr(
        merging, "recompress", lambda roots, mix, *rest: counted.append(len(mix)) or recompress(roots, mix, *rest)
    )
    before = merge(known, Recipe())
    turned = {"overrides": ["layers 1,3 : 0.9"]}, {}, {"discard": ["layer 2 : q_proj : task 0"]}, {"rank": 2}
    for recipe in (Recipe(**some) for some in turned):
        recompressed(known, merge(known, recipe).how, recipe, before)
    assert counted[2::2] == [2, 0, 1, 4]
