"""Auto-tune: the knobs searched on some items while one watches, and a verdict from items that the search never saw."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gradio as gr

from tada_studio import figures, report
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import EDIT, READ, WORK, Panel, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.app.widgets.task import in_turn, steps, uploaded
from tada_studio.errors import InputError, Stopped, TadaError
from tada_studio.evaluation import read_items
from tada_studio.progress import Progress
from tada_studio.tuning import Plan, Tuning

NOT_YET = (
    "Nothing was searched yet. A search turns sharpness, strength, balance, conflict threshold and the thirds of the depth "
    "on some of the items; the others stay untouched until the end, and then decide."
)
#: How a verdict looks.
_KINDS = {"better": "good", "worse": "bad"}


# -- what is shown ---------------------------------------------------------------------------------------------------


def verdict(tuning: Tuning | None) -> str:
    """What came out, in words; the untouched items first."""
    if tuning is None:
        return html.note(NOT_YET, "next")
    sentences = report.search_sentences(tuning)
    if tuning.judged is None:
        return html.note("No verdict yet: nobody has looked at the untouched items.", "next", sentences)
    against, words_of = len(tuning.judged.against), [found.word for found in tuning.judged.against]
    kind = _KINDS.get(words_of[0], "") if len(set(words_of)) == 1 else ""
    found = html.note(f"Found: {report.knobs_turned(tuning.recipe)}.", points=sentences[against:])
    table = html.box(html.table(*report.score_table(tuning.judged.sides)))
    return f'<div class="stack">{html.note("On the untouched items:", kind, sentences[:against])}{table}{found}</div>'


def pictures(state: TabState) -> list[Any]:
    """Scatter, verdict, take button, judge button."""
    tuning = state.session.tuning
    found = tuning is not None and (tuning.best is not None or tuning.judged is not None)
    unjudged = tuning is not None and tuning.best is not None and tuning.judged is None
    picture = drawing(figures.tuning_scatter(tuning)) if tuning else None
    return [picture, verdict(tuning), gr.update(interactive=found), gr.update(interactive=unjudged)]


def show(state: TabState) -> list[Any]:
    """Scatter, verdict, take button, judge button, bar."""
    return [*pictures(state), html.progress_bar(None, "Ready." if state.session.pair else "Open a pair first.")]


# -- handlers --------------------------------------------------------------------------------------------------------


def on_tune(
    state: TabState, trials: Any, minutes: Any, seeds: Any, most: Any, domain_file: str | None, task_file: str | None
) -> Iterator[list[Any]]:
    """Search; yields (scatter, verdict, take, judge, bar, start, stop)."""
    session = state.session
    waiting = [gr.skip()] * 4

    def now(body: list[Any], bar: str, running: bool) -> list[Any]:
        return [*body, bar, gr.update(interactive=not running), gr.update(interactive=running)]

    try:
        plan = _plan(trials, minutes, seeds)
        sides, limit = _sides(domain_file, task_file), _whole(most) or None
        yield now(waiting, html.progress_bar(None, "Starting…"), running=True)
        drawn: Any = None
        for step in steps(in_turn(session, lambda progress: session.tune(sides, plan, limit, progress))):
            if isinstance(step, Progress):
                tuning = session.tuning
                news = (len(tuning.trials), len(tuning.side_scores)) if tuning else None
                # what has not changed is not sent again: the chart would be drawn anew at every step
                body = pictures(state) if news != drawn else waiting
                drawn = news
                yield now(
                    [*body[:2], gr.update(interactive=False), gr.update(interactive=False)],
                    html.progress_bar(step),
                    running=True,
                )
        yield now(
            pictures(state), html.finished_bar("Searched and judged. Take the recipe, or leave it."), running=False
        )
    except Stopped:
        message = "Stopped. All finished trials are kept: start again to go on, or judge the best so far."
        yield now(pictures(state), html.progress_bar(None, message), running=False)
    except TadaError as error:
        yield now(pictures(state), html.progress_bar(None, str(error)), running=False)
        raise


def on_judge(state: TabState, *asked: Any) -> Iterator[list[Any]]:
    """The best so far on the untouched items, without another trial."""
    _, *rest = asked
    yield from on_tune(state, 0, *rest)


def _plan(trials: Any, minutes: Any, seeds: Any) -> Plan:
    try:
        return Plan(trials=int(trials), seeds=int(seeds), minutes=float(minutes) if minutes else None)
    except (TypeError, ValueError, OverflowError):
        raise InputError("Trials, minutes and seeds must be numbers.") from None


def _whole(value: Any) -> int:
    try:
        return int(value or 0)
    except (TypeError, ValueError, OverflowError):
        raise InputError("The number of items a side must be a whole number.") from None


def _sides(domain_file: str | None, task_file: str | None) -> Mapping[str, Sequence[Any]] | None:
    files = {"domain": domain_file, "task": task_file}
    return {side: uploaded(file, read_items) for side, file in files.items() if file} or None


def on_stop(state: TabState) -> None:
    """Ask the search to stop; finished trials stay."""
    state.session.stop()


def on_take(state: TabState) -> str:
    """Make the find the recipe on screen."""
    tuning = state.session.tuning
    if tuning is None:
        raise InputError("Nothing was searched yet.")
    edits.restore(state, tuning.recipe, "auto-tune")
    return html.finished_bar(state.message)


# -- layout and wiring -----------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """How much to search and on what, in the order of ``on_tune``."""

    trials: gr.Slider
    minutes: gr.Number
    seeds: gr.Slider
    most: gr.Number
    domain_file: gr.File
    task_file: gr.File


def tune_tab(state: gr.State) -> Panel:
    """Builds and wires the tab."""
    line = "Starts from the recipe on screen: gates painted by hand stay. What it finds is judged on items that it never saw."
    words(html.heading("Auto-tune", line))
    asked = _asked()
    with gr.Row():
        go = _button("Search", "tune", variant="primary")
        stop = _button("Stop", "tune-stop", variant="stop", interactive=False)
        judge = _button("Judge the best so far", "tune-judge", interactive=False)
        take = _button("Take this recipe", "tune-take", interactive=False)
    bar = words(html.progress_bar(None, "Open a pair first."), elem_id="tune-bar")
    message = words(verdict(None), elem_id="tune-verdict")
    none = "Dots appear here, trial by trial."
    picture = plot_panel("Retention against gain", figures.TUNING_CAPTION, none, "tune-picture")
    shown = [picture, message, take, judge, bar]
    ran = [
        button.click(user_errors(handler), [state, *asked], [*shown, go, stop], **WORK)
        for button, handler in ((go, on_tune), (judge, on_judge))
    ]
    stop.click(user_errors(on_stop), state, None, **READ)
    return Panel(shown, show, (take.click(user_errors(on_take), state, bar, **EDIT),), tuple(ran))


def _button(text: str, elem_id: str, **how: Any) -> gr.Button:
    return gr.Button(text, elem_id=elem_id, elem_classes="act", scale=1, min_width=150, **how)


def _asked() -> Asked:
    with gr.Row(equal_height=True):
        narrow, wide = {"min_width": 150}, {"min_width": 200}
        trials = gr.Slider(4, 400, 60, step=1, label="Trials", info="recipes to try", elem_id="tune-trials", **wide)
        minutes = gr.Number(0, label="Minutes at most", info="0: no limit", elem_id="tune-minutes", **narrow)
        seeds = gr.Slider(1, 5, 2, step=1, label="Seeds", info="independent searches", elem_id="tune-seeds", **wide)
        info = "to search on; 0: all"
        most = gr.Number(0, label="Items a side", info=info, precision=0, elem_id="tune-most", **narrow)
    with gr.Accordion("Items of your own (otherwise the sample's)", open=False, elem_id="tune-own"):
        words(html.note("Half of each file is searched on; the other half is kept for the verdict."))
        with gr.Row():
            domain = gr.File(label="Domain items (.jsonl)", file_types=[".jsonl"], elem_id="tune-domain", height=120)
            task = gr.File(label="Task items (.jsonl)", file_types=[".jsonl"], elem_id="tune-task", height=120)
    return Asked(trials, minutes, seeds, most, domain, task)
