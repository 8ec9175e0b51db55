"""Is one variant better than another? Paired, on the same items of every side, by two measures at once.

right  how many items only one of the two answered rightly (exact McNemar, all sides pooled)
gold   by how much one of them finds the right answers likelier, in nats an item (sign flips; a side counts as a side,
       however many items it has). On sets of a few hundred items about three times as sensitive.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tada_studio.core import stats

#: Below this a corrected p is called a difference.
LEVEL = 0.05
#: Resamples of a comparison.
DRAWS = 4000


class Answers(NamedTuple):
    """One variant on one side's items: which it got right (None: nothing to get right), and how likely it found the truth.

    gold: log-likelihood of each right answer, in nats
    """

    right: Bool[Tensor, " n"] | None
    gold: Float[Tensor, " n"]


class Comparison(NamedTuple):
    """The first variant against the second, on n items.

    won, lost:  items that only the first, only the second got right; p_right: exact McNemar
    gain:       mean over sides of the mean gain in log-likelihood; low, high: its 95 % bootstrap interval
    p_gold:     two-sided p by sign flips
    needed:     about how many items would show a gain of this size four times in five; None if there is none to show
    """

    n: int
    won: int
    lost: int
    p_right: float
    gain: float
    low: float
    high: float
    p_gold: float
    needed: int | None


def compare(first: Sequence[Answers], second: Sequence[Answers], generator: torch.Generator) -> Comparison:
    """Both variants' answers, side by side, to the same items in the same order; every side has at least one."""
    pairs = list(zip(first, second, strict=True))
    known = [(a.right, b.right) for a, b in pairs if a.right is not None and b.right is not None]
    won, lost = sum(int((a & ~b).sum()) for a, b in known), sum(int((b & ~a).sum()) for a, b in known)
    gains = [a.gold.double() - b.gold.double() for a, b in pairs]
    n, gain = sum(map(len, gains)), stats.mean_of_sides(gains)
    draws = torch.stack([stats.redrawn_means(side, generator, DRAWS) for side in gains]).mean(0)
    band, p_gold = stats.percentiles(draws.tolist()), stats.flipped_p(gains, generator)
    assert band is not None
    needed = stats.mean_needed(n, gain, float(draws.std()))
    return Comparison(n, won, lost, stats.mcnemar(won, lost), gain, *band, p_gold, needed)


def verdicts(comparisons: Sequence[Comparison]) -> list[str]:
    """ "better", "worse", "mixed" or "cannot tell" for each, Holm-corrected over both measures of all of them.

    "better" takes one measure that says so and none that says the opposite.
    """
    corrected = stats.holm([p for one in comparisons for p in (one.p_right, one.p_gold)])
    found = []
    for one, p_right, p_gold in zip(comparisons, corrected[::2], corrected[1::2], strict=True):
        signs = {
            math.copysign(1, size)
            for size, p in ((one.won - one.lost, p_right), (one.gain, p_gold))
            if p < LEVEL and size
        }
        found.append("cannot tell" if not signs else "mixed" if len(signs) > 1 else "better" if 1 in signs else "worse")
    return found
