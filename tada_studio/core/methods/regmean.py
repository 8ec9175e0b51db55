"""RegMean (Jin et al. 2022, arXiv 2212.09849) in the core space: each adapter is to say on its own inputs what it says, no more."""

from typing import Any

import torch

from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Mix, Moments, even_weights, weighted_sum
from tada_studio.recipe import Recipe

#: Added to the diagonal of what is inverted, as a share of it.
LEAST = 1e-6


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """``dW = (dW_T C_T + dW_D C_D) (C_T + C_D)^-1`` in codes: the least squares over both kinds of inputs of saying what their own
    adapter says. Moments stand for inputs divided by their length. Without both probes it is the plain sum; so is a module that
    one adapter alone changes.
    """
    space, weights = analysis.space, even_weights(analysis.space, recipe.strength)
    plain = weighted_sum(space, weights)
    if moments.both is None:
        return plain
    total = moments.both.task + moments.both.domain
    size = total.diagonal(dim1=1, dim2=2)
    safe = total + torch.diag_embed(torch.where(size > 0, LEAST * size, 1.0))
    t = space.rank_task
    wanted: Any = torch.cat((moments.both.task[:, :t], moments.both.domain[:, t:]), 1)
    through = torch.linalg.solve(safe, wanted.mT).mT
    alone = (space.present.sum(1) < 2)[:, None, None]
    return Mix(torch.where(alone, plain.mix, plain.mix @ through), weights)


METHOD = Method(
    "regmean",
    run,
    says="least squares over both kinds of inputs of saying what their own adapter says",
    uses=frozenset({"strength"}),
    needs=frozenset({"domain", "task"}),
    source="RegMean, arXiv 2212.09849",
)
