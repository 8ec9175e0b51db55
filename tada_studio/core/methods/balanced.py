"""Weighted sum of two adapters that were made equally large first."""

from tada_studio.core.gates import Gates
from tada_studio.core.methods import linear
from tada_studio.core.mix import Analysis, Method, Mix, Moments
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """Linear, with both adapters scaled, as a whole, to their geometric mean."""
    return linear.run(analysis, gates, recipe.but(balance=1.0), moments)


METHOD = Method("balanced", run, says="weighted sum of both made equally large", uses=frozenset({"strength"}))
