"""One module closely: what becomes of each direction, which one of the other adapter it runs against, what the merge keeps."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from tada_studio.core.conflict import Directions, Side, as_merged, in_units_of_chance
from tada_studio.core.merge import Merged
from tada_studio.core.mix import Analysis, Mix
from tada_studio.core.separation import BothMoments
from tada_studio.core.separation_map import kept_by_direction
from tada_studio.recipe import Recipe

#: A direction is called silenced where less than this share of what the merge keeps of it on its own inputs is left on the other's.
SILENT = 0.9


@dataclass(frozen=True)
class DirectionState:
    """One direction of one adapter in one module.

    number:   counts from 0, strongest first
    strength: singular value after weighting
    share:    of the adapter's weighted energy in this module
    rival:    direction of the other adapter that it opposes most; None if that adapter has none here
    units:    how the two meet, in multiples of chance: in weight space, and over the probe inputs (None without readings)
    opposed:  whether it conflicts with any direction at all
    by_hand:  whether a hand, not the rule, decided if it is dropped
    kept:     share of what it says as trained that the merge keeps, on its own adapter's inputs and on the other's; None where
              inputs of both kinds are not known
    """

    number: int
    strength: float
    share: float
    rival: int | None
    units: tuple[float, float | None]
    opposed: bool
    dropped: bool
    by_hand: bool
    kept: tuple[float, float] | None = None

    @property
    def silenced(self) -> bool:
        """Whether it is in the merge and is quieter on the other's inputs than on its own."""
        return self.kept is not None and not self.dropped and self.kept[1] < SILENT * self.kept[0]


@dataclass(frozen=True, eq=False)
class ModuleDetail:
    """What is to be seen in module ``row``.

    task, domain: the directions that are there, strongest first
    weight, activation: how they meet as merged, in units of chance, in the weights and over the probe inputs (None without
               readings); where one adapter is subtracted, the signs are turned
    in_force:  the one of the two that the recipe's rule looks at
    opposed:   which pairs conflict
    sizes:     product of both weighted strengths over the largest such product
    spectrum:  singular values of the merged update; kept: share of its energy up to each
    drops:     whether the method drops directions at all
    """

    row: int
    task: list[DirectionState]
    domain: list[DirectionState]
    weight: Float64[Tensor, "r_task r_domain"]
    activation: Float64[Tensor, "r_task r_domain"] | None
    in_force: Float64[Tensor, "r_task r_domain"]
    opposed: Bool[Tensor, "r_task r_domain"]
    sizes: Float64[Tensor, "r_task r_domain"]
    spectrum: Float64[Tensor, " k"]
    kept: Float64[Tensor, " k"]
    drops: bool


def module_detail(
    analysis: Analysis,
    merged: Merged,
    recipe: Recipe,
    moment: Float64[Tensor, "n k k"] | None,
    row: int,
    moments: BothMoments | None = None,
) -> ModuleDetail:
    """Module ``row`` of a merge; moment: from the probe, None without one; moments: of both kinds of inputs, if both were read."""
    found, drops = analysis.directions, merged.how.drops
    weight, activation = _alignments(found, merged, recipe, moment, row)
    in_force = weight if recipe.conflict_space == "weight" or activation is None else activation
    opposed = drops.opposed[row] if drops else torch.zeros_like(weight, dtype=torch.bool)
    strengths = [
        side.strength[row] * merged.how.weights[row, i].abs() for i, side in enumerate((found.task, found.domain))
    ]
    there = (found.task.strength[row] > 0)[:, None] & (found.domain.strength[row] > 0)[None, :]
    # the most opposed one that is there; where any is in conflict, it is
    order = torch.where(there, in_force, torch.inf)
    hands = _hands(merged, found, row)
    flipped = weight.mT, None if activation is None else activation.mT
    kept: list[Tensor | None] = [None, None]
    if moments is not None and isinstance(merged.how, Mix):
        kept = [*kept_by_direction(analysis.space, (found.task, found.domain), merged.how.mix, moments, row)]
    energy, size = merged.spectrum[row].square(), strengths[0][:, None] * strengths[1][None, :]
    return ModuleDetail(
        row,
        _direction_states(found.task, row, strengths[0], order, (weight, activation), opposed, hands[0], kept[0]),
        _direction_states(found.domain, row, strengths[1], order.mT, flipped, opposed.mT, hands[1], kept[1]),
        weight,
        activation,
        in_force,
        opposed,
        size / size.max().clamp_min(1e-300),
        merged.spectrum[row],
        energy.cumsum(0) / merged.energy[row].clamp_min(1e-300),
        drops is not None,
    )


def _alignments(
    found: Directions, merged: Merged, recipe: Recipe, moment: Float64[Tensor, "n k k"] | None, row: int
) -> tuple[Float64[Tensor, "r_task r_domain"], Float64[Tensor, "r_task r_domain"] | None]:
    """How far each two directions of a module meet, by the weights and by the inputs, as they are in the merge."""
    alone = found.only(row)  # tables of all other modules would be thrown away
    sign = as_merged(merged.how.weights[row : row + 1])
    weight = sign * in_units_of_chance(alone, recipe.but(conflict_space="weight"), None)[0]
    if moment is None:
        return weight, None
    seen = recipe.but(conflict_space="activation")
    return weight, sign * in_units_of_chance(alone, seen, moment[row : row + 1])[0]


def _hands(merged: Merged, found: Directions, row: int) -> list[tuple[Tensor, Tensor]]:
    """For each side which directions are dropped, and about which of them a hand decided: none, for a method without."""
    drops = merged.how.drops
    if drops is None:
        none = [torch.zeros_like(side.strength[row], dtype=torch.bool) for side in (found.task, found.domain)]
        return [(side, side) for side in none]
    return [(drops.task[row], drops.task_by_hand[row]), (drops.domain[row], drops.domain_by_hand[row])]


def _direction_states(
    side: Side,
    row: int,
    strength: Float64[Tensor, " r"],
    order: Float64[Tensor, "r r_other"],
    units: tuple[Tensor, Tensor | None],
    opposed: Bool[Tensor, "r r_other"],
    hand: tuple[Bool[Tensor, " r"], Bool[Tensor, " r"]],
    kept: Float64[Tensor, "2 r"] | None,
) -> list[DirectionState]:
    """hand: which directions are dropped, and about which of them a hand decided."""
    share = strength.square() / strength.square().sum().clamp_min(1e-300)
    nearest, rival = order.min(1)
    weight, activation = units
    return [
        DirectionState(
            number=i,
            strength=float(strength[i]),
            share=float(share[i]),
            rival=int(rival[i]) if bool(nearest[i].isfinite()) else None,
            units=(float(weight[i, rival[i]]), None if activation is None else float(activation[i, rival[i]])),
            opposed=bool(opposed[i].any()),
            dropped=bool(hand[0][i]),
            by_hand=bool(hand[1][i]),
            kept=None if kept is None else (float(kept[0, i]), float(kept[1, i])),
        )
        for i in range(len(strength))
        if side.strength[row, i] > 0
    ]
