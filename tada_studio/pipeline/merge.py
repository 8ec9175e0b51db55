"""The merge of a pair by a recipe: gates, weights, what is dropped, the adapter, the numbers that figures show.

Command line, API, screen and report all ask one ``Merge``; each stage is computed when it is first asked for, and once.
"""

import weakref
from dataclasses import dataclass, field

from torch import Tensor

from tada_studio.addresses import Address
from tada_studio.core import gates as gating
from tada_studio.core.gates import Depth, Gates, Readings, bands, depth_profiles
from tada_studio.core.merge import (
    Merged,
    expanded,
    head_labels,
    merge_whole,
    mixed,
    output_dtype,
    recompressed,
    whose_heads,
)
from tada_studio.core.methods import METHODS, called, ignored, missing, unread_lines
from tada_studio.core.mix import Mix, Moments, Outside
from tada_studio.core.module_detail import ModuleDetail, module_detail
from tada_studio.core.separation_map import SeparationMap, separation_map
from tada_studio.core.sizes import Norms, Ranks, ThreeWay, contributions, norms, ranks, three_way
from tada_studio.core.stability import Stability, stability
from tada_studio.lazy import lazy
from tada_studio.lora import Adapter, Pair
from tada_studio.markup import Shown, share_map
from tada_studio.pipeline.analysis import analysis, unprobed
from tada_studio.pipeline.ancestry import named
from tada_studio.pipeline.cache import LruCache
from tada_studio.pipeline.origin import MergeOrigin
from tada_studio.pipeline.provenance import Provenance
from tada_studio.recipe import Recipe

#: Of each readings the last few depth profiles: hands that paint on a map which the method does not compute leave them as they are.
_DEPTHS: "weakref.WeakKeyDictionary[Readings, LruCache[dict[str, Depth]]]" = weakref.WeakKeyDictionary()
_DEPTHS_KEPT = 8


@dataclass(frozen=True, eq=False, repr=False)
class Merge(Shown):
    """Everything that follows from one (pair, readings, recipe).

    readings: None without a probe; every computed gate is then .5
    before:   the last merge of this pair in core space, from which ``merged`` takes what has not changed

    Raises MismatchError for readings of another pair.
    """

    pair: Pair
    readings: Readings | None = None
    recipe: Recipe = field(default_factory=Recipe)
    before: Merged | None = None

    def __post_init__(self) -> None:
        if self.readings is not None:
            self.readings.belongs_to(self.pair)

    def _facts(self) -> dict[str, object]:
        who = {"task": self.pair.task.label, "domain": self.pair.domain.label}
        return {**who, "called": self.called, "rank": self.merged.rank, "probed": self.probed, "digest": self.digest}

    def _repr_html_(self) -> str:
        """Its facts, and its map: blue cells are the task's, orange ones the domain's."""
        rows = zip(self.gates.layers, self.gates.values.tolist(), strict=True)
        return super()._repr_html_() + str(share_map(rows, self.gates.projections))

    @property
    def probed(self) -> bool:
        return self.readings is not None

    @lazy
    def digest(self) -> str:
        """Twelve hexadecimal digits of all that counts for this merge; whatever is measured of it carries them."""
        return Provenance.of(self.pair, self.readings, self.recipe).digest

    @property
    def readings_or_even(self) -> Readings:
        """The readings, or those of nothing, which leave every gate even."""
        return self.readings or unprobed(self.pair)

    @property
    def moment(self) -> Tensor | None:
        """(n, k, k) second moment of the probe's codes; None without a probe."""
        return None if self.readings is None else self.readings.moment

    @property
    def moments(self) -> Moments:
        """What the method may know of the inputs."""
        on_task = None if self.readings is None else self.readings.on_task
        return Moments(domain=self.moment, task=None if on_task is None else on_task.moment)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Knobs that the recipe turns and that change nothing here: the method has no use for them, or there are no readings."""
        return ignored(self.recipe, self.probed, separable=self.moments.both is not None)

    @property
    def unread_lines(self) -> tuple[str, ...]:
        """Selector lines that change nothing here, of a method that reads some of the map."""
        lines = self.recipe.overrides if METHODS[self.recipe.method].reads_map else ()
        return unread_lines(self.recipe.method, lines, self.moments.both is not None)

    @property
    def missing(self) -> tuple[str, ...]:
        """The kinds of inputs ("domain", "task") whose probe the method wants and does not have."""
        return missing(self.recipe.method, self.moments)

    @property
    def called(self) -> str:
        """What this merge is, in a name: its method, or the even gates that a method without its probe comes down to."""
        return called(self.recipe, self.moments)

    @lazy
    def gates(self) -> Gates:
        """The map; ``values`` is (layers, projections), NaN where no module is. Raises RecipeError.

        Its shares are computed from the readings only for a method that does so (``gates``).
        """
        return self.asymmetry if self._computes_shares else gating.gates(unprobed(self.pair), self.recipe)

    @lazy
    def asymmetry(self) -> Gates:
        """Who reacts more to the domain inputs, by cell: the paper's picture, whatever the method makes of it. Lines that a hand
        set are on it only where the method computes its shares like this."""
        return gating.gates(self.readings_or_even, self._computing)

    @lazy
    def separation(self) -> SeparationMap | None:
        """What the merge makes of both kinds of inputs, by cell and layer: own kept, foreign left, the gate on each kind. None
        without task inputs, or for a method that leaves the core space."""
        if self.readings is None or self.moments.both is None or not isinstance(self.how, Mix):
            return None
        return separation_map(analysis(self.pair).space, self.how.mix, self.readings, self.gates, self.recipe.seed)

    @property
    def _computes_shares(self) -> bool:
        return METHODS[self.recipe.method].computes_shares

    @property
    def _computing(self) -> Recipe:
        """The recipe by which responses become gates."""
        return self.recipe if self._computes_shares else self.recipe.but(overrides=())

    @lazy
    def how(self) -> Mix | Outside:
        """Weights and drops. Raises RecipeError for a recipe that does not fit the pair."""
        return mixed(analysis(self.pair), self.gates, self.recipe, self.moments)

    @lazy
    def merged(self) -> Merged:
        """The merge in core space: spectra, drops, energies. Raises RecipeError."""
        return recompressed(analysis(self.pair), self.how, self.recipe, self.before)

    @lazy
    def adapter(self) -> Adapter:
        """The merge in full width: one rank everywhere, scale 1, rounded to the recipe's number format. Raises RecipeError."""
        pair, recipe = self.pair, self.recipe
        return Adapter(
            label=f"{self.called} of {named(pair.task)} and {named(pair.domain)}",
            modules=expanded(analysis(pair), pair, self.merged, output_dtype(pair, recipe)),
            base=pair.task.base or pair.domain.base,
            task_type=pair.task.task_type or pair.domain.task_type,
            whole=merge_whole(pair, recipe),
            heads=tuple(whose_heads(pair, recipe)),
            labels=head_labels(pair, recipe),
            origin=MergeOrigin(pair, self.readings, recipe, weights=self.mean_weights, gates=self.gates, how=self.how),
        )

    @property
    def mean_weights(self) -> tuple[float, float]:
        """The mean weight of the task's and of the domain's updates, over the modules that each changes; 0 without any."""
        present = analysis(self.pair).space.present.double()
        means = (self.how.weights * present).sum(0) / present.sum(0).clamp_min(1)
        task, domain = (round(float(mean), 6) for mean in means)
        return task, domain

    @lazy
    def ranks(self) -> Ranks:
        """What each rank keeps of the merge."""
        return ranks(self.merged.spectrum)

    @lazy
    def norms(self) -> Norms:
        """Who is louder, by layer, before and after balance."""
        return norms(analysis(self.pair).space, list(self.pair.addresses.values()), self.recipe)

    def three_way(self, layer: int, tower: str = "") -> tuple[ThreeWay, list[str]]:
        """Task's, domain's and merged update of each projection of a layer, and the projections' names."""
        here = [
            (row, place.projection)
            for row, place in enumerate(self.pair.addresses.values())
            if (place.tower, place.layer) == (tower, layer)
        ]
        return three_way(analysis(self.pair).space, self.merged, [row for row, _ in here]), [name for _, name in here]

    def module_detail(self, address: Address) -> ModuleDetail:
        """One module closely: its directions, how they meet, what becomes of them."""
        row = list(self.pair.addresses.values()).index(address)
        both = None if self.readings is None else self.readings.moments
        return module_detail(analysis(self.pair), self.merged, self.recipe, self.moment, row, both)

    @lazy
    def band(self) -> Tensor:
        """(low, high) of every computed gate over probe inputs, whatever hands have set; NaN without readings."""
        plain = self.recipe.but(overrides=())
        return bands(self.readings_or_even, gating.gates(self.readings_or_even, plain), plain)

    @property
    def adapter_norms(self) -> Tensor:
        """(n, 2) Frobenius norms of the task's and the domain's updates, before any weight."""
        return analysis(self.pair).space.squared_norms.sqrt()

    @lazy
    def contributions(self) -> Tensor | None:
        """(n, 2) of each merged update's energy the task's and the domain's part; see ``core.sizes.contributions``."""
        return contributions(analysis(self.pair).space, self.merged)

    @lazy
    def dropped_energy(self) -> Tensor:
        """(n, 2) share of the task's and of the domain's own energy that dropping removes from each module; 0 without drops."""
        drops = self.how.drops
        return self.adapter_norms * 0 if drops is None else drops.lost_by_cell

    def on_map(self, values: Tensor) -> Tensor:
        """(layers, projections) of one value for each module, NaN where no module is."""
        grid = self.gates.values * float("nan")
        grid[self.gates.cells_of(self.pair.addresses.values())] = values.double()
        return grid

    def depths_by(self, readings: Readings) -> dict[str, Depth]:
        """The depth profiles that other readings of this pair give by the same knobs, as computed, without what hands set."""
        return Merge(self.pair, readings, self.recipe.but(overrides=())).depths

    @lazy
    def depths(self) -> dict[str, Depth]:
        """How the paper's asymmetry changes with depth, by tower ("" if there is only one); of what the merge makes of both
        kinds of inputs see ``separation``."""
        readings = self.readings_or_even
        kept = _DEPTHS.setdefault(readings, LruCache(_DEPTHS_KEPT))
        return kept.get(self._computing, lambda: depth_profiles(readings, self.asymmetry, self._computing))

    @lazy
    def stability(self) -> Stability:
        """Whether fewer or other inputs would have given the same gates; takes a second or two."""
        return stability(self.readings_or_even, self.asymmetry, self._computing, analysis(self.pair).space)


def merge(pair: Pair, readings: Readings | None = None, recipe: Recipe | None = None) -> Adapter:
    """The merged adapter: one rank everywhere, scale 1, rounded to the recipe's number format.

    readings None: weights-only, every computed gate is .5. Raises MismatchError for readings of another pair, RecipeError.
    """
    return Merge(pair, readings, recipe or Recipe()).adapter
