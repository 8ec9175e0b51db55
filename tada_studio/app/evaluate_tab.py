"""Evaluate: the same items for any variants, streaming in, with intervals and a history to return to."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gradio as gr

from tada_studio import figures, report
from tada_studio.app import edits, pieces
from tada_studio.app.desk import Desk
from tada_studio.app.long_task import steps, uploaded
from tada_studio.app.part import EDIT, READ, WORK, Part, words
from tada_studio.app.plot_panel import drawing, plot_panel
from tada_studio.app.spoken import spoken
from tada_studio.core.methods import METHODS
from tada_studio.errors import InputError, Stopped, TadaError
from tada_studio.evaluate import read_items
from tada_studio.progress import Progress
from tada_studio.session import Run

VARIANTS = ["base", "task", "domain", *reversed(METHODS)]
#: Ticked at the start: the others take longer, or are only asked for by people who know them.
QUICK = ["base", "task", "domain", "linear", "tada"]
NOT_YET = "Nothing was evaluated yet. Choose variants and run: each appears as soon as it is scored."
ITEM_FILES = [".jsonl", ".zip"]


# -- what is shown ---------------------------------------------------------------------------------------------------


def results(run: Run | None) -> list[Any]:
    """Table, bars and sentences of a run, as far as it has come."""
    if run is None or not run.sides:
        return [pieces.note(NOT_YET, "next"), None, ""]
    sentences = report.comparison_sentences(run.sides)
    said = pieces.note("Paired tests on the same items:", points=sentences) if sentences else ""
    return [pieces.box(pieces.table(*report.score_table(run.sides))), drawing(figures.score_bars(run.sides)), said]


def history(desk: Desk) -> Any:
    """The earlier runs as choices, latest first."""
    runs = [(_summary(run), run.number) for run in reversed(desk.session.runs) if run.sides]
    return gr.update(choices=runs, value=runs[0][1] if runs else None, visible=bool(runs))


def _summary(run: Run) -> str:
    what = run.recipe.method
    scores = [f"{side} {score.accuracy:.2f}" for side, by_name in run.sides.items() if (score := by_name.get(what))]
    edited = f", {len(run.recipe.overrides)} lines" if run.recipe.overrides else ""
    state = "" if run.finished else ", stopped early"
    return f"Run {run.number}: {what}{edited}, {run.limit} items a side. {' · '.join(scores)}{state}"


def show(desk: Desk) -> list[Any]:
    """Table, bars, sentences, history, restore button, bar."""
    runs = desk.session.runs
    bar = pieces.progress_bar(None, "Ready." if desk.session.pair else "Open a pair first.")
    return [*results(runs[-1] if runs else None), history(desk), gr.update(visible=bool(runs)), bar]


# -- handlers --------------------------------------------------------------------------------------------------------


def on_run(
    desk: Desk, variants: Sequence[str], limit: int | float, domain_file: str | None, task_file: str | None
) -> Iterator[list[Any]]:
    """Score the chosen variants; yields (table, bars, sentences, history, restore, bar, run, stop)."""
    session, before = desk.session, len(desk.session.runs)

    def so_far() -> Run | None:
        return session.runs[before] if len(session.runs) > before else None

    def ended(said: str) -> list[Any]:
        return [*_ended(desk, so_far(), said), *_buttons(running=False)]

    try:
        sides, names = _sides(domain_file, task_file), ordered(variants, session.recipe.method)
        scored = 0
        yield [*results(None), gr.skip(), gr.skip(), pieces.progress_bar(None, "Starting…"), *_buttons(running=True)]
        for step in steps(lambda told: session.evaluate(sides, names, int(limit), told)):
            if isinstance(step, Progress):
                run = so_far()
                news = sum(map(len, run.sides.values())) if run else 0
                # what has not changed is not sent again: the chart would be drawn anew at every step
                body = results(run) if news > scored else [gr.skip()] * 3
                scored = news
                yield [*body, gr.skip(), gr.skip(), pieces.progress_bar(step), *_buttons(running=True)]
        yield ended(f"Run {before + 1} is done. Change the recipe on the Inspect tab and run again to compare.")
    except Stopped as stopped:
        yield ended(str(stopped))
    except TadaError as error:
        yield ended(str(error))
        raise


def _ended(desk: Desk, run: Run | None, said: str) -> list[Any]:
    bar = pieces.finished_bar(said) if run and run.finished else pieces.progress_bar(None, said)
    return [*results(run), history(desk), gr.update(visible=bool(desk.session.runs)), bar]


def _sides(domain_file: str | None, task_file: str | None) -> dict[str, Sequence[Any]] | None:
    """Items from uploads; None stands for the sample's own."""
    files = {"domain": domain_file, "task": task_file}
    return {side: uploaded(file, read_items) for side, file in files.items() if file} or None


def ordered(variants: Sequence[str], method: str) -> list[str]:
    """Known variants, the recipe's own method last: the sentences compare the last one with all others."""
    names = [name for name in VARIANTS if name in variants and name != method]
    if method in variants:
        names.append(method)
    if not names:
        raise InputError("No variant is chosen. Tick at least one, such as base and tada.")
    return names


def _buttons(running: bool) -> list[Any]:
    return [gr.update(interactive=not running), gr.update(interactive=running)]


def on_stop(desk: Desk) -> None:
    """Ask the run to stop; what is scored stays."""
    desk.session.stop()


def on_pick(desk: Desk, number: int | None) -> list[Any]:
    """Show an earlier run again."""
    return results(_run(desk, number))


def on_restore(desk: Desk, number: int | None) -> str:
    """Bring the recipe of an earlier run back."""
    run = _run(desk, number)
    edits.restore(desk, run.recipe, f"run {run.number}")
    return pieces.finished_bar(desk.said)


def _run(desk: Desk, number: int | None) -> Run:
    found = next((run for run in desk.session.runs if run.number == number), None)
    if found is None:
        raise InputError("Choose an earlier run first.")
    return found


# -- layout and wiring -----------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """What to evaluate."""

    variants: gr.CheckboxGroup
    limit: gr.Slider
    domain_file: gr.File
    task_file: gr.File
    run: gr.Button
    stop: gr.Button


def evaluate_tab(desk: gr.State) -> Part:
    """Builds and wires the tab."""
    words(
        pieces.heading(
            "Evaluate", "Every variant answers the same multiple-choice items; baselines are made at the same rank."
        )
    )
    asked = _asked()
    bar = words(pieces.progress_bar(None, "Open a pair first."), elem_id="eval-bar")
    table = words(pieces.note(NOT_YET, "next"), elem_id="scores")
    bars = plot_panel("Accuracy", figures.SCORES_CAPTION, "Bars appear here, variant by variant.", "bars")
    said = words(elem_id="sentences")
    past = gr.Radio([], label="Runs", visible=False, elem_id="runs", elem_classes="run-list")
    again = gr.Button("Restore this run's recipe", visible=False, elem_id="restore", size="sm")
    shown = [table, bars, said, past, again, bar]
    ran = asked.run.click(spoken(on_run), [desk, *asked[:4]], [*shown, asked.run, asked.stop], **WORK)
    asked.stop.click(spoken(on_stop), desk, None, **READ)
    past.input(spoken(on_pick), [desk, past], [table, bars, said], **READ)
    return Part(shown, show, (again.click(spoken(on_restore), [desk, past], bar, **EDIT),), (ran,))


def _asked() -> Asked:
    with gr.Row(equal_height=True):
        variants = gr.CheckboxGroup(VARIANTS, value=QUICK, label="Variants", elem_id="variants", scale=4, min_width=320)
        limit = gr.Slider(10, 1000, 50, step=10, label="Items a side", elem_id="limit", scale=2, min_width=200)
        run = gr.Button("Run", variant="primary", elem_id="run", elem_classes="act", scale=1, min_width=110)
        stop = gr.Button(
            "Stop", variant="stop", interactive=False, elem_id="stop", elem_classes="act", scale=1, min_width=90
        )
    with gr.Accordion("Items of your own (otherwise the sample's)", open=False, elem_id="own-items"):
        words(
            pieces.note(
                'One item a line: {"question": "…", "choices": ["…", "…"], "answer": 0}. '
                "Or a zip of images, in a folder for each label. Any one of the two is enough."
            )
        )
        with gr.Row():
            domain = gr.File(
                label="Domain items (.jsonl or zip)", file_types=[".jsonl", ".zip"], elem_id="domain-items", height=120
            )
            task = gr.File(
                label="Task items (.jsonl or zip)", file_types=[".jsonl", ".zip"], elem_id="task-items", height=120
            )
    return Asked(variants, limit, domain, task, run, stop)
