"""Items in two parts: one to search on, one that nobody looks at until the end. Without that, a search only fools itself."""

import random
from dataclasses import dataclass
from typing import Any

from tada_studio.errors import InputError
from tada_studio.evaluation import choose
from tada_studio.evaluation.benchmark import Sides


@dataclass(frozen=True, eq=False)
class Split:
    """What is searched on and what is held out, by side; ``says`` tells where the two come from."""

    search: dict[str, list[Any]]
    held: dict[str, list[Any]]
    says: str

    def __post_init__(self) -> None:
        for side in self.search:
            if not self.search[side] or not self.held.get(side):
                raise InputError(
                    f"{side}: {len(self.search[side])} items to search on and {len(self.held.get(side, []))} held out. "
                    "Give at least two different items a side."
                )

    @property
    def counts(self) -> tuple[int, int]:
        """How many items are searched on and how many are held out, over all sides."""
        return sum(map(len, self.search.values())), sum(map(len, self.held.values()))

    def limited(self, most: int) -> "Split":
        """The same with at most so many items a side to search on, drawn by seed; what is held out stays whole."""
        return Split({side: choose(items, most) for side, items in self.search.items()}, self.held, self.says)


def halves(sides: Sides, seed: int = 0) -> Split:
    """Each side's items in two halves, drawn by seed. Raises InputError for a side of fewer than two different items."""
    search, held = {}, {}
    for side, items in sides.items():
        distinct = list(dict.fromkeys(items))
        random.Random(f"{seed} {side}").shuffle(distinct)
        search[side], held[side] = distinct[: len(distinct) // 2], distinct[len(distinct) // 2 :]
    return Split(search, held, f"two halves of the items, drawn by seed {seed}")


def by_files(validation: Sides, test: Sides) -> Split:
    """Validation items to search on, test items held out; an item that is in both only counts as held out."""
    held = {side: list(dict.fromkeys(items)) for side, items in test.items() if side in validation}
    kept = {side: set(items) for side, items in held.items()}
    search = {
        side: [item for item in dict.fromkeys(items) if item not in kept[side]]
        for side, items in validation.items()
        if side in held
    }
    return Split(search, held, "the validation items, and the test items as the untouched part")
