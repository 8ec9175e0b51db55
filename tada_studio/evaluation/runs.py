"""What an evaluation was: its recipe, its items, its scores so far. Kept so that any earlier recipe can come back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from jaxtyping import Float
from torch import Tensor

from tada_studio.core.gates import Readings
from tada_studio.evaluation import Score
from tada_studio.evaluation.shown import Shown
from tada_studio.recipe import Recipe

#: Rows are layers, columns projections; None where no module is.
Cells = tuple[tuple[float | None, ...], ...]


def now() -> str:
    """This second in UTC, as ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True, eq=False)
class Run:
    """One evaluation: of which recipe, on which items, and what came out so far. While it goes on, new ones take its place.

    number: counts up and is never used again, also when a run is deleted
    gates:  the gate map of the recipe at that time, for a picture
    items:  side -> the items, in the order of the scores
    sides:  side -> variant -> score
    when:   its beginning, ISO 8601 in UTC
    recipes: variant -> the recipe that made it, where one did, so that any of them can become the recipe
    digest: of the pair, the readings and the recipe that it scores (``pipeline.provenance``); "" where nobody has said
    """

    number: int
    recipe: Recipe
    readings: Readings | None
    limit: int
    gates: Cells = ()
    items: Mapping[str, Sequence[Shown]] = field(default_factory=dict)
    sides: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    when: str = field(default_factory=now)
    finished: bool = False
    digest: str = ""
    recipes: Mapping[str, Recipe] = field(default_factory=dict)

    @property
    def scored(self) -> int:
        """How many scores there are; a run only ever gains some."""
        return sum(map(len, self.sides.values()))

    @property
    def variants(self) -> list[str]:
        """Every variant that was scored on any side, in order."""
        return list(dict.fromkeys(name for scores in self.sides.values() for name in scores))


def cells(values: Float[Tensor, "layers projections"]) -> Cells:
    """A gate map as plain numbers."""
    return tuple(tuple(None if v != v else v for v in row) for row in values.tolist())
