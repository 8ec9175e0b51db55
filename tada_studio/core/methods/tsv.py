"""Task singular vectors (Gargiulo et al. 2025, arXiv 2412.00081): the strongest directions of both, made orthogonal."""

import torch
from jaxtyping import Float64
from torch import Tensor

from tada_studio.core.conflict import Side
from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Mix, Moments, alone, even_weights, rank_of, weighted_sum
from tada_studio.recipe import Recipe

#: Eigenvalues of a Gram matrix of unit directions below this are rounding: those directions repeat others.
REPEATED = 1e-10


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """Of each adapter rank/2 directions stay (the task's is the odd one). All left and all right singular vectors are replaced
    by the nearest orthonormal ones, ``U (U^T U)^(-1/2)``, so that no direction of one writes or reads where the other does.
    Singular values times strength. A module that only one adapter changes stays as it is.
    """
    left, right, strength = orthogonal(analysis, recipe)
    mix = recipe.strength * (left * strength[:, None, :]) @ right.mT
    weights = even_weights(analysis.space, recipe.strength)
    if recipe.weights != "0.1":
        mix = torch.where(alone(analysis.space.present)[:, None, None], weighted_sum(analysis.space, weights).mix, mix)
    return Mix(mix, weights)


def orthogonal(analysis: Analysis, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """(left, right, strength): coefficients of all k columns that make the orthonormal directions, and their singular values."""
    rank, directions = rank_of(analysis.pair, recipe), analysis.directions
    sides = (directions.task, -(-rank // 2), 0), (directions.domain, rank // 2, analysis.space.rank_task)
    up, down, strength = (
        torch.cat(parts, -1) for parts in zip(*(_strongest(analysis, *side) for side in sides), strict=True)
    )
    left, right = (
        factors @ _inverse_root(factors.mT @ gram @ factors)
        for factors, gram in ((up, analysis.space.gram_up), (down, analysis.space.gram_down))
    )
    return left, right, strength


def _strongest(analysis: Analysis, side: Side, many: int, first: int) -> tuple[Tensor, Tensor, Tensor]:
    """(up, down, strength) of an adapter's ``many`` strongest directions as coefficients of all k columns, n k many."""
    space, last = analysis.space, first + side.up.shape[1]
    wide = torch.zeros(2, len(space.names), space.rank, min(many, side.up.shape[2]), dtype=torch.float64)
    wide[0, :, first:last], wide[1, :, first:last] = side.up[:, :, :many], side.down[:, :, :many]
    return wide[0], wide[1], side.strength[:, :many]


def _inverse_root(gram: Float64[Tensor, "n m m"]) -> Float64[Tensor, "n m m"]:
    """``gram ** (-1/2)`` on the directions that there are; those that are absent, or repeat others, stay out."""
    values, vectors = torch.linalg.eigh(gram)
    there = values > REPEATED
    return vectors * torch.where(there, values.clamp_min(REPEATED).rsqrt(), 0)[:, None, :] @ vectors.mT


METHOD = Method(
    "tsv",
    run,
    says="the strongest directions of both, made orthogonal",
    uses=frozenset({"strength", "weights"}),
    source="TSV, arXiv 2412.00081",
)
