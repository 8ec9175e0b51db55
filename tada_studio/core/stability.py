"""How far a gate map can be trusted: would fewer inputs, other inputs, or larger adapters have given another one?

Everything here works on readings that were taken: the gates of a subset of the inputs need no new pass of the base.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from tada_studio.core import stats
from tada_studio.core.factor import CoreSpace
from tada_studio.core.gates import Gates, Readings, bands, computed_gates
from tada_studio.recipe import Recipe

#: Numbers of inputs that are tried, and how many subsets of each.
SIZES, SUBSETS = (4, 8, 16, 32), 40
#: Factor by which both adapters are scaled, to see that the gates do not move.
LOUDER = 10.0


class Subsets(NamedTuple):
    """Gates from n of the inputs against those from all: rank correlation (None: undefined) and mean distance, with 95 % ranges."""

    n: int
    rho: float | None
    rho_range: stats.Interval | None
    distance: float
    distance_range: stats.Interval


class Scaled(NamedTuple):
    """Largest change of any gate when both adapters, the task's, the domain's are LOUDER times as large; computed anew each time.

    raw: the same where gates are taken from unnormalised responses: what the check would look like if it failed
    """

    both: float
    task: float
    domain: float
    raw: float


class Stability(NamedTuple):
    """inputs: how many were read; halves: Spearman's correlation of the gates from every other input with those from the rest;
    bands: (2, layers, projections) 95 % bootstrap band of every cell; scaled: None where nothing was read."""

    inputs: int
    subsets: tuple[Subsets, ...]
    halves: float | None
    bands: Float64[Tensor, "2 layers projections"]
    scaled: Scaled | None

    @property
    def width(self) -> float | None:
        """Half the width of a typical (the median) cell's band; None without bands."""
        half = (self.bands[1] - self.bands[0])[~self.bands[0].isnan()] / 2
        return float(half.median()) if len(half) else None


def stability(readings: Readings, gate_map: Gates, recipe: Recipe, space: CoreSpace) -> Stability:
    """All of it, for the gates that a recipe computes from readings. Cells set by hand are what they are, and do not vary."""
    inputs = len(readings.tokens)
    sizes = [n for n in SIZES if n < inputs] if inputs > 1 else []
    generator = torch.Generator().manual_seed(recipe.seed)
    subsets = tuple(_subsets(readings, recipe, n, generator) for n in sizes)
    return Stability(
        inputs,
        subsets,
        _halves(readings, recipe) if inputs > 1 else None,
        bands(readings, gate_map, recipe),
        scaled_gates(readings, recipe, space) if inputs else None,
    )


def _subsets(readings: Readings, recipe: Recipe, n: int, generator: torch.Generator) -> Subsets:
    whole, inputs = computed_gates(readings, recipe), len(readings.tokens)
    drawn = [_only(torch.randperm(inputs, generator=generator)[:n], inputs) for _ in range(SUBSETS)]
    found = [computed_gates(readings, recipe, times) for times in drawn]
    rhos = [rho for rho in (_alike(readings, gate, whole) for gate in found) if rho is not None]
    distances = [float((gate - whole).abs().mean()) for gate in found]
    spread = stats.percentiles(distances)
    assert spread is not None
    mean = sum(rhos) / len(rhos) if rhos else None
    return Subsets(n, mean, stats.percentiles(rhos), sum(distances) / len(distances), spread)


def _only(chosen: Tensor, inputs: int) -> Tensor:
    """How often each input counts: once if it is chosen."""
    return torch.zeros(inputs).index_fill(0, chosen, 1.0)


def _halves(readings: Readings, recipe: Recipe) -> float | None:
    places = torch.arange(len(readings.tokens))
    odd, even = (computed_gates(readings, recipe, _only(places[start::2], len(places))) for start in (0, 1))
    return _alike(readings, odd, even)


def _alike(readings: Readings, one: Float64[Tensor, " n"], other: Float64[Tensor, " n"]) -> float | None:
    """Rank correlation of two lists of gates within each tower; their mean, a tower counted by its modules."""
    towers = [place.tower for place in readings.addresses.values()]
    found = []
    for tower in dict.fromkeys(towers):
        ours = torch.tensor([each == tower for each in towers])
        found.append((stats.spearman(one[ours], other[ours]), int(ours.sum())))
    known = [(rho, n) for rho, n in found if rho is not None]
    if len(found) == 1:
        return found[0][0]
    return sum(rho * n for rho, n in known) / sum(n for _, n in known) if known else None


def moment_responses(space: CoreSpace, moment: Float64[Tensor, "n k k"]) -> Float64[Tensor, "n 2"]:
    """Root-mean-square response of (task, domain), ``sqrt(tr(s^2 B^T B E[z z^T])) / |dW|_F``; 0 where an adapter does nothing."""
    found = []
    for side, columns in enumerate((slice(0, space.rank_task), slice(space.rank_task, None))):
        scale = space.scale[:, columns, None] * space.scale[:, None, columns]
        square = (space.gram_up[:, columns, columns] * scale * moment[:, columns, columns]).sum((1, 2)).clamp_min(0)
        norm = space.squared_norms[:, side]
        found.append(torch.where(norm > 0, (square / norm).sqrt(), 0))
    return torch.stack(found, 1)


def scaled_gates(readings: Readings, recipe: Recipe, space: CoreSpace) -> Scaled:
    """How far the gates move when factors are scaled: responses are derived anew from scaled Gram matrices and moments."""
    plain = _gates(readings, recipe, moment_responses(space, readings.moment))

    def moved(task: float, domain: float) -> float:
        louder, moment = _louder(space, readings.moment, task, domain)
        return float((_gates(readings, recipe, moment_responses(louder, moment)) - plain).abs().max())

    norms = space.squared_norms.sqrt()
    raw = moment_responses(space, readings.moment) * norms
    louder_raw = raw * torch.tensor([1.0, LOUDER], dtype=torch.float64)
    uncalibrated = recipe.but(calibration="none")  # a median would hide a factor that is the same everywhere
    change = _gates(readings, uncalibrated, louder_raw) - _gates(readings, uncalibrated, raw)
    return Scaled(moved(LOUDER, LOUDER), moved(LOUDER, 1.0), moved(1.0, LOUDER), float(change.abs().max()))


def _louder(space: CoreSpace, moment: Tensor, task: float, domain: float) -> tuple[CoreSpace, Tensor]:
    """The pair with its A factors scaled: z, and all that is made of it, scales with them."""
    sides = torch.tensor([task] * space.rank_task + [domain] * space.rank_domain, dtype=torch.float64)
    both = sides[:, None] * sides[None, :]
    louder = CoreSpace(
        space.names, space.sizes, space.rank_task, space.rank_domain, space.gram_up, space.gram_down * both, space.scale
    )
    return louder, moment * both


def _gates(readings: Readings, recipe: Recipe, responses: Float64[Tensor, "n 2"]) -> Tensor:
    """The gates of these responses, as if one input had given them."""
    task, domain = responses[:, :1], responses[:, 1:]
    one = Readings(
        readings.names,
        task,
        domain,
        task,
        domain,
        readings.moment,
        torch.ones(1, dtype=torch.int64),
        readings.present,
        {},
    )
    return computed_gates(one, recipe)
