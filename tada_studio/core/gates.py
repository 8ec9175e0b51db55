"""From probe readings and a recipe to one gate per module: 0 is all task, 1 all domain.

response  s_a  how strongly adapter a reacts to the probe inputs, whatever its size
contrast  c    ln s_D - ln s_T
gate      g_D  sigmoid(sharpness * (c - calibration)), then the selector lines of the recipe
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from torch import Tensor

from tada_studio.addresses import Address, addresses, in_usual_order, rows_of
from tada_studio.core import stats
from tada_studio.core.selectors import Cells, apply_lines, spans_of
from tada_studio.core.separation import BothMoments
from tada_studio.errors import MismatchError
from tada_studio.lazy import lazy
from tada_studio.lora import Pair
from tada_studio.recipe import Recipe

#: Bootstrap draws over probe inputs for every band and interval of a gate map.
DRAWS = 200
#: Orders of the layers with which a trend over depth is compared.
SHUFFLES = 999
#: A trend over depth that other orders of the layers show this often is not called one.
BY_CHANCE = 0.05


@dataclass(frozen=True, eq=False)
class Readings:
    """What one pass of the base over m probe inputs read of the n modules of a pair.

    names:    dotted module names, in order of depth
    task, domain: response of each module to each input, mean over its tokens of ``|dW x| / (|dW|_F |x|)``, in [0, 1]
    rms_task, rms_domain: the same with a root mean square over the tokens
    moment:   E[z z^T] over all tokens, z = [A_T x; A_D x] / |x|; columns as in ``CoreSpace``
    tokens:   how many tokens of each input were read
    present:  which of (task, domain) changes a module at all
    about:    what they belong to: digests of both adapters, the base, the inputs; versions
    on_task:  the same of a pass over task inputs; None where only domain inputs were read, as by version 0.1
    """

    names: tuple[str, ...]
    task: Float64[Tensor, "n m"]
    domain: Float64[Tensor, "n m"]
    rms_task: Float64[Tensor, "n m"]
    rms_domain: Float64[Tensor, "n m"]
    moment: Float64[Tensor, "n k k"]
    tokens: Int64[Tensor, " m"]
    present: Bool[Tensor, "n 2"]
    about: dict[str, str]
    on_task: "Readings | None" = None

    @property
    def moments(self) -> BothMoments | None:
        """Both moments; None without task inputs."""
        return None if self.on_task is None else BothMoments(self.on_task.moment, self.moment)

    @lazy
    def addresses(self) -> dict[str, Address]:
        return addresses(self.names)

    def belongs_to(self, pair: Pair) -> None:
        """Raise MismatchError if these readings were taken for other adapters."""
        for role, adapter in (("task", pair.task), ("domain", pair.domain)):
            if self.about.get(role) != adapter.digest:
                raise MismatchError(
                    f"The readings were taken for another {role} adapter than {adapter.label}. Probe this pair again."
                )
        if self.names != pair.names or self.moment.shape[-1] != pair.task.rank + pair.domain.rank:
            raise MismatchError("The readings are of other modules or ranks than this pair's. Probe it again.")

    def average(self, recipe: Recipe, times: Float[Tensor, " m"] | None = None) -> tuple[Tensor, Tensor]:
        """Each adapter's (n,) response over the tokens of all inputs, input i counted ``times[i]`` times."""
        weight = self.tokens.double() * (1 if times is None else times.double())
        share = weight / weight.sum()
        # not a matrix product: BLAS rounds by where a tensor lies in memory, and loaded readings lie elsewhere
        if recipe.response == "rms":
            return (self.rms_task.square() * share).sum(1).sqrt(), (self.rms_domain.square() * share).sum(1).sqrt()
        return (self.task * share).sum(1), (self.domain * share).sum(1)


def unprobed(pair: Pair, present: Bool[Tensor, "n 2"]) -> Readings:
    """Readings of nothing, for weights-only mode: every computed gate is even."""
    n, k = len(pair.names), pair.task.rank + pair.domain.rank
    none, moment = torch.zeros(n, 0, dtype=torch.float64), torch.zeros(n, k, k, dtype=torch.float64)
    return Readings(pair.names, none, none, none, none, moment, torch.zeros(0, dtype=torch.int64), present, about={})


@dataclass(frozen=True, eq=False)
class Gates:
    """The map of a merge: for each layer and projection who speaks there, and how loud.

    layers, projections: what the rows and the columns stand for
    towers:     the tower of each row, all rows of one together; "" in a base that has only one
    values:     share plane: g_D in [0, 1] that the merge uses; NaN where the base has no module
    computed:   the same before selector lines
    strength:   multipliers of the task's and of the domain's update, of either sign; 1 where no line sets them
    separation: in [0, 1], for a method that separates; 1 where no line sets it
    edited, locked: which cells' shares the recipe's selector lines set, and which they froze
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    values: Float64[Tensor, "layers projections"]
    computed: Float64[Tensor, "layers projections"]
    strength: Float64[Tensor, "2 layers projections"]
    separation: Float64[Tensor, "layers projections"]
    edited: Bool[Tensor, "layers projections"]
    locked: Bool[Tensor, "layers projections"]
    towers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "towers", self.towers or ("",) * len(self.layers))

    @lazy
    def by_tower(self) -> dict[str, "Gates"]:
        """The map of each tower, with the projections that it has; of a base with one tower this map itself."""
        spans = spans_of(self.towers)
        return {self.towers[0]: self} if len(spans) == 1 else {self.towers[span[0]]: self._part(span) for span in spans}

    def _part(self, span: range) -> "Gates":
        rows = slice(span.start, span.stop)
        columns = self.there[rows].any(0)

        def cut(plane: Tensor) -> Tensor:
            return plane[..., rows, :][..., columns]

        names = tuple(name for name, here in zip(self.projections, columns.tolist(), strict=True) if here)
        return Gates(
            self.layers[rows], names, cut(self.values), cut(self.computed), cut(self.strength), cut(self.separation),
            cut(self.edited), cut(self.locked), self.towers[rows],
        )  # fmt: skip

    def cut(self, tower: str, plane: Shaped[Tensor, "... layers projections"]) -> Shaped[Tensor, "... rows columns"]:
        """What a plane laid out like this map holds of one tower, laid out like its own map."""
        rows = torch.tensor([one == tower for one in self.towers])
        return plane[..., rows, :][..., self.there[rows].any(0)]

    def place(self, row: int, column: int) -> Address:
        """The address of a cell."""
        return Address(self.layers[row], self.projections[column], self.towers[row])

    def cell(self, place: Address) -> tuple[int, int]:
        """(row, column) of an address on the map."""
        rows, columns = self.cells_of([place])
        return rows[0], columns[0]

    @property
    def there(self) -> Bool[Tensor, "layers projections"]:
        return ~self.values.isnan()

    @property
    def by_hand(self) -> Bool[Tensor, "layers projections"]:
        """Cells where a hand set anything: share, strength or separation."""
        return (self.edited | (self.strength != 1).any(0) | (self.separation != 1)) & self.there

    def at(self, places: Sequence[Address]) -> Float64[Tensor, " n"]:
        """The shares of modules at these addresses."""
        return self.values[self.cells_of(places)]

    def strength_at(self, places: Sequence[Address]) -> Float64[Tensor, "n 2"]:
        """The multipliers (task's, domain's) of modules at these addresses."""
        rows, columns = self.cells_of(places)
        return self.strength[:, rows, columns].mT

    def separation_at(self, places: Sequence[Address]) -> Float64[Tensor, " n"]:
        return self.separation[self.cells_of(places)]

    def cells_of(self, places: Iterable[Address]) -> tuple[list[int], list[int]]:
        """Rows and columns of these addresses."""
        row = {where: i for i, where in enumerate(zip(self.towers, self.layers, strict=True))}
        column = {name: j for j, name in enumerate(self.projections)}
        found = [(row[place.tower, place.layer], column[place.projection]) for place in places]
        return [i for i, _ in found], [j for _, j in found]

    def cells(self) -> Cells:
        """This map, ready for further selector lines."""
        cells = Cells(self.layers, self.projections, self.computed, self.towers)
        cells.values, cells.strength, cells.separation = (
            self.values.clone(),
            self.strength.clone(),
            self.separation.clone(),
        )
        cells.edited, cells.locked = self.edited.clone(), self.locked.clone()
        return cells


def gates(readings: Readings, recipe: Recipe | None = None) -> Gates:
    """The gate map of a recipe. Raises RecipeError for a selector line that cannot be read."""
    recipe = recipe or Recipe()
    rows, projections, cells = _grid(tuple(readings.addresses.values()))
    towers, layers = tuple(tower for tower, _ in rows), tuple(layer for _, layer in rows)
    computed = torch.full((len(layers), len(projections)), torch.nan, dtype=torch.float64)
    computed[cells] = computed_gates(readings, recipe)
    after = apply_lines(Cells(layers, projections, computed, towers), recipe.overrides)
    planes = after.values, computed, after.strength, after.separation, after.edited, after.locked
    return Gates(layers, projections, *planes, towers)


def computed_gates(
    readings: Readings, recipe: Recipe, times: Float[Tensor, " m"] | None = None
) -> Float64[Tensor, " n"]:
    """g_D of every module from the readings alone; ``times`` counts inputs for a bootstrap draw."""
    if not readings.tokens.numel():
        return _who_is_there(torch.full((len(readings.names),), 0.5, dtype=torch.float64), readings.present)
    task, domain = readings.average(recipe, times)
    return _computed(readings, recipe, task[None], domain[None])[0]


def _computed(
    readings: Readings, recipe: Recipe, task: Float64[Tensor, "draws n"], domain: Float64[Tensor, "draws n"]
) -> Float64[Tensor, "draws n"]:
    """The gates that average responses give."""
    contrast = domain.log() - task.log()
    centred = contrast - _calibration(contrast, list(readings.addresses.values()), recipe.calibration)
    gate = torch.sigmoid(recipe.sharpness * centred)
    return _who_is_there(torch.where(gate.isnan(), 0.5, gate), readings.present)  # NaN: neither reacted to any input


def _who_is_there(gate: Tensor, present: Tensor) -> Tensor:
    """A module that only one adapter changes belongs to that one; a zero adapter has no response to compare."""
    only_task, only_domain = present[:, 0] & ~present[:, 1], present[:, 1] & ~present[:, 0]
    neither = ~present.any(1)
    return torch.where(only_task, 0.0, torch.where(only_domain, 1.0, torch.where(neither, 0.5, gate)))


def _calibration(contrast: Float64[Tensor, "draws n"], places: Sequence[Address], how: str) -> Tensor:
    """What counts as even in each draw: the median of known contrasts, of one tower's modules alone."""
    if how == "none":
        return torch.zeros_like(contrast)
    groups = [(place.tower, place.projection if how == "projection" else "") for place in places]
    level = torch.zeros_like(contrast)
    for group in set(groups):
        rows = torch.tensor([one == group for one in groups])
        known = torch.where(contrast.isfinite(), contrast, torch.nan)[:, rows]
        level[:, rows] = known.nanquantile(0.5, dim=1, keepdim=True).nan_to_num(0.0)
    return level


def _grid(places: Sequence[Address]) -> tuple[list[tuple[str, int]], tuple[str, ...], tuple[list[int], list[int]]]:
    """(tower, layer) of the rows, columns, and where in the grid each module stands."""
    rows = rows_of(places)
    row = {v: i for i, v in enumerate(rows)}
    deeper = sorted(places, key=lambda place: row[place.tower, place.layer])
    projections = tuple(dict.fromkeys(place.projection for place in deeper))
    if (
        len({tower for tower, _ in rows}) > 1
    ):  # each tower's columns stand in its own order, whichever it shares with another
        projections = tuple(in_usual_order(projections))
    column = {v: i for i, v in enumerate(projections)}
    return rows, projections, ([row[p.tower, p.layer] for p in places], [column[p.projection] for p in places])


class Depth(NamedTuple):
    """How the domain's share changes with depth.

    rho:      Spearman's rank correlation of g_D with the layer, over all modules; None where it is undefined
    interval: its 95 % bootstrap interval over probe inputs, for these layers; None without readings
    by_projection: rho of each projection
    thirds:   mean g_D of the shallow, middle and deep third of the layers; of two layers each, of one that one
    share:    (layers,) mean g_D of each layer
    low, high: (layers,) 95 % band of that mean
    by_chance: how often layers in another order show as strong a trend: inputs may agree on one that is no more than that
    over_layers: the 95 % interval of rho where inputs and layers are redrawn, layers in runs of neighbours; None without readings
    """

    rho: float | None
    interval: stats.Interval | None
    by_projection: dict[str, float | None]
    thirds: tuple[float, ...]
    share: Float64[Tensor, " layers"]
    low: Float64[Tensor, " layers"]
    high: Float64[Tensor, " layers"]
    by_chance: float
    over_layers: stats.Interval | None = None

    @property
    def direction(self) -> int | None:
        """1 where the domain's share rises with depth, -1 where it falls, 0 where neither is sure; None where nothing was read.

        One verdict from three looks: other inputs, other layers, the same layers in another order.
        """
        if self.interval is None:
            return None
        spans = [span for span in (self.interval, self.over_layers) if span is not None]
        sure = self.by_chance < BY_CHANCE
        rises, falls = all(span.low > 0 for span in spans), all(span.high < 0 for span in spans)
        return 1 if rises and sure else -1 if falls and sure else 0


def depth_profiles(readings: Readings, gate_map: Gates, recipe: Recipe) -> dict[str, Depth]:
    """The depth asymmetry of the map on screen, tower by tower, with its uncertainty from resampling the probe inputs.

    Cells set by hand do not vary between draws.
    """
    draws = _redrawn(readings, gate_map, recipe)
    return {
        tower: _depth_profile(part, gate_map.cut(tower, draws), recipe) for tower, part in gate_map.by_tower.items()
    }


def _depth_profile(gate_map: Gates, draws: Float64[Tensor, "draws layers projections"], recipe: Recipe) -> Depth:
    """Of one tower; ``draws``: its map from other draws of as many inputs."""
    there, values = gate_map.there, gate_map.values
    depth = torch.tensor(gate_map.layers, dtype=torch.float64)[:, None].expand_as(values)
    rhos = stats.spearman_rows(depth[there], draws[:, there])
    means = torch.cat([values[None], draws]).nanmean(2)
    band = stats.bands(means)
    thirds = values.nanmean(1).tensor_split(min(3, len(values)))
    return Depth(
        rho=stats.spearman(depth[there], values[there]),
        interval=stats.percentiles(rhos[~rhos.isnan()].tolist()),
        by_chance=_by_chance(gate_map, recipe.seed),
        by_projection={
            name: stats.spearman(depth[there[:, j], j], values[there[:, j], j])
            for j, name in enumerate(gate_map.projections)
        },
        thirds=tuple(float(third.mean()) for third in thirds),
        share=values.nanmean(1),
        low=band[0],
        high=band[1],
        over_layers=_over_layers(draws, depth, recipe.seed),
    )


def _over_layers(
    draws: Float64[Tensor, "draws layers projections"], depth: Float64[Tensor, "layers projections"], seed: int
) -> stats.Interval | None:
    """The interval of rho over draws of inputs and of layers; neighbours are alike, so layers are drawn in runs of n^(1/3)."""
    many, n = draws.shape[:2]
    length = max(1, round(n ** (1 / 3)))
    picks = stats.resampled_blocks(n, length, many, torch.Generator().manual_seed(seed))
    shares = draws[torch.arange(many)[:, None], picks].flatten(1)
    rhos = stats.spearman_pairs(depth[picks].flatten(1), shares)
    return stats.percentiles(rhos[~rhos.isnan()].tolist())


def bands(readings: Readings, gate_map: Gates, recipe: Recipe) -> Float64[Tensor, "2 layers projections"]:
    """The 95 % bootstrap band of every cell (low, high) over probe inputs; NaN without readings."""
    draws = _redrawn(readings, gate_map, recipe)
    if not len(draws):
        return torch.full((2, *gate_map.values.shape), torch.nan, dtype=torch.float64)
    return stats.bands(draws)


def _redrawn(readings: Readings, gate_map: Gates, recipe: Recipe) -> Float64[Tensor, "draws layers projections"]:
    """The gate map as other draws of as many probe inputs would have given it."""
    if len(readings.tokens) < 2:
        return gate_map.values[None][:0]
    _, _, cells = _grid(tuple(readings.addresses.values()))
    values = gate_map.values.repeat(DRAWS, 1, 1)
    values[:, cells[0], cells[1]] = _drawn(readings, recipe)
    return torch.where(gate_map.edited | gate_map.locked, gate_map.values, values)


#: The last draws from each readings: they stay the same while a hand paints, and every stroke asks for them.
_DRAWN: WeakKeyDictionary[Readings, tuple[Recipe, Tensor]] = WeakKeyDictionary()


def _drawn(readings: Readings, recipe: Recipe) -> Float64[Tensor, "draws n"]:
    """The computed gates of every draw of inputs."""
    plain = recipe.but(overrides=())
    known = _DRAWN.get(readings)
    if known is None or known[0] != plain:
        times = stats.resamples(len(readings.tokens), DRAWS, torch.Generator().manual_seed(recipe.seed))
        known = _DRAWN[readings] = plain, _computed(readings, recipe, *_averages(readings, recipe, times))
    return known[1]


def _averages(readings: Readings, recipe: Recipe, times: Float[Tensor, "draws m"]) -> tuple[Tensor, Tensor]:
    """``Readings.average`` for many draws at once, (draws, n) each. Not for gates that are merged: see there."""
    weight = readings.tokens.double() * times.double()
    share = weight / weight.sum(1, keepdim=True)
    if recipe.response == "rms":
        return (share @ readings.rms_task.square().mT).sqrt(), (share @ readings.rms_domain.square().mT).sqrt()
    return share @ readings.task.mT, share @ readings.domain.mT


def _by_chance(gate_map: Gates, seed: int) -> float:
    """How often the same layers in another order show as strong a trend; each layer's cells stay together."""
    there = gate_map.there
    ranks = torch.zeros_like(gate_map.values)
    ranks[there] = stats.ranks(gate_map.values[there]) - (float(there.sum()) - 1) / 2
    return stats.shuffled_order_p(ranks.sum(1), there.sum(1).double(), SHUFFLES, torch.Generator().manual_seed(seed))
