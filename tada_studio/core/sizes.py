"""How large things are: energy kept against rank, norms by layer, and what a merge has of either adapter.

Energy is a squared Frobenius norm: the sum of squared singular values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from tada_studio.addresses import Address, rows_of
from tada_studio.core.factor import CoreSpace
from tada_studio.core.merge import Merged
from tada_studio.core.mix import Mix, balance_levels
from tada_studio.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Ranks:
    """What each rank keeps of a merge; entry i is rank i + 1.

    everywhere: share of the whole merge's energy
    worst:      the smallest share of any module
    worst_row:  which module that is at each rank
    """

    everywhere: Float64[Tensor, " k"]
    worst: Float64[Tensor, " k"]
    worst_row: tuple[int, ...]

    def at(self, rank: int) -> tuple[float, float, int]:
        """(everywhere, worst, worst_row) at a rank; beyond the last one everything is kept, as there."""
        i = min(rank, len(self.everywhere)) - 1
        return float(self.everywhere[i]), float(self.worst[i]), self.worst_row[i]

    def smallest(self, share: float) -> int:
        """The smallest rank that keeps this share of the whole merge."""
        return int((self.everywhere < share).sum()) + 1


def ranks(spectrum: Float64[Tensor, "n k"], energy: Float64[Tensor, " n"] | None = None) -> Ranks:
    """Energy kept against rank, from the singular values of every module, strongest first.

    energy: of each whole update, where the singular values are only the leading ones (``Merged.energy``)
    """
    kept = spectrum.square().cumsum(1)
    whole = kept[:, -1:] if energy is None else energy[:, None].clamp_min(0)
    shares = torch.where(whole > 0, kept / whole, 1.0)
    worst, rows = shares.min(0)
    total = whole.sum()
    everywhere = kept.sum(0) / total if total > 0 else torch.ones_like(kept[0])
    return Ranks(everywhere.clamp_max(1.0), worst, tuple(rows.tolist()))


@dataclass(frozen=True, eq=False)
class Norms:
    """Frobenius norms of the two updates by layer, tower by tower: columns are task and domain.

    before, after: without and with the recipe's balance; whole_before, whole_after: over all layers
    """

    layers: tuple[int, ...]
    before: Float64[Tensor, "layers 2"]
    after: Float64[Tensor, "layers 2"]
    whole_before: tuple[float, float]
    whole_after: tuple[float, float]
    towers: tuple[str, ...]


def norms(space: CoreSpace, places: Sequence[Address], recipe: Recipe) -> Norms:
    """Who is louder, by layer. ``places``: of each of the n modules."""
    rows = rows_of(places)
    place_of = {row: i for i, row in enumerate(rows)}
    squares = torch.zeros(len(rows), 2, dtype=torch.float64)
    row_of = torch.tensor([place_of[place.tower, place.layer] for place in places])
    squares.index_add_(0, row_of, space.squared_norms)
    before, levels = squares.sqrt(), balance_levels(space, recipe)
    task, domain = squares.sum(0).sqrt().tolist()
    whole_after = task * float(levels[0]), domain * float(levels[1])
    layers = tuple(layer for _, layer in rows)
    return Norms(layers, before, before * levels, (task, domain), whole_after, tuple(tower for tower, _ in rows))


def contributions(space: CoreSpace, merged: Merged) -> Float64[Tensor, "n 2"] | None:
    """How much of each merged update's energy comes from the task's and from the domain's part of the mix: they sum to 1.

    ``<dW, part_a> / |dW|^2``, where part_a is what goes out through adapter a's B: below 0 for an adapter that the merge, all in
    all, runs against. NaN where the merge is zero; None for a method whose result is no sum of two parts.
    """
    if not isinstance(merged.how, Mix):
        return None
    rows = (merged.how.mix * merged.meets(space)).sum(2)
    parts = torch.stack([rows[:, : space.rank_task].sum(1), rows[:, space.rank_task :].sum(1)], 1)
    whole = parts.sum(1, keepdim=True)
    return torch.where(whole > 0, parts / whole, torch.nan)


@dataclass(frozen=True, eq=False)
class ThreeWay:
    """Task, domain and merged update of some modules: how large each is, and how alike two of them are.

    norms:   of the task's, the domain's and the merged update
    cosines: task with domain, task with merged, domain with merged; NaN where one of the two is zero
    """

    norms: Float64[Tensor, "m 3"]
    cosines: Float64[Tensor, "m 3"]


def three_way(space: CoreSpace, merged: Merged, rows: Sequence[int]) -> ThreeWay:
    """The three updates of the modules at ``rows``, all inner products taken in core space."""
    some = list(rows)
    task = torch.arange(space.rank) < space.rank_task
    scale, met = space.scale[some], merged.meets(space)[some]
    weighted = space.gram_up[some] * space.gram_down[some] * scale[:, :, None] * scale[:, None, :]
    shares = torch.stack([task, ~task]).double()
    with_each = torch.einsum("sk,mk->ms", shares, torch.diagonal(met, dim1=1, dim2=2) * scale)
    inner = torch.zeros(len(some), 3, 3, dtype=torch.float64)
    inner[:, :2, :2] = shares @ weighted @ shares.mT
    inner[:, :2, 2] = inner[:, 2, :2] = with_each
    inner[:, 2, 2] = merged.spectrum[some, : merged.rank].square().sum(1)
    sizes = torch.diagonal(inner, dim1=1, dim2=2).clamp_min(0).sqrt()
    pairs = torch.stack([inner[:, i, j] / (sizes[:, i] * sizes[:, j]) for i, j in ((0, 1), (0, 2), (1, 2))], 1)
    return ThreeWay(sizes, torch.where(pairs.isfinite(), pairs.clamp(-1, 1), torch.nan))
