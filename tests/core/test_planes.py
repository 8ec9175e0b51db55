"""Two weights a cell: share, strength of either sign, separation. What a parent, an untrained partner and a lone module give."""

from dataclasses import replace

import dense
import pytest
import torch
from dense import analysis, gates_by_hand, lora, merge, name_of, near, pair_of, pairs, size_of
from hypothesis import given
from hypothesis import strategies as st

from tada_studio.addresses import Address
from tada_studio.core.elementwise import agreeing, trimmed
from tada_studio.core.merge import expand
from tada_studio.core.methods import METHODS
from tada_studio.core.mix import balance_levels, share_weights
from tada_studio.core.strokes import BRUSHES, depth_ramp, painted
from tada_studio.errors import RecipeError
from tada_studio.lora import LoraModule
from tada_studio.recipe import FORMAT_1, OLD_WEIGHTS, Recipe, from_version_1, recipe_in

SHARED = sorted(name for name, one in METHODS.items() if "share" in one.planes)


def out_of(pair, recipe):
    known = analysis(pair)
    return expand(known, merge(known, recipe), torch.float32)


def layers(n=3, other=50):
    task = [lora(name_of(i), i, 12, 10, 4) for i in range(n)]
    return task, [lora(name_of(i), other + i, 12, 10, 4, size=2.0) for i in range(n)]


# -- parents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SHARED)
@given(pairs(relations=("strangers", "same", "opposite")))
def test_a_parent_comes_back_at_its_end_of_the_map(method, pair):
    for line, side in (("* : task", 0), ("* : domain", 1)):
        out = out_of(pair, Recipe(method=method, overrides=(line,), conflict_threshold=0.0))
        for name, module in out.items():
            own = pair.both(name)[side] if pair.both(name)[side].delta().any() else pair.both(name)[1 - side]
            near(module.delta(), own.delta(), dense.sizes_of(pair, name), rounding=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("partner", ["untrained", "absent"])
@pytest.mark.parametrize("side", [0, 1])
def test_an_untrained_or_absent_partner_leaves_the_adapter_as_it_is(method, partner, side):
    task, domain = layers()
    own, other = [task, domain][side], [domain, task][side]
    blank = [LoraModule(m.name, torch.zeros_like(m.up), m.down, m.scale) for m in other]
    there = blank if partner == "untrained" else blank[:1]  # an adapter has at least one module
    pair = pair_of(*([own, there] if side == 0 else [there, own]))
    out = out_of(pair, Recipe(method=method))
    for module in own:
        near(out[module.name].delta(), module.delta(), size_of(module), rounding=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_module_of_one_adapter_alone_goes_in_as_trained(method):
    task, domain = layers()
    pair = pair_of(task, domain[:2])
    out = out_of(pair, Recipe(method=method))
    level = float(balance_levels(analysis(pair).space, Recipe(balance=float(method == "balanced")))[0])
    near(out[name_of(2)].delta(), level * task[2].delta(), size_of(task[2]), rounding=1e-6)


def test_the_share_of_a_lone_module_changes_nothing_and_its_strength_does():
    task, domain = layers()
    pair = pair_of(task, domain[:2])
    for share in ("0", "0.3", "domain"):
        out = out_of(pair, Recipe(method="gates", overrides=(f"layer 2 : {share}", "layer 2 : x -0.5")))
        near(out[name_of(2)].delta(), -0.5 * task[2].delta(), size_of(task[2]), rounding=1e-6)


@pytest.mark.parametrize(
    ("share", "want"), [(0.0, (1, 0)), (0.25, (1, 0.5)), (0.5, (1, 1)), (0.9, (0.2, 1)), (1.0, (0, 1))]
)
def test_the_two_weights_of_a_share(share, want):
    both = torch.ones(1, 2, dtype=torch.bool)
    weights = share_weights(torch.tensor([share], dtype=torch.float64), both, Recipe())
    near(weights[0], torch.tensor(want, dtype=torch.float64))


# -- strength and signs ------------------------------------------------------------------------------------------------


@given(st.sampled_from([-1.0, 0.0, 0.4, 3.0]), st.sampled_from([-2.0, 1.0]), st.sampled_from([0.5, 1.0]))
def test_strength_multiplies_each_adapter_and_may_subtract(first, second, strength):
    task, domain = layers(1)
    lines = (f"layer 0 : task x {first}", f"q_proj : domain x {second}")
    recipe = Recipe(method="gates", overrides=lines, drop="none", rank=8, strength=strength)
    want = strength * (first * task[0].delta() + second * domain[0].delta())
    near(out_of(pair_of(task, domain), recipe)[name_of(0)].delta(), want, 4 * dense.size_of(domain[0]), rounding=1e-6)


def test_subtracting_an_adapter_turns_agreement_into_conflict():
    eye = torch.eye(20)
    task = LoraModule(name_of(0), eye[:, :1], 2 * eye[:1], 1.0)
    domain = LoraModule(name_of(0), eye[:, :1], eye[:1], 1.0)
    known = analysis(pair_of([task], [domain]))
    plain, less = (merge(known, Recipe(method="gates", overrides=lines)) for lines in ((), ("* : domain x -1",)))
    assert plain.how.drops.count == 0 and less.how.drops.domain.tolist() == [[True]]
    assert float(less.spectrum[0, 0]) == pytest.approx(2.0)


# -- lines and strokes -------------------------------------------------------------------------------------------------


def gate_map(*lines, n=4):
    task, domain = layers(n)
    return gates_by_hand(analysis(pair_of(task, domain)), Recipe(overrides=lines))


def test_lines_set_three_planes():
    found = gate_map(
        "layers 0-1 : q : 0.7", "layers 1-2 : x 0.5", "layer 2 : domain x -1", "layer 3 : task x0.25", "* : sep 0.5",
        "layer 0 : sep reset", "layer 3 : lock", "* : x 2", "layer 1 : x reset",
    )  # fmt: skip
    assert found.values[:, 0].tolist() == [0.7, 0.7, 0.5, 0.5]
    assert found.strength[:, :, 0].tolist() == [[2.0, 1.0, 2.0, 0.25], [2.0, 1.0, 2.0, 1.0]]
    assert found.separation[:, 0].tolist() == [1.0, 0.5, 0.5, 0.5]
    assert found.edited[:, 0].tolist() == [True, True, False, False] and found.by_hand.all()


@pytest.mark.parametrize(
    ("line", "says"),
    [("* : x nan", "outside -10 to 10"), ("* : x 11", "outside -10 to 10"), ("* : x much", "says nothing to do"),
     ("* : sep 1.5", "separation 1.5 is outside 0 to 1"), ("* : x smooth", "says nothing to do"), ("* : x", "says nothing")],
)  # fmt: skip
def test_a_line_that_asks_too_much_is_refused(line, says):
    with pytest.raises(RecipeError, match=says):
        gate_map(line)


@pytest.mark.parametrize("brush", BRUSHES)
def test_a_stroke_sets_its_own_plane_replaces_what_it_covers_and_can_be_taken_back(brush):
    others = ("* : 0.3", "* : x 0.5", "* : sep 0.25")
    before = gate_map(*others)
    cells = [Address(layer, "q_proj") for layer in range(4)]
    once = painted(before, others, cells, 0.75, brush)
    twice = painted(gate_map(*once), once, cells, 0.625, brush)
    assert len(twice) == len(once) <= 4
    after = gate_map(*twice)
    planes = {
        "share": [after.values], "strength": list(after.strength), "task strength": [after.strength[0]],
        "domain strength": [after.strength[1]], "separation": [after.separation],
    }  # fmt: skip
    assert all((plane == 0.625).all() for plane in planes[brush])
    touched = {id(plane) for plane in planes[brush]}
    for name, was, now in (
        ("values", before.values, after.values), ("task", before.strength[0], after.strength[0]),
        ("domain", before.strength[1], after.strength[1]), ("separation", before.separation, after.separation),
    ):  # fmt: skip
        hit = any(torch.equal(now, plane) and bool((plane == 0.625).all()) for plane in planes[brush])
        assert hit or torch.equal(was, now), (name, touched)
    back = gate_map(*painted(after, twice, cells, None, brush))
    plain = {"share": back.values == 0.5, "separation": back.separation == 1}
    side = {"strength": slice(0, 2), "task strength": slice(0, 1), "domain strength": slice(1, 2)}
    assert (plain[brush] if brush in plain else back.strength[side[brush]] == 1).all()


def test_a_ramp_of_strength_spares_shallow_layers():
    found = gate_map(*depth_ramp(gate_map(), 0.4, 1.0))
    assert found.strength[0, :, 0].tolist() == found.strength[1, :, 0].tolist() == [0.4, 0.6, 0.8, 1.0]


# -- version 0.1 -------------------------------------------------------------------------------------------------------


def test_a_recipe_of_version_one_keeps_its_meaning_in_todays_words():
    old = {"method": "tada", "strength": 3.0, "overrides": ["* : 0.7"], "balance": 0.25}
    then = Recipe(method="gates", weights="0.1", conflict_threshold=8.0)  # what was the default
    want = then.but(strength=1.5, overrides=("* : 0.7",), balance=0.25)
    assert from_version_1(old) == recipe_in({"format": FORMAT_1, "recipe": old}) == want
    assert recipe_in({"format": FORMAT_1, "recipe": {}}) == then
    assert recipe_in(want.to_dict()) == want and "same bytes" in OLD_WEIGHTS
    with pytest.raises(RecipeError, match=r"strength = 5"):
        from_version_1({"strength": 5})


@given(
    pairs(), st.sampled_from([0.7, 1.0, 2.0, 3.3]), st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 0.3, 0.7, 1.0])
)
def test_weights_of_version_one_are_to_the_last_bit_what_they_were(pair, strength, balance, gate):
    """As version 0.1 computed them: strength times gate for tada and ramp, strength / 2 for what goes entry by entry."""
    known = analysis(pair)
    present, levels = known.space.present, balance_levels(known.space, Recipe(balance=balance))
    shares = torch.full((len(pair.names),), gate, dtype=torch.float64)
    shares = torch.where(present[:, 0] & ~present[:, 1], 0.0, torch.where(present[:, 1] & ~present[:, 0], 1.0, shares))
    wanted = {
        "tada": strength * torch.stack((1 - shares, shares), 1) * levels,
        "linear": strength * torch.full((len(shares), 2), 0.5, dtype=torch.float64) * levels,
    }
    lines = [
        f"layer {place.layer} : {float(share)!r}" for place, share in zip(pair.addresses.values(), shares, strict=True)
    ]
    for method, weights in wanted.items():
        old = {"method": method, "strength": strength, "balance": balance, "overrides": lines, "drop": "none"}
        how = merge(known, from_version_1(old)).how
        assert torch.equal(how.weights, weights)
    how = merge(known, from_version_1({"method": "ties", "strength": strength})).how
    assert torch.equal(how.weights, torch.full_like(how.weights, strength / 2))


def test_a_lone_module_of_version_one_was_doubled_and_pruned():
    task, domain = layers()
    pair = pair_of(task, domain[:2])
    near(out_of(pair, from_version_1({}))[name_of(2)].delta(), 2 * task[2].delta(), size_of(task[2]), rounding=1e-6)
    ties = out_of(pair, from_version_1({"method": "ties", "rank": 10}))[name_of(2)].delta()
    full = task[2].delta().float()
    near(ties, agreeing(trimmed(full, 0.5), torch.zeros_like(full)).double(), size_of(task[2]), rounding=1e-5)


@given(pairs(relations=("strangers",)), st.sampled_from([0.01, 7.0]))
def test_scaling_an_adapter_scales_its_part_and_moves_no_share(pair, factor):
    louder = replace(pair, domain=replace(pair.domain, modules={
        name: replace(module, scale=module.scale * factor) for name, module in pair.domain.modules.items()
    }))  # fmt: skip
    one, other = (gates_by_hand(analysis(some), Recipe()) for some in (pair, louder))
    assert torch.equal(one.values, other.values)
