"""A pair of adapters in its core space: everything that matters about two low-rank updates, in k x k matrices.

Both updates of a module live in the span of the stacked factors ``[B_T B_D]`` and ``[A_T; A_D]``, k = r_T + r_D columns.
Their Gram matrices in float64 hold all norms, inner products, singular values and weighted sums exactly, so no
d_out x d_in matrix is ever formed, and no orthogonal basis either: an orthonormal direction is kept as the coefficients
of the factors that make it. Modules of unequal rank share one batch: a missing column is a zero column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from tada_studio.core.gram import gram, one_blas_thread
from tada_studio.core.parallel import batched, each, one_thread, scratch
from tada_studio.lazy import lazy
from tada_studio.lora import LoraModule, Pair

#: Directions weaker than this share of a module's strongest one count as absent (float64 Grams resolve no more).
ABSENT = 1e-7


@dataclass(frozen=True, eq=False)
class CoreSpace:
    """The n modules of a pair; k = rank_task + rank_domain.

    names:     dotted names, in order of depth
    sizes:     (d_out, d_in) of each module's layer
    gram_up:   [B_T B_D]^T [B_T B_D], task columns first
    gram_down: [A_T; A_D] [A_T; A_D]^T
    scale:     the adapter's scale at each of the k columns, 0 where a column is padding
    """

    names: tuple[str, ...]
    sizes: Float64[Tensor, "n 2"]
    rank_task: int
    rank_domain: int
    gram_up: Float64[Tensor, "n k k"]
    gram_down: Float64[Tensor, "n k k"]
    scale: Float64[Tensor, "n k"]

    @property
    def rank(self) -> int:
        return self.rank_task + self.rank_domain

    @lazy
    def roots(self) -> tuple[Float64[Tensor, "n k k"], Float64[Tensor, "n k k"]]:
        """(R_out, R_in): the two bases' coordinates of the stacked factors, ``R^T R`` = Gram."""
        return tuple(batched(lambda *grams: tuple(map(root, grams)), self.gram_up, self.gram_down))  # type: ignore[return-value]

    @lazy
    def squared_norms(self) -> Float64[Tensor, "n 2"]:
        """Squared Frobenius norms of the task's and the domain's update: sum of (A A^T) * (B^T B), scaled."""
        t = self.rank_task
        with one_thread():
            weighted = self.gram_up * self.gram_down * self.scale[:, :, None] * self.scale[:, None, :]
            blocks = weighted[:, :t, :t].sum((1, 2)), weighted[:, t:, t:].sum((1, 2))
            return torch.stack(blocks, 1).clamp_min(0)

    @lazy
    def present(self) -> Bool[Tensor, "n 2"]:
        """Which of the two adapters changes a module at all."""
        return self.squared_norms > 0

    def squared_norm(self, mix: Float64[Tensor, "n k k"]) -> Float64[Tensor, " n"]:
        """Squared Frobenius norm of ``[B_T B_D] mix [A_T; A_D]``."""
        return ((self.gram_up @ mix) * (mix @ self.gram_down)).sum((1, 2)).clamp_min(0)


def root(gram: Float64[Tensor, "n k k"]) -> Float64[Tensor, "n k k"]:
    """R with ``R^T R`` = gram, for a gram that may be singular.

    Cholesky where it goes through (as exact as any root, and ten times cheaper), eigenvectors where it does not.
    """
    triangle, failed = torch.linalg.cholesky_ex(gram, upper=True)
    singular = failed > 0
    if singular.any():
        values, vectors = torch.linalg.eigh(gram[singular])
        triangle[singular] = values.clamp_min(0).sqrt()[..., :, None] * vectors.mT
    return triangle


def factor(pair: Pair) -> CoreSpace:
    """The core space of a pair: the one step whose cost grows with the width of the base."""
    modules = [pair.both(name) for name in pair.names]
    rank_task, rank_domain = (max((m.rank for m in side if m), default=0) for side in zip(*modules, strict=True))
    n, k = len(modules), rank_task + rank_domain
    with one_thread():
        gram_up, gram_down = torch.zeros(n, k, k, dtype=torch.float64), torch.zeros(n, k, k, dtype=torch.float64)
    scale = [_scales(task, rank_task) + _scales(domain, rank_domain) for task, domain in modules]
    groups = alike(pair)

    def fill(g: int) -> None:
        stack = stacked([modules[i] for i in groups[g]], rank_task, torch.float64)
        _put(gram_up, groups[g], stack.columns, gram(stack.up))
        _put(gram_down, groups[g], stack.columns, gram(stack.down.mT))

    with one_blas_thread():
        each(fill, len(groups))
    sizes = torch.tensor([(t or d).layer_size for t, d in modules], dtype=torch.float64)  # type: ignore[union-attr]
    scales = torch.tensor(scale, dtype=torch.float64).view(n, k)
    return CoreSpace(pair.names, sizes, rank_task, rank_domain, gram_up, gram_down, scales)


def _scales(module: LoraModule | None, rank: int) -> list[float]:
    """The adapter's scale at each of its ``rank`` columns, 0 where this module has none."""
    return [0.0] * rank if module is None else [module.scale] * module.rank + [0.0] * (rank - module.rank)


def _put(grams: Tensor, rows: list[int], columns: list[int], products: Tensor) -> None:
    row, column = torch.tensor(rows), torch.tensor(columns)
    if len(columns) == grams.shape[1]:  # no padding: the usual case, and faster
        grams[row] = products
    else:
        grams[row[:, None, None], column[:, None], column] = products


#: Numbers in one stack of factors: enough modules for one call to be worth it, few enough to stay in a core's cache.
TOGETHER = 1 << 19


def alike(pair: Pair) -> list[list[int]]:
    """The pair's modules by number, in groups of equal shapes, ranks and number formats, each ``TOGETHER`` numbers or so.

    A call of torch costs more than the arithmetic on a small module: a group is one call.
    """
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for i, name in enumerate(pair.names):
        kinds.setdefault(
            tuple(m and (m.layer_size, m.rank, m.up.dtype, m.down.dtype) for m in pair.both(name)), []
        ).append(i)
    groups = []
    for members in kinds.values():
        sides = [m for m in pair.both(pair.names[members[0]]) if m is not None]
        many = max(1, TOGETHER // (sum(m.rank for m in sides) * max(sides[0].layer_size)))
        groups += [members[first : first + many] for first in range(0, len(members), many)]
    return groups


class Stack(NamedTuple):
    """The two updates of some modules that are alike, side by side, without padding. Good until the thread's next one."""

    up: Tensor  # (modules, d_out, r_T + r_D)
    down: Tensor  # (modules, r_T + r_D, d_in)
    columns: list[int]  # where each column stands among the k of the core space


def stacked(
    modules: Sequence[tuple[LoraModule | None, LoraModule | None]], rank_task: int, dtype: torch.dtype
) -> Stack:
    """``[B_T B_D]`` and ``[A_T; A_D]`` of modules that are ``alike``, with each column's place in the core space."""
    sides = [
        (list(side), start) for side, start in zip(zip(*modules, strict=True), (0, rank_task), strict=True) if side[0]
    ]
    return Stack(
        up=_joined("up", [[m.up for m in side] for side, _ in sides], 2, dtype),
        down=_joined("down", [[m.down for m in side] for side, _ in sides], 1, dtype),
        columns=[start + i for side, start in sides for i in range(side[0].rank)],
    )


def _joined(use: str, parts: list[list[Tensor]], axis: int, dtype: torch.dtype) -> Tensor:
    """One stack of matrices for each part, the parts side by side along ``axis``, widened on the way."""
    shape = [len(parts[0]), *parts[0][0].shape]
    shape[axis] = sum(part[0].shape[axis - 1] for part in parts)
    out, first = scratch(use, shape, dtype), 0
    for part in parts:
        size = part[0].shape[axis - 1]
        out.narrow(axis, first, size).copy_(_stack(part))
        first += size
    return out


def _stack(part: list[Tensor]) -> Tensor:
    """In one piece; 16 bits by way of float32, since torch widens them to 64 one number at a time."""
    shape = [len(part), *part[0].shape]
    tight = torch.stack(part, out=scratch("tight", shape, part[0].dtype))
    return scratch("wider", shape, torch.float32).copy_(tight) if tight.dtype.itemsize == 2 else tight
