"""What was measured."""

from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tada_studio.evaluation import Score
from tada_studio.figures.figure import Figure
from tada_studio.figures.palette import BASE, DOMAIN, MERGE, OTHER_MERGE, TASK

SCORES = Figure(
    "Accuracy",
    "Share of items answered correctly. The thin line is the 95 % interval: where two intervals overlap much, the "
    "paired test in the sentences decides, not the height of the bars.",
)


def score_bars(sides: Mapping[str, Mapping[str, Score]], which: str = "", pale: bool = False) -> Figure:
    """Accuracy of every variant with its 95 % interval, one panel for each side, on one scale.

    which: of whom;  pale: it is of another recipe than the one on screen
    """
    titles = [f"{side} items" for side in sides]
    figure = make_subplots(1, max(1, len(sides)), shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=titles)
    for column, scores in enumerate(sides.values(), start=1):
        figure.add_trace(_accuracy_bars(list(scores.values())).update(opacity=0.35 if pale else 1), row=1, col=column)
    figure.update_yaxes(range=[0, 1], tickformat=".0%")
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(title="answered correctly", row=1, col=1)
    figure.update_layout(height=340, showlegend=False, bargap=0.35, margin={"l": 64, "r": 8, "t": 36, "b": 40})
    return SCORES.of(figure, which)


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
