"""Singular directions of both adapters, how they meet, and which of two that oppose each other goes.

A direction is one term s u v^T of an update's singular value decomposition. Direction i of the task and j of the domain
have the alignment ``(u_i . u'_j) (v_i . v'_j)``, the inner product of two unit rank-one updates: +1 they agree, 0 they
never meet, -1 they cancel; ``sum_ij s_i s'_j a_ij`` is the inner product of the two updates, exactly.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from tada_studio.addresses import Address, is_called
from tada_studio.core.factor import ABSENT, CoreSpace, root
from tada_studio.core.parallel import batched
from tada_studio.errors import RecipeError
from tada_studio.lazy import lazy
from tada_studio.recipe import Recipe

#: Weighted strengths closer than this, relatively, are a tie; the task's direction then stays. Alignments, thresholds and
#: floors that are closer are equal too: directions that do not meet, computed as -1e-17, do not oppose each other.
TIE = 1e-9


@dataclass(frozen=True, eq=False)
class Side:
    """The singular directions of one adapter, for n modules at once, strongest first.

    strength: singular values of the update; 0 where a module has fewer directions
    up, down: coefficients that make the unit directions of the factors: ``u = B up``, ``v = A^T down``
    """

    strength: Float64[Tensor, "n r"]
    up: Float64[Tensor, "n r r"]
    down: Float64[Tensor, "n r r"]


@dataclass(frozen=True, eq=False)
class Directions:
    """Both adapters' directions and how they meet.

    meet_up, meet_down: inner products u_i . u'_j and v_i . v'_j
    chance:             standard deviation of the alignment of two random directions, 1 / sqrt(d_out d_in)
    """

    task: Side
    domain: Side
    meet_up: Float64[Tensor, "n r_task r_domain"]
    meet_down: Float64[Tensor, "n r_task r_domain"]
    chance: Float64[Tensor, " n"]

    @lazy
    def alignment(self) -> Float64[Tensor, "n r_task r_domain"]:
        """In [-1, 1]. An SVD may flip the signs of a (u, v) pair; both factors flip with it, so this does not change.

        Where two strengths tie, or are zero, directions are not unique and single entries mean little.
        """
        return self.meet_up * self.meet_down

    def only(self, row: int) -> "Directions":
        """These of one module."""
        here = slice(row, row + 1)
        task, domain = (Side(side.strength[here], side.up[here], side.down[here]) for side in (self.task, self.domain))
        return Directions(task, domain, self.meet_up[here], self.meet_down[here], self.chance[here])


def directions(space: CoreSpace) -> Directions:
    """The singular directions of every module's two updates, from Gram matrices alone."""
    t = slice(0, space.rank_task), slice(space.rank_task, None)
    task, domain = (
        Side(*batched(unit_directions, space.gram_up[:, s, s], space.gram_down[:, s, s], space.scale[:, s])) for s in t
    )
    meet_up = task.up.mT @ space.gram_up[:, t[0], t[1]] @ domain.up
    meet_down = task.down.mT @ space.gram_down[:, t[0], t[1]] @ domain.down
    return Directions(task, domain, meet_up, meet_down, chance=space.sizes.prod(1).rsqrt())


def unit_directions(gram_up: Tensor, gram_down: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(strength, up, down) of a ``Side`` from one adapter's own Gram matrices, (n, r, r) each, and its scale at each column."""
    root_up, root_down = root(gram_up), root(gram_down)
    u, s, vt = torch.linalg.svd((root_up * scale[:, None, :]) @ root_down.mT)
    there = s > ABSENT * s[:, :1]  # not >=, or a module of zeros would divide by zero
    s, inverse = torch.where(there, s, 0), torch.where(there, 1 / s, 0)[:, None, :]
    # u s = (s R_out R_in^T) v, so u = B (scale R_in^T v / s): no inverse of a root, which may be singular
    up = scale[:, :, None] * (root_down.mT @ vt.mT) * inverse
    down = scale[:, :, None] * (root_up.mT @ u) * inverse
    return s, up, down


def activation_alignment(found: Directions, moment: Float64[Tensor, "n k k"]) -> Float64[Tensor, "n r_task r_domain"]:
    """``(u_i . u'_j)`` times the correlation of ``v_i . x`` and ``v'_j . x`` over the probe inputs, in [-1, 1].

    moment: E[z z^T] of z = [A_T x; A_D x] / |x|, from the probe; correlations are uncentred.
    """
    t = found.task.strength.shape[1]
    both = found.task.down.mT @ moment[:, :t, t:] @ found.domain.down
    task = (found.task.down * (moment[:, :t, :t] @ found.task.down)).sum(1).clamp_min(0).sqrt()
    domain = (found.domain.down * (moment[:, t:, t:] @ found.domain.down)).sum(1).clamp_min(0).sqrt()
    size = task[:, :, None] * domain[:, None, :]
    return found.meet_up * torch.where(size > 0, both / size, 0)


@dataclass(frozen=True, eq=False)
class Drops:
    """Which directions leave the merge (True = dropped), which were opposed by another, and what that costs.

    task_by_hand, domain_by_hand: which of them ``recipe.keep`` or ``recipe.discard`` decided
    energy, gone: weighted energy ``|w_T dW_T|^2, |w_D dW_D|^2`` of each module, and how much of it is dropped
    everything:   how many directions the two adapters have in all
    """

    task: Bool[Tensor, "n r_task"]
    domain: Bool[Tensor, "n r_domain"]
    task_by_hand: Bool[Tensor, "n r_task"]
    domain_by_hand: Bool[Tensor, "n r_domain"]
    opposed: Bool[Tensor, "n r_task r_domain"]
    energy: Float64[Tensor, "n 2"]
    gone: Float64[Tensor, "n 2"]
    everything: int

    @property
    def count(self) -> int:
        return int(self.task.sum() + self.domain.sum())

    @lazy
    def lost(self) -> Float64[Tensor, " n"]:
        """Share of each module's weighted energy that dropping removes."""
        energy = self.energy.sum(1)
        return torch.where(energy > 0, self.gone.sum(1) / energy, 0)

    @lazy
    def lost_by_cell(self) -> Float64[Tensor, "n 2"]:
        """Share of the task's and of the domain's own weighted energy that dropping removes from each module."""
        return torch.where(self.energy > 0, self.gone / self.energy.clamp_min(1e-300), 0)

    @lazy
    def lost_of_each(self) -> tuple[float, float]:
        """Share of the task's and of the domain's weighted energy, over all modules, that dropping removes."""
        energy, gone = self.energy.sum(0).tolist(), self.gone.sum(0).tolist()
        return tuple(g / e if e > 0 else 0.0 for g, e in zip(gone, energy, strict=True))  # type: ignore[return-value]


def in_units_of_chance(
    found: Directions, recipe: Recipe, moment: Float64[Tensor, "n k k"] | None
) -> Float64[Tensor, "n r_task r_domain"]:
    """Alignment z_ij over its chance spread: about standard normal for unrelated directions.

    In activation space inputs are not spread evenly, so there the spread of the correlations is taken from the module's
    own table instead of from d_in.
    """
    if recipe.conflict_space == "weight":
        return found.alignment / found.chance[:, None, None]
    if moment is None:
        raise RecipeError("conflict_space = activation: needs probe readings. Probe first, or choose weight.")
    alignment = activation_alignment(found, moment)
    pairs = (found.task.strength > 0).sum(1) * (found.domain.strength > 0).sum(1)  # not padding, which would dilute it
    spread = (alignment.square().sum((1, 2)) / pairs.clamp_min(1)).sqrt()[:, None, None]
    return torch.where(spread > 0, alignment / spread, 0)


def as_merged(weights: Float64[Tensor, "n 2"]) -> Float64[Tensor, " n"]:
    """-1 where exactly one of the two adapters is subtracted, so that what agrees in the weights opposes in the merge; else 1."""
    return torch.where(weights.prod(1) < 0, -1.0, 1.0).double()


def conflicts(
    found: Directions,
    weights: Float64[Tensor, "n 2"],
    recipe: Recipe,
    addresses: dict[str, Address],
    moment: Float64[Tensor, "n k k"] | None = None,
) -> Drops:
    """Two directions conflict if z_ij < -threshold and a_ij < -floor; of the two, the weaker after weighting goes.

    A direction whose weight is 0 is not in the merge and opposes nothing; one of negative weight opposes what it would agree with.
    ``recipe.keep`` and ``recipe.discard`` have the last word.
    """
    task, domain = found.task.strength * weights[:, :1].abs(), found.domain.strength * weights[:, 1:].abs()
    in_play = (task > 0)[:, :, None] & (domain > 0)[:, None, :]
    alignment = (
        found.alignment if recipe.conflict_space == "weight" or moment is None else activation_alignment(found, moment)
    )
    sign = as_merged(weights)[:, None, None]
    far = sign * in_units_of_chance(found, recipe, moment) < -recipe.conflict_threshold * (1 + TIE)
    opposed = far & (sign * alignment < -recipe.conflict_floor - TIE) & in_play
    task_goes = task[:, :, None] < domain[:, None, :] * (1 - TIE)
    if recipe.drop == "none":
        loses = torch.zeros_like(opposed), torch.zeros_like(opposed)
    else:
        loses = (opposed, opposed) if recipe.drop == "both" else (opposed & task_goes, opposed & ~task_goes)
    drop_task, drop_domain = loses[0].any(2), loses[1].any(1)
    hand_task, hand_domain = _by_hand(recipe, addresses, drop_task, drop_domain)
    there = found.task.strength > 0, found.domain.strength > 0
    drop_task, drop_domain = drop_task & there[0], drop_domain & there[1]
    energy = torch.stack([strength.square().sum(1) for strength in (task, domain)], 1)
    gone = torch.stack([(task.square() * drop_task).sum(1), (domain.square() * drop_domain).sum(1)], 1)
    everything = int(there[0].sum() + there[1].sum())
    return Drops(drop_task, drop_domain, hand_task, hand_domain, opposed, energy, gone, everything)


# -- by hand -------------------------------------------------------------------------------------------------------


class Direction(NamedTuple):
    """One direction of one adapter in one module; side is "task" or "domain", number counts from 0, strongest first."""

    address: Address
    side: str
    number: int

    def __str__(self) -> str:
        return f"{self.address.selector} : {self.side} {self.number}"


_HAND_PICKED = re.compile(
    r"(?:(\S+)\s*:\s*)?layer\s+(\d{1,9})\s*:\s*(\S+)\s*:\s*(task|domain)\s+(\d{1,9})\s*", re.IGNORECASE
)


def direction(line: str) -> Direction | None:
    """The direction that a line of ``recipe.keep`` or ``recipe.discard`` names; None for a line that names none."""
    match = _HAND_PICKED.fullmatch(line.strip())
    return match and Direction(Address(int(match[2]), match[3], match[1] or ""), match[4].lower(), int(match[5]))


def picked(recipe: Recipe, one: Direction, dropped: bool | None) -> Recipe:
    """The recipe with this direction dropped or kept by hand; None gives it back to the rule."""

    def rest(lines: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(line for line in lines if direction(line) != one)

    mine = () if dropped is None else (str(one),)
    return recipe.but(
        keep=rest(recipe.keep) + (mine if dropped is False else ()),
        discard=rest(recipe.discard) + (mine if dropped else ()),
    )


def _row(wanted: Address, rows: Mapping[Address, int]) -> int | None:
    """The row of an address; one that names no tower is known where only one tower has such a module."""
    if wanted in rows:
        return rows[wanted]
    alike = [
        row
        for at, row in rows.items()
        if at.tower and at.layer == wanted.layer and is_called(at.tower, at.projection, wanted.projection)
    ]
    return alike[0] if len(alike) == 1 and not wanted.tower else None


def _by_hand(recipe: Recipe, addresses: dict[str, Address], task: Tensor, domain: Tensor) -> tuple[Tensor, Tensor]:
    """Sets what hands decided in ``task`` and ``domain``; returns where that was."""
    place = {address: i for i, address in enumerate(addresses.values())}
    touched = {"task": torch.zeros_like(task), "domain": torch.zeros_like(domain)}
    for knob, dropped in (("keep", False), ("discard", True)):
        for line in getattr(recipe, knob):
            one = direction(line)
            row = _row(one.address, place) if one else None
            if one is None or row is None or one.number >= touched[one.side].shape[1]:
                raise RecipeError(
                    f"{knob} = {line!r}: names no direction of this pair. Write 'layer 5 : v_proj : task 3'; "
                    "directions count from 0, strongest first."
                )
            (task if one.side == "task" else domain)[row, one.number] = dropped
            touched[one.side][row, one.number] = True
    return touched["task"], touched["domain"]
