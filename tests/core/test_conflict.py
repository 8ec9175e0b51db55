"""Directions, alignments and drops against full-width decompositions, and planted conflicts with a known answer."""

import dense
import pytest
import torch
from dense import KINDS, alignment, analysis, deltas, lora, name_of, near, pair_of, pairs, separated, sizes_of, svd
from hypothesis import assume, given
from hypothesis import strategies as st

from tada_studio.core.conflict import (
    activation_alignment,
    conflicts,
    direction,
    directions,
    in_units_of_chance,
    picked,
)
from tada_studio.core.factor import factor, stacked
from tada_studio.core.merge import merge_core
from tada_studio.core.mix import Moments, gate_weights
from tada_studio.core.module_detail import module_detail
from tada_studio.errors import RecipeError
from tada_studio.lora import LoraModule
from tada_studio.recipe import Recipe


def in_full(space, pair, i):
    """(u, s, v) of both sides of module i, with the padding, from the coefficients that the core keeps."""
    found = directions(space)
    for module, side in zip(pair.both(space.names[i]), (found.task, found.domain), strict=True):
        if module is not None:
            r = module.rank
            yield (
                module,
                module.up.double() @ side.up[i, :r],
                side.strength[i],
                module.down.double().mT @ side.down[i, :r],
            )


@given(pairs())
def test_directions_are_a_singular_value_decomposition_of_each_update(pair):
    """The dense strengths, and orthonormal directions that rebuild the update: that is an SVD, whatever the ties."""
    space = factor(pair)
    for i in range(len(space.names)):
        for module, u, s, v in in_full(space, pair, i):
            want, k = svd(module.delta()).s, int((s > 0).sum())
            near(s[:k], want, dense.size_of(module))
            near((u * s) @ v.mT, module.delta(), dense.size_of(module), rounding=1e-8)
            for basis in (u, v):
                there = torch.diag((s > 0).double())
                near(basis.mT @ basis, there, rounding=1e-6)


@given(pairs())
def test_an_adapter_that_lacks_a_module_has_no_direction_there(pair):
    space = factor(pair)
    found = directions(space)
    for i, name in enumerate(space.names):
        for module, side in zip(pair.both(name), (found.task, found.domain), strict=True):
            assert module is not None or not side.strength[i].any()
        assert torch.isfinite(found.alignment).all()


@given(pairs())
def test_alignments_are_inner_products_of_unit_rank_one_updates(pair):
    space = factor(pair)
    found = directions(space)
    for i, name in enumerate(space.names):
        task, domain = map(svd, deltas(pair, name))
        unique = separated(task.s)[:, None] & separated(domain.s)[None, :]
        got = found.alignment[i, : len(task.s), : len(domain.s)]
        near(got[unique], alignment(task, domain)[unique], rounding=1e-8)


@given(pairs())
def test_alignments_add_up_to_the_inner_product_of_the_full_updates(pair):
    """The table is a lossless account of <dW_T, dW_D>: sum_ij s_i s'_j a_ij."""
    space = factor(pair)
    found = directions(space)
    accounted = torch.einsum("ni,nij,nj->n", found.task.strength, found.alignment, found.domain.strength)
    for i, name in enumerate(space.names):
        task, domain = deltas(pair, name)
        near(accounted[i], (task * domain).sum(), sizes_of(pair, name) ** 2)


@given(pairs())
def test_chance_is_one_over_the_root_of_the_number_of_entries(pair):
    space = factor(pair)
    want = [(d.shape[0] * d.shape[1]) ** -0.5 for d, _ in (deltas(pair, name) for name in space.names)]
    near(directions(space).chance, torch.tensor(want, dtype=torch.float64))


def moment_of(pair, space, seed, tokens=20):
    """E[z z^T] of random inputs, token by token, and for each module the inputs over their norms."""
    moment, inputs = torch.zeros(len(space.names), space.rank, space.rank, dtype=torch.float64), []
    for i, name in enumerate(space.names):
        stack = stacked([pair.both(name)], space.rank_task, torch.float64)
        x = torch.randn(
            tokens, stack.down.shape[2], generator=torch.Generator().manual_seed(seed + i), dtype=torch.float64
        )
        inputs.append(x / x.norm(dim=1, keepdim=True))
        for token in inputs[-1]:
            z = torch.zeros(space.rank, dtype=torch.float64)
            z[stack.columns] = stack.down[0] @ token
            moment[i] += torch.outer(z, z) / tokens
    return moment, inputs


@given(pairs(), st.integers(0, 2**32))
def test_activation_alignments_correlate_what_the_inputs_put_into_both_directions(pair, seed):
    space = factor(pair)
    moment, inputs = moment_of(pair, space, seed)
    got = activation_alignment(directions(space), moment)
    for i, name in enumerate(space.names):
        task, domain = map(svd, deltas(pair, name))
        one, other = inputs[i] @ task.v, inputs[i] @ domain.v
        correlation = (one.mT @ other) / (one.norm(dim=0)[:, None] * other.norm(dim=0)[None, :])
        unique = separated(task.s)[:, None] & separated(domain.s)[None, :]
        want = (task.u.mT @ domain.u) * correlation
        near(got[i, : len(task.s), : len(domain.s)][unique], want[unique], rounding=1e-7)
        assert not got[i, len(task.s) :].any() and not got[i, :, len(domain.s) :].any()


def test_units_of_chance_in_activation_space_do_not_depend_on_the_ranks_of_other_modules():
    small = [lora(name_of(0), seed, 9, 8, 2) for seed in (1, 2)]
    large = [lora(name_of(1), seed, 9, 8, 8) for seed in (3, 4)]
    recipe, units = Recipe(conflict_space="activation"), []
    for pair in (pair_of(small[:1], small[1:]), pair_of([small[0], large[0]], [small[1], large[1]])):
        space = factor(pair)
        units.append(in_units_of_chance(directions(space), recipe, moment_of(pair, space, 0)[0])[0, :2, :2])
    near(units[1], units[0])
    near(units[0].square().mean(), torch.tensor(1.0, dtype=torch.float64))  # chance is the table's own spread


def drops_of(pair, recipe, gate=0.5, moment=None):
    known = analysis(pair)
    gates = torch.full((len(pair.names),), gate, dtype=torch.float64)
    return conflicts(known.directions, gate_weights(known.space, gates, recipe), recipe, pair.addresses, moment)


@given(
    pairs(),
    st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
    st.sampled_from([0.0, 0.5, 2.0, 8.0]),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from(["weaker", "both", "none"]),
)
def test_drops_are_those_of_the_rule_applied_by_hand_in_full_width(pair, gate, threshold, floor, drop):
    recipe = Recipe(conflict_threshold=threshold, conflict_floor=floor, drop=drop)
    got = drops_of(pair, recipe, gate)
    weights = 2 * (1 - gate), 2 * gate
    for i, name in enumerate(pair.names):
        task, domain = map(svd, deltas(pair, name))
        gone = dense.dropped(task, domain, weights, recipe)
        assert set(got.task[i].nonzero().flatten().tolist()) == gone[0]
        assert set(got.domain[i].nonzero().flatten().tolist()) == gone[1]
        energy = [weights[0] ** 2 * task.s.square(), weights[1] ** 2 * domain.s.square()]
        lost, total = (
            sum(float(e[sorted(g)].sum()) for e, g in zip(energy, gone, strict=True)),
            float(torch.cat(energy).sum()),
        )
        near(got.lost[i], torch.tensor(lost / total if total else 0.0, dtype=torch.float64), rounding=1e-7)


# -- planted: directions e_i e_i^T of a 20 x 20 layer, so alignments are 0 or -1 and z is 0 or -20 ---------


def planted(strengths: dict[int, float], size: int = 20) -> LoraModule:
    """sum of strength * e_i e_i^T"""
    unit = torch.eye(size)[list(strengths)]
    return LoraModule(name_of(0), unit.mT * torch.tensor(list(strengths.values())), unit, 1.0)


#: Strongest first, T: 5 at e0, 3 at e1, 1 at e2.  D: -4 at e0, -3.5 at e1, 2 at e3.  Opposed in e0 and e1.
OPPOSED = pair_of([planted({0: 5.0, 1: 3.0, 2: 1.0})], [planted({0: -4.0, 1: -3.5, 3: 2.0})])
ENERGY = 25 + 9 + 1 + 16 + 12.25 + 4


def test_planted_conflicts_are_found_and_the_weaker_direction_goes():
    drops = drops_of(OPPOSED, Recipe())
    assert drops.opposed[0].nonzero().tolist() == [[0, 0], [1, 1]]
    assert drops.task.tolist() == [[False, True, False]]  # 3 < 3.5
    assert drops.domain.tolist() == [[True, False, False]]  # 4 < 5
    assert drops.count == 2
    near(drops.lost, torch.tensor([(9 + 16) / ENERGY], dtype=torch.float64))
    assert drops.lost_of_each == pytest.approx((9 / 35, 16 / 32.25)) and drops.everything == 6
    assert not drops.task_by_hand.any() and not drops.domain_by_hand.any()


def test_which_one_is_weaker_is_decided_after_weighting():
    drops = drops_of(OPPOSED, Recipe(), gate=0.9)
    assert drops.task.tolist() == [[True, True, False]] and not drops.domain.any()
    # weights .2 and 1: lost .04 * (25 + 9) of .04 * 35 + 32.25
    near(drops.lost, torch.tensor([0.04 * 34 / (0.04 * 35 + 32.25)], dtype=torch.float64))


def test_both_may_go():
    drops = drops_of(OPPOSED, Recipe(drop="both"))
    assert drops.task.tolist() == drops.domain.tolist() == [[True, True, False]]
    near(drops.lost, torch.tensor([(25 + 9 + 16 + 12.25) / ENERGY], dtype=torch.float64))


def test_none_may_go_and_the_conflicts_are_still_shown():
    drops = drops_of(OPPOSED, Recipe(drop="none"))
    assert drops.count == 0 and int(drops.opposed.sum()) == 2 and drops.lost.tolist() == [0.0]


@pytest.mark.parametrize("knobs", [{"conflict_threshold": 20.0}, {"conflict_floor": 1.0}])
def test_a_pair_at_the_limit_does_not_conflict_whatever_the_rounding(knobs):
    assert drops_of(OPPOSED, Recipe(**knobs)).count == 0


@pytest.mark.parametrize("knobs", [{"conflict_threshold": 16.0}, {"conflict_threshold": 0.0, "conflict_floor": 1.0}])
@pytest.mark.parametrize("seed", range(5))
def test_neither_do_turned_directions_whose_alignment_is_minus_one_but_for_rounding(knobs, seed):
    task = lora(name_of(0), seed, 16, 16, 6)
    pair = pair_of([task], [LoraModule(task.name, -task.up, task.down, 1.0)])
    assert drops_of(pair, Recipe(**knobs)).count == 0


@pytest.mark.parametrize("knobs", [{"conflict_threshold": 19.99}, {"conflict_floor": 0.99}])
def test_a_pair_just_beyond_the_limit_conflicts(knobs):
    assert drops_of(OPPOSED, Recipe(**knobs)).count == 2


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_a_direction_that_is_not_in_the_merge_opposes_nothing(gate):
    drops = drops_of(OPPOSED, Recipe(drop="both"), gate)
    assert drops.count == 0 and not drops.opposed.any() and drops.lost.tolist() == [0.0]


def test_agreeing_directions_do_not_conflict():
    assert drops_of(pair_of([planted({0: 5.0})], [planted({0: 4.0})]), Recipe()).count == 0


def test_the_task_stays_when_both_are_equally_strong():
    drops = drops_of(pair_of([planted({0: 3.0})], [planted({0: -3.0})]), Recipe())
    assert not drops.task.any() and drops.domain.tolist() == [[True]]


@given(
    st.integers(0, 2**32), st.integers(9, 12), st.integers(9, 12), st.integers(1, 16), st.sampled_from(KINDS),
    st.sampled_from([0.0, 4.0, 8.0]), st.sampled_from([(-1.0, 1.0), (-2.0, 0.5), (0.25, -4.0)]),
)  # fmt: skip
def test_drops_of_an_adapter_and_its_negative_do_not_flip_from_rounding(
    seed, d_out, d_in, rank, kind, threshold, written
):
    """Each direction meets its own negative, equally strong, and no other: the domain's all go, the task's stay."""
    task = lora(name_of(0), seed, d_out, d_in, rank, kind=kind)
    pair = pair_of([task], [LoraModule(task.name, written[0] * task.up, task.down, written[1])])
    drops = drops_of(pair, Recipe(conflict_threshold=threshold))
    assert not drops.task.any()
    assert torch.equal(drops.domain, directions(factor(pair)).domain.strength > 0)


@given(st.integers(0, 2**32), st.integers(1, 9))
def test_of_an_adapter_and_its_negative_in_other_factors_each_direction_is_dropped_once(seed, rank):
    task = lora(name_of(0), seed, 11, 10, rank)
    turn = torch.linalg.qr(
        torch.randn(rank, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ).Q
    domain = LoraModule(task.name, (-task.up.double() @ turn).float(), (turn.mT @ task.down.double()).float(), 1.0)
    assume(separated(svd(task.delta()).s).all())
    drops = drops_of(pair_of([task], [domain]), Recipe(conflict_threshold=8.0))
    assert (drops.task ^ drops.domain).all()  # which of the two, is for the float32 rounding of the factors to say


def test_conflicts_can_be_measured_on_what_the_inputs_excite():
    # Inputs excite e0 only: there the directions are opposed; at e1 nothing comes in, so no conflict.
    moment = torch.zeros(1, 6, 6, dtype=torch.float64)
    moment[0, 0, 0] = moment[0, 3, 3] = moment[0, 0, 3] = moment[0, 3, 0] = 1.0
    drops = drops_of(OPPOSED, Recipe(conflict_space="activation", conflict_threshold=2.0), moment=moment)
    # z = -1 / sqrt(1 / 9 pairs) = -3 < -2
    assert drops.opposed[0].nonzero().tolist() == [[0, 0]] and drops.domain.tolist() == [[True, False, False]]
    assert not drops_of(
        OPPOSED, Recipe(conflict_space="activation", conflict_threshold=3.0), moment=moment
    ).opposed.any()
    assert not drops_of(
        OPPOSED, Recipe(conflict_space="activation", conflict_threshold=2.0, conflict_floor=1.0), moment=moment
    ).opposed.any()


def test_the_floor_is_measured_where_the_threshold_is():
    # T writes e0 and reads e0; D writes -e0 and reads .6 e0 + .8 e1: alignment -.6. All inputs are e0: there it is -1.
    reads = torch.zeros(1, 20)
    reads[0, :2] = torch.tensor([0.6, 0.8])
    pair = pair_of([planted({0: 1.0})], [LoraModule(name_of(0), -torch.eye(20)[:, :1], reads, 1.0)])
    moment = torch.tensor([[[1.0, 0.6], [0.6, 0.36]]], dtype=torch.float64)
    counts = [
        drops_of(pair, Recipe(conflict_space=space, conflict_threshold=0.5, conflict_floor=0.8), moment=moment).count
        for space in ("weight", "activation")
    ]
    assert counts == [0, 1]


def test_activation_space_without_readings_is_refused():
    with pytest.raises(RecipeError, match="needs probe readings"):
        drops_of(OPPOSED, Recipe(conflict_space="activation"))


def test_hand_picked_directions_have_the_last_word():
    recipe = Recipe(keep=("layer 0 : q_proj : domain 0",), discard=("layer 0 : q_proj : TASK 2",))
    drops = drops_of(OPPOSED, recipe)
    assert drops.task.tolist() == [[False, True, True]] and not drops.domain.any()
    near(drops.lost, torch.tensor([(9 + 1) / ENERGY], dtype=torch.float64))
    assert drops.task_by_hand.tolist() == [[False, False, True]]
    assert drops.domain_by_hand.tolist() == [[True, False, False]]


def test_a_direction_both_kept_and_discarded_is_discarded():
    line = "layer 0 : q_proj : task 0"
    assert drops_of(OPPOSED, Recipe(keep=(line,), discard=(line,))).task[0, 0]


def test_hand_picked_lines_reach_the_layer_they_name():
    layers = [(lora(name_of(i), i, 5, 5, 2), lora(name_of(i), i + 9, 5, 5, 2)) for i in (3, 11)]
    drops = drops_of(pair_of(*zip(*layers, strict=True)), Recipe(discard=("layer 11:q_proj:domain 1",), drop="none"))
    assert drops.domain.tolist() == [[False, False], [False, True]] and not drops.task.any()


@pytest.mark.parametrize("knob", ["keep", "discard"])
@pytest.mark.parametrize(
    "line",
    [
        "layer 0 : q_proj : task 3",
        "layer 1 : q_proj : task 0",
        "layer 0 : v_proj : task 0",
        "layer 0 : q_proj : both 0",
        "task 0",
        "",
    ],
)
def test_a_line_that_names_no_direction_is_refused_with_the_line_and_an_example(knob, line):
    with pytest.raises(
        RecipeError, match=r"names no direction of this pair\. Write 'layer 5 : v_proj : task 3'"
    ) as error:
        drops_of(OPPOSED, Recipe(**{knob: (line,)}))
    assert f"{knob} = {line!r}" in str(error.value)


def test_picking_a_direction_replaces_whatever_was_said_of_it_and_of_no_other():
    one = direction("LAYER 5:v_proj :Task 3")
    assert str(one) == "layer 5 : v_proj : task 3"
    other = "layer 5 : v_proj : task 4"
    recipe = Recipe(keep=("layer 5:v_proj:TASK 3", other))
    dropped = picked(recipe, one, dropped=True)
    assert (dropped.keep, dropped.discard) == ((other,), (str(one),))
    kept = picked(dropped, one, dropped=False)
    assert (kept.keep, kept.discard) == ((other, str(one)), ())
    assert picked(kept, one, dropped=None) == Recipe(keep=(other,))


def test_padding_is_no_direction():
    pair = pair_of([planted({0: 5.0, 1: 0.0})], [planted({2: 1.0})])
    assert drops_of(pair, Recipe()).everything == 2
    short = pair_of([planted({0: 1.0})], [planted({2: 1.0})])
    assert drops_of(short, Recipe(discard=("layer 0 : q_proj : task 0",))).lost_of_each == (1.0, 0.0)


# -- closeups --------------------------------------------------------------------------------------------------------


def close(pair, recipe, row=0, moment=None):
    known = analysis(pair)
    merged = merge_core(known, dense.gates_by_hand(known, recipe), recipe, Moments(domain=moment))
    return module_detail(known, merged, recipe, moment, row)


def test_every_direction_is_told_with_the_one_it_runs_against():
    near = close(OPPOSED, Recipe(keep=("layer 0 : q_proj : domain 0",)))
    assert [(f.number, f.rival, f.opposed, f.dropped, f.by_hand) for f in near.task[:2]] == [
        (0, 0, True, False, False), (1, 1, True, True, False),
    ]  # fmt: skip
    assert not near.task[2].opposed and not near.task[2].dropped and near.task[2].units == (0.0, None)
    assert (near.domain[0].dropped, near.domain[0].by_hand) == (False, True)
    assert near.task[1].units[0] == pytest.approx(-20) and near.task[1].strength == pytest.approx(3.0)
    assert [f.share for f in near.task] == pytest.approx([25 / 35, 9 / 35, 1 / 35])
    assert near.sizes[:2, :2].flatten().tolist() == pytest.approx([1.0, 3.5 / 4, 3 / 5, 3 * 3.5 / 20])


def test_a_rival_is_a_direction_that_is_there():
    """Task 0 agrees with the one direction that the domain has; what pads the table meets it at 0, which is less."""
    wide = pair_of(
        [planted({0: 5.0}), lora(name_of(1), 1, 20, 20, 2)], [planted({0: 4.0}), lora(name_of(1), 2, 20, 20, 2)]
    )
    near = close(wide, Recipe())
    assert [(fate.rival, fate.units[0]) for fate in near.task] == [(0, pytest.approx(20))]


def test_beyond_the_floor_nothing_is_opposed():
    assert [fate.opposed for fate in close(OPPOSED, Recipe(conflict_floor=1.0)).task] == [False] * 3


def test_a_method_that_drops_nothing_still_shows_its_directions():
    near = close(OPPOSED, Recipe(method="linear"))
    assert not near.drops and not near.opposed.any() and not any(f.dropped or f.by_hand for f in near.task)


def test_the_energy_of_a_merged_module_adds_up():
    near = close(OPPOSED, Recipe(drop="none"))
    # 5 - 4, 3 - 3.5, 1 and 2: what is left in four directions
    near_by = torch.tensor([2.0, 1.0, 1.0, 0.5], dtype=torch.float64)
    near_energy = near_by.square().cumsum(0) / near_by.square().sum()
    torch.testing.assert_close(near.spectrum[:4], near_by)
    torch.testing.assert_close(near.kept[:4], near_energy)


def test_a_module_of_one_adapter_has_no_rivals():
    pair = pair_of([planted({0: 5.0}), lora(name_of(1), 1, 20, 20, 2)], [planted({0: 4.0})])
    near = close(pair, Recipe(), row=1)
    assert [fate.rival for fate in near.task] == [None, None] and near.domain == []


def test_a_closeup_shows_the_space_that_the_rule_looks_at():
    known = analysis(OPPOSED)
    moment, _ = moment_of(OPPOSED, known.space, 3)
    for space in ("weight", "activation"):
        near = close(OPPOSED, Recipe(conflict_space=space), moment=moment)
        torch.testing.assert_close(near.in_force, near.weight if space == "weight" else near.activation)
    assert near.task[0].units[1] == pytest.approx(float(near.activation[0, near.task[0].rival]))


def test_a_closeup_reads_its_own_module():
    pair = pair_of(*([lora(name_of(i), seed + i, 9, 8, 3) for i in (0, 1)] for seed in (1, 5)))
    known, recipe = analysis(pair), Recipe(conflict_space="activation")
    moment, _ = moment_of(pair, known.space, 3)
    for row in (0, 1):
        want = in_units_of_chance(known.directions, recipe, moment)[row]
        torch.testing.assert_close(close(pair, recipe, row, moment).activation, want)
