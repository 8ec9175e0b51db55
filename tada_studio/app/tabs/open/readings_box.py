"""Readings as two files: taken on a machine with a GPU, used on a laptop; and the other way round."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import Named, words
from tada_studio.app.widgets.task import uploaded
from tada_studio.errors import InputError
from tada_studio.probing import Readings

_BOTH = ".json", ".safetensors"


class Box(NamedTuple):
    """What the Open tab wires: save fills ``saved``, a file in ``given`` is read at once."""

    save: gr.Button
    saved: gr.File
    given: gr.File


def on_save(state: TabState) -> Named:
    """Both files of the readings that are in use."""
    readings = state.session.readings
    if not isinstance(readings, Readings):
        raise InputError("There are no readings yet. Probe first; then they can be saved.")
    file = state.session.folder / "readings.json"
    readings.save(file)
    return {"saved": gr.update(value=[str(file), str(file.with_suffix(".safetensors"))], visible=True)}


def take(state: TabState, files: Sequence[str] | None) -> None:
    """Use readings that were saved elsewhere. Raises InputError, MismatchError if they belong to another pair."""
    given = {Path(file).suffix.lower(): Path(file) for file in files or ()}
    if set(given) != set(_BOTH) or len(files or ()) != len(_BOTH):
        raise InputError("Give both files of the readings together: readings.json and readings.safetensors.")
    home = Path(tempfile.mkdtemp(dir=state.session.folder))
    try:
        for suffix, file in given.items():  # each was uploaded to a folder of its own
            shutil.copyfile(file, home / f"readings{suffix}")
        state.session.use_readings(uploaded(str(home / "readings.json"), Readings.load))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    state.acted("Took readings from files. The gates now follow them.")


def readings_box() -> Box:
    """Builds the box; the Open tab wires it, since what it does changes everything."""
    with gr.Accordion("Readings as files", open=False, elem_id="readings-box"):
        words(html.caption("Probe on a machine with a GPU, save the readings there, and give both files here."))
        with gr.Row():
            with gr.Column(min_width=260):
                save = gr.Button("Save the readings", elem_id="save-readings")
                saved = gr.File(
                    label="Saved", file_count="multiple", interactive=False, visible=False, elem_id="saved-readings"
                )
            given = gr.File(
                label="readings.json and readings.safetensors", file_count="multiple", file_types=list(_BOTH), height=130,
                elem_id="given-readings",
            )  # fmt: skip
    return Box(save, saved, given)
