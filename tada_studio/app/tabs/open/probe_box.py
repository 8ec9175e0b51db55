"""Probe the base: which inputs go through it, how long that takes, and where the readings in force come from."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import gradio as gr
from markupsafe import Markup

from tada_studio import report
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.estimate import Pace, estimated
from tada_studio.app.widgets.panel import READ, Named, Panel, listen, listen_early, words
from tada_studio.app.widgets.task import Job, LongTask, bar, stop_button, uploaded
from tada_studio.base_model.images import SUFFIXES
from tada_studio.base_model.inputs import Input, read_inputs
from tada_studio.errors import BaseError, InputError
from tada_studio.probing import Readings
from tada_studio.progress import ProgressFn

SOURCES = [("The sample's inputs", "sample"), ("Pasted text", "pasted"), ("A file", "file")]
WEIGHTS_ONLY = (
    "Until there are readings every computed gate is even; painting, merging and exporting work all the same."
)
_NOTHING = "Open a pair first."


# -- what is shown ---------------------------------------------------------------------------------------------------


def show(state: TabState) -> Named:
    """Where the readings come from, where inputs can come from, how long the probe would take."""
    about = estimate(state, *state.planned.get("probe", (32, True)))
    return {"bar": probe_bar(state), **sources(state), **about}


def probe_bar(state: TabState) -> Markup:
    """Where the readings come from, if there are any."""
    session = state.session
    if session.pair is None:
        return html.progress_bar(None, _NOTHING)
    if session.readings is None:
        return html.progress_bar(None, f"Not probed. {WEIGHTS_ONLY}")
    return html.finished_bar(probed_words(state))


def probed_words(state: TabState) -> str:
    readings = state.session.readings
    if readings is None:
        return "Not probed."
    of_task = f" of the domain and {len(readings.on_task.tokens)} of the task" if readings.on_task is not None else ""
    fit = "" if not isinstance(readings, Readings) else f" {report.inputs_sentence(readings)}"
    return f"Probed with {len(readings.tokens)} inputs{of_task}.{fit} Look at the map on the Inspect tab."


def sources(state: TabState) -> Named:
    """The places that inputs can come from: a pair of one's own brings none. Shown once a pair, or a choice made meanwhile would
    be lost.
    """
    opened = state.session.opened
    if opened is not None and opened == state.sourced:
        return {}
    state.sourced = opened
    choices = SOURCES if state.session.sample else SOURCES[1:]
    return {"source": gr.update(choices=choices, value=choices[0][1])}


def estimate(state: TabState, n: int | float, auto: bool) -> Named:
    """About how long the probe would take; auto's candidates take their own time."""
    state.planned["probe"] = (n, auto)
    what = f"{int(n or 0)} inputs of a kind"
    kind, units = ("auto", int(n or 0)) if auto else ("probe", _passes(state, n))
    return {"estimate": html.caption(estimated(state.session, kind, units, f"{what} and auto" if auto else what))}


def _passes(state: TabState, n: int | float) -> int:
    """Inputs that go through the base: a sample's are of both kinds."""
    sample = state.session.sample
    return int(n or 0) * (2 if sample is not None and sample.task_probe is not None else 1)


# -- handlers --------------------------------------------------------------------------------------------------------


def probing(
    state: TabState,
    source: str,
    pasted: str | None,
    files: Sequence[str] | None,
    pasted_task: str | None,
    task_files: Sequence[str] | None,
    n: int | float,
    auto: bool,
) -> Job:
    """Run the probe inputs through the base; with inputs of both kinds, and unless that is switched off, let auto choose too."""
    session, inputs = state.session, _inputs(state, source, pasted, files)
    on_task = None if inputs is None else _inputs(state, source, pasted_task, task_files, needed=False)
    ships = inputs is None and session.sample is not None and session.sample.task_probe is not None
    chooses = bool(auto and (on_task or ships))

    def work(progress: ProgressFn) -> None:
        if chooses:
            chosen = session.calibrate(inputs, on_task, int(n), progress)
            state.acted(f"Probed. {report.calibration_sentence(chosen.to_dict())} Undo: Ctrl+Z.")
            return
        session.probe(inputs, int(n), progress, on_task or None)
        state.acted("Probed. The map now follows the readings.")

    kind, step = ("auto", "calibrate") if chooses else ("probe", "probe")
    return Job(
        work=work,
        done=lambda _: probed_words(state),
        pace=Pace(kind, step, int(n), by_note=False),
        failed=lambda error: f"{error} {WEIGHTS_ONLY}" if isinstance(error, BaseError) else str(error),
    )


def _inputs(
    state: TabState, source: str, pasted: str | None, files: Sequence[str] | None, needed: bool = True
) -> Sequence[Input] | None:
    """None stands for the sample's own inputs."""
    if source == "pasted":
        return [line.strip() for line in (pasted or "").splitlines() if line.strip()]
    if source == "file":
        if not files and not needed:
            return []
        if not files:
            raise InputError(
                "No file was uploaded. Choose a .txt (one input a line), a .jsonl or .csv (text or question), images, or a zip."
            )
        return [found for file in files for found in uploaded(file, read_inputs)]
    if state.session.sample is None:
        raise InputError("No sample is open. Paste about 32 domain questions, one a line, or upload a file.")
    return None


def on_source(source: str) -> Named:
    """Show only the boxes that the source needs: one for each kind of inputs."""
    return {"pasted": gr.update(visible=source == "pasted"), "file": gr.update(visible=source == "file")}


# -- layout and wiring -----------------------------------------------------------------------------------------------


class ProbeInputs(NamedTuple):
    """What goes through the base, in the order of ``probing``."""

    source: gr.Radio
    pasted: gr.Textbox
    file: gr.File
    pasted_task: gr.Textbox
    task_file: gr.File
    n: gr.Slider
    auto: gr.Checkbox


def probe_box(state: gr.State, most: int) -> Panel:
    """Builds and wires the section. most: inputs of each kind"""
    inputs, boxes, task, about = _layout(most)
    listen(inputs.source.change, on_source, [inputs.source], boxes, **READ)
    changed, last = partial(gr.on, [inputs.n.change, inputs.auto.change]), {**READ, "trigger_mode": "always_last"}
    listen_early(changed, estimate, [state, inputs.n, inputs.auto], {"estimate": about}, **last)
    task.can_stop(state)
    probed = task.begins(state, "probe", probing, [*inputs], {})
    return Panel({"bar": task.bar, "source": inputs.source, "estimate": about}, show, (probed,))


def _layout(most: int) -> tuple[ProbeInputs, dict[str, gr.Row], LongTask, gr.HTML]:
    says = "About 32 domain inputs and 32 prompts of the task go through the base once, as they come in use, without answers."
    words(
        html.heading(
            "Probe", html.explained(f"{says} With both kinds each adapter can be silent on the other's inputs.")
        )
    )
    with gr.Row(equal_height=True):
        source = gr.Radio(SOURCES, value="sample", label="Inputs from", elem_id="probe-source", scale=3, min_width=320)
        n = gr.Slider(
            2, most, 32, step=1, label="How many inputs of each kind", elem_id="probe-n", scale=2, min_width=220
        )
        button = gr.Button("Probe", variant="primary", elem_id="probe", elem_classes="act", scale=1, min_width=110)
        stop = stop_button("probe-stop")
    auto = gr.Checkbox(
        True, label="Let auto choose how strongly to separate", container=False, elem_id="probe-auto",
        info="with inputs of both kinds: five candidates, judged without labels. Off: the recipe stays as it is.",
    )  # fmt: skip
    with gr.Row(visible=False) as pasted:
        texts = [
            gr.Textbox(label=f"{kind}, one a line", lines=5, max_lines=12, elem_id=name, min_width=280)
            for kind, name in (("Domain inputs", "probe-text"), ("Task inputs", "probe-task-text"))
        ]
    with gr.Row(visible=False) as file:
        files = [
            gr.File(
                label=f"{kind}: .txt (one a line), .jsonl or .csv (text or question), images, or a zip of images",
                file_count="multiple", file_types=[".txt", ".jsonl", ".csv", ".tsv", ".zip", *SUFFIXES], elem_id=name,
            )
            for kind, name in (("Domain inputs", "probe-file"), ("Task inputs", "probe-task-file"))
        ]  # fmt: skip
    about = words(elem_id="probe-estimate")
    task = LongTask({"probe": button}, stop, bar(_NOTHING, "probe-bar"))
    return (
        ProbeInputs(source, texts[0], files[0], texts[1], files[1], n, auto),
        {"pasted": pasted, "file": file},
        task,
        about,
    )
