"""What a merge makes of the two kinds of inputs, cell by cell: how much of each adapter it keeps where, and who speaks when.

own kept      share of an adapter's response energy on its own inputs that the merge keeps; as trained it is 1
foreign left  the same on the other's inputs: what is silenced is missing here
gate          the domain's share of what both say on a kind of inputs, each in units of its own size, so that the larger adapter
              does not win by being large: ``v_D / (v_T + v_D)``, v_a the root mean square of ``|B_a mix_a z|`` over |dW_a|_F
separation    the gate on domain inputs less the gate on task inputs: how far a module gates itself by its input
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from tada_studio.addresses import Address
from tada_studio.core import stats
from tada_studio.core.conflict import Side
from tada_studio.core.factor import CoreSpace
from tada_studio.core.gates import DRAWS, SHUFFLES, Gates, Readings
from tada_studio.core.separation import BothMoments, response, sides, spread
from tada_studio.lazy import lazy

Cell = Float64[Tensor, "layers projections"]


class Line(NamedTuple):
    """One gate over the layers: the mean of each, and the 95 % band of that mean over inputs."""

    mean: Float64[Tensor, " layers"]
    low: Float64[Tensor, " layers"]
    high: Float64[Tensor, " layers"]


class SeparationDepth(NamedTuple):
    """How separation changes with depth.

    on_domain, on_task: the two gates by layer
    rho:       Spearman's rank correlation of a cell's separation with its layer; None where it is undefined
    interval:  its 95 % interval over both kinds of inputs; what it does not cover is that there are few layers
    by_chance: how often the same layers in another order show as strong a trend
    """

    on_domain: Line
    on_task: Line
    rho: float | None
    interval: stats.Interval | None
    by_chance: float


@dataclass(frozen=True, eq=False)
class SeparationMap:
    """The two kinds of inputs on the map; NaN where the base has no module, or where an adapter has none.

    own, foreign: (task, domain) own kept and foreign left of each cell
    own_in_all, foreign_in_all: the same over all modules together, by response energy
    on_domain, on_task: the gate on each kind of inputs
    drawn:        both gates first as they are and then as other draws of inputs would have given them (``_answered``)
    gates:        the map that it is laid out like
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    own: Float64[Tensor, "2 layers projections"]
    foreign: Float64[Tensor, "2 layers projections"]
    own_in_all: tuple[float, float]
    foreign_in_all: tuple[float, float]
    on_domain: Cell
    on_task: Cell
    drawn: tuple[Float64[Tensor, "draws layers projections"], Float64[Tensor, "draws layers projections"]]
    gates: Gates
    seed: int = 0

    @lazy
    def depths(self) -> dict[str, SeparationDepth]:
        """Of each tower both gates by layer, and how their difference changes with depth; not needed while a hand paints."""
        on_domain, on_task = self.drawn
        return {
            tower: _depth(part.layers, self.gates.cut(tower, on_domain), self.gates.cut(tower, on_task), self.seed)
            for tower, part in self.gates.by_tower.items()
        }

    @property
    def separation(self) -> Cell:
        """The gate on domain inputs less the gate on task inputs, in [-1, 1]."""
        return self.on_domain - self.on_task


class Kept(NamedTuple):
    """Of (task, domain): what each says as trained, and what the merge keeps of it, on its own and on the other's inputs."""

    own_before: Float64[Tensor, "n 2"]
    own_after: Float64[Tensor, "n 2"]
    foreign_before: Float64[Tensor, "n 2"]
    foreign_after: Float64[Tensor, "n 2"]


def kept(space: CoreSpace, mix: Float64[Tensor, "n k k"], moments: BothMoments) -> Kept:
    """The response energies of both adapters, as trained and as merged, on both kinds of inputs."""
    plain = torch.diag_embed(spread(space, torch.ones(len(space.names), 2, dtype=torch.float64)) * space.scale)
    (task_before, task_after), (domain_before, domain_after) = (
        [response(space, one, moment) for one in (plain, mix)] for moment in moments
    )
    swapped = lambda task, domain: torch.stack((task[:, 0], domain[:, 1]), 1)  # noqa: E731 - each adapter's own inputs
    return Kept(
        swapped(task_before, domain_before), swapped(task_after, domain_after),
        swapped(domain_before, task_before), swapped(domain_after, task_after),
    )  # fmt: skip


def kept_by_direction(
    space: CoreSpace, sides_of: Sequence[Side], mix: Float64[Tensor, "n k k"], moments: BothMoments, row: int
) -> list[Float64[Tensor, "2 r"]]:
    """Of each singular direction of (task, domain) in module ``row``: the share of what it says as trained that the merge keeps, on
    its own adapter's inputs and on the other's. NaN where it says nothing.

    Direction i says ``u_i . dW_a x = s_i v_i . x`` as trained and ``u_i . B_a mix_a z`` in the merge.
    """
    found = []
    for a, (side, columns) in enumerate(zip(sides_of, sides(space), strict=True)):
        own, other = (moments.task, moments.domain) if a == 0 else (moments.domain, moments.task)
        after = side.up[row].mT @ space.gram_up[row, columns, columns] @ mix[row, columns]
        before = torch.zeros_like(after)
        before[:, columns] = side.strength[row, :, None] * side.down[row].mT
        energies = [[((rows @ moment[row]) * rows).sum(1) for rows in (after, before)] for moment in (own, other)]
        found.append(torch.stack([new.clamp_min(0) / old for new, old in energies]))
    return found


def separation_map(
    space: CoreSpace, mix: Float64[Tensor, "n k k"], readings: Readings, gates: Gates, seed: int = 0
) -> SeparationMap:
    """What a mix makes of both kinds of inputs. ``readings`` hold task inputs; ``gates`` says where on the map modules are."""
    assert readings.moments is not None and readings.on_task is not None
    energies, places = kept(space, mix, readings.moments), tuple(readings.addresses.values())
    on = {
        "domain": _answered(readings, energies.foreign_after[:, 0], energies.own_after[:, 1], space, seed),
        "task": _answered(readings.on_task, energies.own_after[:, 0], energies.foreign_after[:, 1], space, seed + 1),
    }
    maps = {kind: _on_map(gates, places, values.T) for kind, values in on.items()}  # 1 + draws maps each
    own, foreign = energies.own_after / energies.own_before, energies.foreign_after / energies.foreign_before
    return SeparationMap(
        gates.layers,
        gates.projections,
        _on_map(gates, places, own),
        _on_map(gates, places, foreign),
        _in_all(energies.own_after, energies.own_before),
        _in_all(energies.foreign_after, energies.foreign_before),
        maps["domain"][0],
        maps["task"][0],
        (maps["domain"], maps["task"]),
        gates,
        seed,
    )


def _answered(
    readings: Readings, task: Float64[Tensor, " n"], domain: Float64[Tensor, " n"], space: CoreSpace, seed: int
) -> Float64[Tensor, "draws n"]:
    """The gate on these inputs, first as it is, then as other draws of as many inputs would have given it.

    task, domain: what each says in the merge, mean squares. For a draw the mix is held fixed, and what an adapter says grows as
    its response as trained does on the inputs drawn: moments are kept of all inputs together.
    """
    size = space.squared_norms
    m = len(readings.tokens)
    times = torch.cat(
        [torch.ones(1, m), stats.resamples(m, DRAWS, torch.Generator().manual_seed(seed)).float()]
    ).double()
    weight = readings.tokens.double() * times
    share = weight / weight.sum(1, keepdim=True)
    responses = []
    for response_there, rms, side in ((task, readings.rms_task, 0), (domain, readings.rms_domain, 1)):
        drawn = share @ rms.square().mT
        responses.append((response_there / size[:, side] * drawn / drawn[:1]).sqrt())
    gate = responses[1] / (responses[0] + responses[1])
    return _who_is_there(gate, space.present)


def _who_is_there(gate: Tensor, present: Bool[Tensor, "n 2"]) -> Tensor:
    """A module that only one adapter changes is that one's; where nobody says anything the gate is even."""
    task, domain = present[:, 0] & ~present[:, 1], present[:, 1] & ~present[:, 0]
    return torch.where(task, 0.0, torch.where(domain, 1.0, torch.where(gate.isnan(), 0.5, gate)))


def _on_map(gates: Gates, places: Sequence[Address], values: Float64[Tensor, "n many"]) -> Tensor:
    """(many, layers, projections) maps of a value a module."""
    found = torch.full((values.shape[1], len(gates.layers), len(gates.projections)), torch.nan, dtype=torch.float64)
    rows, columns = gates.cells_of(places)
    found[:, rows, columns] = values.T
    return found


def _in_all(after: Float64[Tensor, "n 2"], before: Float64[Tensor, "n 2"]) -> tuple[float, float]:
    task, domain = (after.nansum(0) / before.nansum(0)).tolist()
    return task, domain


def _depth(layers: tuple[int, ...], on_domain: Tensor, on_task: Tensor, seed: int) -> SeparationDepth:
    """on_domain, on_task: (1 + draws, layers, projections), the map itself first."""
    apart = on_domain - on_task
    there = ~apart[0].isnan()
    depth = torch.tensor(layers, dtype=torch.float64)[:, None].expand_as(there)[there]
    rhos = stats.spearman_rows(depth, apart[1:, there])
    ranks = torch.zeros_like(apart[0])
    ranks[there] = stats.ranks(apart[0][there]) - (float(there.sum()) - 1) / 2
    chance = torch.Generator().manual_seed(seed)
    return SeparationDepth(
        _line(on_domain),
        _line(on_task),
        stats.spearman(depth, apart[0][there]),
        stats.percentiles(rhos[~rhos.isnan()].tolist()),
        stats.shuffled_order_p(ranks.sum(1), there.sum(1).double(), SHUFFLES, chance),
    )


def _line(maps: Float64[Tensor, "draws layers projections"]) -> Line:
    means = maps.nanmean(2)
    low, high = stats.bands(means)
    return Line(means[0], low, high)
