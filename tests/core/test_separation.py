"""Calibrated separation against the regression that it stands for, solved in full width, row by row of inputs."""

from dataclasses import replace

import pytest
import torch
from dense import analysis, deltas, lora, name_of, near, pair_of, pairs, sizes_of
from hypothesis import given
from hypothesis import strategies as st

from tada_studio.core.factor import factor, stacked
from tada_studio.core.separation import BothMoments, Settings, distinguishable, separate
from tada_studio.errors import MismatchError
from tada_studio.lora import LoraModule, Pair

SETTINGS = st.builds(Settings, st.sampled_from([0.5, 2.0, 4.0]), st.sampled_from([1.0, 3.0, 10.0]), st.booleans())


def inputs_of(pair, seed, many=40):
    """Unit input vectors of every module, (many, d_in), task's and domain's: each kind has directions that it prefers."""
    found = {}
    for i, name in enumerate(pair.names):
        width = next(m for m in pair.both(name) if m is not None).layer_size[1]
        draw = torch.Generator().manual_seed(seed + i)
        liked = torch.randn(2, 1, width, generator=draw, dtype=torch.float64).abs() + 0.3
        x = torch.randn(2, many, width, generator=draw, dtype=torch.float64) * liked
        found[name] = x / x.norm(dim=2, keepdim=True)
    return found


def codes(pair, name, known):
    """[A_T; A_D] with zero rows where a module lacks columns, (k, d_in)."""
    stack = stacked([pair.both(name)], known.space.rank_task, torch.float64)
    wide = torch.zeros(known.space.rank, stack.down.shape[2], dtype=torch.float64)
    wide[stack.columns] = stack.down[0]
    return wide


def moments_of(pair, known, inputs):
    """E[z z^T] of every module, as a probe would have it."""
    z = [torch.stack([inputs[name][side] @ codes(pair, name, known).mT for name in pair.names]) for side in (0, 1)]
    return BothMoments(*(one.mT @ one / one.shape[1] for one in z))


def by_regression(pair, known, inputs, settings, protected=(1.0, 1.0)):
    """(task's, domain's) dense update of every module: least squares on the inputs themselves."""
    responses, found = [], {}
    for name in pair.names:  # mean square of what an adapter says, and what it says of an input without a direction
        responses.append([
            (inputs[name][a] @ delta.mT).square().sum(1).mean() / (delta.square().sum() / delta.shape[1])
            if delta.any() else torch.tensor(torch.nan, dtype=torch.float64)
            for a, delta in enumerate(deltas(pair, name))
        ])  # fmt: skip
    typical = torch.tensor(responses).nanmedian(0).values.nan_to_num(1.0)
    for name in pair.names:
        both = deltas(pair, name)
        found[name] = [
            _one(both[a], both[1 - a], inputs[name][a], inputs[name][1 - a], codes(pair, name, known),
                 settings, float(typical[a]), protected[1 - a])
            for a in (0, 1)
        ]  # fmt: skip
    return found


def _one(delta, partner, mine, theirs, down, settings, typical, protected):
    if not delta.any() or not partner.any() or not protected:
        return delta
    any_input = torch.eye(delta.shape[1], dtype=torch.float64) / delta.shape[1] ** 0.5  # rows whose moment is I / d_in
    weight = [
        (protected / len(theirs)) ** 0.5,
        (settings.own_weight / len(mine)) ** 0.5,
        (settings.ridge * typical) ** 0.5,
    ]
    rows = torch.cat([weight[0] * theirs, weight[1] * mine, weight[2] * any_input]) @ down.mT
    says = torch.cat([0 * theirs @ delta.mT, weight[1] * mine @ delta.mT, weight[2] * any_input @ delta.mT])
    new = (torch.linalg.pinv(rows, rtol=1e-9) @ says).mT @ down
    if settings.whole:
        kept = ((mine @ new.mT) * (mine @ delta.mT)).sum() / (mine @ delta.mT).square().sum()
        new = new / kept.clamp(0.5, 1.0)
    return new


def in_full(pair, known, mix, i):
    stack = stacked([pair.both(pair.names[i])], known.space.rank_task, torch.float64)
    here = torch.tensor(stack.columns)
    return stack.up[0] @ mix[i][here[:, None], here] @ stack.down[0]


ONES = torch.ones(1, 2, dtype=torch.float64)


@given(pairs(kinds=("full", "zero up", "repeated")), st.integers(0, 2**31), SETTINGS)
def test_it_is_the_regression_solved_in_full_width(pair, seed, settings):
    known, inputs = analysis(pair), inputs_of(pair, seed)
    mix = separate(known.space, moments_of(pair, known, inputs), settings).mix(
        known.space, ONES.expand(len(pair.names), 2)
    )
    want = by_regression(pair, known, inputs, settings)
    for i, name in enumerate(pair.names):
        near(in_full(pair, known, mix, i), sum(want[name]), sizes_of(pair, name) or 1.0, rounding=1e-6)


@given(pairs(kinds=("full",)), st.integers(0, 2**31), st.sampled_from([0.0, 0.25, 2.0]))
def test_who_is_protected_counts_as_much_as_it_speaks(pair, seed, protected):
    known, inputs, settings = analysis(pair), inputs_of(pair, seed), Settings()
    weights = torch.tensor([[1.0, protected]], dtype=torch.float64).expand(len(pair.names), 2)
    found = separate(known.space, moments_of(pair, known, inputs), settings, weights)
    want = by_regression(pair, known, inputs, settings, (1.0, protected))
    for i, name in enumerate(pair.names):
        mix = found.mix(known.space, weights)
        near(in_full(pair, known, mix, i), want[name][0] + protected * want[name][1],
             (1 + protected) * sizes_of(pair, name), rounding=1e-6)  # fmt: skip


def test_a_partner_that_does_not_speak_leaves_the_adapter_exactly_as_it_is():
    task = [lora(name_of(i), i, 12, 9, 3) for i in range(3)]
    domain = [
        lora(name_of(0), 7, 12, 9, 2),
        lora(name_of(1), 8, 12, 9, 2, kind="zero up"),
    ]  # present, untrained, absent
    pair = pair_of(task, domain)
    known = analysis(pair)
    moments = moments_of(pair, known, inputs_of(pair, 1))
    silent = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    through = separate(known.space, moments, Settings(), silent).through
    assert torch.equal(through[:, :3], torch.eye(5, dtype=torch.float64)[:3].expand(3, 3, 5))
    apart = separate(known.space, moments, Settings()).through
    assert not torch.equal(apart[0, :3], through[0, :3]) and torch.equal(apart[1:, :3], through[1:, :3])


def test_a_large_ridge_is_the_plain_sum():
    pair = pair_of([lora(name_of(0), 1, 12, 9, 3)], [lora(name_of(0), 2, 12, 9, 2)])
    known = analysis(pair)
    moments = moments_of(pair, known, inputs_of(pair, 1))
    far = [
        float((separate(known.space, moments, Settings(ridge, 3.0, False)).through[0] - torch.eye(5)).norm())
        for ridge in (1.0, 1e3, 1e6)
    ]
    assert far[0] > 0.1 and far[1] < far[0] / 50 and far[2] == pytest.approx(far[1] / 1e3, rel=0.1)


def test_each_says_more_on_its_own_inputs_than_on_the_others():
    """The point of it: two adapters that both answer to both kinds of inputs, x1 and x2, are told apart by their codes."""
    down = torch.eye(2)
    task = LoraModule(name_of(0), torch.tensor([[1.0, 1.0], [0.0, 0.0]]), down, 1.0)
    domain = LoraModule(name_of(0), torch.tensor([[0.0, 0.0], [1.0, 1.0]]), down, 1.0)
    pair = pair_of([task], [domain])
    known = analysis(pair)
    x = {name_of(0): torch.eye(2, dtype=torch.float64)[:, None]}  # task inputs are x1, domain inputs x2
    found = separate(known.space, moments_of(pair, known, x), Settings(0.01, 1.0, True))
    out = in_full(pair, known, found.mix(known.space, ONES), 0)
    near(out, torch.eye(2, dtype=torch.float64), rounding=0.02)


@given(st.integers(0, 2**31), st.sampled_from(["up", "down", "scale"]), st.sampled_from([-6, 1, 9]), st.booleans())
def test_the_size_of_an_adapter_changes_no_bit(seed, where, power, whole):
    pair = pair_of(
        [lora(name_of(i), seed % 99 + i, 12, 9, 3) for i in range(2)],
        [lora(name_of(i), 50 + i, 12, 9, 2) for i in range(2)],
    )
    before, after = (_through(one, seed, Settings(2.0, 3.0, whole)) for one in (pair, louder(pair, where, 2.0**power)))
    # what is compared is the update that comes out of it: codes grow with A, and their rows shrink alike
    shift = (
        torch.tensor([2.0**power] * 3 + [1.0] * 2, dtype=torch.float64) if where == "down" else torch.ones(5).double()
    )
    assert torch.equal(after * shift, before * shift[:, None])


@given(st.integers(0, 2**31), st.sampled_from(["up", "down", "scale"]), st.floats(-3, 3))
def test_any_size_of_an_adapter_gives_the_same_but_for_rounding(seed, where, power):
    pair = pair_of([lora(name_of(0), seed % 99, 12, 9, 3)], [lora(name_of(0), 50, 12, 9, 2)])
    size = 10.0**power
    before, after = (_through(one, seed, Settings()) for one in (pair, louder(pair, where, size)))
    shift = torch.tensor([size] * 3 + [1.0] * 2, dtype=torch.float64) if where == "down" else torch.ones(5).double()
    torch.testing.assert_close(after * shift / shift[:, None], before, rtol=1e-5, atol=1e-5)


def louder(pair, where, size):
    modules = {
        name: replace(m, **{where: getattr(m, where) * size}) for name, m in pair.task.modules.items()
    }  # fmt: skip
    return Pair(replace(pair.task, modules=modules), pair.domain)


def _through(pair, seed, settings):
    known = analysis(pair)
    return separate(known.space, moments_of(pair, known, inputs_of(pair, seed)), settings).through


def test_moments_as_readings_keep_them_are_taken_and_invented_ones_refused():
    """Rounded to float32 they may have lost what makes them moments: eight codes of three numbers are singular."""
    pair = pair_of([lora(name_of(0), 1, 12, 3, 4)], [lora(name_of(0), 2, 12, 3, 4)])
    known, inputs = analysis(pair), inputs_of(pair, 3)
    exact = moments_of(pair, known, inputs)
    rounded = BothMoments(*(moment.float().double() for moment in exact))
    one, other = (
        in_full(pair, known, separate(known.space, m, Settings()).mix(known.space, ONES), 0) for m in (exact, rounded)
    )
    near(one, other, sizes_of(pair, name_of(0)), rounding=1e-4)
    with pytest.raises(MismatchError, match="no inputs give"):
        separate(known.space, BothMoments(exact.task - 9 * torch.eye(8), exact.domain), Settings())


def test_a_pair_that_factors_to_nothing_is_no_error():
    pair = pair_of([lora(name_of(0), 1, 4, 3, 2, kind="zero up")], [lora(name_of(0), 2, 4, 3, 2, kind="zero up")])
    space = factor(pair)
    nothing = torch.zeros(1, 4, 4, dtype=torch.float64)
    assert torch.equal(
        separate(space, BothMoments(nothing, nothing), Settings()).through[0], torch.eye(4, dtype=torch.float64)
    )


def test_inputs_are_told_apart_by_the_share_of_each_direction():
    """Direction 1 is seen three times as often on task inputs, direction 2 on neither more, direction 3 on domain inputs alone:
    (.5 + 0 + 1) / 3."""
    task, domain = (torch.diag(torch.tensor(one).double())[None] for one in ([3.0, 2.0, 0.0], [1.0, 2.0, 5.0]))
    moments = BothMoments(task, domain)
    assert distinguishable(moments).tolist() == pytest.approx([0.5])
    assert distinguishable(BothMoments(moments.task, moments.task)).tolist() == pytest.approx([0.0])
    assert distinguishable(BothMoments(torch.zeros(1, 2, 2).double(), torch.zeros(1, 2, 2).double())).tolist() == [0.0]
