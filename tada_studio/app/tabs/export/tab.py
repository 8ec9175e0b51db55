"""Export: one PEFT folder, read back and certified, as a zip to take away."""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from tada_studio import report
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.tabs.export.push_box import push_box
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import ONCE, WORK, Panel, words
from tada_studio.app.widgets.task import in_turn, steps
from tada_studio.core.merge import whose_heads
from tada_studio.errors import ExportError, InputError, Stopped, TadaError
from tada_studio.exporting.certify import Certificate, read_certificate
from tada_studio.html_report import html_report
from tada_studio.progress import Progress, ProgressFn

NOT_YET = "Nothing was built yet. Building writes the folder, reads it back with PEFT and compares every module."


# -- what is shown ---------------------------------------------------------------------------------------------------


def preview(state: TabState) -> str:
    """The knobs that recipe.json will hold."""
    return json.dumps(state.session.recipe.to_dict(), indent=2, ensure_ascii=False)


def summary(state: TabState) -> str:
    """What would be written now."""
    view = state.session.view
    if view is None:
        return html.note("Open a pair first; then this tab writes the merge on screen.", "next")
    made = f"One adapter of rank {view.merged.rank} from {view.pair.task.label} and {view.pair.domain.label}."
    owners = whose_heads(view.pair, view.recipe)
    heads = [report.head_sentence(view.adapter, owners)] if owners else []  # the adapter in full width takes a while
    return html.note(" ".join([made, *heads, report.conflict_sentence(view.merged)]))


def certificate(found: Certificate, folder: Path) -> str:
    """Pass or fail, with what was checked."""
    if found.holds:
        return html.note(f"Pass. {folder} holds exactly the merge on screen:", "good", found.sentences)
    return html.note(f"Fail. Do not use {folder}:", "bad", found.sentences)


def show(state: TabState) -> list[Any]:
    """Summary and recipe preview."""
    return [summary(state), preview(state)]


def suggested_name(state: TabState) -> str:
    """A folder name that says what the merge is."""
    pair = state.session.pair
    if pair is None:
        return "merged"
    words = state.session.sample.name if state.session.sample else f"{pair.task.label}-{pair.domain.label}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{words}-{state.session.recipe.method}").strip("-.")[:80] or "merged"


# -- handlers --------------------------------------------------------------------------------------------------------


def on_build(paths: AllowedPaths, state: TabState, name: str | None, logits: bool) -> Iterator[list[Any]]:
    """Write, certify and zip; yields (bar, certificate, download, build)."""
    session = state.session
    try:
        name = (name or "").strip() or suggested_name(state)
        target = session.folder / name if paths.hosted else paths.output(name)
        paths.output(name)
        yield [html.progress_bar(None, "Starting…"), "", gr.update(visible=False), gr.update(interactive=False)]

        def work(progress: ProgressFn) -> Certificate:
            if logits:
                session.load_base(progress=progress)
            return session.export(target, progress)

        for step in steps(in_turn(session, work)):
            if isinstance(step, Progress):
                yield [html.progress_bar(step), gr.skip(), gr.skip(), gr.skip()]
            else:
                yield _built(state, step, target)
    except Stopped as stopped:
        yield _ended(str(stopped))
    except TadaError as error:
        yield _ended(str(error))
        raise


def _built(state: TabState, found: Certificate, target: Path) -> list[Any]:
    # into the session's own folder, which goes with the browser tab; the adapter's folder stays
    archive = shutil.make_archive(str(state.session.folder / f"{target.name}-zip" / target.name), "zip", target)
    state.acted(f"Exported to {target}.")
    state.exported = str(target)
    done = html.finished_bar(f"Written to {target}")
    return [done, certificate(found, target), gr.update(value=archive, visible=True), gr.update(interactive=True)]


def on_report(state: TabState) -> list[Any]:
    """Write everything that is known as one HTML file; updates (note, download)."""
    session, view = state.session, state.session.view
    if view is None:
        raise InputError("Nothing is open yet. Open a pair first; then there is something to report.")
    found = None
    if state.exported:
        with contextlib.suppress(ExportError):  # the folder may be gone by now; the rest of the report is as good
            found = read_certificate(state.exported)
    file = session.folder / f"{suggested_name(state)}.html"
    file.write_text(html_report(view, title(state), session.runs, found, session.effects), encoding="utf-8")
    message = f"One file of {file.stat().st_size / 1e6:.0f} MB with every figure and table; it opens offline, in light and dark."
    return [html.note(message, "good"), gr.update(value=str(file), visible=True)]


def title(state: TabState) -> str:
    """What a report is called: the sample's title, or both adapters' names."""
    pair, sample = state.session.pair, state.session.sample
    if sample is not None:
        return sample.title
    return f"{pair.task.label} and {pair.domain.label}" if pair is not None else ""


def _ended(message: str) -> list[Any]:
    return [
        html.progress_bar(None, message),
        html.note(message, "bad"),
        gr.update(visible=False),
        gr.update(interactive=True),
    ]


# -- layout and wiring -----------------------------------------------------------------------------------------------


def export_tab(state: gr.State, paths: AllowedPaths) -> Panel:
    """Builds and wires the tab."""
    words(html.heading("Export", "A standard PEFT LoRA folder: adapter, model card, recipe.json and certificate.json."))
    what = words(summary(TabState()), elem_id="export-summary")
    with gr.Row():
        with gr.Column(min_width=320):
            where = (
                "kept until this page is closed; download the zip" if paths.hosted else f"a new folder in {paths.base}"
            )
            name = gr.Textbox(
                label="Folder name", placeholder="named after the pair if left empty", info=where, elem_id="export-name"
            )
            logits = gr.Checkbox(
                False, label="Compare the model's logits too (loads the base)", elem_id="export-logits"
            )
            build = gr.Button("Build and certify", variant="primary", elem_id="build")
            bar = words(html.progress_bar(None, ""), elem_id="export-bar")
            result = words(html.note(NOT_YET, "next"), elem_id="certificate")
            download = gr.DownloadButton("Download the zip", variant="primary", visible=False, elem_id="download")
            push_box(state, paths)
            _report_box(state)
        with gr.Column(min_width=320):
            recipe = gr.Code(
                "",
                language="json",
                label="Knobs in recipe.json",
                lines=12,
                max_lines=28,
                interactive=False,
                elem_id="recipe",
            )
    built = build.click(
        user_errors(partial(on_build, paths)), [state, name, logits], [bar, result, download, build], **WORK
    )
    return Panel([what, recipe], show, news=(built,))


def _report_box(state: gr.State) -> None:
    """Everything as one file to take away or to send to somebody."""
    words(html.heading("ProgressFn", "All figures, tables, the recipe, verdicts and evaluations as one HTML file."))
    make = gr.Button("Make the report", elem_id="make-report")
    message = words(elem_id="report-said")
    file = gr.DownloadButton("Download the report", variant="primary", visible=False, elem_id="report")
    make.click(user_errors(on_report), state, [message, file], **ONCE)
