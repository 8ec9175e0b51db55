"""What leaving a part of the merge out does, on the axis of the map."""

from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tada_studio.addresses import row_words
from tada_studio.core.gates import Gates
from tada_studio.evaluation.effect import Effects, Part, side_words
from tada_studio.figures.depth import DEPTH_MARGIN
from tada_studio.figures.figure import Figure
from tada_studio.figures.palette import BASE, CONFLICT, DOMAIN, LINES, TASK, short_name

_HOW_MUCH = (
    "Above: how much log-likelihood the right answers lose, in nats an item (probe texts: a token), when a part is left out of "
    "the merge; up is worse without it, the thin line is the 95 % interval. Below: geometry, the part's share of the merge's "
    "energy. Where the two differ, size does not tell what matters."
)
EFFECT = {
    "layer": Figure("Effect of each layer, beside its energy", _HOW_MUCH),
    "projection": Figure("Effect of each projection", _HOW_MUCH),
}
CELLS = Figure(
    "Effect of every cell",
    "The same for single cells, mean of the sides: the darker the green, the more is lost without the cell; red cells do "
    "harm. Most single cells matter less than the items can tell.",
)
#: How an effect is coloured from harm over none to help.
HARM_TO_HELP = [(0.0, CONFLICT), (0.5, "rgba(138,148,163,0.12)"), (1.0, "#14866d")]


def effect_bars(found: Effects, gates: Gates, kind: str) -> Figure:
    """What is lost without each "layer" or each "projection", by side; under it each part's share of the energy."""
    parts = found.of(kind)
    if not parts:
        return EFFECT[kind]
    figure = make_subplots(2, 1, row_heights=[0.72, 0.28], shared_xaxes=True, vertical_spacing=0.06)
    places = {
        row_words(tower, layer): i for i, (tower, layer) in enumerate(zip(gates.towers, gates.layers, strict=True))
    }
    x = [places[part.name] if kind == "layer" else short_name(escape(part.name)) for part in parts]
    for i, side in enumerate(_sides(found)):
        figure.add_trace(_bars(found, parts, x, side, i), row=1, col=1)
    share = go.Bar(
        x=x, y=[found.energy[part] for part in parts], name="share of the energy", marker_color=BASE,
        width=0.5, offset=-0.25, showlegend=False,
        customdata=[escape(part.name) for part in parts], hovertemplate="%{customdata}: %{y:.1%} of the energy<extra></extra>",
    )  # fmt: skip
    figure.add_trace(share, row=2, col=1)
    if kind == "layer":
        figure.update_xaxes(**_depth_axis(gates))
    figure.update_xaxes(title={"text": f"{kind} left out", "standoff": 4}, row=2, col=1)
    figure.update_yaxes(title="nats lost", row=1, col=1)
    figure.update_yaxes(title="energy", tickformat=".0%", rangemode="tozero", nticks=3, row=2, col=1)
    legend = {"orientation": "h", "y": -0.2, "x": 0, "itemwidth": 30}
    margin = {"l": DEPTH_MARGIN, "r": 8, "t": 12, "b": 44}
    return EFFECT[kind].of(figure.update_layout(height=380, barmode="group", bargap=0.2, margin=margin, legend=legend))


def _depth_axis(gates: Gates) -> dict[str, Any]:
    """Layers left to right with at most 16 ticks, as under the gate map; a tower's name stands at its first layer."""
    ticks = list(range(0, len(gates.layers), max(1, -(-len(gates.layers) // 16))))
    firsts = {gates.towers.index(tower): escape(tower) for tower in set(gates.towers) if tower}
    ticks = sorted({*ticks, *firsts})
    names = [f"{firsts[i]} {gates.layers[i]}" if i in firsts else gates.layers[i] for i in ticks]
    return {
        "range": [-0.5, len(gates.layers) - 0.5], "tickvals": ticks, "ticktext": names,
        "zeroline": False, "showgrid": False,
    }  # fmt: skip


def _sides(found: Effects) -> list[str]:
    return list(next(iter(found.changes.values()), {}))


def _bars(found: Effects, parts: list[Part], x: list, side: str, number: int) -> go.Bar:
    changes = [found.changes[part][side] for part in parts]
    margins = ["" if c.margin is None else f"; margin {-c.margin:+.3f}" for c in changes]
    return go.Bar(
        x=x, y=[-c.gold for c in changes], name=escape(side_words(side)), offsetgroup=side,
        marker_color={"task": TASK, "domain": DOMAIN}.get(side, LINES[number % len(LINES)]),
        error_y={
            "type": "data", "symmetric": False, "array": [c.gold - c.low for c in changes],
            "arrayminus": [c.high - c.gold for c in changes], "thickness": 1, "width": 0,
        },
        customdata=[[escape(part.name), margin] for part, margin in zip(parts, margins, strict=True)],
        hovertemplate="without %{customdata[0]}: %{y:.3f} nats lost%{customdata[1]}<extra></extra>",
    )  # fmt: skip


def effect_cells(found: Effects, gates: Gates) -> Figure:
    """What is lost without each cell, as a map; cells not measured yet are empty."""
    lost = {part.name: -found.total(part) for part in found.of("cell")}
    if not lost:
        return CELLS
    columns = [range(len(gates.layers))] * len(gates.projections)
    rows = [[lost.get(str(gates.place(i, j))) for i in column] for j, column in enumerate(columns)]
    reach = max(abs(value) for value in lost.values()) or 1.0
    heat = go.Heatmap(
        z=rows, x=list(range(len(gates.layers))), y=[short_name(escape(name)) for name in gates.projections],
        zmin=-reach, zmax=reach,
        colorscale=HARM_TO_HELP, xgap=1, ygap=1,
        colorbar={"thickness": 10, "title": {"text": "nats", "side": "top", "font": {"size": 12}}},
        customdata=[[escape(row_words(*row)) for row in zip(gates.towers, gates.layers, strict=True)]] * len(rows),
        hovertemplate="%{customdata} %{y}: %{z:.4f} nats lost<extra></extra>",
    )  # fmt: skip
    figure = go.Figure(heat)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title="layer", **_depth_axis(gates))
    return CELLS.of(figure.update_layout(height=300, margin={"l": DEPTH_MARGIN, "r": 8, "t": 12, "b": 40}))
