"""Pico (arXiv 2604.16826): output directions that both adapters write to are damped before they are added.

Built from the abstract ("downscaling over-shared directions" of B, "then rescaling the merged update"): by how much is our reading.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from tada_studio.core.factor import CoreSpace
from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Mix, Moments, alone, even_weights, weighted_sum
from tada_studio.core.separation import sides, spread
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """``sum_j d_j u_j u_j^T (dW_T + dW_D)``, then scaled to the norm of the plain sum.

    u_j: left singular vectors of ``[B_T / |B_T|, B_D / |B_D|]``; d_j: the larger adapter's share of u_j, from 1 where one writes
    there alone to 1/2 where both do alike. A module that one adapter alone changes stays as it is.
    """
    space, weights = analysis.space, even_weights(analysis.space, recipe.strength)
    plain = weighted_sum(space, weights).mix
    damped = damping(space) @ plain
    before, after = space.squared_norm(plain), space.squared_norm(damped)
    size = torch.where(after > 0, before / after, 1.0).sqrt()[:, None, None]
    return Mix(torch.where(alone(space.present)[:, None, None], plain, size * damped), weights)


def damping(space: CoreSpace) -> Float64[Tensor, "n k k"]:
    """What the columns of ``[B_T B_D]`` become, as coefficients of themselves."""
    norms = torch.stack([space.gram_up.diagonal(dim1=1, dim2=2)[:, side].sum(1).sqrt() for side in sides(space)], 1)
    inverse = spread(space, torch.where(norms > 0, 1 / norms, 1.0))
    vectors = torch.linalg.eigh(space.gram_up * inverse[:, :, None] * inverse[:, None, :]).eigenvectors
    kept = torch.stack([vectors[:, side].square().sum(1) for side in sides(space)]).amax(0)
    return inverse[:, :, None] * (vectors * kept[:, None, :]) @ vectors.mT / inverse[:, None, :]


METHOD = Method(
    "pico",
    run,
    says="sum in which output directions that both adapters write to are damped",
    uses=frozenset({"strength"}),
    source="Pico, arXiv 2604.16826, our reading",
)
