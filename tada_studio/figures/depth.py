"""Gates over depth."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tada_studio.core.gates import Depth, Gates
from tada_studio.core.separation_map import Line, SeparationMap
from tada_studio.figures.figure import Figure
from tada_studio.figures.palette import BASE, DOMAIN, MERGE, TASK, TASK_TO_DOMAIN, plain

#: Left margin of figures over depth, in pixels, for names as long as gate_proj; see ``row_margin``.
DEPTH_MARGIN = 72
#: Width of a letter of a row name, and the most that a name may take.
_LETTER, _WIDEST = 6.7, 190
#: And the right one, where the map has the means of its rows.
DEPTH_MARGIN_RIGHT = 46


def row_margin(names: Sequence[str]) -> int:
    """Room for whole row names, for the map and for figures over depth under it: so layers line up."""
    return round(min(max(DEPTH_MARGIN, 12 + _LETTER * max(map(len, names), default=0)), _WIDEST))


DEPTH = Figure(
    "Depth profile",
    "Mean gate of each layer, on the depth axis of the map; above the dashed line the domain has the larger share. "
    "The band is the 95 % range over resampled probe inputs.",
)

PROJECTIONS = Figure(
    "Over depth, projection by projection",
    "One small chart for each projection, all on one scale from 0 (task) to 1 (domain). Two lines are the gate on domain inputs "
    "(orange) and on task inputs (blue); a grey one is the share that the readings give.",
)


def projections_over_depth(gates: Gates, found: SeparationMap | None = None) -> Figure:
    """Small multiples: the share of each projection by layer, or both gates where inputs of both kinds are known. Layers of several
    towers follow each other."""
    kinds = [("share", gates.values, BASE)]
    if found is not None:
        kinds = [("on domain inputs", found.on_domain, DOMAIN), ("on task inputs", found.on_task, TASK)]
    columns = min(4, len(gates.projections))
    rows = -(-len(gates.projections) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=[escape(name) for name in gates.projections], shared_yaxes=True,
        horizontal_spacing=0.03, vertical_spacing=0.3 / rows if rows > 1 else 0,
    )  # fmt: skip
    place = list(range(len(gates.layers)))
    for j, projection in enumerate(map(escape, gates.projections)):  # plotly reads names as HTML, and files choose them
        for name, values, colour in kinds:
            line = go.Scatter(
                x=place, y=plain(values[:, j]), mode="lines", name=name, line={"color": colour, "width": 1.8}, connectgaps=False,
                customdata=gates.layers, showlegend=j == 0 and len(kinds) > 1, legendgroup=name,
                hovertemplate=f"layer %{{customdata}} {projection}: {name} %{{y:.3f}}<extra></extra>",
            )  # fmt: skip
            figure.add_trace(line, row=j // columns + 1, col=j % columns + 1)
    ends = sorted({0, place[-1]})
    figure.update_xaxes(tickvals=ends, ticktext=[gates.layers[i] for i in ends], fixedrange=True, zeroline=False)
    figure.update_yaxes(range=[0, 1], tickvals=[0, 0.5, 1], fixedrange=True)
    figure.update_annotations(font_size=11)
    legend = {"orientation": "h", "y": -0.12 / rows, "x": 0}
    frame = {"height": 70 + 120 * rows, "margin": {"l": 40, "r": 12, "t": 28, "b": 44}, "legend": legend}
    return PROJECTIONS.of(figure.update_layout(**frame))


SEPARATION = Figure(
    "Who speaks on which inputs, over depth",
    "Mean gate of each layer on the depth axis of the map: orange on domain inputs, blue on task inputs; 0 is all task, "
    "1 all domain. The further the lines lie apart, the more a layer gates itself; rho is how that changes with depth. Bands and "
    "the range of rho are 95 % over resampled inputs.",
)


def separation_depth(found: SeparationMap) -> Figure:
    """The gate on both kinds of inputs by layer, with bands, and Spearman's rho of their difference with depth; one tower below
    the other."""
    figure = _stacked(len(found.depths))
    for row, (tower, depth) in enumerate(found.depths.items(), start=1):
        layers = found.gates.by_tower[tower].layers
        for name, line, colour, shade in (
            ("on domain inputs", depth.on_domain, DOMAIN, "207,99,33"),
            ("on task inputs", depth.on_task, TASK, "47,118,196"),
        ):
            for trace in _banded(line, layers, name, colour, f"rgba({shade},0.18)"):
                figure.add_trace(trace.update(showlegend=row == 1 and trace.mode != "lines"), row, 1)
        known = f" ({depth.interval.low:+.2f} to {depth.interval.high:+.2f})" if depth.interval else ""
        says = "separation does not vary" if depth.rho is None else f"separation: rho {depth.rho:+.2f}{known}"
        _axes(figure, layers, "gate", _named(tower, says), row, len(found.depths))
    return SEPARATION.of(_framed(figure, len(found.depths), row_margin(found.gates.projections)))


def _banded(line: Line, layers: tuple[int, ...], name: str, colour: str, shade: str) -> Iterator[go.Scatter]:
    place = list(range(len(layers)))
    bounds = {"x": place, "mode": "lines", "line_width": 0, "hoverinfo": "skip", "legendgroup": name}
    yield go.Scatter(y=plain(line.high), **bounds)
    yield go.Scatter(y=plain(line.low), fill="tonexty", fillcolor=shade, **bounds)
    yield go.Scatter(
        x=place, y=plain(line.mean), mode="lines+markers", name=name, line={"color": colour, "width": 2}, marker={"size": 8},
        customdata=layers, hovertemplate=f"layer %{{customdata}}: {name} %{{y:.3f}}<extra></extra>", legendgroup=name,
    )  # fmt: skip


def depth_profile(
    depths: Mapping[str, Depth], gates: Gates, other: tuple[str, Mapping[str, Depth]] | None = None
) -> Figure:
    """Mean gate by layer with its band and Spearman's rho, one tower below the other.

    other: (name, profiles) of other readings of the same pair, drawn beside them.
    """
    figure = _stacked(len(depths))
    for row, (tower, part) in enumerate(gates.by_tower.items(), start=1):
        beside = (other[0], other[1][tower]) if other else None
        for trace in _lines(depths[tower], part, beside):
            figure.add_trace(trace, row, 1)
        says = _rho(depths[tower]) + (f"; compared {_short_rho(beside[1])}" if beside else "")
        _axes(figure, part.layers, "domain's share", _named(tower, says), row, len(depths))
    return DEPTH.of(_framed(figure, len(depths), row_margin(gates.projections)))


def _lines(depth: Depth, gates: Gates, other: tuple[str, Depth] | None) -> Iterator[go.Scatter]:
    """Of one tower: its band, its mean gate, that of other readings."""
    place, tower = list(range(len(gates.layers))), f"{escape(gates.towers[0])} " if gates.towers[0] else ""
    yield go.Scatter(x=place, y=plain(depth.high), mode="lines", line_width=0, hoverinfo="skip", showlegend=False)
    yield go.Scatter(
        x=place, y=plain(depth.low), mode="lines", line_width=0, fill="tonexty", fillcolor="rgba(138,148,163,0.25)",
        hoverinfo="skip", name=f"{tower}95 % band",
    )  # fmt: skip
    yield go.Scatter(
        x=place, y=plain(depth.share), mode="lines+markers", name=f"{tower}mean gate", line={"color": BASE, "width": 2},
        marker={"color": plain(depth.share), "colorscale": TASK_TO_DOMAIN, "cmin": 0, "cmax": 1, "size": 9},
        customdata=gates.layers, hovertemplate="layer %{customdata}: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    if other is not None:
        yield go.Scatter(
            x=place, y=plain(other[1].share), mode="lines", name=tower + escape(other[0]),
            line={"color": MERGE, "width": 2, "dash": "dot"},
            customdata=gates.layers, hovertemplate="compared, layer %{customdata}: %{y:.3f}<extra></extra>",
        )  # fmt: skip


# -- one tower below the other -----------------------------------------------------------------------------------------


def _stacked(rows: int) -> go.Figure:
    return make_subplots(rows, 1, vertical_spacing=0.36 / rows if rows > 1 else 0)


def _named(tower: str, says: str) -> str:
    return f"<b>{escape(tower)}</b>: {says}" if tower else says


def _axes(figure: go.Figure, layers: tuple[int, ...], what: str, says: str, row: int, rows: int) -> None:
    """The axes of a tower's map, and words above them."""
    place, number = list(range(len(layers))), "" if row == 1 else row
    ticks = {"tickvals": _every_other(place), "ticktext": _every_other(layers), "range": [-0.5, len(place) - 0.5]}
    figure.update_xaxes(**ticks, fixedrange=True, zeroline=False, row=row, col=1)
    if row == rows:
        figure.update_xaxes(title={"text": "layer", "standoff": 4}, row=row, col=1)
    shares = {"range": [0, 1], "tickvals": [0, 0.5, 1], "title": what, "zeroline": False}
    figure.update_yaxes(**shares, fixedrange=True, automargin=False, row=row, col=1)
    figure.add_annotation(
        text=says, xref=f"x{number} domain", yref=f"y{number} domain", x=0, y=1.12 if rows == 1 else 1.18, xanchor="left",
        showarrow=False,
    )  # fmt: skip


def _framed(figure: go.Figure, rows: int, left: int) -> go.Figure:
    figure.add_hline(y=0.5, line_dash="dash", line_width=1, line_color=BASE)
    legend = {"orientation": "h", "y": -0.34 / rows, "x": 0, "itemwidth": 30, "traceorder": "normal"}
    margin = {"l": left, "r": DEPTH_MARGIN_RIGHT, "t": 28, "b": 36}
    return figure.update_layout(height=30 + 240 * rows, margin=margin, legend=legend)


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
