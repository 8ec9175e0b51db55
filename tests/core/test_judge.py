"""The paired verdict: by hand on small numbers, and its errors at their nominal rate on data without a difference."""

import pytest
import torch

from tada_studio.core.stats import flipped_p
from tada_studio.evaluation.compare import Answers, Comparison, compare, verdicts


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def answers(right, gold):
    return Answers(torch.tensor(right, dtype=torch.bool), torch.tensor(gold, dtype=torch.float64))


def test_counts_and_gain_by_hand_and_a_side_counts_as_a_side():
    # side one: +1, 0, -1 won on 0, lost on 2; gains 2, 0, 1 -> mean 1; side two: one item, gain 4 -> mean of sides 2.5
    first = [answers([1, 1, 0], [-1.0, -1.0, -1.0]), answers([1], [-1.0])]
    second = [answers([0, 1, 1], [-3.0, -1.0, -2.0]), answers([0], [-5.0])]
    found = compare(first, second, generator())
    assert (found.n, found.won, found.lost) == (4, 2, 1) and found.p_right == 1.0
    assert found.gain == pytest.approx(2.5) and found.low <= 2.5 <= found.high
    back = compare(second, first, generator())
    assert (back.won, back.lost, back.gain) == (1, 2, pytest.approx(-2.5))


def test_without_a_difference_five_in_a_hundred_are_called_one():
    dice = generator(1)
    p = [flipped_p([torch.randn(40, generator=dice, dtype=torch.float64)], dice) for _ in range(300)]
    assert 0.02 < sum(value < 0.05 for value in p) / 300 < 0.09  # 3 standard errors are .038
    same = [answers([1, 0], [-1.0, -2.0])]
    alike = compare(same, same, generator())
    assert (alike.p_right, alike.p_gold, alike.gain, alike.needed) == (1.0, 1.0, 0.0, None)


def test_the_needed_number_would_show_a_gain_of_that_size():
    # gains of mean .2 and spread 1: (2.80 / .2)^2 = 196 items are needed, whatever the sample
    gains = torch.randn(4000, generator=generator(2), dtype=torch.float64)
    gains = (gains - gains.mean()) / gains.std() + 0.2
    right = torch.zeros(4000, dtype=torch.bool)
    found = compare([Answers(right, gains)], [Answers(right, torch.zeros_like(gains))], generator())
    assert found.needed == pytest.approx(196, rel=0.08)


def told(p_right, p_gold, won=5, lost=1, gain=0.1):
    return Comparison(100, won, lost, p_right, gain, 0.0, 0.2, p_gold, 50)


def test_the_words_need_one_measure_that_says_so_and_none_that_says_the_opposite():
    assert verdicts([told(0.9, 0.001)]) == ["better"]
    assert verdicts([told(0.9, 0.001, gain=-0.1)]) == ["worse"]
    assert verdicts([told(0.001, 0.9, gain=-0.1)]) == ["better"]
    assert verdicts([told(0.001, 0.001, gain=-0.1)]) == ["mixed"]
    assert verdicts([told(0.9, 0.03)]) == ["cannot tell"]  # corrected for two measures: .06
    assert verdicts([told(0.9, 0.02), told(0.9, 0.02)]) == ["cannot tell"] * 2  # for four: .08
    assert verdicts([told(0.9, 0.01), told(0.9, 0.001)]) == ["better", "better"]
