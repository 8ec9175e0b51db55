"""Compress then merge (arXiv 2606.03723): both adapters are brought into common subspaces of rank r first, and added there.

Built from the abstract: which subspaces are common is our reading.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from tada_studio.core.aligned import aligned
from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Mix, Moments, alone, even_weights, rank_of, weighted_sum
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """``U U^T (dW_T + dW_D) V V^T``: U the r strongest left singular vectors of ``[dW_T, dW_D]``, V the right ones of
    ``[dW_T; dW_D]``. Nothing is left to cut off afterwards. A module that one adapter alone changes stays as it is."""
    space, weights = analysis.space, even_weights(analysis.space, recipe.strength)
    found, rank = aligned(space), rank_of(analysis.pair, recipe)
    left = _onto(found.task @ found.task.mT + found.domain @ found.domain.mT, rank)
    right = _onto(found.task.mT @ found.task + found.domain.mT @ found.domain, rank)
    together = recipe.strength * found.mix(left @ (found.task + found.domain) @ right)
    lone = alone(space.present)[:, None, None]
    return Mix(torch.where(lone, weighted_sum(space, weights).mix, together), weights)


def _onto(gram: Float64[Tensor, "n k k"], rank: int) -> Float64[Tensor, "n k k"]:
    """The projection onto the eigenvectors of the ``rank`` largest eigenvalues."""
    strongest = torch.linalg.eigh(gram).eigenvectors[:, :, -rank:]
    return strongest @ strongest.mT


METHOD = Method(
    "ctm",
    run,
    says="compress then merge: both brought into common subspaces of rank r, and added there",
    uses=frozenset({"strength"}),
    source="CtM, arXiv 2606.03723, our reading",
)
