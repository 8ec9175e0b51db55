"""LiNeS (Wang et al. 2024, arXiv 2410.17146): the sum, weaker in shallow layers, which hold what is general, than in deep ones."""

import torch

from tada_studio.core.gates import Gates
from tada_studio.core.mix import (
    Analysis,
    Method,
    Mix,
    Moments,
    alone,
    balance_levels,
    even_weights,
    relative_depth,
    weighted_sum,
)
from tada_studio.recipe import Recipe

#: Strength in the first layer and in the last, straight between. The paper's slope for merging depends on how many tasks there
#: are; our reading for two of equal weight: from half, the average, to the whole, the sum.
FROM, TO = 0.5, 1.0


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """``sum_a (FROM + (TO - FROM) (l - 1) / (L - 1)) dW_a`` for layer l of L; what one adapter alone changes stays whole."""
    depth = relative_depth(analysis.pair)
    even = even_weights(analysis.space, recipe.strength) * balance_levels(analysis.space, recipe)
    slope = torch.where(alone(analysis.space.present), 1.0, FROM + (TO - FROM) * depth)
    return weighted_sum(analysis.space, even * slope[:, None])


METHOD = Method(
    "lines",
    run,
    says=f"the sum, {FROM:g} times in the first layer and {TO:g} times in the last",
    uses=frozenset({"strength", "balance"}),
    source="LiNeS, arXiv 2410.17146, our reading for two adapters",
)
