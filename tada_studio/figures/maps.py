"""The map as a picture: what the app paints cell by cell, for pages that are saved."""

from html import escape

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from tada_studio.core.gates import Gates
from tada_studio.figures.figure import Figure
from tada_studio.figures.palette import CONFLICT, DOMAIN, TASK, plain, short_name

#: From task to domain over next to nothing: an even gate leans nowhere, on a white page as on a dark one.
_PALE_BETWEEN = [(0.0, TASK), (0.5, "rgba(138,148,163,0.14)"), (1.0, DOMAIN)]

GATES = Figure(
    "Gate map",
    "Each cell is one projection of one layer: blue where the merge leans to the task, orange where it leans to the domain. "
    "A dot: set by hand. A square: locked.",
)
ASYMMETRY = Figure(
    "Asymmetry of the readings",
    "Which adapter, as trained, reacts more in each module, whatever its size: blue the task's, orange the domain's. "
    "What the merge makes of it is on the gate map.",
)
LOST = Figure(
    "Energy dropped",
    "How much of its own energy an adapter loses in each module because directions oppose each other, on one scale from nothing "
    "to all for every pair: the colour follows its root, so that 1 % shows. Adapters trained apart are pale nearly everywhere; "
    "relatives need not be.",
)
#: Ticks of that scale.
_LOST_TICKS = (0.0, 0.01, 0.1, 0.5, 1.0)


def gate_picture(gates: Gates, tower: str = "") -> Figure:
    """The gate map (of one tower) with what hands set and locked."""
    figure = heat_of_gates(gates, gates.values)
    for symbol, where in (("circle", gates.edited & ~gates.locked), ("square-open", gates.locked)):
        layer, projection = where.nonzero(as_tuple=True)
        figure.add_scatter(
            x=layer.tolist(), y=projection.tolist(), mode="markers", meta="ink", hoverinfo="skip", showlegend=False,
            marker={"symbol": symbol, "size": 6},
        )  # fmt: skip
    return GATES.of(figure, escape(tower))


def heat_of_gates(gates: Gates, values: Float[Tensor, "layers projections"]) -> go.Figure:
    """Values from 0 (task) to 1 (domain), laid out like the gate map."""
    return _heat(gates, values, _PALE_BETWEEN, (0.0, 1.0), "gate", ".2f")


def lost_picture(gates: Gates, lost: Float[Tensor, "layers projections"], whose: str = "") -> Figure:
    """The share of an adapter's energy that dropping removes, laid out like the gate map; NaN where there is no module."""
    scale = [(0.0, "rgba(138,148,163,0.10)"), (1.0, CONFLICT)]
    figure = _heat(gates, lost.sqrt(), scale, (0.0, 1.0), "energy dropped", ".1%", hover=lost)
    ticks = {"tickvals": [share**0.5 for share in _LOST_TICKS], "ticktext": [f"{share:.0%}" for share in _LOST_TICKS]}
    figure.update_traces(colorbar={**ticks, "tickformat": None}, selector={"type": "heatmap"})
    return LOST.of(figure, whose)


def _heat(
    gates: Gates,
    values: Tensor,
    scale: list[tuple[float, str]],
    reach: tuple[float, float],
    what: str,
    form: str,
    hover: Tensor | None = None,
) -> go.Figure:
    """``said``: what hovering over a cell says, where that is not the value that is drawn."""
    names = [escape(name) for name in gates.projections]  # plotly reads names as HTML, and files choose them
    places = list(range(len(gates.layers)))
    figure = go.Figure(
        go.Heatmap(
            x=places, y=list(range(len(names))), z=plain(values.T), zmin=reach[0], zmax=reach[1], colorscale=scale,
            xgap=2, ygap=2, colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": form},
            customdata=[
                [[layer, name, value] for layer, value in zip(gates.layers, row, strict=True)]
                for name, row in zip(names, plain((values if hover is None else hover).T), strict=True)
            ],
            hovertemplate=f"layer %{{customdata[0]}} %{{customdata[1]}}: {what} %{{customdata[2]:{form}}}<extra></extra>",
        )
    )  # fmt: skip
    step = max(1, -(-len(places) // 16))
    figure.update_xaxes(tickvals=places[::step], ticktext=list(gates.layers[::step]), title="layer", showgrid=False)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[short_name(name) for name in names],
        autorange="reversed",
        showgrid=False,
    )
    figure.update_xaxes(zeroline=False).update_yaxes(zeroline=False)
    return figure.update_layout(height=90 + 26 * len(names), margin={"l": 72, "r": 8, "t": 12, "b": 40})
