"""Gated sum: one gate a module decides how much of each adapter goes in; directions that oppose each other are dropped."""

import torch
from torch import Tensor

from tada_studio.core.conflict import Drops, Side, conflicts
from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Mix, Moments, column_weights, gate_weights
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """Gated sum of what is left of both adapters after conflicting directions are dropped."""
    places = tuple(analysis.pair.addresses.values())
    weights = gate_weights(analysis.space, gates.at(places), recipe) * gates.strength_at(places)
    drops = conflicts(analysis.directions, weights, recipe, analysis.pair.addresses, moments.domain)
    mix = torch.diag_embed(column_weights(analysis.space, weights))
    for side, dropped, weight, columns in _sides(analysis, drops, weights):
        gone = side.up * (side.strength * dropped * weight[:, None])[:, None, :] @ side.down.mT
        mix[:, columns, columns] -= gone
    return Mix(mix, weights, drops)


def _sides(analysis: Analysis, drops: Drops, weights: Tensor) -> list[tuple[Side, Tensor, Tensor, slice]]:
    directions, t = analysis.directions, analysis.space.rank_task
    return [
        (directions.task, drops.task, weights[:, 0], slice(0, t)),
        (directions.domain, drops.domain, weights[:, 1], slice(t, None)),
    ]


METHOD = Method(
    "gates",
    run,
    says="gated sum: what reacts more to the probe gets more say, module by module; opposing directions are dropped",
    uses=frozenset({
        "sharpness", "strength", "balance", "calibration", "response", "conflict_threshold", "conflict_floor",
        "conflict_space", "drop", "overrides", "keep", "discard", "weights",
    }),
    planes=frozenset({"share", "strength"}),
    source="arXiv 2606.05016, our reading",
    needs=frozenset({"domain"}),
)  # fmt: skip
