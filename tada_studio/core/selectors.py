"""Selector lines: the map set by hand, as text that a person can write, read back, and keep in a recipe.

    layers 20-31 : attn : 0.7      layer 0 : * : lock        q,k : +0.1
    deepest third : domain         * : 0                     layer 5 : v_proj : reset
    layers 0-3 : mlp : x 0.5       layer 5 : domain x -1     layers 0-5 : attn : sep 0.5
    encoder : layers 0-3 : attn : 0.7                        decoder : even

``where : which projections : what``, applied in order; locked cells stay as they are. In a base of several towers a line may begin
with one of them; else it speaks of all, each with its own layers and thirds.
where   ``layer 3``, ``layers 2-5,9``, ``shallow|middle|deepest third`` or ``*``
which   ``*``, ``attn``, ``mlp`` or names with commas; where or which may be left out
what    one of three planes:
        share       a number (0 is all task, 1 all domain), ``+0.1``, ``-0.1``, ``task`` (0), ``domain`` (1), ``even`` (.5),
                    ``reset`` (computed again) or ``smooth`` (the mean of the cell and its neighbours in depth)
        strength    ``x 0.5`` multiplies both adapters there, ``task x 0.5`` or ``domain x -1`` one of them; ``x reset``
        separation  ``sep 0.5``, 0 to 1, for a method that separates; ``sep reset``
        or ``lock`` or ``unlock``, for all of them
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from tada_studio.addresses import is_called, tower_called
from tada_studio.errors import RecipeError

#: What a line says to average gates over depth.
SMOOTH = "smooth"
_WORDS = {"task": 0.0, "domain": 1.0, "even": 0.5}
_THIRDS = {"shallow": 0, "shallowest": 0, "middle": 1, "deep": 2, "deepest": 2}
_FAMILIES = {
    "attn": ("q", "k", "v", "o", "out", "query", "key", "value", "qkv", "query_key_value", "c_attn", "out_lin", "q_lin", "k_lin",
             "v_lin", "attn", "attention", "attn1", "attn2", "to_q", "to_k", "to_v", "to_out", "add_q", "add_k", "add_v",
             "to_add_out"),
    "mlp": ("gate", "up", "down", "fc1", "fc2", "c_fc", "lin1", "lin2", "mlp", "intermediate", "output", "ff", "ff_context",
            "proj_mlp"),
}  # fmt: skip
HELP = (
    "Write 'layers 20-31 : attn : 0.7', 'q,k : +0.1', 'deepest third : domain', 'layer 0 : * : lock', "
    "'layers 0-3 : mlp : x 0.5' or 'layer 5 : domain x -1'."
)
#: Planes of the map.
SHARE, STRENGTH, SEPARATION, LOCK = "share", "strength", "separation", "lock"
#: The largest multiplier, of either sign, that a line may ask for.
STRONGEST = 10.0
_SIDES = {"task": (0,), "domain": (1,), None: (0, 1)}


class Target(NamedTuple):
    """What a line sets: which plane, of which adapters (0 task, 1 domain), to what, in the line's own words."""

    plane: str
    sides: tuple[int, ...]
    value: str


def target(line: str) -> Target:
    """The plane that a line speaks of and what it says there."""
    what = _parts(line)[-1].lower()
    if what in ("lock", "unlock"):
        return Target(LOCK, (0, 1), what)
    strength = re.fullmatch(r"(?:(task|domain)\s+)?x\s*(\S+)", what)
    if strength:
        return Target(STRENGTH, _SIDES[strength[1]], strength[2])
    separation = re.fullmatch(r"sep(?:aration)?\s+(\S+)", what)
    return Target(SEPARATION, (0, 1), separation[1]) if separation else Target(SHARE, (0, 1), what)


@dataclass(eq=False)
class Cells:
    """A map while lines are applied to it; ``values``, the share plane, is NaN where the base has no module.

    strength:   multipliers of the task's and of the domain's update
    separation: how far a method that separates does so
    edited:     cells whose share was set
    towers:     the tower of each row, all rows of one together; "" where there is only one
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    values: Float64[Tensor, "layers projections"]
    towers: tuple[str, ...] = ()
    strength: Float64[Tensor, "2 layers projections"] = field(init=False)
    separation: Float64[Tensor, "layers projections"] = field(init=False)
    edited: Bool[Tensor, "layers projections"] = field(init=False)
    locked: Bool[Tensor, "layers projections"] = field(init=False)

    def __post_init__(self) -> None:
        self.towers = self.towers or ("",) * len(self.layers)
        self.computed = self.values
        self.values = self.values.clone()
        self.strength = torch.ones(2, *self.values.shape, dtype=torch.float64)
        self.separation = torch.ones_like(self.values)
        self.edited = torch.zeros_like(self.values, dtype=torch.bool)
        self.locked = torch.zeros_like(self.values, dtype=torch.bool)


def apply_lines(cells: Cells, lines: Iterable[str]) -> Cells:
    """``cells`` after every line, in order. Raises RecipeError for a line that cannot be read or that selects nothing."""
    for line in lines:
        apply_line(cells, line)
    return cells


def apply_line(cells: Cells, line: str) -> Bool[Tensor, "layers projections"]:
    """Do what one line says, and tell which cells it touched: locked ones only if it locks or unlocks. Raises RecipeError."""
    where, (plane, sides, what) = selected(cells, line), target(line)
    if plane == LOCK:
        cells.locked[where] = what == "lock"
        return where
    where = where & ~cells.locked
    if plane == STRENGTH:
        multiplier = 1.0 if what == "reset" else _number(line, what, -STRONGEST, STRONGEST, "multiplier")
        cells.strength[sides[0] : sides[-1] + 1, where] = multiplier
    elif plane == SEPARATION:
        cells.separation[where] = 1.0 if what == "reset" else _number(line, what, 0.0, 1.0, "separation")
    elif what == "reset":
        _write(cells, where, cells.computed, edited=False)
    else:
        _write(cells, where, _share(cells, what, line), edited=True)
    return where


def _number(line: str, what: str, low: float, high: float, name: str) -> float:
    try:
        number = float(what)
    except ValueError:
        raise _bad(line, f"'{what}' says nothing to do") from None
    if not low <= number <= high:
        raise _bad(line, f"the {name} {what} is outside {low:g} to {high:g}")
    return number


@dataclass(frozen=True, eq=False)
class Checked:
    """What one line would do, before it is added.

    touched: the cells that it sets, locks or gives back; None if it cannot be read, and then ``problem`` says why
    held:    how many of the cells it speaks of stay, because they are locked
    """

    line: str
    touched: Bool[Tensor, "layers projections"] | None = None
    held: int = 0
    problem: str = ""


def check(cells: Cells, lines: Iterable[str]) -> list[Checked]:
    """What each line would do to ``cells``, each after those before it that can be read. Blank lines are passed over."""
    return [_checked(cells, line.strip()) for line in lines if line.strip()]


def _checked(cells: Cells, line: str) -> Checked:
    try:
        touched = apply_line(cells, line)
    except RecipeError as error:
        return Checked(line, problem=str(error))
    return Checked(line, touched, int(selected(cells, line).sum() - touched.sum()))


def selected(cells: Cells, line: str) -> Bool[Tensor, "layers projections"]:
    """Which cells a line speaks of. Raises RecipeError if none."""
    tower, where, which = _fields(line, cells.towers)
    there = ~cells.values.isnan()
    if tower is not None:
        there = there & torch.tensor([one == tower for one in cells.towers])[:, None]
    rows = _layers(cells.layers, cells.towers, where, line)
    chosen = rows[:, None] & _projections(cells.towers, cells.projections, which, line) & there
    if not chosen.any():
        raise RecipeError(f"'{line}': selects no cell. {_there_is(cells)}")
    return chosen


def _there_is(cells: Cells) -> str:
    """What the map holds, tower by tower."""
    of = [f" of {tower}" if tower else "" for tower in dict.fromkeys(cells.towers)]
    layers = [[cells.layers[i] for i in span] for span in spans_of(cells.towers)]
    spans = ", ".join(f"from {some[0]} to {some[-1]}{tower}" for some, tower in zip(layers, of, strict=True))
    return f"Layers go {spans}; projections are {', '.join(cells.projections)}."


def spans_of(towers: tuple[str, ...]) -> list[range]:
    """The rows of each tower; all rows of one lie together."""
    starts = [i for i, tower in enumerate(towers) if not i or towers[i - 1] != tower]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(towers)], strict=True)]


def _write(cells: Cells, where: Tensor, values: Tensor, edited: bool) -> None:
    cells.values[where] = values[where]
    cells.edited[where] = edited


def _share(cells: Cells, what: str, line: str) -> Tensor:
    if what == SMOOTH:
        return torch.cat([smoothed(cells.values[span.start : span.stop]) for span in spans_of(cells.towers)])
    try:
        number = _WORDS[what] if what in _WORDS else float(what)
    except ValueError:
        raise _bad(line, f"'{what}' says nothing to do") from None
    if what[0] in "+-" and math.isfinite(number):
        return (cells.values + number).clamp(0, 1)
    if not 0 <= number <= 1:
        raise _bad(line, f"the gate {what} is outside 0 to 1")
    return torch.full_like(cells.values, number)


def smoothed(values: Float64[Tensor, "layers projections"]) -> Float64[Tensor, "layers projections"]:
    """The mean of each cell and of its neighbours in depth, as far as there are any."""

    def around(of: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(of, (0, 0, 1, 1))
        return padded[:-2] + padded[1:-1] + padded[2:]

    return around(values.nan_to_num()) / around((~values.isnan()).to(values.dtype))


def _parts(line: str) -> list[str]:
    return [part.strip() for part in line.split(":")]


def _fields(line: str, towers: tuple[str, ...]) -> tuple[str | None, str, str]:
    """(tower, where, which): None for no tower, "*" for what else was left out."""
    *selectors, what = _parts(line)
    tower = tower_called(selectors[0], towers) if selectors else None
    rest = selectors if tower is None else selectors[1:]
    known = ", ".join(filter(None, dict.fromkeys(towers)))
    if len(rest) == 3 and known:
        raise _bad(line, f"'{rest[0]}' names no tower ({known})")
    if len(rest) == 3:
        raise _bad(line, "expected two or three parts with ':' between them, for this base has only one tower")
    if len(rest) > 2 or not (rest or tower) or not all((*selectors, what)):
        raise _bad(line, "expected two or three parts with ':' between them")
    match rest:
        case [where, which]:
            return tower, where, which
        case [depth] if re.match(r"layers?\s|.*\bthird$", depth.lower()):
            return tower, depth, "*"
        case [which]:
            return tower, "*", which
    return tower, "*", "*"


@lru_cache(4096)  # a map is drawn anew after every stroke, from all lines
def _layers(layers: tuple[int, ...], towers: tuple[str, ...], where: str, line: str) -> Tensor:
    where = where.lower()
    if where == "*":
        return torch.ones(len(layers), dtype=torch.bool)
    third = re.fullmatch(r"(\w+)\s+third", where)
    if third and third[1] in _THIRDS:
        parts = [torch.arange(*(span.start, span.stop)).tensor_split(3)[_THIRDS[third[1]]] for span in spans_of(towers)]
        return torch.zeros(len(layers), dtype=torch.bool).index_fill(0, torch.cat(parts), True)
    listed = re.fullmatch(r"layers?\s+(\d{1,9}(?:\s*-\s*\d{1,9})?(?:\s*,\s*\d{1,9}(?:\s*-\s*\d{1,9})?)*)", where)
    if not listed:
        raise _bad(line, f"'{where}' names no layers")
    spans = [[int(edge) for edge in span.split("-")] for span in listed[1].split(",")]
    return torch.tensor([any(span[0] <= layer <= span[-1] for span in spans) for layer in layers])


@lru_cache(4096)
def _projections(towers: tuple[str, ...], projections: tuple[str, ...], which: str, line: str) -> Tensor:
    """(rows, columns), for a word may name a tower too (encoder.q_proj)."""
    known = tuple(dict.fromkeys(towers))
    wanted = torch.tensor(
        [[_matching(tower, projections, word.strip()) for tower in known] for word in which.split(",")]
    )
    if not wanted.any(2).any(1).all():
        raise _bad(line, f"'{which}' names no projection of this base ({', '.join(projections)})")
    return wanted.any(0)[[known.index(tower) for tower in towers]]


def _matching(tower: str, projections: tuple[str, ...], word: str) -> list[bool]:
    if word == "*":
        return [True] * len(projections)
    if word.lower() in _FAMILIES:
        family = _FAMILIES[word.lower()]
        return [_family_of(name) in family for name in projections]
    return [is_called(tower, name, word) for name in projections]


def families(projections: tuple[str, ...]) -> dict[str, list[int]]:
    """Which columns of the map are attention ("attn") and which feed-forward ("mlp"); some may be neither."""
    return {name: [j for j, here in enumerate(_matching("", projections, name)) if here] for name in _FAMILIES}


def _family_of(name: str) -> str:
    """The part of a projection's name that tells attention from MLP: the first that names either; a tower's name does not."""
    known = {word for words in _FAMILIES.values() for word in words}
    parts = [part.removesuffix("_proj") for part in name.split(".")]
    return next((part for part in parts if part in known), parts[0])


def _bad(line: str, found: str) -> RecipeError:
    return RecipeError(f"'{line}': {found}. {HELP}")
