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
from tada_studio.app.paths import Places
from tada_studio.app.state import Desk
from tada_studio.app.tabs.export.push_box import push_box
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import spoken
from tada_studio.app.widgets.panel import ONCE, WORK, Part, words
from tada_studio.app.widgets.task import in_turn, steps
from tada_studio.core.merge import whose_heads
from tada_studio.errors import ExportError, InputError, Stopped, TadaError
from tada_studio.exporting.certify import Certificate, read_certificate
from tada_studio.html_report import html_report
from tada_studio.progress import Progress, Report

NOT_YET = "Nothing was built yet. Building writes the folder, reads it back with PEFT and compares every module."


# -- what is shown ---------------------------------------------------------------------------------------------------


def preview(desk: Desk) -> str:
    """The knobs that recipe.json will hold."""
    return json.dumps(desk.session.recipe.to_dict(), indent=2, ensure_ascii=False)


def summary(desk: Desk) -> str:
    """What would be written now."""
    view = desk.session.view
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


def show(desk: Desk) -> list[Any]:
    """Summary and recipe preview."""
    return [summary(desk), preview(desk)]


def suggested_name(desk: Desk) -> str:
    """A folder name that says what the merge is."""
    pair = desk.session.pair
    if pair is None:
        return "merged"
    words = desk.session.sample.name if desk.session.sample else f"{pair.task.label}-{pair.domain.label}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{words}-{desk.session.recipe.method}").strip("-.")[:80] or "merged"


# -- handlers --------------------------------------------------------------------------------------------------------


def on_build(places: Places, desk: Desk, name: str | None, logits: bool) -> Iterator[list[Any]]:
    """Write, certify and zip; yields (bar, certificate, download, build)."""
    session = desk.session
    try:
        name = (name or "").strip() or suggested_name(desk)
        target = session.folder / name if places.hosted else places.output(name)
        places.output(name)
        yield [html.progress_bar(None, "Starting…"), "", gr.update(visible=False), gr.update(interactive=False)]

        def work(told: Report) -> Certificate:
            if logits:
                session.load_base(report=told)
            return session.export(target, told)

        for step in steps(in_turn(session, work)):
            if isinstance(step, Progress):
                yield [html.progress_bar(step), gr.skip(), gr.skip(), gr.skip()]
            else:
                yield _built(desk, step, target)
    except Stopped as stopped:
        yield _ended(str(stopped))
    except TadaError as error:
        yield _ended(str(error))
        raise


def _built(desk: Desk, found: Certificate, target: Path) -> list[Any]:
    # into the session's own folder, which goes with the browser tab; the adapter's folder stays
    archive = shutil.make_archive(str(desk.session.folder / f"{target.name}-zip" / target.name), "zip", target)
    desk.acted(f"Exported to {target}.")
    desk.exported = str(target)
    done = html.finished_bar(f"Written to {target}")
    return [done, certificate(found, target), gr.update(value=archive, visible=True), gr.update(interactive=True)]


def on_report(desk: Desk) -> list[Any]:
    """Write everything that is known as one HTML file; updates (note, download)."""
    session, view = desk.session, desk.session.view
    if view is None:
        raise InputError("Nothing is open yet. Open a pair first; then there is something to report.")
    found = None
    if desk.exported:
        with contextlib.suppress(ExportError):  # the folder may be gone by now; the rest of the report is as good
            found = read_certificate(desk.exported)
    file = session.folder / f"{suggested_name(desk)}.html"
    file.write_text(html_report(view, title(desk), session.runs, found, session.effects), encoding="utf-8")
    said = f"One file of {file.stat().st_size / 1e6:.0f} MB with every figure and table; it opens offline, in light and dark."
    return [html.note(said, "good"), gr.update(value=str(file), visible=True)]


def title(desk: Desk) -> str:
    """What a report is called: the sample's title, or both adapters' names."""
    pair, sample = desk.session.pair, desk.session.sample
    if sample is not None:
        return sample.title
    return f"{pair.task.label} and {pair.domain.label}" if pair is not None else ""


def _ended(said: str) -> list[Any]:
    return [
        html.progress_bar(None, said),
        html.note(said, "bad"),
        gr.update(visible=False),
        gr.update(interactive=True),
    ]


# -- layout and wiring -----------------------------------------------------------------------------------------------


def export_tab(desk: gr.State, places: Places) -> Part:
    """Builds and wires the tab."""
    words(html.heading("Export", "A standard PEFT LoRA folder: adapter, model card, recipe.json and certificate.json."))
    what = words(summary(Desk()), elem_id="export-summary")
    with gr.Row():
        with gr.Column(min_width=320):
            where = (
                "kept until this page is closed; download the zip"
                if places.hosted
                else f"a new folder in {places.base}"
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
            push_box(desk, places)
            _report_box(desk)
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
    built = build.click(spoken(partial(on_build, places)), [desk, name, logits], [bar, result, download, build], **WORK)
    return Part([what, recipe], show, news=(built,))


def _report_box(desk: gr.State) -> None:
    """Everything as one file to take away or to send to somebody."""
    words(html.heading("Report", "All figures, tables, the recipe, verdicts and evaluations as one HTML file."))
    make = gr.Button("Make the report", elem_id="make-report")
    said = words(elem_id="report-said")
    file = gr.DownloadButton("Download the report", variant="primary", visible=False, elem_id="report")
    make.click(spoken(on_report), desk, [said, file], **ONCE)
