"""Gates over depth."""

from html import escape

import plotly.graph_objects as go

from tada_studio.core.gates import Depth, Gates
from tada_studio.core.separation_map import Line, SeparationMap
from tada_studio.figures.figure import Figure
from tada_studio.figures.palette import BASE, DOMAIN, LINES, MERGE, TASK, TASK_TO_DOMAIN, plain, short_name

#: Left margin of figures over depth, in pixels; the gate map reserves as much for its row names: layers line up.
DEPTH_MARGIN = 72
#: And the right one, where the map has the means of its rows.
DEPTH_MARGIN_RIGHT = 46

DEPTH = Figure(
    "Depth profile",
    "Mean gate of each layer, on the depth axis of the map; above the dashed line the domain has the larger share. "
    "The band is the 95 % range over resampled probe inputs; a click on a projection's name adds its own line.",
)

SEPARATION = Figure(
    "Who speaks on which inputs, over depth",
    "Mean gate of each layer on the depth axis of the map: orange on domain inputs, blue on task inputs; 0 is all task, "
    "1 all domain. Bands are 95 % over resampled inputs. The further the lines lie apart, the more a layer gates itself.",
)


def separation_depth(found: SeparationMap) -> Figure:
    """The gate on both kinds of inputs by layer, with bands, and Spearman's rho of their difference with depth."""
    depth, layers = found.depth, found.layers
    figure = go.Figure()
    kinds = (
        ("on domain inputs", depth.on_domain, DOMAIN, "207,99,33"),
        ("on task inputs", depth.on_task, TASK, "47,118,196"),
    )
    for name, line, colour, shade in kinds:
        _banded(figure, line, layers, name, colour, f"rgba({shade},0.18)")
    figure.add_hline(y=0.5, line_dash="dash", line_width=1, line_color=BASE)
    known = f" (95 %: {depth.interval.low:+.2f} to {depth.interval.high:+.2f})" if depth.interval else ""
    rho = "separation does not vary" if depth.rho is None else f"separation with depth: rho {depth.rho:+.2f}{known}"
    return SEPARATION.of(_over_depth(figure, layers, rho, "gate"))


def _banded(figure: go.Figure, line: Line, layers: tuple[int, ...], name: str, colour: str, shade: str) -> None:
    place = list(range(len(layers)))
    bounds = {
        "x": place,
        "mode": "lines",
        "line_width": 0,
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": name,
    }
    figure.add_scatter(y=plain(line.high), **bounds)
    figure.add_scatter(y=plain(line.low), fill="tonexty", fillcolor=shade, **bounds)
    figure.add_scatter(
        x=place, y=plain(line.mean), mode="lines+markers", name=name, line={"color": colour, "width": 2}, marker={"size": 8},
        customdata=layers, hovertemplate=f"layer %{{customdata}}: {name} %{{y:.3f}}<extra></extra>", legendgroup=name,
    )  # fmt: skip


def depth_profile(depth: Depth, gates: Gates, other: tuple[str, Depth] | None = None) -> Figure:
    """Mean gate by layer with its band and Spearman's rho; one line for each projection waits in the legend.

    other: (name, profile) of other readings of the same pair, drawn beside it.
    """
    place = list(range(len(gates.layers)))
    figure = go.Figure()
    figure.add_scatter(x=place, y=plain(depth.high), mode="lines", line_width=0, hoverinfo="skip", showlegend=False)
    figure.add_scatter(
        x=place, y=plain(depth.low), mode="lines", line_width=0, fill="tonexty", fillcolor="rgba(138,148,163,0.25)",
        hoverinfo="skip", name="95 % band",
    )  # fmt: skip
    figure.add_scatter(
        x=place, y=plain(depth.share), mode="lines+markers", name="mean gate", line={"color": BASE, "width": 2},
        marker={"color": plain(depth.share), "colorscale": TASK_TO_DOMAIN, "cmin": 0, "cmax": 1, "size": 9},
        customdata=gates.layers, hovertemplate="layer %{customdata}: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    if other is not None:
        name, second = other
        figure.add_scatter(
            x=place, y=plain(second.share), mode="lines", name=escape(name), line={"color": MERGE, "width": 2, "dash": "dot"},
            customdata=gates.layers, hovertemplate="compared, layer %{customdata}: %{y:.3f}<extra></extra>",
        )  # fmt: skip
    for j, projection in enumerate(map(escape, gates.projections)):  # plotly reads names as HTML, and files choose them
        figure.add_scatter(
            x=place, y=plain(gates.values[:, j]), mode="lines", name=short_name(projection),
            visible="legendonly", line={"width": 1.4, "color": LINES[j % len(LINES)]}, connectgaps=False,
            customdata=gates.layers,
            hovertemplate=f"layer %{{customdata}} {projection}: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=0.5, line_dash="dash", line_width=1, line_color=BASE)
    rho = _rho(depth) if other is None else f"{_rho(depth)}; compared {_short_rho(other[1])}"
    return DEPTH.of(_over_depth(figure, gates.layers, rho, "domain's share"))


def _over_depth(figure: go.Figure, layers: tuple[int, ...], rho: str, what: str) -> go.Figure:
    """With the axes of the map, and a correlation in words above them."""
    place = list(range(len(layers)))
    figure.add_annotation(text=rho, xref="paper", yref="paper", x=0, y=1.12, xanchor="left", showarrow=False)
    figure.update_xaxes(range=[-0.5, len(place) - 0.5], tickvals=_every_other(place), ticktext=_every_other(layers))
    figure.update_xaxes(title={"text": "layer", "standoff": 4}, fixedrange=True, zeroline=False)
    figure.update_yaxes(title=what, range=[0, 1], tickvals=[0, 0.5, 1], fixedrange=True, automargin=False)
    legend = {"orientation": "h", "y": -0.34, "x": 0, "itemwidth": 30, "traceorder": "normal"}
    margin = {"l": DEPTH_MARGIN, "r": DEPTH_MARGIN_RIGHT, "t": 28, "b": 36}
    return figure.update_layout(height=270, margin=margin, legend=legend)


def _rho(depth: Depth) -> str:
    if depth.rho is None:
        return "share against depth: no rank correlation, the gates do not vary"
    known = f" (95 %: {depth.interval.low:+.2f} to {depth.interval.high:+.2f})" if depth.interval else ""
    return f"rho {depth.rho:+.2f}{known}"


def _short_rho(depth: Depth) -> str:
    return "undefined" if depth.rho is None else f"{depth.rho:+.2f}"


def _every_other(ticks: list[int] | tuple[int, ...]) -> list[int]:
    """At most 16 ticks, as under the gate map."""
    return list(ticks[:: max(1, -(-len(ticks) // 16))])
