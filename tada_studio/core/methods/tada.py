"""Calibrated separation: each adapter speaks on its own inputs and is silent on the other's (``core.separation``)."""

from dataclasses import replace

from tada_studio.core.gates import Gates
from tada_studio.core.methods import gates as gated
from tada_studio.core.mix import Analysis, Method, Mix, Moments, share_weights
from tada_studio.core.separation import Settings, separate
from tada_studio.recipe import Recipe

OWN = frozenset({"ridge", "own_weight", "whole"})


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """The sum by the weights of the map, less directions that oppose each other, seen through the codes of both adapters.

    Shares are even until a hand sets them. On an adapter's row the other's inputs count as much as the other speaks there, times
    the cell's separation: 0 is the weighted sum, and where only one speaks it is that one as trained. Without task inputs it is
    the weighted sum everywhere.
    """
    plain = gated.run(analysis, gates, recipe, moments)
    if moments.both is None:
        return plain
    places = tuple(analysis.pair.addresses.values())
    speaks = share_weights(gates.at(places), analysis.space.present, recipe) * gates.strength_at(places)
    protected = gates.separation_at(places)[:, None] * speaks
    settings = Settings(recipe.ridge, recipe.own_weight, recipe.whole == "yes")
    through = separate(analysis.space, moments.both, settings, protected).through
    return replace(plain, mix=plain.mix @ through)


METHOD = Method(
    "tada",
    run,
    says="each adapter speaks on its own inputs and is silent on the other's, calibrated by both kinds of inputs",
    uses=(gated.METHOD.uses | OWN) - {"sharpness", "calibration", "response"},
    planes=frozenset({"share", "strength", "separation"}),
    needs=frozenset({"domain", "task"}),
    source="arXiv 2606.05016 for the idea; the formula is ours",
)
