"""Intervals, paired tests and rank correlation, without scipy. Unknown is None, never 0; randomness takes a Generator."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

_Z95 = 1.959963984540054  # two-sided 95 % point of the standard normal


class Interval(NamedTuple):
    low: float
    high: float


def wilson(hits: int, n: int) -> Interval | None:
    """95 % interval of a proportion (Wilson 1927), which stays inside [0, 1]; None without observations."""
    if n == 0:
        return None
    share, z2 = hits / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p of the paired test: are items that only one of two got right split evenly? 1.0 if there are none."""
    n = only_first + only_second
    tail = sum(math.comb(n, i) for i in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**n)


def paired_p(first: Bool[Tensor, " n"], second: Bool[Tensor, " n"]) -> float:
    """``mcnemar`` of two answers to the same n items."""
    return mcnemar(int((first & ~second).sum()), int((second & ~first).sum()))


def holm(p_values: list[float]) -> list[float]:
    """p values corrected for their number (Holm 1979): each may be compared with the same level."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, worst = [0.0] * len(p_values), 0.0
    for step, i in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - step) * p_values[i]))
        corrected[i] = worst
    return corrected


def items_needed(won: int, lost: int, n: int, level: float = 0.05, power: float = 0.8) -> int | None:
    """About how many items would tell two variants apart, if they go on to differ as on these n; None if they do not differ.

    For the paired test at ``level`` to succeed with probability ``power`` (Connor 1987): with the shares d of items that differ
    and e = (won - lost) / n, m = (z_level sqrt(d) + z_power sqrt(d - e^2))^2 / e^2.
    """
    if won == lost:
        return None
    differ, effect = (won + lost) / n, (won - lost) / n
    spread = _quantile(1 - level / 2) * math.sqrt(differ) + _quantile(power) * math.sqrt(max(0.0, differ - effect**2))
    return math.ceil((spread / effect) ** 2)


#: Sign flips of a paired test.
FLIPS = 4000


def flipped_p(sides: Sequence[Float64[Tensor, " _"]], generator: torch.Generator, flips: int = FLIPS) -> float:
    """Two-sided p that paired differences have no direction, from random flips of their signs; 1.0 where there are none.

    A side counts as a side, however many items it has. Counts the data themselves as one of the flips (Phipson and Smyth 2010),
    so it is never 0.
    """
    sides = [side for side in sides if len(side)]
    if not sides:
        return 1.0
    flipped = torch.zeros(flips, dtype=torch.float64)
    for side in sides:
        signs = torch.randint(2, (flips, len(side)), generator=generator).double() * 2 - 1
        flipped += signs @ side / (len(side) * len(sides))
    seen = abs(mean_of_sides(sides)) * (
        1 - 1e-12
    )  # a flip that gives the same number must count, however it was rounded
    return float(((flipped.abs() >= seen).sum() + 1) / (flips + 1))


def mean_of_sides(sides: Sequence[Float64[Tensor, " _"]]) -> float:
    """The mean of the sides' means."""
    return sum(float(side.mean()) for side in sides) / len(sides)


def mean_needed(n: int, mean: float, error: float, level: float = 0.05, power: float = 0.8) -> int | None:
    """About how many items would tell such a mean difference from 0, whose standard error on n items is ``error``; None if it is
    0 or nothing varies."""
    if not error or not mean:
        return None
    return math.ceil(n * ((_quantile(1 - level / 2) + _quantile(power)) * error / mean) ** 2)


def standard_error(differences: Float[Tensor, " n"]) -> float:
    """Of the mean; 0.0 for fewer than two."""
    return float(differences.double().std()) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0


_quantile = NormalDist().inv_cdf


def bootstrap_mean(values: Float[Tensor, " n"], generator: torch.Generator, draws: int = 2000) -> Interval | None:
    """95 % bootstrap interval of the mean of n items, such as paired differences; None for fewer than two."""
    return None if len(values) < 2 else percentiles(redrawn_means(values, generator, draws).tolist())


def redrawn_means(values: Float[Tensor, " n"], generator: torch.Generator, draws: int) -> Float64[Tensor, " draws"]:
    """The mean of n items in each of so many bootstrap samples."""
    return resamples(len(values), draws, generator).double() @ values.double() / len(values)


def ranks(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Rank of each value from 0; equal values share the mean of their ranks."""
    _, inverse, counts = torch.unique(values.double(), return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() + 1) / 2)[inverse]


def spearman(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float | None:
    """Spearman's rank correlation; None for fewer than three points, or where one side does not vary."""
    if len(x) < 3:
        return None
    a, b = (r - r.mean() for r in (ranks(x), ranks(y)))
    scale = a.norm() * b.norm()
    return float(a @ b / scale) if scale > 0 else None


def spearman_rows(x: Float[Tensor, " n"], rows: Float[Tensor, "draws n"]) -> Float64[Tensor, " draws"]:
    """``spearman`` of x with each row; NaN where it is undefined."""
    ordered = rows.double().sort(1).values
    first, last = torch.searchsorted(ordered, rows.double()), torch.searchsorted(ordered, rows.double(), right=True)
    b = (first + last - 1) / 2
    a, b = ranks(x) - (len(x) - 1) / 2, b.double() - (len(x) - 1) / 2
    scale = a.norm() * b.norm(dim=1)
    return torch.where((scale > 0) & (len(x) >= 3), b @ a / scale, torch.nan)


def spearman_pairs(x: Float64[Tensor, "draws n"], y: Float64[Tensor, "draws n"]) -> Float64[Tensor, " draws"]:
    """``spearman`` of each row of x with that of y over the places where both are numbers; NaN where it is undefined."""
    there = ~(x.isnan() | y.isnan())
    a, b = (_centred_ranks(rows, there) for rows in (x, y))
    scale = a.norm(dim=1) * b.norm(dim=1)
    return torch.where((scale > 0) & (there.sum(1) >= 3), (a * b).sum(1) / scale, torch.nan)


def _centred_ranks(rows: Float64[Tensor, "draws n"], there: Bool[Tensor, "draws n"]) -> Float64[Tensor, "draws n"]:
    """Ranks within each row less their mean; 0 where nothing is there."""
    filled = torch.where(there, rows, torch.inf)  # sorts last, and so moves no rank
    ordered = filled.sort(1).values
    first, last = torch.searchsorted(ordered, filled), torch.searchsorted(ordered, filled, right=True)
    ranked = (first + last - 1).double() / 2
    return torch.where(there, ranked - (there.sum(1, keepdim=True) - 1) / 2, 0)


def resampled_blocks(n: int, length: int, draws: int, generator: torch.Generator) -> Int64[Tensor, "draws n"]:
    """Moving-block bootstrap (Kuensch 1989): which of n ordered things each draw takes, in runs of ``length`` neighbours."""
    starts = torch.randint(n - length + 1, (draws, -(-n // length)), generator=generator)
    return (starts[:, :, None] + torch.arange(length)).flatten(1)[:, :n]


def shuffled_order_p(
    sums: Float64[Tensor, " groups"], sizes: Float64[Tensor, " groups"], draws: int, generator: torch.Generator
) -> float:
    """Two-sided permutation p of a trend over ordered groups: how often a shuffled order shows one as steep.

    sums:  of the centred values in each group, in order
    sizes: how many values each group has
    """
    shuffled = torch.rand(draws, len(sums), generator=generator, dtype=torch.float64).argsort(1)
    place = torch.cat([torch.arange(len(sums))[None], shuffled]).double()
    place = place - (place * sizes).sum(1, keepdim=True) / sizes.sum()
    size = (place.square() * sizes).sum(1).sqrt()
    trend = (place @ sums / torch.where(size > 0, size, 1)).abs()
    return float((trend >= trend[0] * (1 - 1e-9)).double().mean())


def resamples(n: int, draws: int, generator: torch.Generator) -> Float[Tensor, "draws n"]:
    """How often each of n things is drawn in ``draws`` bootstrap samples of size n."""
    picks = torch.randint(n, (draws, n), generator=generator)
    return torch.zeros(draws, n).scatter_add_(1, picks, torch.ones(draws, n))


def percentiles(draws: list[float]) -> Interval | None:
    """The middle 95 % of bootstrap values; None if there are none."""
    if not draws:
        return None
    low, high = bands(torch.tensor(draws, dtype=torch.float64)).tolist()
    return Interval(low, high)


def bands(draws: Float64[Tensor, "draws ..."]) -> Float64[Tensor, "2 ..."]:
    """The middle 95 % of the bootstrap values of each number: (low, high)."""
    return draws.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
