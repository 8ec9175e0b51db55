"""The default method: separation under the weights of the map and the drops, its ends, and what it is without its inputs."""

from dataclasses import replace

import pytest
import torch
from dense import analysis, deltas, lora, name_of, near, pair_of
from test_separation import in_full, inputs_of
from test_separation_map import readings_of

from tada_studio.core.gates import Readings
from tada_studio.core.mix import Moments
from tada_studio.core.separation import Settings, separate
from tada_studio.pipeline.merge import Merge
from tada_studio.recipe import Recipe
from tada_studio.report import missing_sentence


@pytest.fixture(scope="module")
def pair():
    task = [lora(name_of(i), i, 12, 9, 3, scale=0.5) for i in range(3)]
    domain = [lora(name_of(i), 20 + i, 12, 9, 2, size=2.0) for i in range(2)]
    return pair_of(task, domain)


@pytest.fixture(scope="module")
def readings(pair):
    known, inputs = analysis(pair), inputs_of(pair, 3)
    on_task, on_domain = (readings_of(pair, known, inputs, side) for side in (0, 1))
    about = {"task": pair.task.digest, "domain": pair.domain.digest}
    return Readings(**{**vars(on_domain), "about": about, "on_task": on_task})


def mixed(pair, readings, **knobs):
    merge = Merge(pair, readings, Recipe(conflict_threshold=1000.0, **knobs))
    return merge, [in_full(pair, analysis(pair), merge.how.mix, i) for i in range(len(pair.names))]


def test_untouched_it_is_the_separation(pair, readings):
    known = analysis(pair)
    _, found = mixed(pair, readings, ridge=1.5, own_weight=2.0, whole="no")
    want = separate(known.space, readings.moments, Settings(1.5, 2.0, False))
    ones = torch.ones(3, 2, dtype=torch.float64)
    for i in range(3):
        near(found[i], in_full(pair, known, want.mix(known.space, ones), i), 10.0)
    assert float((found[0] - sum(deltas(pair, pair.names[0]))).norm()) > 0.1  # and not the sum
    near(found[2], deltas(pair, pair.names[2])[0])  # a module of one adapter is that one's


def test_separation_0_is_the_weighted_sum_and_the_ends_are_the_parents_exactly(pair, readings):
    lines = ("layer 0 : sep 0", "layer 0 : 0.3", "layer 0 : domain x -2", "layer 1 : 1")
    merge, found = mixed(pair, readings, overrides=lines)
    task, domain = deltas(pair, pair.names[0])
    near(found[0], task - 2 * 0.6 * domain, 10.0)
    near(found[1], deltas(pair, pair.names[1])[1], 10.0)
    assert torch.equal(merge.how.mix[1, 3:], torch.diag(analysis(pair).space.scale[1])[3:])
    near(mixed(pair, readings, overrides=("layer 1 : domain x 0",))[1][1], deltas(pair, pair.names[1])[0], 10.0)


def test_strength_multiplies_all_and_changes_no_separation(pair, readings):
    _, once = mixed(pair, readings)
    _, twice = mixed(pair, readings, strength=2.0)
    for one, two in zip(once, twice, strict=True):
        near(two, 2 * one, 10.0)


def test_a_dropped_direction_is_silent_and_the_others_are_separated_as_before(pair, readings):
    discard = ("layer 0 : q_proj : task 0",)
    merge, _ = mixed(pair, readings, discard=discard)
    known = analysis(pair)
    side, space = known.directions.task, known.space
    through = separate(space, readings.moments, Settings()).through[0]
    kept = torch.diag(space.scale[0]).clone()
    kept[:3, :3] -= side.up[0][:, :1] * side.strength[0, :1] @ side.down[0][:, :1].mT
    near(merge.how.mix[0], kept @ through, 10.0)
    u = pair.task.modules[pair.names[0]].up.double() @ side.up[0][:, 0]
    task_part = pair.task.modules[pair.names[0]].up.double() @ merge.how.mix[0, :3]
    assert float((u @ task_part).abs().max()) < 1e-9  # nothing is written along the direction that went


def test_shares_are_even_until_a_hand_sets_them_and_the_asymmetry_stays_a_view_of_its_own(pair, readings):
    merge = Merge(pair, readings, Recipe(overrides=("layer 1 : +0.2",)))
    assert merge.gates.values[:2, 0].tolist() == [0.5, 0.7]
    gated = Merge(pair, readings, Recipe(method="gates"))
    assert torch.equal(merge.asymmetry.values, gated.gates.values) and float(gated.gates.values[0, 0]) != 0.5
    assert merge.depths[""].rho == gated.depths[""].rho
    assert merge.separation.on_domain.shape == (3, 1) and gated.separation is not None


def test_without_task_inputs_it_is_the_weighted_sum_and_says_so(pair, readings):
    alone = replace(readings, on_task=None)
    for known, lacks in ((alone, ("task",)), (None, ("domain", "task"))):
        merge, found = mixed(pair, known)
        near(found[0], sum(deltas(pair, pair.names[0])), 10.0)
        assert merge.missing == lacks and merge.adapter.label.startswith("even gates of") and merge.separation is None
        assert "32 prompts of the task" in missing_sentence(merge.missing, "tada", merge.called)
    assert Merge(pair, readings).called == "tada" and Merge(pair, alone, Recipe(method="gates")).called == "gates"
    assert Merge(pair, alone, Recipe(ridge=5.0)).ignored == ("ridge",) and Moments(readings.moment).both is None
