"""Open a pair and probe its base."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import gradio as gr

from tada_studio import report
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.tabs.open import readings_box, sample_cards
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import EDIT, ONCE, READ, WORK, Panel, words
from tada_studio.app.widgets.task import in_turn, steps, uploaded
from tada_studio.base_model.images import SUFFIXES
from tada_studio.base_model.inputs import Input, read_inputs
from tada_studio.errors import BaseError, InputError, Stopped, TadaError
from tada_studio.lora import Passport
from tada_studio.progress import Progress, ProgressFn

SOURCES = [("The sample's inputs", "sample"), ("Pasted text", "pasted"), ("A file", "file")]
_BASE_IS_FOR = (
    "The base is needed to probe and to evaluate, and to read DoRA. Without one the weights alone can be inspected, merged "
    "and exported."
)
WEIGHTS_ONLY = (
    "Until there are readings every computed gate is even; painting, merging and exporting work all the same."
)


# -- what is shown ---------------------------------------------------------------------------------------------------


def verdict(state: TabState) -> str:
    """Whether the two adapters fit, and what to do next."""
    session = state.session
    if session.pair is None:
        nothing = "Nothing is open yet. Choose a sample, or name two adapters of your own."
        return html.note(f"{state.message} {nothing}", "bad") if state.message else html.note(nothing, "next")
    return html.note(report.pair_verdict(session.pair), "good")


def passports(state: TabState) -> list[str]:
    """A table for each adapter."""
    pair = state.session.pair
    found = pair.passports if pair else (None, None)
    return [_passport(role, passport) for role, passport in zip(("Task", "Domain"), found, strict=True)]


def _passport(role: str, passport: Passport | None) -> str:
    if passport is None:
        return ""
    return html.box(html.fact_table(f"{role} adapter: {passport.label}", report.passport_rows(passport)))


def probe_state(state: TabState) -> str:
    """Where the readings come from, if there are any."""
    session = state.session
    if session.pair is None:
        return html.progress_bar(None, "Open a pair first.")
    if session.readings is None:
        return html.progress_bar(None, f"Not probed. {WEIGHTS_ONLY}")
    return html.finished_bar(f"Probed with {len(session.readings.tokens)} inputs. Look at the map on the Inspect tab.")


def show(state: TabState) -> list[Any]:
    """The samples' cards, verdict, both passports, probe state, where inputs come from."""
    return [*sample_cards.show(state), verdict(state), *passports(state), probe_state(state), sources(state)]


# -- handlers --------------------------------------------------------------------------------------------------------


def on_sample(name: str, state: TabState) -> list[Any]:
    """Open an embedded sample."""
    state.session.open_sample(name)
    state.acted(f"Opened the sample “{name}”.")
    return show(state)


def on_own(
    paths: AllowedPaths,
    state: TabState,
    task: str | None,
    domain: str | None,
    base: str | None,
    task_zip: str | None = None,
    domain_zip: str | None = None,
    dora_rank: int | None = None,
) -> Iterator[list[Any]]:
    """Open two adapters by folder or Hub id, or the zips that were uploaded for them; an empty base means weights only.
    ``dora_rank``: of the LoRA that stands in for DoRA, None for the adapter's own.

    Only DoRA takes long, whose base is read too; yields updates for ``show``.
    """
    base_ref = paths.checked(base, "Base model") if base and base.strip() else None
    first = task_zip or paths.checked(task, "Task adapter")
    second = domain_zip or paths.checked(domain, "Domain adapter")

    def work(progress: ProgressFn) -> None:
        session = state.session
        uploaded(
            first,
            lambda task: uploaded(second, lambda domain: session.open(task, domain, base_ref, progress, dora_rank)),
        )

    before, after = [gr.skip()] * (len(show(state)) - 2), [gr.skip()]  # of the bar
    try:
        for step in steps(work):
            if isinstance(step, Progress):
                yield [*before, html.progress_bar(step), *after]
    except TadaError:
        yield [*before, probe_state(state), *after]
        raise
    state.acted("Opened your own pair.")
    yield show(state)


def on_probe(
    state: TabState, source: str, pasted: str | None, files: Sequence[str] | None, n: int | float
) -> Iterator[list[Any]]:
    """Run the probe inputs through the base; yields (bar, probe button, stop button)."""
    session = state.session
    try:
        inputs = _inputs(state, source, pasted, files)
        yield [html.progress_bar(None, "Starting…"), *_buttons(running=True)]
        for step in steps(in_turn(session, lambda progress: session.probe(inputs, int(n), progress))):
            if isinstance(step, Progress):
                yield [html.progress_bar(step), *_buttons(running=True)]
        state.acted("Probed. The gates now follow the readings.")
        yield [probe_state(state), *_buttons(running=False)]
    except Stopped as stopped:
        yield [html.progress_bar(None, str(stopped)), *_buttons(running=False)]
    except BaseError as error:
        yield [html.progress_bar(None, f"{error} {WEIGHTS_ONLY}"), *_buttons(running=False)]
        raise
    except TadaError as error:
        yield [html.progress_bar(None, str(error)), *_buttons(running=False)]
        raise


def _inputs(state: TabState, source: str, pasted: str | None, files: Sequence[str] | None) -> Sequence[Input] | None:
    """None stands for the sample's own inputs."""
    if source == "pasted":
        return [line.strip() for line in (pasted or "").splitlines() if line.strip()]
    if source == "file":
        if not files:
            raise InputError(
                "No file was uploaded. Choose a .txt (one input a line), a .jsonl with text or question, images, or a zip of them."
            )
        return [found for file in files for found in uploaded(file, read_inputs)]
    if state.session.sample is None:
        raise InputError("No sample is open. Paste about 32 domain questions, one a line, or upload a file.")
    return None


def _buttons(running: bool) -> list[Any]:
    return [gr.update(interactive=not running), gr.update(interactive=running)]


def on_readings(state: TabState, files: Sequence[str] | None) -> str:
    """Use uploaded readings; the bar says so."""
    readings_box.take(state, files)
    return probe_state(state)


def on_stop(state: TabState) -> None:
    """Ask whatever runs to stop."""
    state.session.stop()


def sources(state: TabState) -> Any:
    """The places that inputs can come from: a pair of one's own brings none. Told once a pair, or a choice made meanwhile would
    be lost.
    """
    opened = state.session.opened
    if opened is not None and opened == state.sourced:
        return gr.skip()
    state.sourced = opened
    choices = SOURCES if state.session.sample else SOURCES[1:]
    return gr.update(choices=choices, value=choices[0][1])


def on_source(source: str) -> list[Any]:
    """Show only the box that the source needs."""
    return [gr.update(visible=source == "pasted"), gr.update(visible=source == "file")]


# -- layout and wiring -----------------------------------------------------------------------------------------------


class Own(NamedTuple):
    """The fields for a pair of one's own."""

    task: gr.Textbox
    domain: gr.Textbox
    base: gr.Textbox
    task_zip: gr.File
    domain_zip: gr.File
    dora_rank: gr.Number
    button: gr.Button


class Probe(NamedTuple):
    """The probe section."""

    source: gr.Radio
    pasted: gr.Textbox
    file: gr.File
    n: gr.Slider
    button: gr.Button
    stop: gr.Button
    bar: gr.HTML


def open_tab(state: gr.State, paths: AllowedPaths) -> Panel:
    """Builds and wires the tab."""
    cards, opens = sample_cards.sample_cards()
    own = _own(paths)
    fits = words(verdict(TabState()))
    with gr.Row():
        tables = [_column_of_words() for _ in range(2)]
    probe = _probe()
    shown = [*cards, fits, *tables, probe.bar, probe.source]
    changes = [
        button.click(user_errors(partial(on_sample, name)), state, shown, **EDIT) for name, button in opens.items()
    ]
    changes.append(own.button.click(user_errors(partial(on_own, paths)), [state, *own[:6]], shown, **ONCE))
    changes += [_wire_probe(state, probe), _wire_readings(state, probe)]
    return Panel(shown, show, tuple(changes))


def _column_of_words() -> gr.HTML:
    with gr.Column(min_width=320):
        return words()


def _own(paths: AllowedPaths) -> Own:
    where = "Hub id such as owner/name" if paths.hosted else "Folder, or Hub id such as owner/name"
    words(html.heading("Open your own pair", "Two PEFT LoRA adapters of one base. Nothing is sent anywhere."))
    with gr.Row():
        task = gr.Textbox(label="Task adapter: how to answer", placeholder=where, elem_id="task", min_width=260)
        domain = gr.Textbox(label="Domain adapter: what to know", placeholder=where, elem_id="domain", min_width=260)
        base = gr.Textbox(
            label="Base model (may stay empty)", placeholder=f"{where}, or a .gguf file", elem_id="base", min_width=260,
        )  # fmt: skip
    words(html.caption(_BASE_IS_FOR))
    with gr.Accordion("Upload zips of adapter folders instead", open=paths.hosted, elem_id="own-zips"), gr.Row():
        task_zip, domain_zip = _zip("Task"), _zip("Domain")
    with gr.Accordion("For DoRA adapters", open=False, elem_id="own-dora"):
        dora_rank = gr.Number(
            label="Rank of the LoRA that stands in for DoRA (empty: the adapter's own)", value=None, precision=0,
            info="what is lost stands in the adapter's passport; a larger rank loses less", minimum=1, maximum=4096,
            elem_id="dora-rank",
        )  # fmt: skip
    opens = gr.Button("Open", variant="primary", elem_id="open-own")
    return Own(task, domain, base, task_zip, domain_zip, dora_rank, opens)


def _zip(role: str) -> gr.File:
    return gr.File(label=f"{role} adapter (.zip)", file_types=[".zip"], elem_id=f"{role.lower()}-zip", height=110)


def _probe() -> Probe:
    words(html.heading("Probe", "About 32 domain inputs go through the base once and show which adapter reacts where."))
    with gr.Row(equal_height=True):
        source = gr.Radio(SOURCES, value="sample", label="Inputs from", elem_id="probe-source", scale=3, min_width=320)
        n = gr.Slider(2, 256, 32, step=1, label="How many inputs", elem_id="probe-n", scale=2, min_width=220)
        button = gr.Button("Probe", variant="primary", elem_id="probe", elem_classes="act", scale=1, min_width=110)
        stop = gr.Button(
            "Stop", variant="stop", interactive=False, elem_id="probe-stop", elem_classes="act", scale=1, min_width=90
        )
    pasted = gr.Textbox(label="Inputs, one a line", lines=5, max_lines=12, visible=False, elem_id="probe-text")
    file = gr.File(
        label="Inputs: .txt (one a line), .jsonl (text or question), images, or a zip of images",
        file_count="multiple",
        file_types=[".txt", ".jsonl", ".zip", *SUFFIXES],
        visible=False,
        elem_id="probe-file",
    )
    bar = words(probe_state(TabState()), elem_id="probe-bar")
    return Probe(source, pasted, file, n, button, stop, bar)


def _wire_probe(state: gr.State, probe: Probe) -> Any:
    probe.source.change(on_source, probe.source, [probe.pasted, probe.file], **READ)
    probe.stop.click(user_errors(on_stop), state, None, **READ)
    inputs = [state, probe.source, probe.pasted, probe.file, probe.n]
    return probe.button.click(user_errors(on_probe), inputs, [probe.bar, probe.button, probe.stop], **WORK)


def _wire_readings(state: gr.State, probe: Probe) -> Any:
    box = readings_box.readings_box()
    box.save.click(user_errors(readings_box.on_save), state, box.saved, **READ)
    return box.given.upload(user_errors(on_readings), [state, box.given], probe.bar, **EDIT)
