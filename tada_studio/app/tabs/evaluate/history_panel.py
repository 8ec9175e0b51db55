"""History: every run, what its recipe was and what came out; restore it, look at it, compare two, delete, take all home."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from markupsafe import Markup

from tada_studio import report
from tada_studio.app import edits
from tada_studio.app.projects import local_time
from tada_studio.app.state import TabState
from tada_studio.app.truth_line import DIGITS
from tada_studio.app.widgets import html
from tada_studio.app.widgets.action_list import action_list, box, button, rows
from tada_studio.app.widgets.panel import EDIT, READ, Named, Panel, listen, words
from tada_studio.errors import InputError
from tada_studio.evaluation import Score
from tada_studio.evaluation.runs import Cells, Run
from tada_studio.markup import joined, template

NONE = "No run yet. Every run is kept here, the stopped ones too, with the recipe that it was made with."
#: Columns of a picture of a gate map; more layers are averaged into these.
_MOST_COLUMNS = 32
#: Width and height in pixels that such a picture should not exceed.
_ROOM = (110, 42)
_UNDER = template(
    "{% if bold %}<b>{{ text }}</b>{% else %}{{ text }}{% endif %}{% for line in lines %}<small>{{ line }}</small>{% endfor %}"
)
_TABLE = template("""
<div class="box table-scroll"><table class="plain-table runs"><thead><tr>
{% for name in heads %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>{{ rows }}</tbody></table></div>
""")
_ROW = template("""
<tr><td>{{ tick }}</td><td>{{ number }}</td><td>{{ picture }}</td><td>{{ what }}</td>
{% for side, score in scores %}<td data-side="{{ side }}">{{ score }}</td>{% endfor %}<td>{{ acts }}</td></tr>
""")
_SCORE = template("""
<span class="mini" role="img" aria-label="{{ says }}"><i style="width:{{ share }}"></i>
<u style="left:{{ low }};width:{{ wide }}"></u></span>{{ share }}<small>{{ under }}</small>
""")
_PICTURE = template("""
<svg class="thumb" role="img" aria-label="gate map of this run" viewBox="0 0 {{ 3 * across }} {{ 3 * down }}"
 width="{{ size * across }}" height="{{ size * down }}">{{ marks }}</svg>
""")
_MARK = template('<rect x="{{ x }}" y="{{ y }}" width="2.6" height="2.6" style="fill:{{ colour }}"/>')


# -- what is shown ---------------------------------------------------------------------------------------------------


def table(state: TabState) -> dict[str, Any]:
    """The runs, latest first, as an action list takes them."""
    runs = [run for run in reversed(state.session.runs) if run.sides]
    if not runs:
        return rows(html.note(NONE, "next"))
    sides = list(dict.fromkeys(side for run in runs for side in run.sides))
    heads = ["", "Run", "Gates", "Recipe", *(f"{side} accuracy" for side in sides), ""]
    return rows(
        _TABLE(
            heads=heads,
            rows=joined(_row(run, sides, run.number in state.ticked, not state.session.stale(run)) for run in runs),
        )
    )


def _row(run: Run, sides: list[str], ticked: bool, is_now: bool) -> Markup:
    number, name = f"run {run.number}", variant(run)
    early = [] if run.finished else ["stopped early"]
    early += ["the merge on screen"] if is_now else []
    acts = (
        button("Restore", "restore", run.number, f"Restore the recipe of {number}")
        + button("Show", "show", run.number, f"Show the scores of {number}")
        + button("Delete", "delete", run.number, f"Delete {number}")
    )
    return _ROW(
        tick=box(run.number, f"Compare {number}", ticked),
        number=_UNDER(text=run.number, bold=True, lines=[local_time(run.when), *early]),
        picture=thumbnail(run.gates),
        what=_UNDER(text=name, bold=False, lines=[report.recipe_words(run.recipe), f"recipe {run.digest[:DIGITS]}"]),
        scores=[(side, _score(run.sides.get(side, {}).get(name))) for side in sides],
        acts=acts,
    )


def variant(run: Run) -> str:
    """The variant that a run was about: its own recipe's, or the last that was scored."""
    names = run.variants
    return run.recipe.method if run.recipe.method in names or not names else names[-1]


def _score(score: Score | None) -> str:
    if score is None or score.estimate is None:
        return "" if score is None or score.nll is None else f"NLL {score.nll:.3f}"
    share, low, high = score.estimate
    return _SCORE(
        says=f"{share:.1%}, 95 % from {low:.1%} to {high:.1%}", share=f"{share:.1%}", low=f"{low:.1%}",
        wide=f"{high - low:.1%}", under=f"{low:.0%} to {high:.0%}, n {score.n}",
    )  # fmt: skip


def thumbnail(gates: Cells) -> Markup:
    """A gate map as a small picture: layers left to right, projections top to bottom, in the colours of the map."""
    if not gates:
        return Markup()
    columns = _averaged(gates)
    marks = joined(
        _MARK(x=3 * x, y=3 * y, colour=_colour(value))
        for x, column in enumerate(columns)
        for y, value in enumerate(column)
        if value is not None
    )
    across, down = len(columns), len(columns[0])
    size = max(3, min(_ROOM[0] // across, _ROOM[1] // down))
    return _PICTURE(across=across, down=down, size=size, marks=marks)


def _averaged(gates: Cells) -> list[list[float | None]]:
    step = -(-len(gates) // _MOST_COLUMNS)
    groups = (gates[i : i + step] for i in range(0, len(gates), step))
    return [[_mean([row[j] for row in group]) for j in range(len(group[0]))] for group in groups]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _colour(gate: float) -> str:
    end, share = ("domain", 2 * gate - 1) if gate > 0.5 else ("task", 1 - 2 * gate)
    return f"color-mix(in oklab, var(--tada-{end}) {share:.0%}, var(--tada-even))"


def show(state: TabState) -> Named:
    """Table, what was compared, compare button, download."""
    runs = [run for run in state.session.runs if run.sides]
    state.ticked = tuple(number for number in state.ticked if any(run.number == number for run in runs))
    return {"runs": table(state), "compared": "", "compare": _compare_button(state), "download": _download(state, runs)}


def _compare_button(state: TabState) -> Any:
    return gr.update(visible=len(state.session.runs) > 1, interactive=len(state.ticked) == 2)


def _download(state: TabState, runs: list[Run]) -> Any:
    if not runs:
        return gr.update(visible=False)
    path = state.session.folder / "runs.csv"
    path.write_text(report.runs_csv(runs), encoding="utf-8")
    return gr.update(value=str(path), visible=True)


def comparison(first: Run, second: Run) -> str:
    """Two runs, the earlier one first: how their recipes differ, and which is better on the items that both had."""
    named = [(f"run {run.number}", run.sides, variant(run)) for run in (first, second)]
    same = [side for side, items in first.items.items() if second.items.get(side) == items]
    changed = report.recipe_words(second.recipe, first.recipe)
    points = [f"What run {second.number} changes of run {first.number}: {changed}."]
    points += report.compared_runs(named[0], named[1], same)
    other = [side for side in first.sides if side in second.sides and side not in same]
    points += [f"{side}: the two had different items, so that they cannot be compared there." for side in other]
    return html.note(f"Run {second.number} against run {first.number}:", points=points)


# -- handlers --------------------------------------------------------------------------------------------------------


def tick(state: TabState, key: Any, on: bool) -> None:
    """Mark a run to be compared; only the last two marks count."""
    number = _run(state, key).number
    others = tuple(one for one in state.ticked if one != number)
    state.ticked = (*others, number)[-2:] if on else others


def on_compare(state: TabState) -> str:
    """The two marked runs."""
    if len(state.ticked) != 2:
        raise InputError("Tick two runs to compare them.")
    first, second = (_run(state, number) for number in sorted(state.ticked))
    return comparison(first, second)


def press(state: TabState, what: Any, key: Any) -> str:
    """A button of a row; says what happened."""
    run = _run(state, key)
    if what == "restore":
        edits.restore(state, run.recipe, f"run {run.number}")
    elif what == "delete":
        state.session.forget(run.number)
        state.acted(f"Run {run.number} is deleted.")
    else:
        raise InputError("The history sent something that cannot be read. Reload the page.")
    return state.message


def _run(state: TabState, key: Any) -> Run:
    found = next((run for run in state.session.runs if str(run.number) == str(key)), None)
    if found is None:
        raise InputError("That run is not in the history any more.")
    return found


# -- layout and wiring -----------------------------------------------------------------------------------------------


def history_panel(state: gr.State, scores: Panel, look: Callable[[TabState, Run], Named]) -> Panel:
    """Builds and wires the section. ``look(state, run)`` gives updates for ``scores``, where the scores of one run are shown."""
    runs = action_list("runs", html.note(NONE, "next"))
    with gr.Row():
        compare = gr.Button(
            "Compare the two ticked", size="sm", visible=False, elem_id="compare-runs", min_width=160, scale=0
        )
        download = gr.DownloadButton(
            "Download CSV", size="sm", visible=False, elem_id="runs-csv", min_width=120, scale=0
        )
    message = words(html.message(""), elem_id="history-message")
    at = {"runs": runs, "compared": words(elem_id="compared"), "compare": compare, "download": download}

    def on_press(state: TabState, news: gr.EventData) -> Named:
        what, key = getattr(news, "what", None), getattr(news, "key", None)
        if what == "show":
            run = _run(state, key)
            return {"message": html.message(f"Run {run.number} is shown on the Run page."), **look(state, run)}
        return {"message": html.message(press(state, what, key)), **show(state)}

    def on_tick(state: TabState, news: gr.EventData) -> Named:
        tick(state, getattr(news, "key", None), bool(getattr(news, "on", False)))
        return {"runs": table(state), "compare": _compare_button(state)}

    pressed = listen(runs.press, on_press, [state], {**scores.at, **at, "message": message}, **EDIT)
    listen(runs.tick, on_tick, [state], at, **EDIT)
    listen(compare.click, lambda state: {"compared": on_compare(state)}, [state], at, **READ)
    return Panel(at, show, (pressed,))
