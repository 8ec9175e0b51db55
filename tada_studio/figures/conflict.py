"""Singular directions of one module: who is how strong, who opposes whom, what the merge keeps."""

import plotly.graph_objects as go
from jaxtyping import Bool, Float
from plotly.subplots import make_subplots
from torch import Tensor

from tada_studio.core.conflict import Directions
from tada_studio.core.merge import Merged
from tada_studio.figures.palette import CONFLICT, DOMAIN, MERGE, OPPOSE_TO_AGREE, TASK, plain

SPECTRUM_CAPTION = (
    "Each bar is one singular direction after weighting, strongest first: task up, domain down. Hatched with a red "
    "edge: dropped, because it opposes a stronger one of the other adapter. Below, the merged directions; pale ones "
    "are beyond the rank."
)
OVERLAP_CAPTION = (
    "How each task direction meets each domain direction, in multiples of what two random directions would show. Dark: "
    "they agree. Red: they oppose. A cross marks the pairs that count as conflict."
)


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
        x=list(range(len(strength))), y=plain(sign * strength), marker=marker, name=name, customdata=said,
        hovertemplate=f"{name} %{{x}}: %{{customdata[0]}}, %{{customdata[1]}}<extra></extra>",
    )  # fmt: skip


def _merged_bars(merged: Merged, row: int) -> go.Bar:
    spectrum = merged.spectrum[row]
    inside = [i < merged.rank for i in range(len(spectrum))]
    return go.Bar(
        x=list(range(len(spectrum))), y=plain(spectrum), name="merged",
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
            z=plain(alignment), zmin=-reach, zmax=reach, colorscale=OPPOSE_TO_AGREE, xgap=1, ygap=1,
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
