"""The nouns that a merging method takes and gives: what is known of a pair, and how its updates are to be combined."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from tada_studio.core.conflict import Directions, Drops, directions
from tada_studio.core.factor import CoreSpace
from tada_studio.core.gates import Gates
from tada_studio.core.separation import BothMoments
from tada_studio.lazy import lazy
from tada_studio.lora import Pair
from tada_studio.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Analysis:
    """What the core space of a pair is asked for again and again; computed once per pair.

    latest: the last merge that had to leave the core space, by the knobs it depends on; it takes seconds
    """

    pair: Pair
    space: CoreSpace
    latest: dict[Any, Any] = field(default_factory=dict)

    @lazy
    def directions(self) -> Directions:
        return directions(self.space)


@dataclass(frozen=True, eq=False)
class Mix:
    """How the updates of every module are to be combined, by a method that stays in the core space.

    mix:     dW = [B_T B_D] mix [A_T; A_D]
    weights: (w_T, w_D) of every module
    drops:   directions left out, for a method that drops any
    """

    mix: Float64[Tensor, "n k k"]
    weights: Float64[Tensor, "n 2"]
    drops: Drops | None = None


class Leading(NamedTuple):
    """The best approximation of one module's update by few directions, and what there was to approximate.

    up, down: (d_out, r) and (r, d_in) in float32, the singular values split evenly between them; zero columns fill up to r
    spectrum: the leading singular values; energy: squared Frobenius norm of the whole update
    """

    up: Float[Tensor, "d_out r"]
    down: Float[Tensor, "r d_in"]
    spectrum: Float64[Tensor, " s"]
    energy: float

    def times(self, factor: float) -> "Leading":
        """The same of ``factor`` times the update; factor >= 0."""
        half = factor**0.5
        return Leading(self.up * half, self.down * half, self.spectrum * factor, self.energy * factor**2)


@dataclass(frozen=True, eq=False)
class Outside:
    """How the updates are to be combined, by a method whose result no core-space matrix can hold.

    leading: (row of a module, r, how many singular values to give) -> its merged update with weights 1 and 1
    weights: (w_T, w_D) of every module, all equal: what that update is to be multiplied by
    """

    leading: Callable[[int, int, int], Leading]
    weights: Float64[Tensor, "n 2"]
    drops: Drops | None = None


@dataclass(frozen=True, eq=False)
class Moments:
    """What probes saw of the inputs, E[z z^T] of z = [A_T x; A_D x] / |x| for every module; None without that probe.

    domain: over domain inputs; task: over task inputs
    """

    domain: Float64[Tensor, "n k k"] | None = None
    task: Float64[Tensor, "n k k"] | None = None

    @property
    def both(self) -> BothMoments | None:
        """What it takes to separate the two; None if one kind of inputs was not read."""
        return None if self.domain is None or self.task is None else BothMoments(self.task, self.domain)


@dataclass(frozen=True)
class Method:
    """One way to combine two adapters, as data; all doors read it.

    name:   as in a recipe; its file in ``core/methods`` is called the same
    run:    (analysis, gate map, recipe, moments) -> how the updates are mixed
    says:   one line for help and tables
    uses:   the knobs that change what comes out, besides those that every method obeys
    planes: the planes of the map that count: "share", "strength", "separation"
    source: the paper, if it has one
    needs:  the probes without which the map stays even, "domain" or "task"
    """

    name: str
    run: Callable[[Analysis, Gates, Recipe, Moments], Mix | Outside]
    says: str
    uses: frozenset[str]
    planes: frozenset[str] = frozenset()
    source: str = ""
    needs: frozenset[str] = frozenset()

    @property
    def computes_shares(self) -> bool:
        """Whether readings give the map its shares; else they are even until a hand sets them."""
        return "sharpness" in self.uses

    @property
    def reads_map(self) -> bool:
        """Whether the map, computed or painted, counts."""
        return bool(self.planes)


def rank_of(pair: Pair, recipe: Recipe) -> int:
    """The rank of the merged adapter: the recipe's, or the larger of the two."""
    return recipe.rank or max(pair.task.rank, pair.domain.rank)


def gate_weights(space: CoreSpace, share: Float64[Tensor, " n"], recipe: Recipe) -> Float64[Tensor, "n 2"]:
    """(w_T, w_D) that a domain's share gives, times the recipe's strength; each adapter scaled as a whole by its balance level."""
    return recipe.strength * share_weights(share, space.present, recipe) * balance_levels(space, recipe)


def share_weights(share: Float64[Tensor, " n"], present: Bool[Tensor, "n 2"], recipe: Recipe) -> Float64[Tensor, "n 2"]:
    """(w_T, w_D) of a domain's share g: (1, 0) at 0, (1, 1) at .5, (0, 1) at 1, straight between.

    A module that one adapter does not change takes the other's at weight 1, whatever its share. With ``weights = "0.1"`` both
    adapters get twice their share, 2 (1 - g) and 2 g, everywhere.
    """
    weights = 2 * torch.stack((1 - share, share), 1)
    if recipe.weights == "0.1":
        return weights
    return torch.where(alone(present)[:, None], present.double(), weights.clamp_max(1))


def alone(present: Bool[Tensor, "n 2"]) -> Bool[Tensor, " n"]:
    """Modules that exactly one adapter changes: there is nothing to merge them with."""
    return present[:, 0] != present[:, 1]


def balance_levels(space: CoreSpace, recipe: Recipe) -> Float64[Tensor, " 2"]:
    """What balance scales each adapter by: (geometric mean of both total norms / its own) ** balance."""
    norms = space.squared_norms.sum(0).sqrt()
    return (norms.prod().sqrt() / norms) ** recipe.balance if bool((norms > 0).all()) else torch.ones_like(norms)


def even_weights(space: CoreSpace, weight: float) -> Float64[Tensor, "n 2"]:
    """The same weight for both adapters in every module."""
    return torch.full((len(space.names), 2), weight, dtype=torch.float64)


def relative_depth(pair: Pair) -> Float64[Tensor, " n"]:
    """How deep each module lies in its tower: 0 in the first layer, 1 in the last."""
    places = list(pair.addresses.values())
    layers = torch.tensor([float(place.layer) for place in places], dtype=torch.float64)
    depth = torch.zeros_like(layers)
    for tower in {place.tower for place in places}:
        ours = torch.tensor([place.tower == tower for place in places])
        first, last = layers[ours].min(), layers[ours].max()
        depth[ours] = (layers[ours] - first) / (last - first).clamp_min(1)
    return depth


def column_weights(space: CoreSpace, weights: Float64[Tensor, "n 2"]) -> Float64[Tensor, "n k"]:
    """Each adapter's weight times its scale, at its columns of the core space."""
    sides = torch.tensor([0] * space.rank_task + [1] * space.rank_domain)
    return weights[:, sides] * space.scale


def weighted_sum(space: CoreSpace, weights: Float64[Tensor, "n 2"]) -> Mix:
    """``w_T dW_T + w_D dW_D``."""
    return Mix(torch.diag_embed(column_weights(space, weights)), weights)
