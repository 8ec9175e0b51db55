"""Run: who is scored on what, and the scores as they come in."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from tada_studio import figures, report
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import READ, WORK, Panel, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.app.widgets.task import in_turn, steps, uploaded
from tada_studio.errors import InputError, Stopped, TadaError
from tada_studio.evaluation import read_items
from tada_studio.pipeline.variants import TUNED, USUAL, by_name, run_name
from tada_studio.progress import Progress
from tada_studio.session import Run

#: So many of the latest runs can stand beside the recipe.
EARLIER = 6
NOT_YET = "Nothing was evaluated yet. Choose variants and run: each appears as soon as it is scored."
ITEM_FILES = [".jsonl", ".zip"]


# -- what is shown ---------------------------------------------------------------------------------------------------


def results(run: Run | None) -> list[Any]:
    """Two sides, table, bars and sentences of a run, as far as it has come."""
    if run is None or not run.sides:
        return ["", html.note(NOT_YET, "next"), None, ""]
    changes = report.two_sides(run.sides, run.recipe.method)
    cards = html.cards([(change.figure, change.name) for change in changes]) if changes else ""
    sentences = report.comparison_sentences(run.sides)
    message = html.note("Paired tests on the same items:", points=sentences) if sentences else ""
    table = html.box(html.table(*report.score_table(run.sides)))
    return [cards, table, drawing(figures.score_bars(run.sides)), message]


def choices(state: TabState) -> list[tuple[str, str]]:
    """Everybody who can be scored now: (what it says, name)."""
    session = state.session
    method = session.recipe.method
    plain = [(f"{name} (this recipe)" if name == method else name, name) for name in by_name(method)]
    tuned = list(TUNED) if session.sample is not None and session.sample.validation else []
    runs = [run for run in session.runs if run.sides][-EARLIER:]
    earlier = [(f"{run_name(run)} ({run.recipe.method})", run_name(run)) for run in runs]
    return [*plain, *((name, name) for name in tuned), *earlier]


def show(state: TabState) -> list[Any]:
    """Two sides, table, bars, sentences, bar, choice of variants."""
    run = state.session.runs[-1] if state.session.runs else None
    message = "Ready." if state.session.pair else "Open a pair first."
    if run is not None:
        message = f"Run {run.number} is shown{'' if run.finished else '; it was stopped early'}."
    return [*results(run), html.progress_bar(None, message), gr.update(choices=choices(state))]


# -- handlers --------------------------------------------------------------------------------------------------------


def on_run(
    paths: AllowedPaths,
    state: TabState,
    variants: Sequence[str],
    limit: int | float,
    domain_file: str | None,
    task_file: str | None,
    exported: str | None = None,
) -> Iterator[list[Any]]:
    """Score the chosen variants; yields (two sides, table, bars, sentences, bar, run, stop)."""
    session, before = state.session, state.session.runs[-1:]

    def so_far() -> Run | None:
        return session.runs[-1] if session.runs and session.runs[-1:] != before else None

    def ended(message: str) -> list[Any]:
        run = so_far()
        bar = html.finished_bar(message) if run and run.finished else html.progress_bar(None, message)
        return [*results(run), bar, *_buttons(running=False)]

    try:
        sides, folders = _sides(domain_file, task_file), _folders(paths, exported)
        names = ordered(variants, session.recipe.method, bool(folders))
        yield [*results(None), html.progress_bar(None, "Starting…"), *_buttons(running=True)]
        scored, clock = 0, Clock()
        for step in steps(
            in_turn(session, lambda progress: session.evaluate(sides, names, int(limit), progress, folders))
        ):
            if isinstance(step, Progress):
                run = so_far()
                news = run.scored if run else 0
                # what has not changed is not sent again: the chart would be drawn anew at every step
                body = results(run) if news > scored else [gr.skip()] * 4
                scored = news
                yield [*body, html.progress_bar(step, clock.says(step)), *_buttons(running=True)]
        run = so_far()
        yield ended(f"Run {run.number if run else ''} is done. Change the recipe and run again to compare.")
    except Stopped as stopped:
        yield ended(f"{stopped} What is scored is in the history." if so_far() else str(stopped))
    except TadaError as error:
        yield ended(str(error))
        raise


class Clock:
    """How long the rest will take, judged by what is done of this step."""

    def __init__(self) -> None:
        self.step, self.start, self.first = "", 0.0, 0

    def says(self, progress: Progress) -> str:
        """What the bar says."""
        now = time.monotonic()
        if progress.step != self.step:
            self.step, self.start, self.first = progress.step, now, progress.done
        text = html.progress_words(progress)
        done, spent = progress.done - self.first, now - self.start
        left = spent / done * (progress.total - progress.done) if done else 0.0
        return f"{text}, about {_time(left)} left" if spent > 1 and left > 1 else text


def _time(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 90 else f"{round(seconds / 60)} min"


def _sides(domain_file: str | None, task_file: str | None) -> dict[str, Sequence[Any]] | None:
    """Items from uploads; None stands for the sample's own."""
    files = {"domain": domain_file, "task": task_file}
    return {side: uploaded(file, read_items) for side, file in files.items() if file} or None


def _folders(paths: AllowedPaths, exported: str | None) -> dict[str, str]:
    """Adapters of a text with one folder or Hub id a line, by their last names where those are nobody else's. Raises InputError."""
    refs = [paths.checked(line, "Exported adapter") for line in (exported or "").splitlines() if line.strip()]
    taken = [*by_name("linear"), *(Path(ref).name for ref in refs)]
    return {ref if taken.count(Path(ref).name) > 1 else Path(ref).name: ref for ref in refs}


def ordered(variants: Sequence[str], method: str, others: bool = False) -> list[str]:
    """The chosen variants, the recipe's own method last: the sentences compare the last one with all others."""
    names = [name for name in variants if name != method]
    order = {name: i for i, name in enumerate(by_name(method))}
    names.sort(key=lambda name: order.get(name, len(order)))
    if method in variants:
        names.append(method)
    if not names and not others:
        raise InputError("No variant is chosen. Tick at least one, such as base and tada.")
    return names


def _buttons(running: bool) -> list[Any]:
    return [gr.update(interactive=not running), gr.update(interactive=running)]


def on_stop(state: TabState) -> None:
    """Ask the run to stop; what is scored stays."""
    state.session.stop()


# -- layout and wiring -----------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """What to evaluate."""

    variants: gr.CheckboxGroup
    limit: gr.Slider
    domain_file: gr.File
    task_file: gr.File
    exported: gr.Textbox
    run: gr.Button
    stop: gr.Button


def run_panel(state: gr.State, paths: AllowedPaths) -> Panel:
    """Builds and wires the section."""
    asked = _asked(paths)
    bar = words(html.progress_bar(None, "Open a pair first."), elem_id="eval-bar")
    cards = words(elem_id="two-sides")
    table = words(html.note(NOT_YET, "next"), elem_id="scores")
    bars = plot_panel("Accuracy", figures.SCORES_CAPTION, "Bars appear here, variant by variant.", "bars")
    message = words(elem_id="sentences")
    results_at = [cards, table, bars, message, bar]
    run = user_errors(partial(on_run, paths))
    ran = asked.run.click(run, [state, *asked[:5]], [*results_at, asked.run, asked.stop], **WORK)
    asked.stop.click(user_errors(on_stop), state, None, **READ)
    return Panel([*results_at, asked.variants], show, news=(ran,))


def _asked(paths: AllowedPaths) -> Asked:
    with gr.Row(equal_height=True):
        variants = gr.CheckboxGroup(
            by_name("tada"), value=list(USUAL), label="Variants", elem_id="variants", scale=4, min_width=320
        )
        limit = gr.Slider(10, 1000, 50, step=10, label="Items a side", elem_id="limit", scale=2, min_width=200)
        run = gr.Button("Run", variant="primary", elem_id="run", elem_classes="act", scale=1, min_width=110)
        stop = gr.Button(
            "Stop", variant="stop", interactive=False, elem_id="stop", elem_classes="act", scale=1, min_width=90
        )
    with gr.Accordion("Items of your own (otherwise the sample's)", open=False, elem_id="own-items"):
        words(
            html.note(
                'One item a line: {"question": "…", "choices": ["…", "…"], "answer": 0}. '
                "Or a zip of images, in a folder for each label. Any one of the two is enough."
            )
        )
        with gr.Row():
            domain, task = _items("Domain"), _items("Task")
    with gr.Accordion("Other adapters", open=False, elem_id="other-adapters"):
        where = "a Hub id" if paths.hosted else "a folder or Hub id"
        exported = gr.Textbox(
            label="Exported adapters", info=f"Scored beside the variants: {where} on each line.", lines=2, elem_id="exported"
        )  # fmt: skip
    return Asked(variants, limit, domain, task, exported, run, stop)


def _items(side: str) -> gr.File:
    return gr.File(
        label=f"{side} items (.jsonl or zip)", file_types=ITEM_FILES, elem_id=f"{side.lower()}-items", height=120
    )
