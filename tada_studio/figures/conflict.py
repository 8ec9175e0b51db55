"""Singular directions of one module: who is how strong, who opposes whom, what the merge keeps."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tada_studio.core.module_detail import DirectionState, ModuleDetail
from tada_studio.figures.figure import Figure
from tada_studio.figures.palette import BASE, CONFLICT, DOMAIN, MERGE, OPPOSE_TO_AGREE, TASK, plain

SPECTRUM = Figure(
    "Conflict spectrum",
    "Each bar is one singular direction after weighting, strongest first: task above, domain below. A red line joins two "
    "that oppose each other. Full: kept. Dotted: silenced, which is in the merge and a tenth or more weaker on the other's "
    "inputs than on its own. Hatched with a red edge: dropped. A dot above: decided by hand.",
)
OVERLAP = Figure(
    "How directions meet",
    "How each task direction meets each domain direction, in multiples of what two random directions would show. Dark: "
    "they agree. Red: they oppose. A cross marks the pairs that count as conflict.",
)
CHANCE = Figure(
    "Against chance",
    "Each dot is a pair of directions, larger where both are strong: to the right they agree in the weights, upwards over "
    "the probe inputs. Nearly all pairs of unrelated directions fall into the grey field; left of the red line the rule "
    "sees a conflict (with conflict space at activation: below it).",
)
MERGED = Figure(
    "What the merge keeps",
    "Singular values of the merged update. Pale bars are beyond the rank and are cut off; the line is the share of energy "
    "kept up to each direction.",
)


def conflict_spectrum(near: ModuleDetail, where: str = "") -> Figure:
    """Both adapters' weighted singular values in one module, mirrored, with a line between any two that conflict."""
    figure = make_subplots(rows=3, cols=1, row_heights=[0.41, 0.18, 0.41], vertical_spacing=0.0, shared_xaxes=True)
    top = 1.08 * max([direction.strength for direction in (*near.task, *near.domain)], default=1.0) or 1.0
    for row, (name, colour, directions) in {1: ("task", TASK, near.task), 3: ("domain", DOMAIN, near.domain)}.items():
        figure.add_trace(_bars(name, colour, directions, near.row), row=row, col=1)
        figure.add_trace(_by_hand(directions), row=row, col=1)
    for trace in _bridge(near):
        figure.add_trace(trace, row=2, col=1)
    figure.update_yaxes(title="task", range=[0, top], row=1, col=1)
    figure.update_yaxes(visible=False, range=[0, 1], fixedrange=True, row=2, col=1)
    figure.update_yaxes(title="domain", range=[top, 0], row=3, col=1)
    last = max(len(near.task), len(near.domain), 1) - 0.5
    step = max(1, round(last / 6))
    figure.update_xaxes(range=[-0.5, last], showgrid=False, zeroline=False, fixedrange=True, tick0=0, dtick=step)
    figure.update_xaxes(title={"text": "direction, strongest first", "standoff": 4}, row=3, col=1)
    figure.update_layout(
        height=400, bargap=0.25, showlegend=False, hovermode="x", margin={"l": 64, "r": 8, "t": 12, "b": 40}
    )
    return SPECTRUM.of(figure, where)


#: How a direction looks by what becomes of it: (pattern, opacity, width of the red edge).
_LOOKS = {"kept": ("", 1.0, 0), "silenced": (".", 0.85, 0), "dropped": ("/", 0.45, 2)}


def _becomes(direction: DirectionState) -> str:
    return "dropped" if direction.dropped else "silenced" if direction.silenced else "kept"


def _bars(name: str, colour: str, directions: Sequence[DirectionState], module: int) -> go.Bar:
    """A click on a bar carries its customdata."""
    other = "domain" if name == "task" else "task"
    looks = [_LOOKS[_becomes(direction)] for direction in directions]
    marker = {
        "color": colour,
        "opacity": [opacity for _, opacity, _ in looks],
        "pattern": {"shape": [shape for shape, _, _ in looks], "solidity": 0.35, "size": 7},
        "line": {"color": CONFLICT, "width": [width for _, _, width in looks]},
    }
    labels = [
        [name, direction.number, _becomes(direction), module, _keeps(direction, other)] for direction in directions
    ]
    return go.Bar(
        x=[direction.number for direction in directions], y=[direction.strength for direction in directions],
        marker=marker, name=name, customdata=labels,
        hovertemplate=f"{name} %{{x}}: %{{y:.4g}}, %{{customdata[2]}}%{{customdata[4]}}<extra></extra>",
    )  # fmt: skip


def _keeps(direction: DirectionState, other: str) -> str:
    if direction.kept is None or direction.dropped:
        return ""
    own, foreign = direction.kept
    return f"<br>keeps {own:.0%} on its own inputs, {foreign:.0%} on the {other}'s"


def _by_hand(directions: Sequence[DirectionState]) -> go.Scatter:
    picked = [direction for direction in directions if direction.by_hand]
    return go.Scatter(
        x=[direction.number for direction in picked], y=[direction.strength for direction in picked], mode="markers", meta="ink",
        marker={"size": 7}, hoverinfo="skip", cliponaxis=False,
    )  # fmt: skip


def _bridge(near: ModuleDetail) -> list[go.Scatter]:
    """Lines from the task's bars above to the domain's below."""
    pairs, units = near.opposed.nonzero().tolist(), near.in_force
    if not pairs:
        middle = (max(len(near.task), len(near.domain), 1) - 1) / 2
        text = "no two of them conflict" if near.drops else "this method looks for no conflicts"
        return [go.Scatter(x=[middle], y=[0.5], mode="text", text=[text], textfont={"size": 11}, hoverinfo="skip")]
    lines = [
        go.Scatter(
            x=[i, j], y=[1, 0], mode="lines", hoverinfo="skip",
            line={"color": CONFLICT, "width": min(4.0, 1.2 + abs(float(units[i, j])) / 20)},
        )
        for i, j in pairs
    ]  # fmt: skip
    middles = go.Scatter(
        x=[(i + j) / 2 for i, j in pairs], y=[0.5] * len(pairs), mode="markers",
        marker={"size": 9, "color": CONFLICT, "opacity": 0},
        customdata=[[i, j, float(units[i, j])] for i, j in pairs],
        hovertemplate="task %{customdata[0]} opposes domain %{customdata[1]}: %{customdata[2]:+.1f} times chance<extra></extra>",
    )  # fmt: skip
    return [*lines, middles]


def merged_spectrum(near: ModuleDetail, rank: int, where: str = "") -> Figure:
    """Singular values of one merged module, and the share of its energy kept up to each."""
    spectrum, kept = near.spectrum, near.kept
    figure = make_subplots(specs=[[{"secondary_y": True}]])
    inside = [i < rank for i in range(len(spectrum))]
    figure.add_bar(
        x=list(range(len(spectrum))), y=plain(spectrum), name="merged",
        marker={"color": MERGE, "opacity": [1.0 if is_kept else 0.3 for is_kept in inside]},
        customdata=["kept" if is_kept else "beyond the rank" for is_kept in inside],
        hovertemplate="merged %{x}: %{y:.4g}, %{customdata}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=list(range(len(kept))), y=plain(kept), mode="lines", meta="ink", line={"width": 1.5}, name="energy",
        hovertemplate="energy kept up to here: %{y:.2%}<extra></extra>", secondary_y=True,
    )  # fmt: skip
    figure.add_vline(x=rank - 0.5, line_dash="dash", line_width=1, line_color=MERGE)
    step = max(1, round(len(spectrum) / 6))
    figure.update_xaxes(title="merged direction", zeroline=False, showgrid=False, tick0=0, dtick=step)
    figure.update_yaxes(title="singular value", rangemode="tozero", secondary_y=False)
    figure.update_yaxes(range=[0, 1.02], tickvals=[0, 0.5, 0.9, 1], tickformat=".0%", showgrid=False, secondary_y=True)
    figure.update_layout(height=300, showlegend=False, bargap=0.25, margin={"l": 56, "r": 44, "t": 12, "b": 40})
    return MERGED.of(figure, where)


def overlap_table(near: ModuleDetail, threshold: float, where: str = "") -> Figure:
    """How directions of one module meet, in units of chance, always to twice the threshold: cells compare by eye."""
    reach = max(4.0, 2 * threshold)
    figure = go.Figure(
        go.Heatmap(
            z=plain(near.in_force), zmin=-reach, zmax=reach, colorscale=OPPOSE_TO_AGREE, xgap=1, ygap=1,
            colorbar={"ticksuffix": " x", "thickness": 10, "outlinewidth": 0},  # of chance, as the caption says
            hovertemplate="task %{y}, domain %{x}: %{z:+.1f} times chance<extra></extra>",
        )
    )  # fmt: skip
    task, domain = (places.tolist() for places in near.opposed.nonzero(as_tuple=True))
    figure.add_scatter(
        x=domain, y=task, mode="markers", hoverinfo="skip", showlegend=False,
        marker={"symbol": "x", "size": 8, "color": "white", "line": {"width": 1.2, "color": "#20242c"}},
    )  # fmt: skip
    rows, columns = near.in_force.shape
    figure.update_xaxes(
        title="domain direction (strongest first)", range=[-0.5, columns - 0.5], showgrid=False, zeroline=False
    )
    figure.update_yaxes(title="task direction", range=[rows - 0.5, -0.5], showgrid=False, zeroline=False)
    figure.update_layout(height=380, margin={"l": 52, "r": 8, "t": 12, "b": 40})
    return OVERLAP.of(figure, where)


def against_chance(near: ModuleDetail, threshold: float, space: str, where: str = "") -> Figure:
    """How every pair of one module meets in the weights and over the probe inputs, in units of chance."""
    figure = go.Figure()
    _chance_field(figure, threshold, space)
    for kind, colour, here in (("unopposed", BASE, ~near.opposed), ("in conflict", CONFLICT, near.opposed)):
        i, j = (places.tolist() for places in here.nonzero(as_tuple=True))
        figure.add_scatter(
            x=plain(near.weight[here]),
            y=[0.0] * len(i) if near.activation is None else plain(near.activation[here]),
            mode="markers", name=kind, customdata=list(zip(i, j, strict=True)),
            marker={"color": colour, "opacity": 0.7, "size": [4 + 16 * size**0.5 for size in near.sizes[here].tolist()]},
            hovertemplate="task %{customdata[0]}, domain %{customdata[1]}: weights %{x:+.1f}, inputs %{y:+.1f}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="alignment in the weights (x chance)", zeroline=True)
    figure.update_yaxes(title="no readings yet" if near.activation is None else "over the probe inputs (x chance)")
    figure.update_layout(height=380, showlegend=False, margin={"l": 56, "r": 8, "t": 12, "b": 40})
    return CHANCE.of(figure, where)


def _chance_field(figure: go.Figure, threshold: float, space: str) -> None:
    figure.add_shape(
        type="rect", x0=-3, x1=3, y0=-3, y1=3, line_width=0, fillcolor="rgba(138,148,163,0.18)", layer="below"
    )
    line = {"line_color": CONFLICT, "line_width": 1.2, "line_dash": "dash"}
    if space == "weight":
        figure.add_vline(x=-threshold, **line)
    else:
        figure.add_hline(y=-threshold, **line)
