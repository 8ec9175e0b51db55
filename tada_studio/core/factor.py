"""A pair of adapters in its core space: everything that matters about two low-rank updates, in k x k matrices.

Both updates of a module live in the span of the stacked factors ``[B_T B_D]`` and ``[A_T; A_D]``, k = r_T + r_D columns.
Their Gram matrices in float64 hold all norms, inner products, singular values and weighted sums exactly, so no
d_out x d_in matrix is ever formed, and no orthogonal basis either: an orthonormal direction is kept as the coefficients
of the factors that make it. Modules of unequal rank share one batch: a missing column is a zero column.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from tada_studio.core.parallel import batched, each, scratch
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

    @cached_property
    def roots(self) -> tuple[Float64[Tensor, "n k k"], Float64[Tensor, "n k k"]]:
        """(R_out, R_in): the two bases' coordinates of the stacked factors, ``R^T R`` = Gram."""
        return tuple(batched(lambda *grams: tuple(map(root, grams)), self.gram_up, self.gram_down))  # type: ignore[return-value]

    @cached_property
    def squared_norms(self) -> Float64[Tensor, "n 2"]:
        """Squared Frobenius norms of the task's and the domain's update: sum of (A A^T) * (B^T B), scaled."""
        weighted = self.gram_up * self.gram_down * self.scale[:, :, None] * self.scale[:, None, :]
        t = self.rank_task
        blocks = weighted[:, :t, :t].sum((1, 2)), weighted[:, t:, t:].sum((1, 2))
        return torch.stack(blocks, 1).clamp_min(0)

    @cached_property
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
    names = pair.names
    modules = [pair.both(name) for name in names]
    rank_task, rank_domain = (max((m.rank for m in side if m), default=0) for side in zip(*modules, strict=True))
    n, k = len(names), rank_task + rank_domain
    gram_up, gram_down = torch.zeros(n, k, k, dtype=torch.float64), torch.zeros(n, k, k, dtype=torch.float64)
    scale = [_scales(task, rank_task) + _scales(domain, rank_domain) for task, domain in modules]

    def fill(i: int) -> None:
        stack = stacked(*modules[i], rank_task, room=scratch)
        up = _wide(stack.up)
        _put(gram_up[i], stack.columns, up.mT @ up)
        down = _wide(stack.down)  # in the same memory: up is done with
        _put(gram_down[i], stack.columns, down @ down.mT)

    each(fill, n)
    sizes = torch.tensor([(t or d).layer_size for t, d in modules], dtype=torch.float64)  # type: ignore[union-attr]
    scales = torch.tensor(scale, dtype=torch.float64).view(n, k)
    return CoreSpace(names, sizes, rank_task, rank_domain, gram_up, gram_down, scales)


def _wide(factor: Tensor) -> Tensor:
    return scratch("wide", len(factor), factor.shape[1], torch.float64).copy_(factor)


def _scales(module: LoraModule | None, rank: int) -> list[float]:
    """The adapter's scale at each of its ``rank`` columns, 0 where this module has none."""
    return [0.0] * rank if module is None else [module.scale] * module.rank + [0.0] * (rank - module.rank)


def _put(gram: Tensor, columns: list[int], product: Tensor) -> None:
    if len(columns) == len(gram):  # no padding: the usual case, and several times faster
        gram.copy_(product)
    else:
        where = torch.tensor(columns)
        gram[where[:, None], where] = product


class Stack(NamedTuple):
    """A module's two updates side by side, in float32, without padding."""

    up: Tensor  # (d_out, r_T + r_D)
    down: Tensor  # (r_T + r_D, d_in)
    columns: list[int]  # where each column stands among the k of the core space


def _fresh(use: str, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(rows, columns, dtype=dtype)


def stacked(
    task: LoraModule | None,
    domain: LoraModule | None,
    rank_task: int,
    room: Callable[[str, int, int, torch.dtype], Tensor] = _fresh,
) -> Stack:
    """``[B_T B_D]`` and ``[A_T; A_D]`` of one module, with each column's place in the core space.

    room: where the memory comes from; with ``parallel.scratch`` the stack is only good until the thread's next one.
    """
    parts = [(module, start) for module, start in ((task, 0), (domain, rank_task)) if module is not None]
    columns = [start + i for module, start in parts for i in range(module.rank)]
    d_out, d_in = parts[0][0].layer_size
    up, down = room("up", d_out, len(columns), torch.float32), room("down", len(columns), d_in, torch.float32)
    return Stack(
        up=_side_by_side([module.up for module, _ in parts], 1, up, room),
        down=_side_by_side([module.down for module, _ in parts], 0, down, room),
        columns=columns,
    )


def _side_by_side(parts: list[Tensor], axis: int, out: Tensor, room: Callable[..., Tensor]) -> Tensor:
    """``out`` filled with the parts; joined before they are widened, which moves half the bytes."""
    kinds = {part.dtype for part in parts}
    if len(kinds) > 1:
        return torch.cat([part.float() for part in parts], axis, out=out)
    return out.copy_(torch.cat(parts, axis, out=room("narrow", len(out), out.shape[1], kinds.pop())))
