"""Weighted sum with the same weight everywhere."""

from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Mix, Moments, balance_levels, even_weights, weighted_sum
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """Strength 1 is the plain sum, .5 the average."""
    weights = even_weights(analysis.space, recipe.strength) * balance_levels(analysis.space, recipe)
    return weighted_sum(analysis.space, weights)


METHOD = Method("linear", run, says="weighted sum, the same weight everywhere", uses=frozenset({"strength", "balance"}))
