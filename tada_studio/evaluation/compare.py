"""Is one variant better than another? Paired, on the same items of every side, by two measures at once: the one place that says.

right           how many items only one of the two answered rightly (exact McNemar, the items of all sides pooled)
log-likelihood  by how much one of them finds the right answers likelier, in nats an item (sign flips; a side counts as a side,
                however many items it has). On sets of a few hundred items about three times as sensitive.

Every comparison that is made together is corrected together, over both measures (Holm 1979). Evaluate, the command line, the model
card, the history and auto-tune all ask ``compared``; what they print of it is worded in ``report.scores``.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from tada_studio.core import stats
from tada_studio.evaluation.scores import Score

Sides = Mapping[str, Mapping[str, Score]]

#: Below this a corrected p is called a difference.
LEVEL = 0.05
#: Resamples, and sign flips, of a comparison.
DRAWS = 4000
#: Random numbers that are held in memory at once.
AT_ONCE = 4_000_000

BETTER, WORSE, MIXED, CANNOT_TELL = "better", "worse", "mixed", "cannot tell"


class Gain(NamedTuple):
    """Mean gain in the log-likelihood of the right answers, in nats an item, with its 95 % bootstrap interval.

    low, high: None where a side has a single item, of which nothing can be drawn
    """

    mean: float
    low: float | None
    high: float | None


class OnSide(NamedTuple):
    """What the comparison is on one side. won, lost: None where nothing is right or wrong; gain: None without likelihoods.

    free_won, free_lost: the same of answers given without choices to take one from; shown, not tested
    """

    won: int | None
    lost: int | None
    gain: Gain | None
    free_won: int | None = None
    free_lost: int | None = None


class Comparison(NamedTuple):
    """One variant against another.

    word:   "better", "worse", "mixed" (better by one measure and worse by the other) or "cannot tell"
    n:      items of all sides
    won, lost: items that only the variant, only the other got right; p_right: exact McNemar, corrected. None where nothing is right
            or wrong
    gain:   mean over the sides; p_gold: by sign flips, corrected. None where no side has likelihoods
    needed: about how many items would show a difference of this size four times in five, by the measure that needs fewer; None
            if there is none to show, or these are enough by that estimate
    """

    variant: str
    against: str
    word: str
    n: int
    won: int | None
    lost: int | None
    p_right: float | None
    gain: Gain | None
    p_gold: float | None
    needed: int | None
    sides: Mapping[str, OnSide]


def compared(sides: Sides, variant: str | None = None) -> list[Comparison]:
    """The variant (None: the last one) against each other that was scored on the same sides, in order; [] without two of them."""
    names = complete(sides)
    variant = names[-1] if variant is None and names else variant
    others = [name for name in names if name != variant]
    if variant not in names or not others:
        return []
    by_side = {
        side: _on_side(side, scores[variant], [scores[name] for name in others]) for side, scores in sides.items()
    }
    pooled = [_pooled({side: found[i] for side, found in by_side.items()}) for i in range(len(others))]
    tests = [p for evidence in pooled for p in (evidence.p_right, evidence.p_gold) if p is not None]
    corrected = iter(stats.holm(tests))
    level = LEVEL / max(1, len(tests))
    return [_judged(variant, name, one, corrected, level) for name, one in zip(others, pooled, strict=True)]


def complete(sides: Sides) -> list[str]:
    """The variants that were scored on every side, in order."""
    names = dict.fromkeys(name for scores in sides.values() for name in scores)
    return [name for name in names if all(name in scores for scores in sides.values())]


# -- one side --------------------------------------------------------------------------------------------------------


class _Side(NamedTuple):
    """Two variants on one side. gains: (n,) nats an item; flipped, redrawn: their mean under sign flips and resampling."""

    n: int
    won: int | None
    lost: int | None
    gains: Float64[Tensor, " n"] | None
    flipped: Float64[Tensor, " draws"] | None
    redrawn: Float64[Tensor, " draws"] | None
    free: tuple[int | None, int | None]

    @property
    def shown(self) -> OnSide:
        return OnSide(self.won, self.lost, _gain([self]), *self.free)


def _on_side(name: str, first: Score, others: Sequence[Score]) -> list[_Side]:
    """A variant against each other one. All pairs meet the same random draws, which are made once."""
    gains = [_gains(first, other) for other in others]
    known = [one for one in gains if one is not None]
    drawn = zip(*_drawn(torch.stack(known), name), strict=True) if known else iter(())
    found = []
    for other, one in zip(others, gains, strict=True):
        flipped, redrawn = next(drawn) if one is not None else (None, None)
        free = _flips(first.free, other.free)
        found.append(_Side(first.n, *_flips(first.correct, other.correct), one, flipped, redrawn, free))
    return found


def _flips(first: Bool[Tensor, " n"] | None, second: Bool[Tensor, " n"] | None) -> tuple[int | None, int | None]:
    """How many items only the first, and only the second got right."""
    if first is None or second is None:
        return None, None
    return int((first & ~second).sum()), int((second & ~first).sum())


def _gains(first: Score, second: Score) -> Float64[Tensor, " n"] | None:
    """By how many nats an item the first finds the right answers likelier. A score's ``gold`` is a loss: -log p."""
    if first.gold is None or second.gold is None or not first.n:
        return None
    return second.gold.double() - first.gold.double()


def _drawn(
    gains: Float64[Tensor, "pairs n"], side: str
) -> tuple[Float64[Tensor, "pairs draws"], Float64[Tensor, "pairs draws"]]:
    """Means of the gains under random sign flips, and of bootstrap samples; drawn by the side's name, in bounded memory."""
    n = gains.shape[1]
    seed = int.from_bytes(hashlib.sha256(side.encode("utf-8", "replace")).digest()[:4], "big")
    generator, rows = torch.Generator().manual_seed(seed), max(1, AT_ONCE // n)
    flipped, redrawn = [], []
    for count in [min(rows, DRAWS - start) for start in range(0, DRAWS, rows)]:
        signs = torch.randint(2, (count, n), generator=generator, dtype=torch.int8).double() * 2 - 1
        flipped.append(gains @ signs.mT / n)
        redrawn.append(gains @ stats.resamples(n, count, generator).double().mT / n)
    return torch.cat(flipped, 1), torch.cat(redrawn, 1)


# -- all sides -------------------------------------------------------------------------------------------------------


class _Evidence(NamedTuple):
    """Two variants on all sides, before any correction. needed: items by each measure at a level, None where nobody knows."""

    sides: Mapping[str, _Side]
    won: int | None
    lost: int | None
    p_right: float | None
    gain: Gain | None
    p_gold: float | None

    def needed(self, level: float) -> int | None:
        n = sum(side.n for side in self.sides.values())
        counts = []
        if self.won is not None and self.lost is not None:
            total = sum(side.n for side in self.sides.values() if side.won is not None)
            counts.append(stats.items_needed(self.won, self.lost, total, level))
        if self.gain is not None:
            known = [side for side in self.sides.values() if side.redrawn is not None]
            error = float(_mean_of([side.redrawn for side in known]).std())
            counts.append(stats.mean_needed(sum(side.n for side in known), self.gain.mean, error, level))
        least = min((count for count in counts if count is not None), default=0)
        return least if least > n else None


def _pooled(sides: Mapping[str, _Side]) -> _Evidence:
    judged = [side for side in sides.values() if side.won is not None]
    won, lost = (sum(getattr(side, name) for side in judged) if judged else None for name in ("won", "lost"))
    p_right = None if won is None or lost is None else stats.mcnemar(won, lost)
    gain, p_gold = _gain(list(sides.values())), None
    if gain is not None:
        flipped = _mean_of([side.flipped for side in sides.values()])
        # the data count as one of the flips (Phipson and Smyth 2010), so that p is never 0; the last digit is rounding
        p_gold = float(((flipped.abs() >= abs(gain.mean) * (1 - 1e-12)).sum() + 1) / (len(flipped) + 1))
    return _Evidence(sides, won, lost, p_right, gain, p_gold)


def _gain(sides: Sequence[_Side]) -> Gain | None:
    """The mean over the sides that know likelihoods."""
    gains = [side.gains for side in sides if side.gains is not None]
    if not gains:
        return None
    band = stats.percentiles(_mean_of([side.redrawn for side in sides]).tolist())
    enough = band is not None and min(map(len, gains)) > 1
    return Gain(stats.mean_of_sides(gains), *(band if band and enough else (None, None)))


def _mean_of(draws: Sequence[Tensor | None]) -> Tensor:
    return torch.stack([one for one in draws if one is not None]).mean(0)


def _judged(variant: str, against: str, found: _Evidence, corrected: Iterator[float], level: float) -> Comparison:
    """With the corrected p's, which are taken in order."""
    p_right, p_gold = (None if p is None else next(corrected) for p in (found.p_right, found.p_gold))
    balance, gain = (found.won or 0) - (found.lost or 0), found.gain.mean if found.gain else 0.0
    return Comparison(
        variant, against, word(balance, p_right, gain, p_gold), sum(side.n for side in found.sides.values()),
        found.won, found.lost, p_right, found.gain, p_gold, found.needed(level),
        {name: side.shown for name, side in found.sides.items()},
    )  # fmt: skip


def word(balance: int, p_right: float | None, gain: float, p_gold: float | None) -> str:
    """What two corrected p's allow to say. It takes one measure that says so and none that says the opposite."""
    measures = ((balance, p_right), (gain, p_gold))
    signs = {math.copysign(1, size) for size, p in measures if p is not None and p < LEVEL and size}
    if not signs:
        return CANNOT_TELL
    return MIXED if len(signs) > 1 else BETTER if 1 in signs else WORSE


# -- one variant's accuracy against another's, side by side ----------------------------------------------------------


class AccuracyChange(NamedTuple):
    """How much more of a side's items a variant answers rightly than ``against``: a share, with its 95 % bootstrap interval."""

    side: str
    against: str
    share: float
    low: float | None
    high: float | None


def accuracy_changes(sides: Sides, variant: str, against: str) -> list[AccuracyChange]:
    """On every side where both are known; [] for a variant against itself."""
    found = []
    for side, scores in sides.items():
        mine, theirs = (scores[name].correct if name in scores else None for name in (variant, against))
        if mine is not None and theirs is not None and variant != against:
            gains = mine.double() - theirs.double()
            band = stats.bootstrap_mean(gains, torch.Generator().manual_seed(0)) or (None, None)
            found.append(AccuracyChange(side, against, float(gains.mean()), *band))
    return found
