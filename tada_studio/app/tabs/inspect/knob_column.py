"""The column beside the map: every knob of the recipe, starting points for all gates, and gates as lines of text."""

from typing import Any, NamedTuple

import gradio as gr

from tada_studio import report
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.controls import Controls, further_controls, line_knobs, main_controls
from tada_studio.app.widgets.panel import Named, words
from tada_studio.core.selectors import Checked
from tada_studio.recipe import Recipe, knobs

#: Steps of the log that are on the screen; recipe.json has all.
LATEST = 30


class Knobs(NamedTuple):
    """The column beside the map. boxes: by name of the knob that is made of lines.

    line, check, add: selector lines being written, what they would do, and the button that adds them
    preset, own:      the choice of a starting point, and those that the person saved, kept in the browser
    name, save, forget: a preset of the person's own
    log:              what was done so far
    """

    controls: Controls
    preset: gr.Dropdown
    line: gr.Textbox
    check: gr.HTML
    add: gr.Button
    boxes: dict[str, gr.Textbox]
    log: gr.HTML
    own: gr.BrowserState
    name: gr.Textbox
    save: gr.Button
    forget: gr.Button

    @property
    def texts(self) -> dict[str, Any]:
        """Boxes of lines and log, by the names in ``lines``."""
        return {**{f"lines {name}": box for name, box in self.boxes.items()}, "log": self.log}

    def lines(self, state: TabState) -> Named:
        recipe = state.session.recipe
        return {**{f"lines {name}": "\n".join(getattr(recipe, name)) for name in self.boxes}, "log": log(state)}

    @property
    def knobs(self) -> dict[str, Any]:
        """Controls by the names in ``settings``."""
        return {f"knob {name}": control for name, control in self.controls.by_name.items()}

    def settings(self, state: TabState) -> Named:
        readings = state.session.readings
        both = readings is not None and readings.moments is not None
        shown = self.controls.showing(state.session.recipe, readings is not None, both)
        return {f"knob {name}": update for name, update in shown.items()}


def log(state: TabState) -> str:
    """What was done to the recipe, latest first."""
    done = state.session.log
    if not done:
        return html.note("Nothing has been changed yet.")
    earlier = len(done) - LATEST
    more = [f"and {earlier} earlier steps; recipe.json keeps them all"] if earlier > 0 else []
    return html.note("What was done, latest first:", points=[*reversed(done[-LATEST:]), *more])


def presets(saved: Any) -> Any:
    """The starting points to choose from."""
    own = [(f"{name} (yours)", name) for name in edits.own_presets(saved)]
    return gr.update(choices=[*((says, name) for name, says in edits.PRESETS.items()), *own])


def checks(found: list[Checked]) -> str:
    """What each line that is being written would do."""
    return html.checks((one.touched is not None, one.line, _says(one)) for one in found)


def touched(found: list[Checked]) -> list[list[int]]:
    """All cells that the lines would touch, for the map to point out."""
    masks = [one.touched for one in found if one.touched is not None]
    return sum(masks[1:], masks[0]).nonzero().tolist() if masks else []


def _says(one: Checked) -> str:
    if one.touched is None:
        return one.problem.removeprefix(f"'{one.line}': ")
    count = int(one.touched.sum())
    held = f"; {one.held} locked stay" if one.held else ""
    return f"touches {report.counted(count, 'cell')}{held}"


def knob_column() -> Knobs:
    """Builds the column."""
    main = main_controls(Recipe())
    preset = gr.Dropdown(
        presets({})["choices"], value=None, label="Start all gates from", info="replaces edits and locks", filterable=False,
        elem_id="preset",
    )  # fmt: skip
    line = gr.Textbox(
        label="Gates by text", placeholder="layers 20-31 : attn : 0.7\nlayer 0 : * : lock", elem_id="line", lines=2,
        max_lines=8, info="where : which : the domain's share, one a line. Shift+Enter adds them.",
    )  # fmt: skip
    check = words(elem_id="line-check")
    add = gr.Button("Add these lines", size="sm", elem_id="line-add", visible=False)
    with gr.Accordion("More knobs", open=False, elem_id="more-knobs"):
        further = further_controls(Recipe())
    with gr.Accordion("Recipe lines and log", open=False, elem_id="all-lines"):
        boxes = {name: _lines_box(name) for name in line_knobs()}
        done = words(elem_id="log")
    with gr.Accordion("Presets of your own", open=False, elem_id="own-presets"):
        name = gr.Textbox(
            label="Name", info="keeps the override lines in this browser", max_lines=1, elem_id="preset-name"
        )
        with gr.Row():
            save = gr.Button("Save", size="sm", elem_id="preset-save", min_width=80)
            forget = gr.Button("Forget", size="sm", elem_id="preset-forget", min_width=80)
    controls = Controls({**main.by_name, **further.by_name})
    # a fixed key and secret, or the values would die with the server; these are preferences, nothing secret
    own = gr.BrowserState({}, storage_key="tada-studio-presets", secret="tada-studio")
    return Knobs(controls, preset, line, check, add, boxes, done, own, name, save, forget)


def _lines_box(name: str) -> gr.Textbox:
    info = f"{knobs()[name].metadata['says']}. One a line; taken over when you leave the box."
    return gr.Textbox(label=name, info=info, lines=3, max_lines=10, elem_id=f"lines-{name}")
