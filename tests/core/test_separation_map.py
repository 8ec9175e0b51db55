"""What the map says of both kinds of inputs, against what the merged updates say on the inputs themselves."""

import pytest
import torch
from dense import analysis, deltas, lora, name_of, pair_of, svd
from test_separation import codes, inputs_of

from tada_studio.core.gates import Readings, gates
from tada_studio.core.module_detail import SILENT
from tada_studio.core.separation import Settings, separate
from tada_studio.core.separation_map import kept_by_direction, separation_map
from tada_studio.recipe import Recipe


def readings_of(pair, known, inputs, side):
    """Readings of the inputs of one kind, a token each, from dense updates."""
    responses, moment = [], []
    for name in pair.names:
        x = inputs[name][side]
        both = deltas(pair, name)
        size = [delta.norm() if delta.any() else torch.ones(()) for delta in both]
        responses.append([(x @ delta.mT).norm(dim=1) / norm for delta, norm in zip(both, size, strict=True)])
        z = x @ codes(pair, name, known).mT
        moment.append(z.mT @ z / len(z))
    task, domain = (torch.stack([one[i] for one in responses]) for i in (0, 1))
    tokens = torch.ones(task.shape[1], dtype=torch.int64)
    return Readings(pair.names, task, domain, task, domain, torch.stack(moment), tokens, known.space.present, {})


@pytest.fixture(scope="module")
def seen():
    task = [lora(name_of(i), i, 12, 9, 3) for i in range(4)]
    domain = [lora(name_of(i), 20 + i, 12, 9, 2, size=5.0) for i in range(3)]  # none in the last layer
    pair = pair_of(task, domain)
    known, inputs = analysis(pair), inputs_of(pair, 3)
    on_task, on_domain = (readings_of(pair, known, inputs, side) for side in (0, 1))
    readings = Readings(**{**vars(on_domain), "on_task": on_task})
    return pair, known, inputs, readings


def mapped(seen, settings=None, weights=(1.0, 1.0)):
    pair, known, _, readings = seen
    of_each = torch.tensor([weights], dtype=torch.float64).expand(len(pair.names), 2)
    through = separate(known.space, readings.moments, settings or Settings(1.0, 1.0))
    return separation_map(known.space, through.mix(known.space, of_each), readings, gates(readings, Recipe())), through


def test_kept_and_left_are_shares_of_what_is_said_on_the_inputs_themselves(seen):
    pair, known, inputs, _ = seen
    found, through = mapped(seen)
    for i, name in enumerate(pair.names[:3]):
        for a, side in enumerate((slice(0, 3), slice(3, 5))):
            up = [m.up.double() * m.scale for m in pair.both(name)][a]
            new, old = up @ through.through[i, side] @ codes(pair, name, known), deltas(pair, name)[a]
            for kind, got in ((a, found.own), (1 - a, found.foreign)):
                x = inputs[name][kind]
                want = (x @ new.mT).square().sum() / (x @ old.mT).square().sum()
                assert float(got[a, i, 0]) == pytest.approx(float(want), rel=1e-6)
    assert found.own[0, 3, 0] == found.foreign[0, 3, 0] == 1 and found.own[1, 3, 0].isnan()


def test_separation_turns_the_gate_to_whose_inputs_they_are(seen):
    plain, _ = mapped(seen, Settings(1e9, 1.0))
    apart, _ = mapped(seen)
    assert float((plain.own[:, :3] - 1).abs().max()) < 1e-6
    assert (apart.separation[:3] > plain.separation[:3] + 0.02).all()
    assert apart.foreign_in_all[0] < apart.own_in_all[0] and apart.foreign_in_all[1] < apart.own_in_all[1]
    assert float(apart.on_domain[3]) == float(apart.on_task[3]) == 0  # the task's alone


def test_the_ends_and_the_size_of_an_adapter(seen):
    assert float(mapped(seen, weights=(0.0, 1.0))[0].on_task[:3].min()) == 1
    assert float(mapped(seen, weights=(1.0, 0.0))[0].on_domain[:3].max()) == 0
    readings = seen[3]
    # the domain is five times as large as the task: in units of their sizes a plain sum is as even as their responses
    plain, _ = mapped(seen, Settings(1e12, 1.0))
    rms = [one.square().mean(1).sqrt() for one in (readings.rms_task, readings.rms_domain)]
    torch.testing.assert_close(plain.on_domain[:3, 0], (rms[1] / (rms[0] + rms[1]))[:3], rtol=1e-6, atol=0)


def test_the_lines_have_bands_around_them_and_a_trend_is_told_from_chance(seen):
    found, _ = mapped(seen)
    for line, cells in ((found.depths[""].on_domain, found.on_domain), (found.depths[""].on_task, found.on_task)):
        assert torch.equal(line.mean, cells[:, 0]) and (line.low <= line.mean).all() and (line.mean <= line.high).all()
        assert (line.low[:3] < line.high[:3]).all() and line.low[3] == line.high[3] == 0
    assert found.depths[""].interval.low <= found.depths[""].rho <= found.depths[""].interval.high
    assert 0 < found.depths[""].by_chance <= 1
    again, _ = mapped(seen)
    assert torch.equal(again.depths[""].on_task.low, found.depths[""].on_task.low)


def test_what_is_kept_of_a_direction_is_what_the_merge_says_along_it(seen):
    """On each kind of inputs, against the dense singular vectors and the inputs themselves."""
    pair, known, inputs, readings = seen
    through = separate(known.space, readings.moments, Settings(0.5, 1.0))
    mix = through.mix(known.space, torch.ones(len(pair.names), 2, dtype=torch.float64))
    name, sides = pair.names[1], (known.directions.task, known.directions.domain)
    found = kept_by_direction(known.space, sides, mix, readings.moments, 1)
    silenced = 0
    for a, columns in enumerate((slice(0, 3), slice(3, 5))):
        up = [m.up.double() * m.scale for m in pair.both(name)][a]
        new, old = up @ through.through[1, columns] @ codes(pair, name, known), deltas(pair, name)[a]
        for i, u in enumerate(svd(old).u.mT[: found[a].shape[1]]):
            for kind in (0, 1):  # its own inputs, the other's
                x = inputs[name][a if kind == 0 else 1 - a]
                want = (x @ new.mT @ u).square().sum() / (x @ old.mT @ u).square().sum()
                assert float(found[a][kind, i]) == pytest.approx(float(want), rel=1e-5)
            silenced += bool(found[a][1, i] < SILENT * found[a][0, i])
    assert silenced  # or the whole test says nothing of silence
