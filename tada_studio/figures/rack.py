"""Many adapters of one base: a map of every two."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from tada_studio.figures.figure import Figure
from tada_studio.figures.palette import CONFLICT, MERGE, OPPOSE_TO_AGREE, plain


class _Kind(NamedTuple):
    """How one relation is drawn. reach: of the scale; by_root: whether the colour follows the root, so that 1 % shows."""

    caption: str
    scale: list[tuple[float, str]]
    reach: tuple[float, float]
    form: str
    by_root: bool = False


_MARKS = "A ring: siblings. A diamond: stacked. A cross: one of the two is untrained."
#: Colours from nothing to all, faint at nothing on a white page and a dark one.
_FAINT = "rgba(138,148,163,0.10)"
#: Ticks of the scales that run from nothing to all.
_SHARES = (0.0, 0.01, 0.1, 0.5, 1.0)
_KINDS = {
    "cosine": _Kind(
        f"The cosine of both updates, over all modules: 0 for adapters trained apart, near 1 for one run. {_MARKS}",
        OPPOSE_TO_AGREE, (-1.0, 1.0), "+.2f",
    ),
    "overlap": _Kind(
        "How much of the column's energy lies in directions that the row reads and writes, too. The colour follows its root, "
        f"so that 1 % shows. {_MARKS}",
        [(0.0, _FAINT), (1.0, MERGE)], (0.0, 1.0), ".1%", True,
    ),
    "conflict": _Kind(
        "How much of the row's energy lies in directions that oppose one of the column's: what merging the two would drop. The "
        f"colour follows its root, so that 1 % shows. {_MARKS}",
        [(0.0, _FAINT), (1.0, CONFLICT)], (0.0, 1.0), ".1%", True,
    ),
}  # fmt: skip
_TITLES = {"cosine": "Cosine", "overlap": "Overlap of directions", "conflict": "Energy in conflict"}
RACK = {kind: Figure(f"{_TITLES[kind]} of every two", about.caption) for kind, about in _KINDS.items()}
_SYMBOLS = {"siblings": "circle-open", "stacked": "diamond-open", "alone": "x-thin-open"}
#: Up to so many adapters the cells have room for a number.
_ROOM = 10
#: Characters of a name on an axis.
_NAME = 22
#: Pixels that a cell needs at least: for a finger and a mark, and with a number in it.
_CELL, _NUMBERED = 17, 36


def rack_map(
    kind: str, names: Sequence[str], values: Float[Tensor, "m m"], roles: Mapping[tuple[str, str], str]
) -> Figure:
    """``kind``: "cosine", "overlap" or "conflict"; row i, column j of ``values``, NaN where there is nothing to say; roles by two
    names. A click on a cell carries the numbers of row and column."""
    about, many = _KINDS[kind], list(range(len(names)))
    shown = values.clone()
    shown.fill_diagonal_(float("nan"))  # everybody is like themselves
    text = [[_number(about.form, value) for value in row] for row in plain(shown)]
    cells = [
        [[i, j, f"{_short(one)} and {_short(other)}"] for j, other in enumerate(names)] for i, one in enumerate(names)
    ]
    figure = go.Figure(
        go.Heatmap(
            x=many, y=many, z=plain(shown.clamp_min(0).sqrt() if about.by_root else shown), zmin=about.reach[0],
            zmax=about.reach[1], colorscale=about.scale, xgap=2, ygap=2, colorbar=_bar(about), customdata=cells,
            text=text, hovertemplate=f"%{{customdata[2]}}: {kind} %{{text}}<extra></extra>",
            texttemplate="%{text}" if len(names) <= _ROOM else None,
        )
    )  # fmt: skip
    for role, symbol in _SYMBOLS.items():
        figure.add_scatter(
            **_marks(symbol, [(names.index(a), names.index(b)) for (a, b), r in roles.items() if r == role])
        )
    ticks = {"tickvals": many, "ticktext": [_short(name) for name in names], "showgrid": False, "zeroline": False}
    side = max(180, min(640, 44 * len(names)))
    figure.update_xaxes(**ticks, tickangle=-45 if len(names) > 3 else 0)
    figure.update_yaxes(**ticks, autorange="reversed", automargin=True)
    figure.update_layout(meta={"least": _least(names)}, height=side + 150, margin={"l": 72, "r": 8, "t": 42, "b": 96})
    return RACK[kind].of(figure)


def _least(names: Sequence[str]) -> int:
    """Pixels below which cells run into each other; a narrower panel lets the figure be moved sideways."""
    labels = 24 + 7 * min(_NAME, max(map(len, names)))
    return labels + len(names) * (_NUMBERED if len(names) <= _ROOM else _CELL)


def _number(form: str, value: float | None) -> str:
    return "" if value is None else format(value, form)


def _bar(about: _Kind) -> dict:
    # above the map, where it takes no width from a narrow one
    bar = {
        "orientation": "h", "y": 1.0, "yanchor": "bottom", "ypad": 6, "thickness": 10, "outlinewidth": 0, "tickformat": about.form,
    }  # fmt: skip
    if not about.by_root:
        return bar
    return {**bar, "tickformat": None, "tickvals": [s**0.5 for s in _SHARES], "ticktext": [f"{s:.0%}" for s in _SHARES]}


def _marks(symbol: str, cells: Sequence[tuple[int, int]]) -> dict:
    """A mark in the corner of both cells of two adapters."""
    both = [place for i, j in cells for place in ((i, j), (j, i))]
    return {
        "x": [j + 0.32 for _, j in both], "y": [i - 0.32 for i, _ in both], "mode": "markers", "meta": "ink",
        "hoverinfo": "skip", "showlegend": False, "marker": {"symbol": symbol, "size": 7, "line": {"width": 1.5}},
    }  # fmt: skip


def _short(name: str) -> str:
    """As an axis takes it: plotly reads names as HTML, and files choose them; the end of a long one tells it apart."""
    return escape(name if len(name) <= _NAME else f"…{name[-_NAME + 1 :]}")
