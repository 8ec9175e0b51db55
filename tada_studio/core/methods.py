"""METHODS: every way to combine two adapters, baselines as equals. A method is a plain function of four arguments.

Those here are exact in core space: they say how the two updates are mixed, ``dW = [B_T B_D] mix [A_T; A_D]``. Those that go
entry by entry are in ``elementwise``. What all share (recompression to rank r) is done after them, in ``merge``. The
knobs that every method obeys are rank, head and dtype; of the others each says which it uses.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from tada_studio.core.conflict import Drops, Side, conflicts
from tada_studio.core.elementwise import dare_ties, knots_ties, magnitude_prune, ties
from tada_studio.core.gates import Gates
from tada_studio.core.mix import (
    Analysis,
    Method,
    Mix,
    column_weights,
    even_weights,
    gate_weights,
    rank_of,
    weighted_sum,
)
from tada_studio.recipe import Recipe

#: Gates of ``ramp`` in the first and the last layer.
RAMP = (0.42, 0.58)
#: Eigenvalues of a Gram matrix of unit directions below this are rounding: those directions repeat others.
REPEATED = 1e-10


def tada(analysis: Analysis, gates: Gates, recipe: Recipe, moment: Tensor | None) -> Mix:
    """Gated sum of what is left of both adapters after conflicting directions are dropped (arXiv 2606.05016, our reading).

    Uses every knob but density and seed.
    """
    gate = gates.at(tuple(analysis.pair.addresses.values()))
    weights = gate_weights(analysis.space, gate, recipe)
    drops = conflicts(analysis.directions, weights, recipe, analysis.pair.addresses, moment)
    mix = torch.diag_embed(column_weights(analysis.space, weights))
    for side, dropped, weight, columns in _sides(analysis, drops, weights):
        gone = side.up * (side.strength * dropped * weight[:, None])[:, None, :] @ side.down.mT
        mix[:, columns, columns] -= gone
    return Mix(mix, weights, drops)


def linear(analysis: Analysis, gates: Gates, recipe: Recipe, moment: Tensor | None) -> Mix:
    """Weighted sum with the same weight everywhere: strength 2 is the plain sum, 1 the average. Uses strength and balance."""
    even = torch.full((len(analysis.space.names),), 0.5, dtype=torch.float64)
    return weighted_sum(analysis.space, gate_weights(analysis.space, even, recipe))


def svd(analysis: Analysis, gates: Gates, recipe: Recipe, moment: Tensor | None) -> Mix:
    """PEFT's ``combination_type="svd"`` with weights 1 and 1: the plain sum. Uses no knob, strength neither."""
    return weighted_sum(analysis.space, even_weights(analysis.space, 1.0))


def balanced(analysis: Analysis, gates: Gates, recipe: Recipe, moment: Tensor | None) -> Mix:
    """Linear, with both adapters made equally large as a whole (their geometric mean). Uses strength; balance counts as 1."""
    return linear(analysis, gates, recipe.but(balance=1.0), moment)


def ramp(analysis: Analysis, gates: Gates, recipe: Recipe, moment: Tensor | None) -> Mix:
    """Gates that rise evenly with depth, whatever was probed: the trend that the paper reports, and nothing else.

    Uses strength and balance; no readings, no selector lines, no drops.
    """
    layers = torch.tensor([float(place.layer) for place in analysis.pair.addresses.values()], dtype=torch.float64)
    depth = (layers - layers.min()) / (layers.max() - layers.min()).clamp_min(1)
    return weighted_sum(analysis.space, gate_weights(analysis.space, RAMP[0] + (RAMP[1] - RAMP[0]) * depth, recipe))


def tsv(analysis: Analysis, gates: Gates, recipe: Recipe, moment: Tensor | None) -> Mix:
    """Task singular vectors (Gargiulo et al. 2025, arXiv 2412.00081): the strongest directions of both, made orthogonal.

    Of each adapter rank/2 directions stay (the task's is the odd one). All left and all right singular vectors are replaced
    by the nearest orthonormal ones, ``U (U^T U)^(-1/2)``, so that no direction of one writes or reads where the other does.
    Singular values times strength / 2. Uses strength and rank.
    """
    rank, found = rank_of(analysis.pair, recipe), analysis.directions
    sides = (found.task, -(-rank // 2), 0), (found.domain, rank // 2, analysis.space.rank_task)
    up, down, strength = (
        torch.cat(parts, -1) for parts in zip(*(_strongest(analysis, *side) for side in sides), strict=True)
    )
    left, right = (
        factors @ _inverse_root(factors.mT @ gram @ factors)
        for factors, gram in ((up, analysis.space.gram_up), (down, analysis.space.gram_down))
    )
    mix = recipe.strength / 2 * (left * strength[:, None, :]) @ right.mT
    return Mix(mix, even_weights(analysis.space, recipe.strength / 2))


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


METHODS: dict[str, Method] = {
    "tada": tada,
    "linear": linear,
    "svd": svd,
    "balanced": balanced,
    "ramp": ramp,
    "tsv": tsv,
    "knots_ties": knots_ties,
    "ties": ties,
    "dare_ties": dare_ties,
    "magnitude_prune": magnitude_prune,
}


def _sides(analysis: Analysis, drops: Drops, weights: Tensor) -> list[tuple[Side, Tensor, Tensor, slice]]:
    found, t = analysis.directions, analysis.space.rank_task
    return [
        (found.task, drops.task, weights[:, 0], slice(0, t)),
        (found.domain, drops.domain, weights[:, 1], slice(t, None)),
    ]
