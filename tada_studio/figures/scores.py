"""What was measured."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from tada_studio.evaluation import Score
from tada_studio.figures.figure import Figure
from tada_studio.figures.palette import BASE, DOMAIN, MERGE, OTHER_MERGE, TASK

SCORES = Figure(
    "Accuracy",
    "Share of items answered correctly, a bar for each side. The thin line is the 95 % interval: where two intervals overlap "
    "much, the paired test in the sentences decides, not the length of the bars.",
)
#: Pixels of one bar, and of all that is not bars.
_BAR, _FRAME = 26, 76


def score_bars(sides: Mapping[str, Mapping[str, Score]], which: str = "", pale: bool = False) -> Figure:
    """Accuracy of every variant with its 95 % interval: one bar a side, its figure written behind it; the first on top.

    which: of whom;  pale: it is of another recipe than the one on screen
    """
    known = [
        (name, side, score)
        for name in dict.fromkeys(name for scores in sides.values() for name in scores)
        for side, scores in sides.items()
        if (score := scores.get(name)) is not None and score.estimate
    ]
    figure = go.Figure([_accuracy_bars(known).update(opacity=0.35 if pale else 1), _figures(known)])
    figure.update_xaxes(range=[0, 1.4], tickvals=[0, 0.25, 0.5, 0.75, 1], tickformat=".0%", title="answered correctly")
    figure.update_yaxes(**_rows(known), autorange="reversed", automargin=True, showgrid=False, zeroline=False)
    figure.update_layout(
        height=_BAR * len(known) + _FRAME, showlegend=False, bargap=0.3, margin={"l": 64, "r": 8, "t": 8, "b": 44}
    )
    return SCORES.of(figure, which)


Known = Sequence[tuple[str, str, Score]]


def _places(known: Known) -> list[float]:
    """Where each bar lies: a variant's sides together, and half a bar between two variants."""
    order = list(dict.fromkeys(name for name, *_ in known))
    return [i + 0.5 * order.index(name) for i, (name, *_) in enumerate(known)]


def _rows(known: Known) -> dict[str, list]:
    """The variants' names, each in the middle of its bars."""
    places: dict[str, list[float]] = {}
    for (name, *_), place in zip(known, _places(known), strict=True):
        places.setdefault(name, []).append(place)
    return {"tickvals": [sum(at) / len(at) for at in places.values()], "ticktext": list(places)}


def _accuracy_bars(known: Known) -> go.Bar:
    estimates = [score.estimate or (0.0, 0.0, 0.0) for *_, score in known]
    return go.Bar(
        x=[share for share, *_ in estimates], y=_places(known), orientation="h", width=0.9,
        marker_color=[_variant_colour(name) for name, *_ in known],
        error_x={
            "type": "data", "symmetric": False, "array": [high - share for share, _, high in estimates],
            "arrayminus": [share - low for share, low, _ in estimates], "thickness": 1.4, "width": 5,
        },
        customdata=[[name, side, low, high, s.n] for (name, side, s), (_, low, high) in zip(known, estimates, strict=True)],
        hovertemplate="%{customdata[0]}, %{customdata[1]}: %{x:.1%} (%{customdata[2]:.0%} to %{customdata[3]:.0%}), "
        "n %{customdata[4]}<extra></extra>",
    )  # fmt: skip


def _figures(known: Known) -> go.Scatter:
    """What each bar says, behind its interval: readable on every colour, however short the bar is."""
    ends = [(score.estimate or (0.0, 0.0, 0.0))[2] for *_, score in known]
    return go.Scatter(
        x=ends, y=_places(known), mode="text", textposition="middle right", hoverinfo="skip",
        text=[f"  {score.accuracy or 0.0:.0%} {side}" for _, side, score in known],
    )  # fmt: skip


def _variant_colour(name: str) -> str:
    return {"base": BASE, "task": TASK, "domain": DOMAIN, "tada": MERGE}.get(name, OTHER_MERGE)
