"""How sure the gates are: against the number of inputs, and cell by cell."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tada_studio.core.gates import Gates
from tada_studio.core.stability import Stability
from tada_studio.core.stats import Interval
from tada_studio.figures.figure import Figure
from tada_studio.figures.palette import BASE, TASK_TO_DOMAIN, plain

Known = tuple[float | None, Interval | None]

SUBSETS = Figure(
    "Gates from fewer inputs",
    "Gates from a few of the inputs against the gates from all: how alike the cells are ranked (1: the same order), and how "
    "far a gate is off on average. Bars span 95 % of 40 random subsets. Where the curve is flat, more inputs change nothing.",
)
BANDS = Figure(
    "How sure each cell is",
    "Every cell of the map by its gate, with the 95 % range over resampled inputs. A cell whose range crosses the dashed line "
    "could as well lean to the other side.",
)


def stability_curve(found: Stability) -> Figure:
    """Rank correlation and distance against the number of inputs."""
    if not found.subsets:
        return SUBSETS
    figure = make_subplots(1, 2, horizontal_spacing=0.14)
    n = [one.n for one in found.subsets]
    rho: list[Known] = [(one.rho, one.rho_range) for one in found.subsets]
    off: list[Known] = [(one.distance, one.distance_range) for one in found.subsets]
    for column, (name, values) in enumerate((("rank correlation with all", rho), ("mean distance", off)), start=1):
        high = [None if v is None or r is None else max(0.0, r.high - v) for v, r in values]
        low = [None if v is None or r is None else max(0.0, v - r.low) for v, r in values]
        line = go.Scatter(
            x=n, y=[v for v, _ in values], mode="lines+markers", name=name, line={"color": BASE},
            error_y={"type": "data", "symmetric": False, "array": high, "arrayminus": low, "thickness": 1.2, "width": 4},
            hovertemplate="%{x} inputs: %{y:.3f}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(line, row=1, col=column)
        figure.update_yaxes(title=name, row=1, col=column)
    figure.update_xaxes(title=f"inputs, of {found.inputs}", type="log", tickvals=n, ticktext=n)
    return SUBSETS.of(figure.update_layout(height=300, showlegend=False, margin={"l": 60, "r": 8, "t": 12, "b": 44}))


def cell_bands(found: Stability, gates: Gates) -> Figure:
    """All cells in the order of their gates, with their bands."""
    there = gates.there & ~found.bands[0].isnan()
    if not there.any():
        return BANDS
    values, low, high = gates.values[there], found.bands[0][there], found.bands[1][there]
    order = values.argsort(stable=True)
    names = [str(gates.place(i, j)) for i, j in there.nonzero().tolist()]
    place = list(range(len(order)))
    figure = go.Figure(
        go.Scatter(
            x=place, y=plain(values[order]), mode="markers", customdata=[names[i] for i in order.tolist()],
            marker={"color": plain(values[order]), "colorscale": TASK_TO_DOMAIN, "cmin": 0, "cmax": 1, "size": 5},
            error_y={
                "type": "data", "symmetric": False, "array": plain((high - values)[order].clamp_min(0)),
                "arrayminus": plain((values - low)[order].clamp_min(0)), "thickness": 1, "width": 0, "color": BASE,
            },
            hovertemplate="%{customdata}: %{y:.3f}<extra></extra>", name="cells",
        )
    )  # fmt: skip
    figure.add_hline(y=0.5, line_dash="dash", line_width=1, line_color=BASE)
    figure.update_xaxes(title="cells, counted from task to domain", tickvals=_counted(len(place)), zeroline=False)
    figure.update_xaxes(ticktext=[str(one + 1) for one in _counted(len(place))])
    figure.update_yaxes(title="domain's share", range=[0, 1], tickvals=[0, 0.25, 0.5, 0.75, 1])
    return BANDS.of(figure.update_layout(height=300, showlegend=False, margin={"l": 60, "r": 8, "t": 12, "b": 44}))


def _counted(n: int) -> list[int]:
    """About six places of n, first and last among them."""
    step = max(1, round((n - 1) / 5))
    return sorted({*range(0, n - step // 2, step), n - 1})
