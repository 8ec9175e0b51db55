"""What follows from a pair, its readings and a recipe: gates, merge, numbers for figures. Computed when first asked for."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from tada_studio import studio
from tada_studio.core.closeup import Closeup, closeup
from tada_studio.core.gates import Depth, Gates, Readings, bands, depth_profile
from tada_studio.core.merge import Merged
from tada_studio.core.mix import Mix, Outside
from tada_studio.core.sizes import Norms, Ranks, ThreeWay, norms, ranks, three_way
from tada_studio.core.stability import Stability, stability
from tada_studio.lora import Adapter, Address, Pair
from tada_studio.recipe import Recipe


@dataclass(frozen=True, eq=False)
class View:
    """Everything derived from one (pair, readings, recipe); each part is computed when first asked for.

    before: the last merge of this pair in core space, from which ``merged`` takes what has not changed
    """

    pair: Pair
    readings: Readings
    recipe: Recipe
    probed: bool
    before: Merged | None = None

    @cached_property
    def gates(self) -> Gates:
        return studio.gates(self.readings, self.recipe)

    @cached_property
    def how(self) -> Mix | Outside:
        """Weights and drops. Raises RecipeError for a recipe that does not fit the pair."""
        return studio.mix(self.pair, self.gates, self.recipe, self.readings if self.probed else None)

    @cached_property
    def merged(self) -> Merged:
        """The merge in core space: spectra, drops, energies."""
        return studio.merge_mix(self.pair, self.how, self.recipe, self.before)

    @cached_property
    def ranks(self) -> Ranks:
        """What each rank keeps of the merge."""
        return ranks(self.merged.spectrum)

    @cached_property
    def norms(self) -> Norms:
        """Who is louder, by layer, before and after balance."""
        return norms(
            studio.analysis(self.pair).space, [place.layer for place in self.pair.addresses.values()], self.recipe
        )

    def three_way(self, layer: int) -> tuple[ThreeWay, list[str]]:
        """Task's, domain's and merged update of each projection of a layer, and the projections' names."""
        here = [
            (row, place.projection) for row, place in enumerate(self.pair.addresses.values()) if place.layer == layer
        ]
        rows = [row for row, _ in here]
        return three_way(studio.analysis(self.pair).space, self.merged, rows), [name for _, name in here]

    def closeup(self, address: Address) -> Closeup:
        """One module closely: its directions, how they meet, what becomes of them."""
        row = list(self.pair.addresses.values()).index(address)
        moment = self.readings.moment if self.probed else None
        return closeup(studio.analysis(self.pair), self.merged, self.recipe, moment, row)

    @cached_property
    def adapter(self) -> Adapter:
        """The merge in full width, as it is evaluated and exported."""
        return studio.merge(self.pair, self.readings if self.probed else None, self.recipe)

    @cached_property
    def band(self) -> Tensor:
        """(low, high) of every computed gate over probe inputs, whatever hands have set; NaN without readings."""
        plain = self.recipe.but(overrides=())
        return bands(self.readings, studio.gates(self.readings, plain), plain)

    @property
    def adapter_norms(self) -> Tensor:
        """(n, 2) Frobenius norms of the task's and the domain's updates, before any weight."""
        return studio.analysis(self.pair).space.squared_norms.sqrt()

    @cached_property
    def depth(self) -> Depth:
        return depth_profile(self.readings, self.gates, self.recipe)

    @cached_property
    def stability(self) -> Stability:
        """Whether fewer or other inputs would have given the same gates; takes a second or two."""
        return stability(self.readings, self.gates, self.recipe, studio.analysis(self.pair).space)
