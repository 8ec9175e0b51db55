"""TSV with isotropic scaling in the Core Space (Panariello et al. 2025, arXiv 2509.17786): all directions made equally strong."""

import torch

from tada_studio.core.gates import Gates
from tada_studio.core.methods import tsv
from tada_studio.core.mix import Analysis, Method, Mix, Moments, alone, even_weights, weighted_sum
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """The directions of ``tsv``, which are the same in the Core Space as in full width, each with the mean of their singular
    values. A module that one adapter alone changes stays as it is."""
    space, weights = analysis.space, even_weights(analysis.space, recipe.strength)
    left, right, strength = tsv.orthogonal(analysis, recipe)
    there = strength > 0
    mean = strength.sum(1) / there.sum(1).clamp_min(1)
    even = (left * there[:, None, :]) @ right.mT * (recipe.strength * mean)[:, None, None]
    return Mix(torch.where(alone(space.present)[:, None, None], weighted_sum(space, weights).mix, even), weights)


METHOD = Method(
    "core_tsv_iso",
    run,
    says="the strongest directions of both, made orthogonal and equally strong",
    uses=frozenset({"strength"}),
    source="Core Space, arXiv 2509.17786",
)
