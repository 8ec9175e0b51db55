"""The column beside the map: every knob of the recipe, presets, and the lines that say what hands have set."""

from typing import Any, NamedTuple

import gradio as gr

from tada_studio.app import edits
from tada_studio.app.controls import Controls, further_controls, line_knobs, main_controls
from tada_studio.app.desk import Desk
from tada_studio.recipe import Recipe, knobs


class Knobs(NamedTuple):
    """The column beside the map. boxes: by name of the knob that is made of lines."""

    controls: Controls
    preset: gr.Dropdown
    line: gr.Textbox
    boxes: dict[str, gr.Textbox]

    def lines(self, desk: Desk) -> list[Any]:
        """Updates for the boxes."""
        return ["\n".join(getattr(desk.session.recipe, name)) for name in self.boxes]


def knob_column() -> Knobs:
    """Builds the column."""
    main = main_controls(Recipe())
    names = [(says, name) for name, says in edits.PRESETS.items()]
    preset = gr.Dropdown(
        names,
        value=None,
        label="Start all gates from",
        info="replaces edits and locks",
        filterable=False,
        elem_id="preset",
    )
    line = gr.Textbox(
        label="Selector line", placeholder="layers 20-31 : attn : 0.7", elem_id="line",
        info="where : which : the domain's share. Enter adds it.",
    )  # fmt: skip
    with gr.Accordion("More knobs", open=False, elem_id="more-knobs"):
        further = further_controls(Recipe())
    with gr.Accordion("All lines of the recipe", open=False, elem_id="all-lines"):
        boxes = {name: _lines_box(name) for name in line_knobs()}
    return Knobs(Controls({**main.by_name, **further.by_name}), preset, line, boxes)


def _lines_box(name: str) -> gr.Textbox:
    info = f"{knobs()[name].metadata['says']}. One a line; taken over when you leave the box."
    return gr.Textbox(label=name, info=info, lines=3, max_lines=10, elem_id=f"lines-{name}")
