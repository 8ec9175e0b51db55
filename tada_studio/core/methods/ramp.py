"""Gates that rise evenly with depth, whatever was probed: the trend that the paper reports, and nothing else."""

from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Mix, Moments, gate_weights, relative_depth, weighted_sum
from tada_studio.recipe import Recipe

#: Gates in the first and the last layer.
RAMP = (0.42, 0.58)


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """No readings, no selector lines, no drops."""
    depth = relative_depth(analysis.pair)
    return weighted_sum(analysis.space, gate_weights(analysis.space, RAMP[0] + (RAMP[1] - RAMP[0]) * depth, recipe))


METHOD = Method(
    "ramp",
    run,
    says=f"gates that rise evenly from {RAMP[0]:g} to {RAMP[1]:g} with depth, without any probe",
    uses=frozenset({"strength", "balance", "weights"}),
)
