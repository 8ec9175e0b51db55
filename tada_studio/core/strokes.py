"""Brush strokes as selector lines: what a hand paints on the map, in the words of a recipe."""

from collections.abc import Iterable, Sequence

from jaxtyping import Bool
from torch import Tensor, zeros_like

from tada_studio.addresses import Address
from tada_studio.core.gates import Gates
from tada_studio.core.selectors import SEPARATION, SHARE, SMOOTH, STRENGTH, Cells, Target, selected, target

#: What a brush can be set to: the plane, the adapters it touches, and how its lines begin.
BRUSHES = {
    "share": (Target(SHARE, (0, 1), ""), ""),
    "strength": (Target(STRENGTH, (0, 1), ""), "x "),
    "task strength": (Target(STRENGTH, (0,), ""), "task x "),
    "domain strength": (Target(STRENGTH, (1,), ""), "domain x "),
    "separation": (Target(SEPARATION, (0, 1), ""), "sep "),
}


def painted(
    gate_map: Gates,
    lines: Sequence[str],
    cells: Iterable[Address],
    value: float | str | None,
    brush: str = "share",
) -> tuple[str, ...]:
    """The recipe's selector lines after a brush stroke over cells.

    value: a number, None (as if never painted) or, for shares, SMOOTH. brush: one of BRUSHES.
    Earlier lines that a number or None covers completely go, so that the list stays as short as what it says; but not before a
    line that smooths, which has seen what they made.
    """
    paints, begins = BRUSHES[brush]
    grid = Cells(gate_map.layers, gate_map.projections, gate_map.computed, gate_map.towers)
    stroke = zeros_like(gate_map.locked)
    stroke[gate_map.cells_of(cells)] = True
    stroke &= ~gate_map.locked
    if not stroke.any():
        return tuple(lines)
    seen = max((i for i, line in enumerate(lines) if target(line).value == SMOOTH), default=-1)
    seen = len(lines) if value == SMOOTH else seen
    left = [line for i, line in enumerate(lines) if i < seen or _survives(grid, line, stroke, paints)]
    if value is None and not any(_touches(line, paints) and (selected(grid, line) & stroke).any() for line in left):
        return tuple(left)
    what = "reset" if value is None else value if isinstance(value, str) else f"{round(float(value), 4):g}"
    return (*left, *(f"{where} : {begins}{what}" for where in spelled(gate_map, stroke)))


def depth_ramp(gate_map: Gates, first: float = 0.5, last: float = 1.0, what: str = "x {:.3g}") -> tuple[str, ...]:
    """Lines that raise the strength of both adapters evenly from the first layer of each tower to its last.

    LiNeS (Wang et al. 2024, arXiv 2410.17146): shallow layers keep general features, and suffer most from a merge.
    """
    lines = []
    for tower, part in gate_map.by_tower.items():
        steps = max(1, len(part.layers) - 1)
        for i, layer in enumerate(part.layers):
            says = what.format(first + (last - first) * i / steps)
            lines.append(f"{_beginning(tower)}layer {layer} : {says}")
    return tuple(lines)


def _survives(grid: Cells, line: str, stroke: Bool[Tensor, "layers projections"], paints: Target) -> bool:
    """Whether a line still says anything after a stroke: another plane's does, one that reaches further does."""
    marked = target(line)
    covered = marked.plane == paints.plane and set(marked.sides) <= set(paints.sides)
    return not covered or bool((selected(grid, line) & ~stroke).any())


def _touches(line: str, paints: Target) -> bool:
    marked = target(line)
    return marked.plane == paints.plane and bool(set(marked.sides) & set(paints.sides))


def spelled(gate_map: Gates, stroke: Bool[Tensor, "layers projections"]) -> list[str]:
    """Selectors for a mask of cells: projections of a tower that have the same layers come in one line."""
    same: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for tower in dict.fromkeys(gate_map.towers):
        for j, name in enumerate(gate_map.projections):
            rows = [i for i in stroke[:, j].nonzero().flatten().tolist() if gate_map.towers[i] == tower]
            if rows:
                same.setdefault((tower, tuple(gate_map.layers[i] for i in rows)), []).append(name)
    return [f"{_beginning(tower)}{_layers(layers)} : {','.join(names)}" for (tower, layers), names in same.items()]


def _beginning(tower: str) -> str:
    return f"{tower} : " if tower else ""


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
