"""What auto-tune may turn: knobs in the range where they were ever of use, and an offset for each third of the depth."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from tada_studio.recipe import Recipe


class Range(NamedTuple):
    """Values from low to high in steps; ``options`` instead, where only some values make sense."""

    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    options: tuple[int, ...] = ()

    def nearest(self, value: int | float) -> int | float:
        """The value of this range that is closest to another."""
        if self.options:
            return min(self.options, key=lambda option: abs(option - value))
        steps = round((min(max(value, self.low), self.high) - self.low) / self.step)
        return self.low + steps * self.step


Space = dict[str, Range]

KNOBS: Space = {
    "ridge": Range(0.5, 8.0, 0.5),
    "own_weight": Range(1.0, 12.0, 0.5),
    "sharpness": Range(0.0, 3.0, 0.1),
    "strength": Range(0.5, 1.5, 0.025),
    "balance": Range(0.0, 0.5, 0.05),
    "conflict_threshold": Range(2.0, 16.0, 1.0),
}
#: Parts of the depth, as selector lines call them, that a search may shift towards the task or the domain.
THIRDS = ("shallow third", "middle third", "deepest third")
OFFSET = Range(-0.2, 0.2, 0.02)


def space(layers: int, idle: Collection[str], ranks: Sequence[int] = ()) -> Space:
    """What can be turned for a pair of so many layers: not the knobs that change nothing in it (``core.methods.idle``), a base of
    two layers has no thirds, and the rank is only searched if there are several to choose from."""
    turned = {name: found for name, found in KNOBS.items() if name not in idle}
    if layers >= len(THIRDS):
        turned.update(dict.fromkeys(THIRDS, OFFSET))
    if len(set(ranks)) > 1:
        turned["rank"] = Range(options=tuple(sorted(set(ranks))))
    return turned


def recipe_with(start: Recipe, params: Mapping[str, Any]) -> Recipe:
    """The recipe to start from with these knobs turned, and a selector line for every third that is shifted."""
    lines = [f"{third} : {params[third]:+.2f}" for third in THIRDS if abs(params.get(third, 0.0)) > 1e-9]
    knobs = {name: value for name, value in params.items() if name not in THIRDS}
    rounded = {name: value if name == "rank" else round(value, 4) for name, value in knobs.items()}
    return start.but(**rounded, overrides=(*start.overrides, *lines))


def params_of(start: Recipe, searched: Space, rank: int) -> dict[str, int | float]:
    """The point of the space that is closest to a recipe. ``rank``: what its rank amounts to where it names none."""
    values = {name: getattr(start, name) for name in searched if name not in THIRDS and name != "rank"}
    values.update({third: 0.0 for third in THIRDS if third in searched})
    if "rank" in searched:
        values["rank"] = start.rank or rank
    return {name: searched[name].nearest(values[name]) for name in searched}
