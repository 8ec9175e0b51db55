"""Intervals, paired tests and rank correlation, without scipy. Unknown is None, never 0; randomness takes a Generator."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
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


def resamples(n: int, draws: int, generator: torch.Generator) -> Float[Tensor, "draws n"]:
    """How often each of n things is drawn in ``draws`` bootstrap samples of size n."""
    picks = torch.randint(n, (draws, n), generator=generator)
    return torch.zeros(draws, n).scatter_add_(1, picks, torch.ones(draws, n))


def percentiles(draws: list[float]) -> Interval | None:
    """The middle 95 % of bootstrap values; None if there are none."""
    if not draws:
        return None
    low, high = torch.tensor(draws, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return Interval(float(low), float(high))
