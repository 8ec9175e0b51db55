"""From readings to gates: one worked example, the rules at the edges, and uncertainty."""

import math
from dataclasses import replace

import pytest
import torch
from dense import deltas, lora, name_of, near, pair_of, pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from tada_studio.addresses import Address
from tada_studio.core.factor import factor
from tada_studio.core.gates import DRAWS, Readings, bands, computed_gates, depth_profiles, gates, unprobed
from tada_studio.core.stats import resamples
from tada_studio.errors import MismatchError, RecipeError
from tada_studio.lora import LoraModule
from tada_studio.recipe import Recipe


def readings_of(names, task, domain, tokens=None, present=None, rms=None):
    """Readings from plain lists: a row for each module, a column for each probe input."""
    task, domain = torch.tensor(task, dtype=torch.float64), torch.tensor(domain, dtype=torch.float64)
    rms_task, rms_domain = (task, domain) if rms is None else torch.tensor(rms, dtype=torch.float64)
    return Readings(
        names=tuple(names), task=task, domain=domain, rms_task=rms_task, rms_domain=rms_domain,
        moment=torch.zeros(len(names), 2, 2, dtype=torch.float64),
        tokens=torch.tensor(tokens or [1] * task.shape[1]),
        present=torch.tensor(present or [(True, True)] * len(names)),
        about={"task": "t", "domain": "d"},
    )  # fmt: skip


# -- worked by hand --------------------------------------------------------------------------------------------------

#: Two inputs of 1 and 3 tokens, so the average is (first + 3 * second) / 4.
#:           s_T                        s_D                          contrast c / ln 2
#: q of 0    (.1 + 3 * .3) / 4 = .25    (.2 + 3 * .6) / 4 = .5       1
#: v of 0    (.5 + 3 * .5) / 4 = .5     (.2 + 3 * .6) / 4 = .5       0
#: q of 1    (.2 + 3 * .2) / 4 = .2     (.8 + 3 * .8) / 4 = .8       2
#: v of 1    (.4 + 3 * .0) / 4 = .1     (.4 + 3 * .4) / 4 = .4       2
WORKED = readings_of(
    [name_of(0, "q_proj"), name_of(0, "v_proj"), name_of(1, "q_proj"), name_of(1, "v_proj")],
    task=[[0.1, 0.3], [0.5, 0.5], [0.2, 0.2], [0.4, 0.0]],
    domain=[[0.2, 0.6], [0.2, 0.6], [0.8, 0.8], [0.4, 0.4]],
    tokens=[1, 3],
)


def halvings(*powers: float) -> torch.Tensor:
    """sigmoid(c) for c = power * ln 2, which is 1 / (1 + 2 ** -power)."""
    return torch.tensor([1 / (1 + 2**-power) for power in powers], dtype=torch.float64)


@pytest.mark.parametrize(
    ("knobs", "want"),
    [
        # medians of the projections: q (1 + 2) / 2 = 1.5, v (0 + 2) / 2 = 1
        ({"calibration": "projection"}, halvings(-0.5, -1, 0.5, 1)),  # the second is 1 / (1 + 2) = 1/3, the last 2/3
        # median of all: 1, 0, 2, 2 -> 1.5
        ({"calibration": "global"}, halvings(-0.5, -1.5, 0.5, 0.5)),
        # s_D / (s_D + s_T): .5 / .75, .5 / 1, .8 / 1, .4 / .5
        ({"calibration": "none"}, torch.tensor([2 / 3, 1 / 2, 4 / 5, 4 / 5], dtype=torch.float64)),
        ({"sharpness": 2}, halvings(-1, -2, 1, 2)),
        ({"sharpness": 0}, halvings(0, 0, 0, 0)),
    ],
)
def test_gates_worked_by_hand(knobs, want):
    near(computed_gates(WORKED, Recipe(**knobs)), want, rounding=1e-12)
    table = gates(WORKED, Recipe(**knobs))
    assert table.layers == (0, 1) and table.projections == ("q_proj", "v_proj")
    near(table.values, want.reshape(2, 2), rounding=1e-12)


def test_the_root_mean_square_is_averaged_in_squares():
    # tokens 1 and 3: s_T = sqrt((.1^2 + 3 * .5^2) / 4) = sqrt(.19), s_D = sqrt((.7^2 + 3 * .3^2) / 4) = sqrt(.19);
    # the means are .2 and .6, which gives 3/4
    readings = readings_of([name_of(0)], [[0.2, 0.2]], [[0.6, 0.6]], tokens=[1, 3], rms=[[[0.1, 0.5]], [[0.7, 0.3]]])
    near(computed_gates(readings, Recipe(response="rms", calibration="none")), halvings(0), rounding=1e-12)
    near(
        computed_gates(readings, Recipe(calibration="none")), torch.tensor([0.75], dtype=torch.float64), rounding=1e-12
    )
    task, domain = readings.average(Recipe(response="rms"))
    near(torch.cat((task, domain)), torch.tensor([0.19, 0.19], dtype=torch.float64).sqrt(), rounding=1e-12)


def test_an_input_counted_twice_weighs_twice():
    # times (2, 1) on 1 and 3 tokens: (2 * .1 + 3 * .3) / 5 = .22 for the task at q of 0
    task, domain = WORKED.average(Recipe(), torch.tensor([2.0, 1.0]))
    near(task[0], torch.tensor(0.22, dtype=torch.float64))
    near(domain[0], torch.tensor((2 * 0.2 + 3 * 0.6) / 5, dtype=torch.float64))


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 5))
def test_without_calibration_a_gate_is_the_domains_share_of_the_response(seed, n, m):
    draw = torch.Generator().manual_seed(seed)
    task, domain = torch.rand(2, n, m, generator=draw, dtype=torch.float64)
    readings = readings_of([name_of(i) for i in range(n)], task.tolist(), domain.tolist())
    want = domain.mean(1) / (domain.mean(1) + task.mean(1))
    near(computed_gates(readings, Recipe(calibration="none")), want)


@given(st.integers(0, 2**32), st.integers(1, 7), st.sampled_from(["projection", "global"]))
def test_calibration_makes_the_gates_even_in_the_middle(seed, layers, how):
    """The middle module of an odd group is at .5; a domain adapter that reacts more everywhere changes nothing."""
    draw = torch.Generator().manual_seed(seed)
    names = [name_of(i, p) for i in range(layers) for p in ("q_proj", "v_proj", "o_proj")]
    task, domain = torch.rand(2, len(names), 2, generator=draw, dtype=torch.float64) + 0.01
    got = gates(readings_of(names, task.tolist(), domain.tolist()), Recipe(calibration=how)).values
    again = gates(readings_of(names, task.tolist(), (7 * domain).tolist()), Recipe(calibration=how)).values
    near(again, got)
    for group in got.T if how == "projection" else [got.flatten()]:
        assert float(group.quantile(0.5)) == pytest.approx(0.5, abs=0.01 if len(group) % 2 else 0.5)


# -- scaling an adapter ----------------------------------------------------------------------------------------------


def probed(pair, seed):
    """Readings by the definition, |dW x| / (|dW|_F |x|) in full width, in float32 as a probe takes them."""
    task, domain = [], []
    for i, name in enumerate(pair.names):
        x = torch.randn(deltas(pair, name)[0].shape[1], 5, generator=torch.Generator().manual_seed(seed + i))
        for rows, delta in zip((task, domain), deltas(pair, name), strict=True):
            delta = delta.float()
            size = float(delta.norm())
            rows.append(((delta @ x).norm(dim=0) / size / x.norm(dim=0)).tolist() if size else [0.0] * 5)
    return readings_of(pair.names, task, domain, present=factor(pair).present.tolist())


@given(
    pairs(), st.integers(0, 2**32), st.sampled_from([1e-3, -1.0, 0.3, 700.0]), st.sampled_from(["scale", "up", "down"]),
    st.sampled_from(["projection", "global", "none"]),
)  # fmt: skip
def test_scaling_an_adapter_leaves_the_gates_alone(pair, seed, c, where, calibration):
    def scaled(module):
        factors = {"up": module.up, "down": module.down, "scale": module.scale}
        return LoraModule(module.name, **{**factors, where: factors[where] * c})

    other = pair_of([scaled(m) for m in pair.task.modules.values()], list(pair.domain.modules.values()))
    recipe = Recipe(calibration=calibration)
    near(gates(probed(other, seed), recipe).values, gates(probed(pair, seed), recipe).values, rounding=1e-5)


@given(
    pairs(), st.integers(0, 2**32), st.sampled_from(["projection", "global", "none"]), st.sampled_from([0.0, 1.0, 10.0])
)
def test_a_gate_is_never_nan_and_belongs_to_who_is_there(pair, seed, calibration, sharpness):
    values = computed_gates(probed(pair, seed), Recipe(calibration=calibration, sharpness=sharpness))
    assert ((values >= 0) & (values <= 1)).all()
    for value, name in zip(values.tolist(), pair.names, strict=True):
        there = [bool((delta != 0).any()) for delta in deltas(pair, name)]
        if there != [True, True]:
            assert value == {(True, False): 0.0, (False, True): 1.0, (False, False): 0.5}[tuple(there)]


# -- edges -----------------------------------------------------------------------------------------------------------


def test_a_module_that_one_adapter_lacks_does_not_move_the_calibration_of_the_others():
    names = [name_of(i) for i in range(3)]
    readings = readings_of(
        names, [[0.2], [0.0], [0.4]], [[0.4], [0.3], [0.4]], present=[(True, True), (False, True), (True, True)]
    )
    # contrasts ln 2, infinite, 0: the median of the two that are known is ln 2 / 2
    even_out = halvings(0.5, -0.5).tolist()
    near(computed_gates(readings, Recipe()), torch.tensor([even_out[0], 1.0, even_out[1]], dtype=torch.float64))


def test_an_adapter_that_reacts_to_no_input_leaves_the_module_to_the_other_and_two_such_share_it():
    readings = readings_of([name_of(i) for i in range(3)], [[0.0], [0.2], [0.0]], [[0.3], [0.0], [0.0]])
    assert computed_gates(readings, Recipe()).tolist() == [1.0, 0.0, 0.5]


def test_without_readings_every_gate_is_even_except_where_only_one_adapter_is():
    task = [lora(name_of(0), 1, 3, 3, 2), lora(name_of(1), 2, 3, 3, 1)]
    pair = pair_of(task, [lora(name_of(0), 3, 3, 3, 2), lora(name_of(2), 4, 3, 3, 2)])
    readings = unprobed(pair, factor(pair).present)
    table = gates(readings)
    assert table.values[:, 0].tolist() == [0.5, 0.0, 1.0]
    assert readings.moment.shape == (3, 4, 4)
    assert bands(readings, table, Recipe()).isnan().all()
    profile = depth_profiles(readings, table, Recipe())[""]
    assert profile.interval is None
    assert torch.equal(profile.low, profile.share) and torch.equal(profile.high, profile.share)


def test_the_map_is_empty_where_the_base_has_no_module_and_lines_do_not_fill_it():
    names = [name_of(2, "q_proj"), name_of(7, "q_proj"), name_of(7, "v_proj")]
    table = gates(readings_of(names, [[0.2]] * 3, [[0.2]] * 3), Recipe(overrides=("* : 0.7",)))
    assert table.layers == (2, 7) and table.projections == ("q_proj", "v_proj")
    assert table.there.tolist() == [[True, False], [True, True]]
    assert table.at([Address(7, "v_proj"), Address(2, "q_proj")]).tolist() == [0.7, 0.7]
    assert table.computed[1].tolist() == [0.5, 0.5] and table.values.isnan()[0, 1]


def test_lines_of_the_recipe_come_after_the_readings():
    table = gates(
        WORKED, Recipe(calibration="none", overrides=("layer 1 : v_proj : lock", "layer 1 : task", "q_proj : +0.1"))
    )
    near(table.values, torch.tensor([[2 / 3 + 0.1, 0.5], [0.1, 0.8]], dtype=torch.float64))
    assert table.edited.tolist() == [[True, False], [True, False]]
    assert table.locked.tolist() == [[False, False], [False, True]]


def test_a_line_that_cannot_be_read_is_refused():
    with pytest.raises(RecipeError, match="names no projection"):
        gates(WORKED, Recipe(overrides=("k_proj : 0.1",)))


def test_readings_of_another_pair_are_refused_and_the_adapter_is_named():
    one, other = [lora(name_of(0), 1, 3, 3, 1)], [lora(name_of(0), 2, 3, 3, 1)]
    pair = pair_of(one, other)
    about = {"task": pair.task.digest, "domain": pair.domain.digest}
    readings = replace(unprobed(pair, torch.ones(1, 2, dtype=torch.bool)), about=about)
    readings.belongs_to(pair)
    with pytest.raises(MismatchError, match="other modules or ranks"):
        replace(WORKED, about=about).belongs_to(pair)
    with pytest.raises(MismatchError, match=r"another task adapter than task\. Probe this pair again"):
        readings.belongs_to(pair_of(other, other))
    with pytest.raises(MismatchError, match="another domain adapter than domain"):
        readings.belongs_to(pair_of(one, one))


# -- depth and uncertainty -------------------------------------------------------------------------------------------

LAYERS, INPUTS = 6, 12


def rising(direction: int = 1):
    """Two projections whose domain response grows with depth, by another amount on each input."""
    draw = torch.Generator().manual_seed(3)
    names = [name_of(layer, p) for layer in range(LAYERS) for p in ("q_proj", "v_proj")]
    noise = torch.rand(len(names), INPUTS, generator=draw, dtype=torch.float64) * 0.02
    depth = torch.arange(LAYERS, dtype=torch.float64).repeat_interleave(2)[:, None]
    task, domain = torch.full_like(noise, 0.3), 0.3 + direction * 0.04 * depth + noise
    return readings_of(names, task.tolist(), domain.tolist(), tokens=list(range(3, 3 + INPUTS)))


@pytest.mark.parametrize("direction", [1, -1])
def test_rho_has_the_sign_of_the_slope_and_its_interval_contains_it(direction):
    readings, recipe = rising(direction), Recipe()
    profile = depth_profiles(readings, gates(readings, recipe), recipe)[""]
    assert direction * profile.rho > 0.9
    assert profile.interval.low <= profile.rho <= profile.interval.high
    assert list(profile.by_projection) == ["q_proj", "v_proj"]
    assert all(rho == pytest.approx(direction) for rho in profile.by_projection.values())


def test_inputs_that_agree_on_a_few_layers_are_no_certainty_about_depth():
    """Eight layers in a chance order that every input repeats: other inputs would say the same, other layers would not."""
    shares = torch.tensor([0.30, 0.62, 0.41, 0.55, 0.35, 0.66, 0.58, 0.60], dtype=torch.float64)
    readings = readings_of([name_of(i) for i in range(8)], [[0.45] * 20] * 8, shares[:, None].expand(8, 20).tolist())
    profile = depth_profiles(readings, gates(readings), Recipe())[""]
    assert profile.interval.low == profile.rho == profile.interval.high > 0.4
    assert profile.over_layers.low < 0 < profile.rho < profile.over_layers.high and profile.direction == 0
    steady = depth_profiles(rising(), gates(rising()), Recipe())[""]
    assert steady.over_layers.low > 0 and steady.direction == 1


def test_thirds_and_shares_are_means_of_the_map():
    readings = rising()
    table = gates(readings)
    profile = depth_profiles(readings, table, Recipe())[""]
    rows = [[float(v) for v in row] for row in table.values]
    for third, layers in zip(profile.thirds, ((0, 1), (2, 3), (4, 5)), strict=True):
        assert third == pytest.approx(sum(rows[i][j] for i in layers for j in (0, 1)) / 4)
    assert profile.share.tolist() == pytest.approx([sum(row) / 2 for row in rows])
    assert profile.thirds[0] < profile.thirds[1] < profile.thirds[2]


@settings(max_examples=8)  # 400 maps each
@given(st.integers(0, 2**32), st.sampled_from(["projection", "global", "none"]), st.sampled_from(["mean", "rms"]))
def test_bands_enclose_the_values(seed, calibration, response):
    draw = torch.Generator().manual_seed(seed)
    names = [name_of(layer, p) for layer in range(5) for p in ("q_proj", "v_proj")]
    task, domain = torch.rand(2, len(names), 16, generator=draw, dtype=torch.float64) * 0.5 + 0.2
    readings, recipe = (
        readings_of(names, task.tolist(), domain.tolist()),
        Recipe(calibration=calibration, response=response),
    )
    table = gates(readings, recipe)
    low, high = bands(readings, table, recipe)
    assert (low <= table.values).all() and (table.values <= high).all() and (low < high).any()
    profile = depth_profiles(readings, table, recipe)[""]
    assert (profile.low <= profile.share).all() and (profile.share <= profile.high).all()


@pytest.mark.parametrize("knobs", [{}, {"sharpness": 3.0}, {"response": "rms"}, {"calibration": "global"}, {"seed": 1}])
def test_bands_are_those_of_the_gates_of_every_draw_whatever_was_asked_before(knobs):
    """The draws are kept between strokes: another knob, and other readings, must not be given the kept ones."""
    draw = torch.Generator().manual_seed(4)
    task, domain, *rms = (torch.rand(4, 6, 8, generator=draw, dtype=torch.float64) + 0.2).tolist()
    readings = readings_of([name_of(i) for i in range(6)], task, domain, tokens=list(range(1, 9)), rms=rms)
    bands(readings, gates(readings), Recipe())
    recipe = Recipe(**knobs)
    times = resamples(8, DRAWS, torch.Generator().manual_seed(recipe.seed))
    each = torch.stack([computed_gates(readings, recipe, one) for one in times])
    low, high = bands(readings, gates(readings, recipe), recipe)
    want = each.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    near(torch.stack([low[:, 0], high[:, 0]]), want)


def test_bands_narrow_with_the_number_of_inputs():
    draw = torch.Generator().manual_seed(1)
    widths = []
    for inputs in (4, 64):
        task, domain = torch.rand(2, 6, inputs, generator=draw, dtype=torch.float64) + 0.2
        readings = readings_of([name_of(i) for i in range(6)], task.tolist(), domain.tolist())
        low, high = bands(readings, gates(readings), Recipe())
        widths.append(float((high - low).mean()))
    assert widths[1] < widths[0] / 2  # a quarter by the law of 1 / sqrt(n)


def test_cells_set_by_hand_or_locked_do_not_vary_between_draws():
    readings, recipe = rising(), Recipe(overrides=("layer 2 : 0.3", "layer 4 : q_proj : lock"))
    table = gates(readings, recipe)
    low, high = bands(readings, table, recipe)
    width = high - low
    assert not width[2].any() and width[4, 0] == 0 and width[4, 1] > 0 and low[2].tolist() == [0.3, 0.3]


def test_the_same_seed_draws_the_same_bands_and_another_seed_others():
    readings = rising()
    first, again, other = (bands(readings, gates(readings), Recipe(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_band_is_that_of_the_recipe_on_screen():
    """One input says task, the other domain: among draws of two a quarter is all one, so the band spans both."""
    readings = readings_of([name_of(0)], [[0.1, 0.4]], [[0.4, 0.1]])
    recipe = Recipe(calibration="none")
    low, high = bands(readings, gates(readings, recipe), recipe)
    assert (float(low), float(high)) == pytest.approx((0.2, 0.8))
    steep = Recipe(calibration="none", sharpness=2.0)  # sigmoid(2 ln 4) = 16 / 17
    assert float(bands(readings, gates(readings, steep), steep)[1]) == pytest.approx(16 / 17)


def test_one_input_gives_no_band():
    readings = readings_of([name_of(0)], [[0.1]], [[0.4]])
    assert bands(readings, gates(readings), Recipe()).isnan().all()
    profile = depth_profiles(readings, gates(readings), Recipe())[""]
    assert profile.rho is None and profile.interval is None and profile.by_projection == {"q_proj": None}
    assert math.isclose(float(profile.share[0]), 0.5)
