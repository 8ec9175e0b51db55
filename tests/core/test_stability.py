"""Closed forms of the stability panel: equal inputs agree, noise does not, and a factor of ten moves nothing."""

import pytest
import torch

from tada_studio import pipeline
from tada_studio.base_model.inputs import read_inputs
from tada_studio.core import stability as module
from tada_studio.core.gates import Readings, computed_gates, gates
from tada_studio.core.stability import moment_responses, scaled_gates, stability
from tada_studio.pipeline.analysis import analysis
from tada_studio.recipe import Recipe


@pytest.fixture(scope="module")
def pair(pico):
    return pipeline.read_pair(pico.task, pico.domain)


@pytest.fixture(scope="module")
def readings(pico, pair):
    return pipeline.probe(pair, pipeline.load_base(pico.base, device="cpu"), read_inputs(pico.inputs))


def made(readings, task, domain):
    """The same modules with other responses, all tokens equal."""
    tokens = torch.ones(task.shape[1], dtype=torch.int64)
    return Readings(
        readings.names, task, domain, task, domain, readings.moment, tokens, readings.present, dict(readings.about)
    )


def of(pair, readings, recipe=None):
    recipe = recipe or Recipe()
    return stability(readings, gates(readings, recipe), recipe, analysis(pair).space)


def test_inputs_that_all_say_the_same_agree_at_any_number(pair, readings):
    level = torch.linspace(0.1, 0.9, len(readings.names), dtype=torch.float64)[:, None].expand(-1, 20)
    found = of(pair, made(readings, 1 - level, level))
    assert [one.n for one in found.subsets] == [4, 8, 16] and found.inputs == 20
    for one in found.subsets:
        assert one.rho == pytest.approx(1) and one.distance == pytest.approx(0, abs=1e-12)
    assert found.halves == pytest.approx(1) and found.width == pytest.approx(0, abs=1e-9)


def test_inputs_that_say_nothing_do_not_agree_and_more_of_them_come_nearer(pair, readings):
    dice = torch.Generator().manual_seed(0)
    noise = [torch.rand(len(readings.names), 40, generator=dice, dtype=torch.float64) + 0.1 for _ in range(2)]
    found = of(pair, made(readings, *noise))
    assert [one.n for one in found.subsets] == [4, 8, 16, 32]
    distances, rhos = [one.distance for one in found.subsets], [one.rho for one in found.subsets]
    assert distances == sorted(distances, reverse=True) and rhos == sorted(rhos)
    assert abs(found.halves) < 0.6 and found.width > 0.03
    assert found == of(pair, made(readings, *noise))._replace(bands=found.bands)  # seeded


def test_halves_are_every_other_input(pair, readings):
    """Even inputs rank the modules one way, odd ones the other: the halves contradict each other, exactly."""
    level = torch.linspace(0.1, 0.9, len(readings.names), dtype=torch.float64)
    both = torch.stack([level, 1 - level] * 6, 1)
    assert of(pair, made(readings, 1 - both, both), Recipe(calibration="global")).halves == pytest.approx(-1)


def test_responses_from_the_moment_are_those_of_the_probe(pair, readings):
    share = readings.tokens.double() / readings.tokens.sum()
    found = moment_responses(analysis(pair).space, readings.moment)
    for side, rms in enumerate((readings.rms_task, readings.rms_domain)):
        torch.testing.assert_close(found[:, side], (rms.square() * share).sum(1).sqrt(), rtol=2e-5, atol=1e-7)


def test_ten_times_as_large_changes_no_gate_and_the_check_could_fail(pair, readings, monkeypatch):
    space = analysis(pair).space
    found = scaled_gates(readings, Recipe(), space)
    assert max(found.both, found.task, found.domain) < 1e-12 < 0.1 < found.raw
    honest = module.moment_responses
    # a response that forgets to divide by the norm
    monkeypatch.setattr(
        module, "moment_responses", lambda space, moment: honest(space, moment) * space.squared_norms.sqrt()
    )
    assert scaled_gates(readings, Recipe(calibration="none"), space).domain > 0.1


def test_the_scaled_pair_is_really_ten_times_as_large(pair, readings):
    space = analysis(pair).space
    louder, moment = module._louder(space, readings.moment, 10.0, 1.0)
    torch.testing.assert_close(louder.squared_norms, space.squared_norms * torch.tensor([100.0, 1.0]).double())
    assert float(moment[:, 0, 0].sum()) == pytest.approx(100 * float(readings.moment[:, 0, 0].sum()))


def test_without_readings_there_is_nothing_to_say(pair):
    nothing = pipeline.unprobed(pair)
    found = of(pair, nothing)
    assert (
        found.inputs == 0
        and found.subsets == ()
        and found.halves is None
        and found.width is None
        and found.scaled is None
    )
    assert computed_gates(nothing, Recipe()).unique().tolist() == [0.5]
