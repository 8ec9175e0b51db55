"""Results in, plotly figures out. Computes nothing, and is the only module that knows plotly.

Colour means one thing everywhere: blue is task, orange is domain, grey is base, red is conflict, green is a merge.
Text, grids and backgrounds are left to whoever shows a figure, so that one figure serves light and dark. Each figure
has a caption constant that says how to read it.
"""

from collections.abc import Mapping
from html import escape

import plotly.graph_objects as go
from jaxtyping import Bool, Float
from plotly.subplots import make_subplots
from torch import Tensor

from tada_studio.core.conflict import Directions
from tada_studio.core.gates import Depth, Gates
from tada_studio.core.merge import Merged
from tada_studio.evaluate import Score

TASK, DOMAIN, BASE, CONFLICT, MERGE, OTHER_MERGE = "#2f76c4", "#cf6321", "#8a94a3", "#d0314a", "#14866d", "#86bfae"
#: Lines that stand for none of these.
LINES = ("#7b5ea7", "#5b8c5a", "#b0699b", "#8c7a4b", "#4a8a9a", "#9a5b4f", "#6f7680")
#: How a gate is coloured from 0 (task) over even to 1 (domain).
TASK_TO_DOMAIN = [(0.0, TASK), (0.5, "#a9a9b0"), (1.0, DOMAIN)]
#: How an alignment is coloured from opposing over unrelated to agreeing.
OPPOSE_TO_AGREE = [(0.0, CONFLICT), (0.5, "rgba(138,148,163,0.10)"), (1.0, "#4c5a6e")]

#: Left margin of figures over depth, in pixels; the gate map reserves as much for its row names: layers line up.
DEPTH_MARGIN = 72

DEPTH_CAPTION = (
    "Mean gate of each layer, on the depth axis of the map; above the dashed line the domain has the larger share. "
    "The band is the 95 % range over resampled probe inputs; a click on a projection's name adds its own line."
)
SPECTRUM_CAPTION = (
    "Each bar is one singular direction after weighting, strongest first: task up, domain down. Hatched with a red "
    "edge: dropped, because it opposes a stronger one of the other adapter. Below, the merged directions; pale ones "
    "are beyond the rank."
)
OVERLAP_CAPTION = (
    "How each task direction meets each domain direction, in multiples of what two random directions would show. Dark: "
    "they agree. Red: they oppose. A cross marks the pairs that count as conflict."
)
SCORES_CAPTION = (
    "Share of items answered correctly. The thin line is the 95 % interval: where two intervals overlap much, the "
    "paired test in the sentences decides, not the height of the bars."
)


def short_name(projection: str) -> str:
    """v of v_proj, as on the map; a name with a path (attn.c_proj) stays whole."""
    return projection if "." in projection else projection.removesuffix("_proj")


def depth_profile(depth: Depth, gates: Gates) -> go.Figure:
    """Mean gate by layer with its band and Spearman's rho; one line for each projection waits in the legend."""
    place = list(range(len(gates.layers)))
    figure = go.Figure()
    figure.add_scatter(x=place, y=_plain(depth.high), mode="lines", line_width=0, hoverinfo="skip", showlegend=False)
    figure.add_scatter(
        x=place, y=_plain(depth.low), mode="lines", line_width=0, fill="tonexty", fillcolor="rgba(138,148,163,0.25)",
        hoverinfo="skip", name="95 % band",
    )  # fmt: skip
    figure.add_scatter(
        x=place, y=_plain(depth.share), mode="lines+markers", name="mean gate", line={"color": BASE, "width": 2},
        marker={"color": _plain(depth.share), "colorscale": TASK_TO_DOMAIN, "cmin": 0, "cmax": 1, "size": 9},
        customdata=gates.layers, hovertemplate="layer %{customdata}: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    for j, projection in enumerate(map(escape, gates.projections)):  # plotly reads names as HTML, and files choose them
        figure.add_scatter(
            x=place, y=_plain(gates.values[:, j]), mode="lines", name=short_name(projection),
            visible="legendonly", line={"width": 1.4, "color": LINES[j % len(LINES)]}, connectgaps=False,
            customdata=gates.layers,
            hovertemplate=f"layer %{{customdata}} {projection}: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=0.5, line_dash="dash", line_width=1, line_color=BASE)
    figure.add_annotation(text=_rho(depth), xref="paper", yref="paper", x=0, y=1.12, xanchor="left", showarrow=False)
    figure.update_xaxes(
        range=[-0.5, len(place) - 0.5], tickvals=_every_other(place), ticktext=_every_other(gates.layers)
    )
    figure.update_xaxes(title={"text": "layer", "standoff": 4}, fixedrange=True, zeroline=False)
    figure.update_yaxes(title="domain's share", range=[0, 1], tickvals=[0, 0.5, 1], fixedrange=True, automargin=False)
    legend = {"orientation": "h", "y": -0.34, "x": 0, "itemwidth": 30, "traceorder": "normal"}
    return figure.update_layout(height=270, margin={"l": DEPTH_MARGIN, "r": 2, "t": 28, "b": 36}, legend=legend)


def _rho(depth: Depth) -> str:
    if depth.rho is None:
        return "share against depth: no rank correlation, the gates do not vary"
    known = f" (95 %: {depth.interval.low:+.2f} to {depth.interval.high:+.2f})" if depth.interval else ""
    return f"share against depth: rho {depth.rho:+.2f}{known}"


def conflict_spectrum(found: Directions, merged: Merged, row: int) -> go.Figure:
    """Both adapters' weighted singular values in one module, mirrored, over the spectrum of their merge."""
    figure = make_subplots(rows=2, cols=1, row_heights=[0.64, 0.36], vertical_spacing=0.17)
    weights, drops = merged.how.weights[row], merged.how.drops
    sides = (
        ("task", TASK, found.task.strength[row] * weights[0], drops.task[row] if drops else None, 1),
        ("domain", DOMAIN, found.domain.strength[row] * weights[1], drops.domain[row] if drops else None, -1),
    )
    for name, colour, strength, dropped, sign in sides:
        figure.add_trace(_direction_bars(name, colour, strength, dropped, sign), row=1, col=1)
    figure.add_trace(_merged_bars(merged, row), row=2, col=1)
    figure.update_xaxes(zeroline=False)
    figure.update_xaxes(title="merged direction", row=2, col=1)
    figure.update_yaxes(title="domain ↓   task ↑", row=1, col=1, zeroline=True)
    figure.update_yaxes(title="merged", row=2, col=1, rangemode="tozero")
    return figure.update_layout(
        height=380, barmode="overlay", bargap=0.25, showlegend=False, margin={"l": 64, "r": 8, "t": 12, "b": 40}
    )


def _direction_bars(
    name: str, colour: str, strength: Float[Tensor, " r"], dropped: Bool[Tensor, " r"] | None, sign: int
) -> go.Bar:
    gone = dropped.tolist() if dropped is not None else [False] * len(strength)
    marker = {
        "color": colour,
        "opacity": [0.45 if is_gone else 1.0 for is_gone in gone],
        "pattern": {"shape": ["/" if is_gone else "" for is_gone in gone], "solidity": 0.35},
        "line": {"color": CONFLICT, "width": [2 if is_gone else 0 for is_gone in gone]},
    }
    said = [
        [f"{value:.4g}", "dropped" if is_gone else "kept"]
        for value, is_gone in zip(strength.tolist(), gone, strict=True)
    ]
    return go.Bar(
        x=list(range(len(strength))), y=_plain(sign * strength), marker=marker, name=name, customdata=said,
        hovertemplate=f"{name} %{{x}}: %{{customdata[0]}}, %{{customdata[1]}}<extra></extra>",
    )  # fmt: skip


def _merged_bars(merged: Merged, row: int) -> go.Bar:
    spectrum = merged.spectrum[row]
    inside = [i < merged.rank for i in range(len(spectrum))]
    return go.Bar(
        x=list(range(len(spectrum))), y=_plain(spectrum), name="merged",
        marker={"color": MERGE, "opacity": [1.0 if kept else 0.3 for kept in inside]},
        customdata=["kept" if kept else "beyond the rank" for kept in inside],
        hovertemplate="merged %{x}: %{y:.4g}, %{customdata}<extra></extra>",
    )  # fmt: skip


def overlap_table(
    alignment: Float[Tensor, "r_task r_domain"], opposed: Bool[Tensor, "r_task r_domain"] | None, threshold: float
) -> go.Figure:
    """How directions of one module meet, in units of chance, always to twice the threshold: cells compare by eye."""
    reach = max(4.0, 2 * threshold)
    figure = go.Figure(
        go.Heatmap(
            z=_plain(alignment), zmin=-reach, zmax=reach, colorscale=OPPOSE_TO_AGREE, xgap=1, ygap=1,
            colorbar={"title": {"text": "x chance", "side": "top"}, "thickness": 10, "outlinewidth": 0},
            hovertemplate="task %{y}, domain %{x}: %{z:+.1f} times chance<extra></extra>",
        )
    )  # fmt: skip
    if opposed is not None:
        task, domain = (places.tolist() for places in opposed.nonzero(as_tuple=True))
        figure.add_scatter(
            x=domain, y=task, mode="markers", hoverinfo="skip", showlegend=False,
            marker={"symbol": "x", "size": 8, "color": "white", "line": {"width": 1.2, "color": "#20242c"}},
        )  # fmt: skip
    rows, columns = alignment.shape
    figure.update_xaxes(
        title="domain direction (strongest first)", range=[-0.5, columns - 0.5], showgrid=False, zeroline=False
    )
    figure.update_yaxes(title="task direction", range=[rows - 0.5, -0.5], showgrid=False, zeroline=False)
    return figure.update_layout(height=380, margin={"l": 52, "r": 8, "t": 12, "b": 40})


def score_bars(sides: Mapping[str, Mapping[str, Score]]) -> go.Figure:
    """Accuracy of every variant with its 95 % interval, one panel for each side, on one scale."""
    titles = [f"{side} items" for side in sides]
    figure = make_subplots(1, max(1, len(sides)), shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=titles)
    for column, scores in enumerate(sides.values(), start=1):
        figure.add_trace(_accuracy_bars(list(scores.values())), row=1, col=column)
    figure.update_yaxes(range=[0, 1], tickformat=".0%")
    figure.update_yaxes(title="answered correctly", row=1, col=1)
    return figure.update_layout(height=340, showlegend=False, bargap=0.35, margin={"l": 64, "r": 8, "t": 36, "b": 40})


def _accuracy_bars(scores: list[Score]) -> go.Bar:
    known = [(score, *score.estimate) for score in scores if score.estimate]
    above = [high - share for _, share, _, high in known]
    below = [share - low for _, share, low, _ in known]
    return go.Bar(
        x=[score.name for score, *_ in known], y=[share for _, share, *_ in known],
        marker_color=[_variant_colour(score.name) for score, *_ in known],
        error_y={"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1.4, "width": 5},
        text=[f"{share:.0%}" for _, share, *_ in known], textposition="inside", insidetextanchor="start",
        textfont={"color": "white"}, customdata=[[low, high, score.n] for score, _, low, high in known],
        hovertemplate="%{x}: %{y:.1%} (%{customdata[0]:.0%} to %{customdata[1]:.0%}), n %{customdata[2]}<extra></extra>",
    )  # fmt: skip


def _variant_colour(name: str) -> str:
    return {"base": BASE, "task": TASK, "domain": DOMAIN, "tada": MERGE}.get(name, OTHER_MERGE)


def _plain(values: Tensor) -> list:
    """Nested lists of numbers, None where a value is unknown: plotly's own encoding of arrays hides NaN in binary."""
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [None if value != value else value for value in values.tolist()]


def _every_other(ticks: list[int] | tuple[int, ...]) -> list[int]:
    """At most 16 ticks, as under the gate map."""
    return list(ticks[:: max(1, -(-len(ticks) // 16))])
