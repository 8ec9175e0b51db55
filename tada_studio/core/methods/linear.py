"""Weighted sum with the same weight everywhere."""

import torch

from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Mix, Moments, gate_weights, weighted_sum
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """Strength 2 is the plain sum, 1 the average."""
    even = torch.full((len(analysis.space.names),), 0.5, dtype=torch.float64)
    return weighted_sum(analysis.space, gate_weights(analysis.space, even, recipe))


METHOD = Method("linear", run, says="weighted sum, the same weight everywhere", uses=frozenset({"strength", "balance"}))
