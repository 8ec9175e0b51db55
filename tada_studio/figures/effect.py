"""What leaving a part of the merge out does, on the axis of the map."""

from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tada_studio.core.gates import Gates
from tada_studio.effect import Effects, Part
from tada_studio.figures.depth import DEPTH_MARGIN
from tada_studio.figures.palette import BASE, CONFLICT, DOMAIN, LINES, TASK, short_name

EFFECT_CAPTION = (
    "How much log-likelihood the right answers lose, in nats an item, when a layer (on the map's axis) or a projection is left "
    "out of the merge; up is worse without it, the thin line is the 95 % interval over items. The grey line is geometry: the "
    "part's share of the merge's energy. Where the two differ, size does not tell what matters."
)
CELLS_CAPTION = (
    "The same for single cells, mean of the sides: the darker the green, the more is lost without the cell; red cells do "
    "harm. Most single cells matter less than the items can tell."
)
#: How an effect is coloured from harm over none to help.
HARM_TO_HELP = [(0.0, CONFLICT), (0.5, "rgba(138,148,163,0.12)"), (1.0, "#14866d")]


def effect_bars(found: Effects, gates: Gates) -> go.Figure | None:
    """What is lost without each layer and each projection, by side, with the energy share on an axis of its own."""
    if not found.of("layer") and not found.of("projection"):
        return None
    widths = [0.74, 0.26]
    specs = [[{"secondary_y": True}, {"secondary_y": True}]]
    figure = make_subplots(1, 2, column_widths=widths, specs=specs, horizontal_spacing=0.09)
    places = {f"layer {layer}": i for i, layer in enumerate(gates.layers)}
    for column, kind in enumerate(("layer", "projection"), start=1):
        parts = found.of(kind)
        x = [places[part.name] if kind == "layer" else short_name(escape(part.name)) for part in parts]
        for i, side in enumerate(_sides(found)):
            figure.add_trace(_bars(found, parts, x, side, i, show=column == 1), row=1, col=column)
        share = go.Scatter(
            x=x, y=[found.energy[part] for part in parts], mode="lines+markers", name="energy share",
            line={"color": BASE, "width": 1.2}, marker={"size": 4},
            showlegend=column == 1, hovertemplate="%{y:.1%} of the energy<extra></extra>",
        )  # fmt: skip
        figure.add_trace(share, row=1, col=column, secondary_y=True)
    every = max(1, -(-len(gates.layers) // 16))
    ticks = list(range(0, len(gates.layers), every))
    figure.update_xaxes(
        range=[-0.5, len(gates.layers) - 0.5], tickvals=ticks, ticktext=[gates.layers[i] for i in ticks], row=1, col=1
    )
    figure.update_xaxes(title="left-out layer", row=1, col=1)
    figure.update_xaxes(title="left-out projection", row=1, col=2)
    figure.update_yaxes(title="nats lost without it", row=1, col=1, secondary_y=False)
    figure.update_yaxes(showgrid=False, rangemode="tozero", tickformat=".0%", secondary_y=True)
    legend = {"orientation": "h", "y": -0.26, "x": 0}
    return figure.update_layout(
        height=330, barmode="group", bargap=0.2, margin={"l": DEPTH_MARGIN, "r": 44, "t": 12, "b": 44}, legend=legend
    )


def _sides(found: Effects) -> list[str]:
    return list(next(iter(found.changes.values()), {}))


def _bars(found: Effects, parts: list[Part], x: list, side: str, number: int, show: bool) -> go.Bar:
    changes = [found.changes[part][side] for part in parts]
    margins = ["" if c.margin is None else f"; margin {-c.margin:+.3f}" for c in changes]
    return go.Bar(
        x=x, y=[-c.gold for c in changes], name=f"{escape(side)} items", showlegend=show, offsetgroup=side,
        marker_color={"task": TASK, "domain": DOMAIN}.get(side, LINES[number % len(LINES)]),
        error_y={
            "type": "data", "symmetric": False, "array": [c.gold - c.low for c in changes],
            "arrayminus": [c.high - c.gold for c in changes], "thickness": 1, "width": 0,
        },
        customdata=[[escape(part.name), margin] for part, margin in zip(parts, margins, strict=True)],
        hovertemplate="without %{customdata[0]}: %{y:.3f} nats lost%{customdata[1]}<extra></extra>",
    )  # fmt: skip


def effect_cells(found: Effects, gates: Gates) -> go.Figure | None:
    """What is lost without each cell, as a map; cells not measured yet are empty."""
    lost = {part.name: -found.total(part) for part in found.of("cell")}
    if not lost:
        return None
    rows = [[lost.get(f"layer {layer} {projection}") for layer in gates.layers] for projection in gates.projections]
    reach = max(abs(value) for value in lost.values()) or 1.0
    heat = go.Heatmap(
        z=rows, x=list(range(len(gates.layers))), y=[short_name(escape(name)) for name in gates.projections],
        zmin=-reach, zmax=reach,
        colorscale=HARM_TO_HELP, xgap=1, ygap=1, colorbar={"thickness": 10, "title": {"text": "nats", "side": "top"}},
        customdata=[gates.layers] * len(rows),
        hovertemplate="layer %{customdata} %{y}: %{z:.4f} nats lost<extra></extra>",
    )  # fmt: skip
    figure = go.Figure(heat)
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="layer")
    return figure.update_layout(height=300, margin={"l": DEPTH_MARGIN, "r": 8, "t": 12, "b": 40})
