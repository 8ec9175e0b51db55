"""How N adapters of one base stand to each other, from their weights alone: sizes, cosines, shared directions, conflicts.

Everything comes from the Gram matrices of all their factors side by side, one module at a time, so that no full-width matrix is
formed; N = 2 is a pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from tada_studio.core.conflict import unit_directions
from tada_studio.core.parallel import each
from tada_studio.lazy import lazy
from tada_studio.lora import Adapter

#: Two updates this close, relative to their size, are one adapter, saved in other formats perhaps (bfloat16 rounds to .4 %).
SAME = 0.01
#: Trained apart, two adapters have a cosine of .00; two checkpoints of one run .5 and far more.
ONE_RUN = 0.5
#: From here on they have more in common than chance gives: like data, a common start, one trained on top of the other.
RELATED = 0.05
#: Directions oppose each other beyond this many times chance, as in a merge with default knobs.
THRESHOLD = 8.0


@dataclass(frozen=True, eq=False)
class Relations:
    """N adapters against each other; row i, column j.

    inner:    inner products of the updates, summed over all modules; the diagonal holds squared norms
    inside:   share of j's energy that lies in the directions of i, reading and writing, in [0, 1]
    conflict: share of i's energy in directions that oppose one of j's, in [0, 1]
    shared:   how many modules both change
    """

    labels: tuple[str, ...]
    inner: Float64[Tensor, "m m"]
    inside: Float64[Tensor, "m m"]
    conflict: Float64[Tensor, "m m"]
    shared: Int64[Tensor, "m m"]

    @lazy
    def norms(self) -> Float64[Tensor, " m"]:
        """Frobenius norms of the whole updates."""
        return self.inner.diagonal().clamp_min(0).sqrt()

    @lazy
    def cosine(self) -> Float64[Tensor, "m m"]:
        """In [-1, 1]; NaN where an adapter changes nothing."""
        size = self.norms[:, None] * self.norms[None, :]
        return torch.where(size > 0, self.inner / size.clamp_min(1e-300), torch.nan).clamp(-1, 1)

    @lazy
    def distance(self) -> Float64[Tensor, "m m"]:
        """``|dW_i - dW_j|`` over the geometric mean of both norms; NaN where an adapter changes nothing."""
        square = self.inner.diagonal()[:, None] + self.inner.diagonal()[None, :] - 2 * self.inner
        size = self.norms[:, None] * self.norms[None, :]
        return torch.where(size > 0, (square.clamp_min(0) / size.clamp_min(1e-300)).sqrt(), torch.nan)

    def kinship(self, i: int, j: int) -> str:
        """ "untrained" (one of the two changes nothing), "same", "one run", "related" or "strangers"."""
        if not self.norms[i] * self.norms[j] > 0:
            return "untrained"
        if float(self.distance[i, j]) < SAME:
            return "same"
        cosine = float(self.cosine[i, j])
        return "one run" if cosine >= ONE_RUN else "related" if abs(cosine) >= RELATED else "strangers"


def relations(adapters: Sequence[Adapter]) -> Relations:
    """How these adapters stand to each other. Layers of one name must be of one size."""
    names = list(dict.fromkeys(name for adapter in adapters for name in adapter.modules))
    rank = max(adapter.rank for adapter in adapters)
    parts = each(lambda i: _module(names[i], adapters, rank), len(names))
    inner, inside, conflict, shared = (torch.stack(some).sum(0) for some in zip(*parts, strict=True))
    energy = inner.diagonal().clamp_min(1e-300)
    return Relations(
        tuple(adapter.label for adapter in adapters),
        inner,
        (inside / energy[None, :]).clamp(0, 1),
        (conflict / energy[:, None]).clamp(0, 1),
        shared,
    )


class _Part(NamedTuple):
    """What one module adds: energies, not shares."""

    inner: Tensor
    inside: Tensor
    conflict: Tensor
    shared: Tensor


def _module(name: str, adapters: Sequence[Adapter], rank: int) -> _Part:
    many, found = len(adapters), [adapter.modules.get(name) for adapter in adapters]
    d_out, d_in = next(module.layer_size for module in found if module is not None)
    up, down = torch.zeros(d_out, many, rank), torch.zeros(many, rank, d_in)
    scale = torch.zeros(many, rank, dtype=torch.float64)
    for i, module in enumerate(found):
        if module is not None:
            up[:, i, : module.rank], down[i, : module.rank] = module.up.float(), module.down.float()
            scale[i, : module.rank] = module.scale
    up, down = up.flatten(1), down.flatten(0, 1)
    grams = [(gram.double().view(many, rank, many, rank)) for gram in (up.mT @ up, down @ down.mT)]
    weight = scale[:, :, None, None] * scale
    inner = (grams[0] * grams[1] * weight).sum((1, 3))
    own_up, own_down = (torch.stack([gram[i, :, i] for i in range(many)]) for gram in grams)
    strength, *sides = unit_directions(own_up, own_down, scale)
    meet_up, meet_down = (_meet(gram, side) for gram, side in zip(grams, sides, strict=True))
    table = (meet_up * strength[None, :, None, :]) @ meet_down.mT  # U_i^T dW_j V_i
    opposed = meet_up * meet_down * (d_out * d_in) ** 0.5 < -THRESHOLD
    conflict = (opposed.any(3) * strength.square()[:, None]).sum(2)
    there = (strength > 0).any(1)
    return _Part(inner, table.square().sum((2, 3)), conflict, (there[:, None] & there[None, :]).long())


def _meet(gram: Float64[Tensor, "m r m r"], side: Float64[Tensor, "m r r"]) -> Float64[Tensor, "m m r r"]:
    """Inner products of unit directions, entry (i, j): i's by j's."""
    return side.mT[:, None] @ gram.transpose(1, 2) @ side[None]
