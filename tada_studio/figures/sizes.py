"""How large things are: energy against rank, norms by layer, and one layer three ways."""

import math
from collections.abc import Iterator, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tada_studio.core.sizes import Norms, Ranks, ThreeWay
from tada_studio.figures.figure import Figure
from tada_studio.figures.palette import BASE, DOMAIN, LINES, MERGE, TASK, plain, short_name

RANK = Figure(
    "Energy against rank",
    "Share of energy that each rank keeps: of the whole merge (green) and of the module that loses most (grey, dashed). "
    "The dotted line is 99 %, the solid upright the rank in force; diamonds are ranks that servers such as vLLM take.",
)
NORMS = Figure(
    "Norms by layer",
    "Norm of each adapter's update in each layer (log scale): blue task, orange domain. Dashed: as trained. Solid: after "
    "balance, which moves a whole line up or down and never bends it.",
)
THREE_WAY = Figure(
    "Task, domain and merge in one layer",
    "Above: how large the task's, the domain's and the merged update are in each projection of this layer. Below: how "
    "alike two of them are, from -1 (opposite) over 0 (unrelated) to 1 (the same direction).",
)


def energy_against_rank(found: Ranks, rank: int, accepted: Sequence[int]) -> Figure:
    """Energy kept against rank, for the whole merge and its worst module; ``accepted`` ranks are marked."""
    places = list(range(1, len(found.everywhere) + 1))
    figure = go.Figure()
    figure.add_scatter(
        x=places, y=plain(found.worst), mode="lines", name="worst module", line={"color": BASE, "width": 1.6, "dash": "dash"},
        hovertemplate="rank %{x}: worst module %{y:.1%}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=places, y=plain(found.everywhere), mode="lines", name="whole merge", line={"color": MERGE, "width": 2.4},
        hovertemplate="rank %{x}: whole merge %{y:.2%}<extra></extra>",
    )  # fmt: skip
    marks = [r for r in accepted if r <= len(places)]
    figure.add_scatter(
        x=marks, y=[float(found.everywhere[r - 1]) for r in marks], mode="markers", name="servers take",
        marker={"color": MERGE, "size": 10, "symbol": "diamond"}, hoverinfo="skip",
    )  # fmt: skip
    figure.add_hline(y=0.99, line_dash="dot", line_width=1, line_color=BASE)
    figure.add_vline(x=min(rank, len(places)), line_width=1.5, line_color=MERGE)
    figure.update_xaxes(title={"text": "rank", "standoff": 4}, range=[0.5, len(places) + 0.5], zeroline=False)
    figure.update_yaxes(title="energy kept", range=[0, 1.03], tickformat=".0%")
    legend = {"orientation": "h", "y": 1.12, "x": 0}
    return RANK.of(figure.update_layout(height=340, margin={"l": 56, "r": 12, "t": 32, "b": 40}, legend=legend))


def norms_by_layer(found: Norms) -> Figure:
    """Who is louder, by layer, before and after balance; one tower below the other."""
    spans = {tower: [i for i, one in enumerate(found.towers) if one == tower] for tower in dict.fromkeys(found.towers)}
    figure = make_subplots(len(spans), 1, subplot_titles=[escape(t) for t in spans] if len(spans) > 1 else None)
    for row, rows in enumerate(spans.values(), start=1):
        layers = [found.layers[i] for i in rows]
        for line in _norm_lines(found, rows):
            figure.add_trace(line.update(showlegend=row == 1), row, 1)
        step = max(1, -(-len(layers) // 16))
        figure.update_xaxes(tickvals=list(range(len(layers)))[::step], ticktext=layers[::step], row=row, col=1)
    figure.update_xaxes(title={"text": "layer", "standoff": 4}, zeroline=False)
    ticks = _ticks([v for v in (*plain(found.before.flatten()), *plain(found.after.flatten())) if v])
    figure.update_yaxes(
        title="norm of the update", type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks]
    )
    legend = {"orientation": "h", "y": 1 + 0.12 / len(spans), "x": 0}
    margin = {"l": 64, "r": 12, "t": 32, "b": 40}
    return NORMS.of(figure.update_layout(height=72 + 268 * len(spans), margin=margin, legend=legend))


def _norm_lines(found: Norms, rows: list[int]) -> Iterator[go.Scatter]:
    """Of the layers of one tower."""
    for side, (name, colour) in enumerate((("task", TASK), ("domain", DOMAIN))):
        for when, values, dash, width in (
            ("as trained", found.before, "dash", 1.2),
            ("after balance", found.after, "solid", 2.2),
        ):
            # a layer without a norm has no place on a log scale
            heights = [value or None for value in plain(values[rows, side])]
            yield go.Scatter(
                x=list(range(len(rows))), y=heights, mode="lines", name=f"{name}, {when}",
                customdata=[found.layers[i] for i in rows], legendgroup=f"{name}, {when}",
                line={"color": colour, "dash": dash, "width": width},
                hovertemplate=f"layer %{{customdata}}: {name}, {when} %{{y:.3g}}<extra></extra>",
            )  # fmt: skip


def _ticks(values: Sequence[float]) -> list[float]:
    """1, 2, 5, 10, ... around some values on a log scale, so that there are at least two; decades alone where those are many."""
    if not values:
        return []
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1,) if high - low > 3 else (1, 2, 5)
    every = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    below, above = [tick for tick in every if tick <= min(values)], [tick for tick in every if tick >= max(values)]
    return [tick for tick in every if below[-1] <= tick <= above[0]]


def three_way_bars(found: ThreeWay, projections: Sequence[str]) -> Figure:
    """Norms and mutual cosines of the three updates, for the projections of one layer."""
    figure = make_subplots(rows=2, cols=1, row_heights=[0.52, 0.48], vertical_spacing=0.12, shared_xaxes=True)
    names = [short_name(escape(name)) for name in projections]  # plotly reads names as HTML, and files choose them
    for column, (name, colour) in enumerate((("task", TASK), ("domain", DOMAIN), ("merged", MERGE))):
        bars = go.Bar(
            x=names, y=plain(found.norms[:, column]), name=name, marker_color=colour,
            hovertemplate=f"{name} %{{x}}: norm %{{y:.4g}}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(bars, row=1, col=1)
    pairs = (
        ("task and domain", LINES[0], "circle"),
        ("task and merged", TASK, "square"),
        ("domain and merged", DOMAIN, "diamond"),
    )
    for column, (name, colour, symbol) in enumerate(pairs):
        dots = go.Scatter(
            x=names, y=plain(found.cosines[:, column]), name=name, mode="markers", legend="legend2",
            marker={"color": colour, "size": 11, "symbol": symbol},
            hovertemplate=f"{name}, %{{x}}: cosine %{{y:+.3f}}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(dots, row=2, col=1)
    figure.update_yaxes(title="norm", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(
        title="cosine", range=[-1.08, 1.08], tickvals=[-1, -0.5, 0, 0.5, 1], zeroline=True, row=2, col=1
    )
    figure.update_layout(
        height=470, barmode="group", margin={"l": 56, "r": 12, "t": 32, "b": 88},
        legend={"orientation": "h", "y": 1.08, "x": 0}, legend2={"orientation": "h", "y": -0.09, "yanchor": "top", "x": 0},
    )  # fmt: skip
    return THREE_WAY.of(figure)
