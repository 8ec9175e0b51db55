"""Export: one PEFT folder, read back and certified, as a zip to take away."""

import contextlib
import json
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from tada_studio import report
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.tabs.export.push_box import push_box
from tada_studio.app.truth_line import names
from tada_studio.app.widgets import html
from tada_studio.app.widgets.estimate import UNKNOWN, Pace, base_of, duration
from tada_studio.app.widgets.panel import ONCE, Named, Panel, listen, words
from tada_studio.app.widgets.task import Job, LongTask, bar, stop_button, whole
from tada_studio.core.merge import whose_heads
from tada_studio.errors import ExportError, InputError
from tada_studio.exporting.certify import Certificate, read_certificate
from tada_studio.figures.images import FONT, FONTS, WIDEST, WIDTH
from tada_studio.html_report import html_report
from tada_studio.markup import joined, template
from tada_studio.progress import ProgressFn
from tada_studio.session.rates import RATES
from tada_studio.session.session import size_of_merge
from tada_studio.take_home import write_kit

#: What may be written beside PEFT's files; the last word is the command line's --format.
FORMATS = (("Nothing else", ""), ("llama.cpp's LoRA (GGUF)", "gguf"), ("diffusers' LoRA file", "diffusers"))
#: The first block of Python in a model card.
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LOADING = template("""
<div class="box load-it"><div class="heading">In plain PEFT</div><pre tabindex="0">{{ code }}</pre></div>
""")
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


def certificate(found: Certificate, folder: Path) -> Markup:
    """Pass or fail, with what was checked."""
    if found.holds:
        return html.note(f"Pass. {folder} holds exactly the merge on screen:", "good", found.sentences)
    return html.note(f"Fail. Do not use {folder}:", "bad", found.sentences)


def loading(folder: Path, base: str | None) -> Markup:
    """How the folder is loaded in plain PEFT: what its model card says, with the places on this machine in it."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
    except OSError:
        return Markup()
    code = next(iter(_PYTHON.findall(card)), "")
    code = re.sub(r"^adapter = .*$", lambda _: f"adapter = {str(folder)!r}", code, flags=re.MULTILINE)
    if base and Path(base).is_dir():
        code = re.sub(r"^base = .*$", lambda _: f"base = {base!r}", code, flags=re.MULTILINE)
    return _LOADING(code=code) if code else Markup()


def built(state: TabState) -> Named:
    """The last export: its certificate, its zip and the way to the Hub, as long as it is of the merge on screen."""
    session, closed = state.session, gr.update(visible=False)
    exported = session.exported
    if exported is None:
        return {"result": html.note(NOT_YET, "next"), "download": closed, "push": gr.update(interactive=False)}
    if session.stale(exported):
        says = f"Of an earlier recipe: {exported.folder} holds the merge as it was then, not the one on screen. Build again."
        return {"result": html.note(says, "bad"), "download": closed, "push": gr.update(interactive=False)}
    there = state.archive is not None and Path(state.archive).is_file()
    zip_file = gr.update(value=state.archive, visible=True) if there else closed
    result = certificate(exported.certificate, exported.folder)
    if exported.certificate.holds:
        result = joined([result, loading(exported.folder, session.base_ref)])
    return {"result": result, "download": zip_file, "push": gr.update(interactive=exported.certificate.holds)}


def show(state: TabState) -> Named:
    """Summary, recipe preview and what was built."""
    return {"summary": summary(state), "recipe": preview(state), **built(state), **estimate(state)}


def estimate(state: TabState) -> Named:
    """About how long building takes on this machine, by the bytes of the pair and for its base: a merge's share of the work does
    not grow with the base, so that none is judged by another.
    """
    pair = state.session.pair
    found = RATES.estimate("export", base_of(state.session), size_of_merge(pair)) if pair is not None else None
    if found is None or not found.exact:
        return {"estimate": html.caption(UNKNOWN if pair is not None else "")}
    return {"estimate": html.caption(f"About {duration(found.seconds)}, certificate included.")}


def suggested_name(state: TabState) -> str:
    """A folder name that says what the merge is."""
    pair = state.session.pair
    if pair is None:
        return "merged"
    words = state.session.sample.name if state.session.sample else f"{pair.task.label}-{pair.domain.label}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{words}-{state.session.recipe.method}").strip("-.")[:80] or "merged"


# -- handlers --------------------------------------------------------------------------------------------------------


def building(
    paths: AllowedPaths, state: TabState, name: str | None, within: str | None, beside: str | None, logits: bool
) -> Job:
    """Write, certify and zip; beside: one of ``FORMATS``. Raises InputError for a name or a folder that will not do."""
    session = state.session
    name = (name or "").strip() or suggested_name(state)
    own = paths.output(name, within)
    target = session.folder / name if paths.hosted else own

    def work(progress: ProgressFn) -> None:
        if logits:
            session.load_base(progress=progress)
        session.export(target, progress, [beside] if beside else [])
        # into the session's own folder, which goes with the browser tab; the adapter's folder stays
        zipped = session.folder / f"{target.name}-zip" / target.name
        state.archive = shutil.make_archive(str(zipped), "zip", target)
        state.acted(f"Exported to {target}.")

    return Job(
        work=work,
        show=lambda: {**built(state), **estimate(state)},
        first={"result": "", "download": gr.update(visible=False), "push": gr.update(interactive=False)},
        done=lambda _: f"Written to {target}",
        pace=Pace("export", "export", size_of_merge(session.pair), by_note=False) if session.pair is not None else None,
    )


def on_report(state: TabState) -> Named:
    """Write everything that is known as one HTML file."""
    session, view = state.session, state.session.view
    if view is None:
        raise InputError("Nothing is open yet. Open a pair first; then there is something to report.")
    found, exported = None, session.exported
    if exported is not None:
        with contextlib.suppress(ExportError):  # the folder may be gone by now; the rest of the report is as good
            found = read_certificate(exported.folder)
    certified = exported.digest if exported else ""
    file = session.folder / f"{suggested_name(state)}.html"
    file.write_text(html_report(view, title(state), session.runs, found, session.effects, certified), encoding="utf-8")
    message = f"One file of {file.stat().st_size / 1e6:.0f} MB with every figure and table; it opens offline, in light and dark."
    return {
        "message": html.note(message, "good"),
        "file": gr.update(value=str(file), visible=True, label="Download the report"),
    }


def on_kit(state: TabState, width: Any = None, font: str | None = None) -> Named:
    """Every figure and every table as files, in one zip; pictures so wide and in that font."""
    session, view = state.session, state.session.view
    if view is None:
        raise InputError("Nothing is open yet. Open a pair first; then there is something to take home.")
    home = session.folder / "take-home" / f"{suggested_name(state)}-figures"
    shutil.rmtree(home, ignore_errors=True)
    wide = whole(width, "The width of figures") if width else WIDTH
    kit = write_kit(home, view, session.runs, names(session), wide, font or FONT)
    zipped = shutil.make_archive(str(home), "zip", home)
    kinds = ", ".join(sorted({path.suffix[1:].upper() for path in kit.files}))
    message = (
        f"{len(kit.files)} files ({kinds}), the map among them. “tada-studio report --figures DIR” writes the same."
    )
    return {
        "message": html.note(message, "good", [kit.lacks] if kit.lacks else []),
        "file": gr.update(value=zipped, visible=True, label="Download the figures"),
    }


def title(state: TabState) -> str:
    """What a report is called: the sample's title, or both adapters' names."""
    pair, sample = state.session.pair, state.session.sample
    if sample is not None:
        return sample.title
    return f"{pair.task.label} and {pair.domain.label}" if pair is not None else ""


# -- layout and wiring -----------------------------------------------------------------------------------------------


def export_tab(state: gr.State, paths: AllowedPaths) -> Panel:
    """Builds and wires the tab."""
    line = "A standard PEFT LoRA folder: adapter, model card, recipe.json (the recipe), certificate.json."
    words(html.heading("Export", html.explained(line)))
    what = words(summary(TabState()), elem_id="export-summary")
    with gr.Row():
        with gr.Column(min_width=320):
            name, within = _place(paths)
            beside = gr.Radio(
                FORMATS, value="", label="Beside PEFT's files, write", elem_id="export-format",
                info="Read back and compared like PEFT's. What a format cannot hold is said, and then nothing is written.",
            )  # fmt: skip
            logits = gr.Checkbox(
                False, label="Compare the model's logits too (loads the base)", elem_id="export-logits"
            )
            with gr.Row():
                build = gr.Button("Build and certify", variant="primary", elem_id="build", elem_classes="act", scale=3)
                stop = stop_button("build-stop")
            about = words(elem_id="export-estimate")
            task = LongTask({"build": build}, stop, bar("", "export-bar"))
            result = words(html.note(NOT_YET, "next"), elem_id="certificate")
            download = gr.DownloadButton("Download the zip", variant="primary", visible=False, elem_id="download")
            push = push_box(state, paths)
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
    at = {"result": result, "download": download, "push": push, "estimate": about}
    finished = task.begins(state, "build", partial(building, paths), [name, within, beside, logits], at)
    task.can_stop(state)
    return Panel({"summary": what, "recipe": recipe, **at}, show, news=(finished,))


def _place(paths: AllowedPaths) -> tuple[gr.Textbox, gr.Textbox]:
    """What the export is called, and in which folder of this machine it goes, which strangers do not choose."""
    kept = "kept until this page is closed; download the zip" if paths.hosted else "a new folder"
    bounds = f"any folder inside {paths.root}" if paths.root is not None else "any folder of this machine"
    with gr.Row():
        name = gr.Textbox(
            label="Folder name",
            placeholder="named after the pair if left empty",
            info=kept,
            elem_id="export-name",
            min_width=200,
        )
        within = gr.Textbox(
            label="In the folder", placeholder=str(paths.base), info=bounds,
            visible=not paths.hosted, elem_id="export-within", min_width=200,
        )  # fmt: skip
    return name, within


def _report_box(state: gr.State) -> None:
    """Everything as one file to take away or to send to somebody."""
    words(html.heading("Report", "All figures, tables, the recipe, verdicts and evaluations as one HTML file."))
    width, font = _picture()  # before what it is for, and above it: an open list of fonts covers no button
    with gr.Row():
        make = gr.Button("Make the report", elem_id="make-report", min_width=160)
        kit = gr.Button("Figures and tables as files", elem_id="make-kit", min_width=200)
    message = words(elem_id="report-message")
    file = gr.DownloadButton("Download the report", variant="primary", visible=False, elem_id="report")
    at = {"message": message, "file": file}
    listen(make.click, on_report, [state], at, **ONCE)
    listen(kit.click, on_kit, [state, width, font], at, **ONCE)


def _picture() -> tuple[gr.Number, gr.Dropdown]:
    """How pictures are saved from now on, here and by the buttons of every figure."""
    with gr.Row():
        width = gr.Number(
            0, label="Width of pictures", info="in pixels; 0: as on the screen", precision=0, minimum=0, maximum=WIDEST,
            elem_id="picture-width", min_width=200,
        )  # fmt: skip
        font = gr.Dropdown(
            [("as on the screen", ""), *((name, name) for name in FONTS)], value="", label="Font of pictures",
            info="for every figure's buttons, too", filterable=False, elem_id="picture-font", min_width=200,
        )  # fmt: skip
    chosen = "(width, font) => { window.tadaPicture = { width, font }; }"
    gr.on([width.change, font.change], None, [width, font], None, js=chosen, api_visibility="private")
    return width, font
