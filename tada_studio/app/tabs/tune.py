"""Auto-tune: the knobs searched on some items while one watches, and a verdict from items that the search never saw."""

from functools import partial
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from tada_studio import figures, report
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.estimate import UNKNOWN, base_of, duration
from tada_studio.app.widgets.own_items import FILES, own_items
from tada_studio.app.widgets.panel import EDIT, READ, Named, Panel, listen, listen_early, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.app.widgets.task import Job, LongTask, bar, stop_button, whole
from tada_studio.errors import InputError, TadaError
from tada_studio.markup import template
from tada_studio.pipeline.items import to_tune
from tada_studio.session.rates import RATES
from tada_studio.tuning import JUDGED, REFERENCES, Plan, Tuning

NOT_YET = (
    "Nothing was searched yet. A search turns the method's knobs (ridge and own weight, or sharpness), strength, balance, "
    "conflict threshold and the thirds of the depth on some of the items; the others stay untouched until the end, and then decide."
)
_STACK = template('<div class="stack">{{ first }}{{ second }}{{ third }}</div>')
OLD = (
    "Of an earlier recipe: the search started from another one than is on screen now, and its verdict is of that one. Search "
    "again, or undo what was changed since."
)
#: How a verdict looks.
_KINDS = {"better": "good", "worse": "bad"}


# -- what is shown ---------------------------------------------------------------------------------------------------


def verdict(tuning: Tuning | None, old: bool = False) -> Markup:
    """What came out, in words; the untouched items first. old: it is of an earlier recipe."""
    if tuning is None:
        return html.note(NOT_YET, "next")
    if old:
        return _STACK(first=html.note(OLD, "bad"), second=html.faded(verdict(tuning)), third="")
    sentences = report.search_sentences(tuning)
    if tuning.judged is None:
        return html.note("No verdict yet: nobody has looked at the untouched items.", "next", sentences)
    against, words_of = len(tuning.judged.against), [found.word for found in tuning.judged.against]
    kind = _KINDS.get(words_of[0], "") if len(set(words_of)) == 1 else ""
    kind_of_find = "Found" if tuning.found else "It stays as it was"
    found = html.note(f"{kind_of_find}: {report.knobs_turned(tuning.recipe)}.", points=sentences[against:])
    table = html.box(html.table(*report.score_table(tuning.judged.sides)))
    return _STACK(first=html.note("On the untouched items:", kind, sentences[:against]), second=table, third=found)


def pictures(state: TabState) -> Named:
    """Scatter, verdict, take button, judge button."""
    tuning = state.session.tuning
    found, old = tuning is not None and tuning.found is not None, tuning is not None and state.session.stale(tuning)
    picture = figures.tuning_scatter(tuning)
    unjudged = tuning is not None and tuning.best is not None and tuning.judged is None
    return {
        "picture": drawing(picture._replace(title=f"{picture.title}, of an earlier recipe") if old else picture),
        "verdict": verdict(tuning, old),
        "take": gr.update(interactive=found),
        "judge": gr.update(interactive=unjudged),
    }


def show(state: TabState) -> Named:
    """Pictures and bar."""
    ready = "Ready." if state.session.pair else "Open a pair first."
    chosen = state.planned.get("tune", (60, 5, 2, 0, None, None))
    return {**pictures(state), "bar": html.progress_bar(None, ready), **estimate(state, *chosen)}


# -- handlers --------------------------------------------------------------------------------------------------------


def searching(
    state: TabState, trials: Any, minutes: Any, seeds: Any, most: Any, domain_file: str | None, task_file: str | None
) -> Job:
    """Search, and judge what was found."""
    session, plan = state.session, _plan(trials, minutes, seeds)
    sides, limit = _items(state, domain_file, task_file), whole(most, "The number of items a side") or None

    def news() -> Any:
        tuning = session.tuning
        return (len(tuning.trials), len(tuning.side_scores)) if tuning else None

    return Job(
        work=lambda progress: session.tune(sides, plan, limit, progress),
        show=lambda: pictures(state),
        mark=news,
        held={"take": gr.update(interactive=False)},
        done=lambda _: "Searched and judged. Take the recipe, or leave it.",
        stopped=lambda _: "Stopped. All finished trials are kept: start again to go on, or judge the best so far.",
    )


def estimate(
    state: TabState, trials: Any, minutes: Any, seeds: Any, most: Any, domain_file: str | None, task_file: str | None
) -> Named:
    """How many trials fit into the time, by what an answer takes here."""
    state.planned["tune"] = (trials, minutes, seeds, most, domain_file, task_file)
    session = state.session
    try:
        split = to_tune(session.sample, _items(state, domain_file, task_file), 0, whole(most, "") or None)
        limit, wanted = float(minutes or 0) * 60, int(trials)
    except (TadaError, TypeError, ValueError):
        return {"estimate": ""}
    search, held = split.counts
    base = base_of(session)
    one = RATES.estimate("evaluate", base, search) if base else None
    if one is None:
        return {"estimate": html.caption(UNKNOWN if base else "")}
    return {"estimate": html.caption(_fits(one.seconds, wanted, limit, held / search))}


def _fits(trial: float, wanted: int, limit: float, verdict: float) -> str:
    """trial: seconds of one; limit: seconds of all, 0 for none; verdict: trials' worth of items that one verdict is scored on."""
    whole_search = trial * (wanted + JUDGED * verdict)
    start = f"A whole trial takes about {duration(trial)} here (poor ones are stopped early)"
    if not limit or whole_search < limit:
        return f"{start}: at most {duration(whole_search)} for {wanted} trials and the verdict, beside what they are compared with."
    room = max(0.0, (1 - REFERENCES) * limit / trial - JUDGED * verdict)
    return f"{start}: {duration(limit)} hold about {room:.0f} of {wanted}, beside what they are compared with and the verdict."


def judging(state: TabState, trials: Any, *rest: Any) -> Job:
    """The best so far on the untouched items, without another trial."""
    return searching(state, 0, *rest)


def _items(state: TabState, domain_file: str | None, task_file: str | None) -> Any:
    """The files given here, or else those that Evaluate ran on; None stands for the sample's own items."""
    return own_items(state, domain_file, task_file) or own_items(state, *state.items)


def _plan(trials: Any, minutes: Any, seeds: Any) -> Plan:
    try:
        return Plan(trials=int(trials), seeds=int(seeds), minutes=float(minutes) if minutes else None)
    except (TypeError, ValueError, OverflowError):
        raise InputError("Trials, minutes and seeds must be numbers.") from None


def on_take(state: TabState) -> Named:
    """Make the find the recipe on screen."""
    tuning = state.session.tuning
    if tuning is None:
        raise InputError("Nothing was searched yet.")
    if tuning.found is None:
        raise InputError("Nothing better than the recipe that the search started from was found.")
    edits.restore(state, tuning.found, "auto-tune")
    return {"bar": html.finished_bar(state.message)}


# -- layout and wiring -----------------------------------------------------------------------------------------------


class TuneInputs(NamedTuple):
    """How much to search and on what, in the order of ``searching``."""

    trials: gr.Slider
    minutes: gr.Number
    seeds: gr.Slider
    most: gr.Number
    domain_file: gr.File
    task_file: gr.File


def tune_tab(state: gr.State) -> Panel:
    """Builds and wires the tab."""
    line = "Starts from the recipe on screen: gates painted by hand stay. What it finds is judged on items that it never saw."
    words(html.heading("Auto-tune", html.explained(line)))
    inputs, about = _inputs(), words(elem_id="tune-estimate")
    changed = partial(gr.on, [control.change for control in inputs])
    listen_early(changed, estimate, [state, *inputs], {"estimate": about}, **{**READ, "trigger_mode": "always_last"})
    with gr.Row():
        go = _button("Search", "tune", variant="primary")
        stop = stop_button("tune-stop")
        judge = _button("Judge the best so far", "tune-judge", interactive=False)
        take = _button("Take this recipe", "tune-take", interactive=False)
    task = LongTask({"search": go, "judge": judge}, stop, bar("Open a pair first.", "tune-bar"))
    at = {
        "verdict": words(verdict(None), elem_id="tune-verdict"),
        "picture": plot_panel(figures.TUNING, "Dots appear here, trial by trial.", "tune-picture"),
        "take": take,
    }
    ran = [task.begins(state, name, job, [*inputs], at) for name, job in (("search", searching), ("judge", judging))]
    task.can_stop(state)
    taken = listen(take.click, on_take, [state], task.at, **EDIT)
    return Panel({**at, "judge": judge, "bar": task.bar, "estimate": about}, show, (taken,), tuple(ran))


def _button(text: str, elem_id: str, **how: Any) -> gr.Button:
    return gr.Button(text, elem_id=elem_id, elem_classes="act", scale=1, min_width=190, **how)


def _inputs() -> TuneInputs:
    with gr.Row(equal_height=True):
        narrow, wide = {"min_width": 150}, {"min_width": 200}
        trials = gr.Slider(4, 400, 60, step=1, label="Trials", info="recipes to try", elem_id="tune-trials", **wide)
        minutes = gr.Number(5, label="Minutes at most", info="0: no limit", elem_id="tune-minutes", **narrow)
        seeds = gr.Slider(1, 5, 2, step=1, label="Seeds", info="independent searches", elem_id="tune-seeds", **wide)
        info = "to search on; 0: all"
        most = gr.Number(0, label="Items a side", info=info, precision=0, elem_id="tune-most", **narrow)
    with gr.Accordion("Items of your own (otherwise the sample's)", open=False, elem_id="tune-own"):
        words(
            html.note(
                "Half of each file is searched on; the other half is kept for the verdict. Without a file here: Evaluate's."
            )
        )
        with gr.Row():
            domain = gr.File(label="Domain items", file_types=FILES, elem_id="tune-domain", height=120)
            task = gr.File(label="Task items", file_types=FILES, elem_id="tune-task", height=120)
    return TuneInputs(trials, minutes, seeds, most, domain, task)
