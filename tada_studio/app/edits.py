"""What a hand does to the recipe, as plain functions on a tab's state: strokes, knobs, lines, presets, undo. No gradio here.

Everything that arrives comes from a browser and is checked as such.
"""

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tada_studio import report
from tada_studio.app.state import TabState
from tada_studio.core.conflict import Direction, picked
from tada_studio.core.gates import Gates
from tada_studio.core.methods import METHODS, unread_lines
from tada_studio.core.selectors import SMOOTH, STRENGTH, STRONGEST, Checked, check
from tada_studio.core.strokes import BRUSHES, depth_ramp, spelled
from tada_studio.errors import InputError
from tada_studio.pipeline.merge import Merge
from tada_studio.probing import Readings as SavedReadings
from tada_studio.recipe import Recipe
from tada_studio.session import RESET

Cell = tuple[int, int]
#: Cells that stand beside the one that is shown; more would not fit.
MOST_PINNED = 3

#: Knobs whose turning is answered with what is dropped now.
CONFLICT_KNOBS = ("conflict_threshold", "conflict_floor", "conflict_space", "drop")

#: Starting points for all gates: name -> what it says about itself.
PRESETS = {
    "readings": "As the readings say (probe)",
    "even": "Even everywhere (uniform)",
    "ramp": "Ramp: domain grows with depth",
    "strength ramp": "Strength grows with depth (LiNeS)",
    "task": "Task only",
    "domain": "Domain only",
}
#: A preset of the person's own: its name -> its selector lines.
Saved = Mapping[str, Sequence[str]]


def stroke(state: TabState, news: Mapping[str, Any]) -> None:
    """One stroke on the map: {tool, cells, value, on, brush, at, id}; at: the cell that the map has selected, None for the last.
    Raises TadaError, and then it counts as not answered."""
    cells = _cells(news.get("cells"))
    [at] = _cells([news["at"]]) if news.get("at") else cells[-1:] or [state.cell]
    tool, session, brush = news.get("tool"), state.session, _brush(news.get("brush"))
    if tool == "lock":
        _lock(state, cells, bool(news.get("on")))
    else:
        _is_read(state, brush)
        value = (
            {"reset": RESET, "smooth": SMOOTH}[tool]
            if tool in ("reset", "smooth")
            else _paint(news.get("value"), brush)
        )
        session.paint(cells, value, brush)
        state.acted(f"{_painted(cells, value, brush)} Undo: Ctrl+Z.")
    state.cell = at
    state.ack = _whole(news.get("id"))


def _painted(cells: list[Cell], value: float | str | None, brush: str) -> str:
    many = _count(cells)
    if value is RESET:
        return f"{many} given back to the readings." if brush == "share" else f"{many}: {brush} back to 1."
    if value == SMOOTH:
        return f"{many} averaged with the layers next to {'it' if len(set(cells)) == 1 else 'them'}."
    return f"{many} painted with {value:.2f}." if brush == "share" else f"{many}: {brush} {value:g}."


def _brush(value: Any) -> str:
    brush = "share" if value is None else value
    if not isinstance(brush, str) or brush not in BRUSHES:
        raise InputError("The map sent a brush that cannot be read. Reload the page.")
    return brush


def _is_read(state: TabState, brush: str) -> None:
    """Raises InputError for a plane that the method of the recipe does not read."""
    view, plane = state.session.view, BRUSHES[brush][0].plane
    if view is not None and plane not in METHODS[view.recipe.method].planes:
        says = f"The method {view.recipe.method} does not read the map's {plane}: painting it would change nothing."
        raise InputError(f"{says} {report.readers(plane)}.")


def _cells(value: Any) -> list[Cell]:
    try:
        return [(_whole(i), _whole(j)) for i, j in value]
    except (TypeError, ValueError):
        raise InputError("The map sent cells that cannot be read. Reload the page.") from None


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError("The map sent a number that cannot be read. Reload the page.") from None


def _paint(value: Any, brush: str) -> float:
    plane = BRUSHES[brush][0].plane
    low, high = (-STRONGEST, STRONGEST) if plane == STRENGTH else (0.0, 1.0)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:  # written this way round so that NaN fails too
        what = "a weight of the domain" if plane == "share" else f"a {plane}"
        raise InputError(f"The brush is {value!r}; give {what} from {low:g} to {high:g}.")
    return number


def _count(cells: Iterable[Cell]) -> str:
    n = len(set(cells))
    return "One cell" if n == 1 else f"{n} cells"


def _lock(state: TabState, cells: list[Cell], on: bool) -> None:
    view = state.session.view
    if view is None or not cells:
        return
    word = "lock" if on else "unlock"
    lines = tuple(f"{where} : {word}" for where in _spelled(view.gates, cells))
    state.session.turn(overrides=(*state.session.recipe.overrides, *lines))
    state.acted(f"{_count(cells)} {word}ed. Undo: Ctrl+Z.")


def _spelled(gates: Gates, cells: Iterable[Cell]) -> list[str]:
    """Selectors for cells that exist."""
    marked = torch.zeros_like(gates.there)
    for i, j in cells:
        if 0 <= i < len(gates.layers) and 0 <= j < len(gates.projections):
            marked[i, j] = gates.there[i, j]
    return spelled(gates, marked)


def select(state: TabState, index: Any) -> None:
    """Show this cell's spectrum from now on."""
    cells = _cells([index])
    state.cell = cells[0]


def on_card(state: TabState, what: Any, at: Any) -> None:
    """A button of the card beside the map: "step" by so many layers and projections, "pin" this cell or let it go."""
    view = state.session.view
    if view is None:
        raise InputError("Nothing is open yet. Open two adapters first.")
    (i, j), (a, b) = shown_cell(state, view), _cells([at])[0]
    if what == "pin":
        pinned = pinned_cells(state, view)
        state.pinned = (
            tuple(one for one in pinned if one != (a, b)) if (a, b) in pinned else (*pinned, (a, b))[-MOST_PINNED:]
        )
    elif what == "step":
        state.cell = _next_cell(view, (i, j), a, b)


def _next_cell(view: Merge, at: Cell, right: int, down: int) -> Cell:
    """The next cell that exists in that direction; the same one at the edge."""
    there = view.gates.there
    i, j = at[0] + right, at[1] + down
    while 0 <= i < there.shape[0] and 0 <= j < there.shape[1]:
        if there[i, j]:
            return i, j
        i, j = i + right, j + down
        if not (right or down):
            break
    return at


def pinned_cells(state: TabState, view: Merge) -> tuple[Cell, ...]:
    """Those that are pinned and exist in the pair that is open."""
    rows, columns = view.gates.there.shape
    return tuple((i, j) for i, j in state.pinned if i < rows and j < columns and view.gates.there[i, j])


def turn(state: TabState, value: Any, name: str) -> None:
    """One knob. Raises RecipeError."""
    state.turn(name, value)
    view, about = state.session.view, ""
    if view is not None and name in CONFLICT_KNOBS:
        about = f" {report.conflict_sentence(view.merged)}"
    state.message = f"{name.replace('_', ' ')} is now {'automatic' if value is None else value}. Undo: Ctrl+Z.{about}"


def pick(state: TabState, row: Any, side: Any, number: Any) -> None:
    """Drop or keep one direction of module ``row`` by hand, against the rule; a second time gives it back to the rule."""
    view = state.session.view
    if view is None or side not in ("task", "domain"):
        raise InputError("The page sent a direction that cannot be read. Reload the page.")
    drops, row, number = view.merged.how.drops, _whole(row), _whole(number)
    if drops is None:
        raise InputError("This method keeps every direction. Choose the method tada to drop any.")
    gone, by_hand = (drops.task, drops.task_by_hand) if side == "task" else (drops.domain, drops.domain_by_hand)
    if not (0 <= row < gone.shape[0] and 0 <= number < gone.shape[1]):
        raise InputError(f"{side} {number}: there is no such direction. Reload the page.")
    address = list(view.pair.addresses.values())[row]
    choice = None if by_hand[row, number] else not gone[row, number]
    state.session.restore(picked(view.recipe, Direction(address, side, number), choice))
    word = {None: "is left to the rule again", True: "is dropped by hand", False: "is kept by hand"}[choice]
    state.acted(f"{address}: {side} {number} {word}. Undo: Ctrl+Z.")


def preview(state: TabState, text: str | None) -> list[Checked]:
    """What the lines would do if they were added now, each after those before it."""
    view = state.session.view
    if view is None or not text or not text.strip():
        return []
    return [_counting(one, view) for one in check(view.gates.cells(), text.splitlines())]


def _counting(one: Checked, view: Merge) -> Checked:
    """A line that the method would not read is none to add."""
    unread = unread_lines(view.recipe.method, [one.line] if one.touched is not None else [])
    return (
        replace(one, touched=None, problem=report.unread_lines_sentence(unread, view.recipe.method)) if unread else one
    )


def _all_read(state: TabState, lines: Sequence[str]) -> None:
    """Raises InputError for lines that the method of the recipe does not read, unless they are there already."""
    recipe = state.session.recipe
    if unread := unread_lines(recipe.method, [line for line in lines if line not in recipe.overrides]):
        raise InputError(report.unread_lines_sentence(unread, recipe.method))


def add_lines(state: TabState, text: str | None) -> None:
    """Selector lines after those there are: all of them, or none if one cannot be read. Raises RecipeError."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    if not lines:
        raise InputError("There is no line. Write, for example, layers 20-31 : attn : 0.7")
    _all_read(state, lines)
    state.session.turn(overrides=(*state.session.recipe.overrides, *lines))
    state.acted(f"Added {f'“{lines[0]}”' if len(lines) == 1 else f'{len(lines)} lines'}. Undo: Ctrl+Z.")


def set_lines(state: TabState, text: str | None, name: str) -> None:
    """All lines of a knob that is made of lines. Raises RecipeError."""
    lines = tuple(line.strip() for line in (text or "").splitlines() if line.strip())
    if lines == getattr(state.session.recipe, name):
        return
    if name == "overrides":
        _all_read(state, lines)
    state.session.turn(**{name: lines})
    state.acted(f"{report.counted(len(lines), f'{name} line')} in force. Undo: Ctrl+Z.")


def preset(state: TabState, name: str | None, saved: Saved | None = None) -> None:
    """Start again from one of PRESETS or of the person's own: replaces all edits of gates, locks too. Raises RecipeError."""
    view, own = state.session.view, own_presets(saved)
    if view is None or (name not in PRESETS and name not in own):
        raise InputError("Nothing is open yet. Open two adapters first.")
    lines = _preset_lines(name, view.gates) if name in PRESETS else own[name]
    _all_read(state, lines)
    state.session.turn(overrides=lines)
    state.acted(f"{PRESETS.get(name, name)}: all gates start from there. Undo: Ctrl+Z.")


def clear(state: TabState) -> None:
    """Give all cells back to the readings, locked ones too."""
    preset(state, "readings")


def own_presets(saved: Any) -> dict[str, tuple[str, ...]]:
    """The person's own presets, as far as what the browser kept can be read."""
    if not isinstance(saved, Mapping):
        return {}
    readable = {name: lines for name, lines in saved.items() if isinstance(lines, list | tuple)}
    return {str(name): tuple(line for line in lines if isinstance(line, str)) for name, lines in readable.items()}


def save_preset(state: TabState, name: str | None, saved: Any) -> dict[str, list[str]]:
    """All presets of the person's own after keeping the selector lines in force under a name. Raises InputError."""
    name = " ".join((name or "").split())
    if not name or len(name) > 60 or name in PRESETS:
        raise InputError("Give the preset a name of its own, of up to 60 letters.")
    own = {kept: list(lines) for kept, lines in own_presets(saved).items()}
    own[name] = list(state.session.recipe.overrides)
    state.acted(f"Saved “{name}” with {len(own[name])} lines, in this browser.")
    return own


def forget_preset(state: TabState, name: str | None, saved: Any) -> dict[str, list[str]]:
    """All presets of the person's own without this one. Raises InputError."""
    own = {kept: list(lines) for kept, lines in own_presets(saved).items()}
    if name not in own:
        raise InputError(f"Choose a preset of your own first; the {len(PRESETS)} that come with the app stay.")
    del own[name]
    state.acted(f"“{name}” is forgotten.")
    return own


def _preset_lines(name: str, gates: Gates) -> tuple[str, ...]:
    if name == "readings":
        return ()
    if name == "strength ramp":
        return depth_ramp(gates)
    if name != "ramp":
        return (f"* : {name}",)
    return depth_ramp(gates, 0.0, 1.0, "{:.2f}")


def compare(state: TabState, files: Sequence[str] | None) -> None:
    """Draw the depth profile of other readings of this pair too: a readings.json with its .safetensors. Raises TadaError."""
    pair = state.session.pair
    if pair is None:
        raise InputError("Nothing is open yet. Open two adapters first.")
    by_kind = {Path(file).suffix.lower(): Path(file) for file in files or ()}
    if set(by_kind) != {".json", ".safetensors"}:
        raise InputError("Readings are two files: give readings.json and readings.safetensors together.")
    folder = state.session.folder / "compared"
    folder.mkdir(exist_ok=True)
    for kind, file in by_kind.items():  # an upload puts each file into a folder of its own
        shutil.copyfile(file, folder / f"readings{kind}")
    readings = SavedReadings.load(folder / "readings.json")
    readings.belongs_to(pair)
    state.compared, state.depth_of = (by_kind[".json"].stem[:60], pair, readings), "asymmetry"
    state.acted(f"The depth profile shows {state.compared[0]} beside the readings in force.")


def forget_compared(state: TabState) -> None:
    state.compared = None


def undo(state: TabState) -> None:
    before = state.session.recipe
    state.session.undo()
    state.acted("Nothing to undo." if before is state.session.recipe else "Undone. Redo: Ctrl+Y.")


def redo(state: TabState) -> None:
    before = state.session.recipe
    state.session.redo()
    state.acted("Nothing to redo." if before is state.session.recipe else "Done again. Undo: Ctrl+Z.")


def restore(state: TabState, recipe: Recipe, where: str) -> None:
    """Take an earlier recipe. Raises TadaError if it does not fit what is open."""
    state.session.restore(recipe)
    state.acted(f"The recipe of {where} is back. Undo: Ctrl+Z.")


def shown_cell(state: TabState, view: Merge) -> Cell:
    """The cell whose spectrum is shown, moved to a module that exists."""
    i, j = state.cell
    there = view.gates.there
    if 0 <= i < there.shape[0] and 0 <= j < there.shape[1] and there[i, j]:
        return i, j
    first = there.nonzero()[0].tolist()
    return first[0], first[1]
