"""Auto-tune while it runs: what every trial gave of one skill for how much of the other."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go

from tada_studio.evaluation.benchmark import SideScore
from tada_studio.figures.figure import Figure
from tada_studio.figures.palette import BASE, DOMAIN, MERGE, OTHER_MERGE, TASK
from tada_studio.tuning import Trial, Tuning, front

TUNING = Figure(
    "Retention against gain",
    "Each dot is one recipe, on the items that are searched on: how much probability it typically gives the right answer of "
    "each side (the geometric mean). Upwards it retains more of the task, to the right it gains more of the domain. The line "
    "joins the recipes that no other beats on both; pale dots were stopped early. The best dot of many is also the luckiest: only "
    "the verdict on the untouched items says whether it is better.",
)


def tuning_scatter(tuning: Tuning | None) -> Figure:
    """Trials with their Pareto front, the start and the best; over the trial's number where there is one side only."""
    if tuning is None or not (tuning.trials or tuning.side_scores):
        return TUNING
    sides = _axes(tuning)
    figure = go.Figure()
    for state, colour, size in (("pruned", BASE, 6), ("done", OTHER_MERGE, 8)):
        trials = [trial for trial in tuning.trials if trial.state == state]
        name = "stopped early" if state == "pruned" else "trial"
        figure.add_trace(
            _dots(name, trials, sides, {"color": colour, "size": size, "opacity": 0.45 if state == "pruned" else 1})
        )
    if len(sides) == 2:
        best = sorted(front(tuning.trials), key=lambda trial: trial.side_scores[sides[0]].gold)
        line = _dots("not beaten on both", best, sides, {"color": MERGE, "size": 8})
        figure.add_trace(line.update(mode="lines+markers", line={"color": MERGE, "width": 1.5}))
        figure.add_traces(list(_known(tuning.side_scores, sides)))
    if tuning.best is not None:
        star = {"color": MERGE, "size": 15, "symbol": "star"}
        figure.add_trace(_dots("best on both together", [tuning.best], sides, star))
    titles = [
        f"{escape(side)}: right answer's probability" for side in sides
    ]  # plotly reads HTML, and files name sides
    figure.update_yaxes(title=titles[-1])
    figure.update_xaxes(title=titles[0] if len(sides) == 2 else "trial", zeroline=False)
    legend = {"orientation": "h", "y": -0.24, "x": 0}
    return TUNING.of(figure.update_layout(height=400, margin={"l": 64, "r": 12, "t": 12, "b": 48}, legend=legend))


def _axes(tuning: Tuning) -> list[str]:
    """The sides across and up: the domain's gain and the task's retention, if there are these two."""
    sides = list(tuning.split.search)
    return sorted(sides, key=lambda side: side == "task")[-2:]


def _place(side_scores: Mapping[str, SideScore], sides: Sequence[str], number: int) -> tuple[float, float]:
    typical = [math.exp(side_scores[side].gold) for side in sides]
    return (typical[0], typical[1]) if len(typical) == 2 else (float(number), typical[0])


def _dots(name: str, trials: Sequence[Trial], sides: Sequence[str], marker: dict) -> go.Scatter:
    places = [_place(trial.side_scores, sides, trial.number) for trial in trials]
    turned = ["<br>".join(f"{knob} {value:g}" for knob, value in trial.params.items()) for trial in trials]
    labels = [[f"seed {trial.seed}, trial {trial.number}", knobs] for trial, knobs in zip(trials, turned, strict=True)]
    return go.Scatter(
        x=[x for x, _ in places], y=[y for _, y in places], mode="markers", name=name, marker=marker, customdata=labels,
        hovertemplate="%{customdata[0]}: %{x:.3f}, %{y:.3f}<br>%{customdata[1]}<extra></extra>",
    )  # fmt: skip


def _known(side_scores: Mapping[str, Mapping[str, SideScore]], sides: Sequence[str]) -> list[go.Scatter]:
    """What the trials are to be seen against: parents, the plain sum, the start."""
    shown = {
        "task": ("task adapter", TASK),
        "domain": ("domain adapter", DOMAIN),
        "sum": ("sum", BASE),
        "start": ("start", MERGE),
    }
    made = []
    for name, (label, colour) in shown.items():
        if name in side_scores and all(side in side_scores[name] for side in sides):
            x, y = _place(side_scores[name], sides, 0)
            marker = {"color": colour, "size": 10, "symbol": "diamond-open", "line": {"width": 2}}
            says = f"{label}: %{{x:.3f}}, %{{y:.3f}}<extra></extra>"
            made.append(go.Scatter(x=[x], y=[y], mode="markers", name=label, marker=marker, hovertemplate=says))
    return made
