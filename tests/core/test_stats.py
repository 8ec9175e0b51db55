"""Statistics against calculations by hand and closed forms."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tada_studio.core.stats import (
    Interval,
    bootstrap_mean,
    flipped_p,
    holm,
    items_needed,
    mcnemar,
    mean_needed,
    paired_p,
    percentiles,
    ranks,
    resamples,
    shuffled_order_p,
    spearman,
    spearman_rows,
    standard_error,
    wilson,
)

Z2 = 1.959963984540054**2  # 3.8415


def test_wilson_by_hand():
    # 8 of 10: centre (.8 + 3.8415 / 20) / (1 + .38415) = .99207 / 1.38415 = .71674
    # half width 1.95996 / 1.38415 * sqrt(.8 * .2 / 10 + 3.8415 / 400) = 1.41601 * sqrt(.025604) = .22658
    low, high = wilson(8, 10)
    assert (low, high) == pytest.approx((0.71674 - 0.22658, 0.71674 + 0.22658), abs=2e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_where_the_observed_share_is_just_196_standard_errors_away(observed):
    hits, n = observed
    interval = wilson(hits, n)
    assert 0 <= interval.low <= hits / n + 1e-12 and hits / n - 1e-12 <= interval.high <= 1
    for end in interval:
        if 1e-12 < end < 1 - 1e-12:
            assert (hits / n - end) ** 2 == pytest.approx(Z2 * end * (1 - end) / n, rel=1e-9, abs=1e-12)


def test_wilson_of_none_of_n_reaches_up_to_z2_over_n_plus_z2():
    assert wilson(0, 10) == pytest.approx((0, Z2 / (10 + Z2)))
    assert wilson(10, 10) == pytest.approx((10 / (10 + Z2), 1))


def test_unknown_is_none():
    assert wilson(0, 0) is None and percentiles([]) is None
    assert spearman(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])) is None
    assert spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([5.0, 5.0, 5.0])) is None


def test_mcnemar_by_hand():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 5) == mcnemar(5, 0) == 2 / 2**5
    assert mcnemar(1, 7) == 2 * (1 + 8) / 2**8
    assert mcnemar(2, 4) == 2 * (1 + 6 + 15) / 2**6


def test_paired_p_counts_only_the_items_on_which_the_two_differ():
    first = torch.tensor([1, 1, 0, 1, 1, 1, 1, 0], dtype=torch.bool)
    second = torch.tensor([1, 0, 1, 0, 0, 0, 1, 0], dtype=torch.bool)  # only first: 4, only second: 1
    assert paired_p(first, second) == mcnemar(4, 1) == 2 * (1 + 5) / 2**5


def test_items_needed_are_those_of_the_published_formula():
    # d = .15, e = .05: 468; d = .1: 311; d = .25, e = .1: 193 (Connor 1987, 80 % power, two-sided 5 %)
    assert abs(items_needed(20, 10, 200) - 469) <= 1
    assert abs(items_needed(15, 5, 200) - 311) <= 1
    assert abs(items_needed(35, 15, 200) - 194) <= 1
    assert items_needed(10, 20, 200) == items_needed(20, 10, 200)
    assert items_needed(7, 7, 50) is None and items_needed(0, 0, 50) is None
    assert items_needed(20, 10, 200, level=0.005) > 1.5 * items_needed(20, 10, 200)


def test_a_mean_difference_needs_items_by_its_standard_error():
    # differences 0, 1, 2: mean 1, standard error 1/sqrt 3; (1.95996 + .84162)^2 / 3 = 7.8489 / 3 times 3 items
    error = standard_error(torch.tensor([0.0, 1.0, 2.0]))
    assert error == pytest.approx(3**-0.5) and mean_needed(3, 1.0, error) == 8
    assert mean_needed(3, 1.0, error, level=0.005) > 8 and mean_needed(3, -1.0, error) == 8
    assert mean_needed(2, 0.0, 1.0) is None and mean_needed(2, 2.0, standard_error(torch.tensor([2.0]))) is None


def test_the_flipped_p_is_the_share_of_all_sign_patterns():
    sides = [torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64), torch.tensor([1.5, -0.5], dtype=torch.float64)]
    seen, count = abs(3.5 / 3 / 2 + 1 / 2 / 2), 0
    for signs in product((1, -1), repeat=5):
        a, b = torch.tensor(signs[:3]) * sides[0], torch.tensor(signs[3:]) * sides[1]
        count += abs(float(a.mean() + b.mean()) / 2) >= seen - 1e-12
    assert flipped_p(sides, torch.Generator().manual_seed(0)) == pytest.approx(count / 32, abs=0.025)
    nothing = torch.zeros(0, dtype=torch.float64)
    assert flipped_p([nothing], torch.Generator()) == 1.0 and flipped_p([], torch.Generator()) == 1.0
    assert flipped_p([*sides, nothing], torch.Generator().manual_seed(0)) == flipped_p(
        sides, torch.Generator().manual_seed(0)
    )
    assert flipped_p([torch.ones(40, dtype=torch.float64)], torch.Generator().manual_seed(0)) == pytest.approx(1 / 4001)


def test_the_bootstrap_of_a_mean_is_near_its_normal_interval_and_obeys_the_seed():
    values = torch.randn(400, generator=torch.Generator().manual_seed(3))
    low, high = bootstrap_mean(values, torch.Generator().manual_seed(0))
    half = 1.96 * float(values.std()) / 20
    assert low == pytest.approx(float(values.mean()) - half, abs=0.02)
    assert high == pytest.approx(float(values.mean()) + half, abs=0.02)
    assert (low, high) == bootstrap_mean(values, torch.Generator().manual_seed(0))
    assert bootstrap_mean(values[:1], torch.Generator()) is None


def test_holm_by_hand():
    # .01 * 3 = .03; .03 * 2 = .06; .04 * 1 = .04, but never below the one before
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_raises_every_p_keeps_their_order_and_stays_below_bonferroni(p):
    corrected = holm(p)
    for a, b in zip(p, corrected, strict=True):
        assert a <= b <= min(1.0, len(p) * a) + 1e-12
    assert [c for _, c in sorted(zip(p, corrected, strict=True))] == sorted(corrected)


def test_equal_values_share_the_mean_of_their_ranks():
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [3.0, 0.0, 3.0, 1.0, 3.0]
    assert ranks(torch.tensor([5.0, 5.0])).tolist() == [0.5, 0.5]


def test_spearman_by_hand():
    # d = 1, 1, 1, 1, 0: 1 - 6 * 4 / (5 * 24) = .8
    x = torch.tensor([1.0, 2, 3, 4, 5])
    assert spearman(x, torch.tensor([2.0, 1, 4, 3, 5])) == pytest.approx(0.8)
    # ranks (0, 1, 2) and (.5, .5, 2), centred (-1, 0, 1) and (-.5, -.5, 1): 1.5 / (sqrt 2 * sqrt 1.5) = sqrt(3) / 2
    assert spearman(torch.tensor([1.0, 2, 3]), torch.tensor([7.0, 7, 9])) == pytest.approx(math.sqrt(3) / 2)


@given(st.permutations(list(range(7))))
def test_spearman_without_ties_is_the_closed_form_and_sees_order_only(order):
    x, y = torch.arange(7.0), torch.tensor(order, dtype=torch.float64)
    closed = 1 - 6 * float((x - y).square().sum()) / (7 * 48)
    assert spearman(x.double(), y) == pytest.approx(closed)
    assert spearman(x.double().exp(), y**3) == pytest.approx(closed)
    assert spearman(x.double(), -y) == pytest.approx(-closed)


@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=5))
def test_spearman_of_many_rows_is_spearman_of_each_also_with_ties(rows):
    x, many = torch.tensor([0.0, 0, 1, 2, 2, 3]), torch.tensor(rows, dtype=torch.float64)
    each = [spearman(x, row) for row in many]
    assert spearman_rows(x, many).tolist() == pytest.approx([math.nan if r is None else r for r in each], nan_ok=True)


def test_a_trend_over_groups_is_compared_with_all_their_orders():
    """Of the 24 orders of four groups only the order itself and its mirror are as steep: p is 1 / 12 with many draws."""
    sums, sizes = torch.tensor([-3.0, -1, 1, 3]).double(), torch.ones(4).double()
    found = shuffled_order_p(sums, sizes, 4000, torch.Generator().manual_seed(0))
    assert found == pytest.approx(1 / 12, abs=0.015)
    assert shuffled_order_p(torch.zeros(4).double(), sizes, 50, torch.Generator().manual_seed(0)) == 1.0


def test_resamples_draw_n_things_with_replacement_by_the_seed():
    first, again, other = (resamples(9, 50, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == (50, 9) and torch.equal(first, again) and not torch.equal(first, other)
    assert (first.sum(1) == 9).all() and (first == first.round()).all() and first.max() > 1
    share_left_out = float((resamples(9, 4000, torch.Generator().manual_seed(0)) == 0).double().mean())
    assert share_left_out == pytest.approx((8 / 9) ** 9, abs=0.01)


def test_percentiles_are_the_middle_95_percent():
    assert percentiles([float(i) for i in range(1000, -1, -1)]) == pytest.approx(Interval(25.0, 975.0))
    assert percentiles([4.0]) == Interval(4.0, 4.0)
