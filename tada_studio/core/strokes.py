"""Brush strokes as selector lines: what a hand paints on the map, in the words of a recipe."""

from collections.abc import Iterable, Sequence

from jaxtyping import Bool
from torch import Tensor, zeros_like

from tada_studio.core.gates import Gates
from tada_studio.core.selectors import SMOOTH, Cells, selected


def painted(
    gate_map: Gates, lines: Sequence[str], cells: Iterable[tuple[int, str]], value: float | str | None
) -> tuple[str, ...]:
    """The recipe's selector lines after a brush stroke over (layer, projection) cells.

    value: a gate, None (back to the readings) or SMOOTH. Earlier lines that a gate or None covers completely go, so that the
    list stays as short as what it says; but not before a line that smooths, which has seen what they made.
    """
    grid = Cells(gate_map.layers, gate_map.projections, gate_map.computed)
    rows = {(layer, name): (gate_map.layers.index(layer), gate_map.projections.index(name)) for layer, name in cells}
    stroke = zeros_like(gate_map.locked)
    for i, j in rows.values():
        stroke[i, j] = not gate_map.locked[i, j]
    if not stroke.any():
        return tuple(lines)
    seen = max((i for i, line in enumerate(lines) if _what(line) == SMOOTH), default=-1)
    seen = len(lines) if value == SMOOTH else seen
    left = [line for i, line in enumerate(lines) if i < seen or _survives(grid, line, stroke)]
    if value is None and not any((selected(grid, line) & stroke).any() for line in left):
        return tuple(left)
    what = "reset" if value is None else value if isinstance(value, str) else f"{round(float(value), 4):g}"
    return (*left, *(f"{where} : {what}" for where in _spelled(gate_map, stroke)))


def _survives(grid: Cells, line: str, stroke: Bool[Tensor, "layers projections"]) -> bool:
    return _what(line) in ("lock", "unlock") or bool((selected(grid, line) & ~stroke).any())


def _what(line: str) -> str:
    return line.rsplit(":", 1)[-1].strip().lower()


def _spelled(gate_map: Gates, stroke: Bool[Tensor, "layers projections"]) -> list[str]:
    """Selectors for a mask of cells: projections that share their layers share a line."""
    same: dict[tuple[int, ...], list[str]] = {}
    for j, name in enumerate(gate_map.projections):
        layers = tuple(layer for i, layer in enumerate(gate_map.layers) if stroke[i, j])
        if layers:
            same.setdefault(layers, []).append(name)
    return [f"{_layers(layers)} : {','.join(names)}" for layers, names in same.items()]


def _layers(layers: Sequence[int]) -> str:
    """ "layers 3-9,12" of (3, 4, ..., 9, 12)."""
    spans: list[list[int]] = []
    for layer in layers:
        if spans and layer == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], layer]
        else:
            spans.append([layer])
    text = ",".join("-".join(map(str, span)) for span in spans)
    return f"layer{'s' if len(layers) > 1 else ''} {text}"
