"""PEFT's ``combination_type="svd"`` with weights 1 and 1: the plain sum, whatever the knobs say."""

from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Mix, Moments, even_weights, weighted_sum
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """The plain sum."""
    return weighted_sum(analysis.space, even_weights(analysis.space, 1.0))


METHOD = Method("svd", run, says='plain sum, PEFT\'s combination_type="svd" with weights 1 and 1', uses=frozenset())
