"""Both updates of a module as k x k matrices over common orthonormal bases: the Core Space of Panariello et al. (arXiv 2509.17786).

The bases are the left singular vectors of the stacked ``[s_T B_T, s_D B_D]`` and the right ones of ``[A_T; A_D]``, strongest
first, so that an entry means the same of both adapters and methods that go entry by entry have something to compare. Nothing of
full width is formed: the singular vectors are kept as the coefficients of the factors' columns that make them.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from tada_studio.core.factor import ABSENT, CoreSpace
from tada_studio.core.mix import Mix, alone, even_weights, weighted_sum
from tada_studio.core.separation import sides


class Aligned(NamedTuple):
    """The n modules of a pair over common bases; rows and columns of directions that are absent are zero.

    task, domain: what each adapter adds; left, right: ``[B_T B_D] left`` and ``right [A_T; A_D]`` are the bases
    """

    task: Float64[Tensor, "n k k"]
    domain: Float64[Tensor, "n k k"]
    left: Float64[Tensor, "n k k"]
    right: Float64[Tensor, "n k k"]

    def mix(self, core: Float64[Tensor, "n k k"]) -> Float64[Tensor, "n k k"]:
        """``dW = [B_T B_D] mix [A_T; A_D]`` of a matrix over these bases."""
        return self.left @ core @ self.right


def aligned(space: CoreSpace) -> Aligned:
    """Every module's two updates over the common bases of its module."""
    scaled = space.gram_up * space.scale[:, :, None] * space.scale[:, None, :]
    up, up_back = _coordinates(scaled)
    down, down_back = _coordinates(space.gram_down)
    task, domain = (up[:, :, side] @ down[:, :, side].mT for side in sides(space))
    return Aligned(task, domain, space.scale[:, :, None] * up_back, down_back.mT)


def entry_by_entry(space: CoreSpace, strength: float, combine: Callable[[Tensor, Tensor, str], Tensor]) -> Mix:
    """``combine(task's matrix, domain's, name)`` of every module, times strength. A module that one adapter alone changes stays
    as it is."""
    found, weights = aligned(space), even_weights(space, strength)
    parts = [combine(*one) for one in zip(found.task, found.domain, space.names, strict=True)]
    lone = alone(space.present)[:, None, None]
    return Mix(torch.where(lone, weighted_sum(space, weights).mix, strength * found.mix(torch.stack(parts))), weights)


def _coordinates(gram: Float64[Tensor, "n k k"]) -> tuple[Tensor, Tensor]:
    """(coordinates, back) of k columns with this Gram matrix: ``columns @ back`` are their left singular vectors, and
    ``coordinates`` are the columns over those, strongest row first."""
    values, vectors = torch.linalg.eigh(gram)
    size, vectors = values.flip(1).clamp_min(0).sqrt(), vectors.flip(2)
    size = torch.where(size > ABSENT * size[:, :1], size, 0)
    inverse = torch.where(size > 0, 1 / size, 0)
    return size[:, :, None] * vectors.mT, vectors * inverse[:, None, :]
