"""The depth profile, right under the map and on its axis, and other readings of the same pair drawn beside it."""

from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.app import edits
from tada_studio.app.state import Desk
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import spoken
from tada_studio.app.widgets.panel import READ, Part, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.core.gates import Depth
from tada_studio.pipeline.merge import Merge


def show(desk: Desk) -> list[Any]:
    """The profile, what other readings say if there are any, and the button that takes them away."""
    view = desk.session.view
    if view is None:
        return [None, "", gr.update(visible=False)]
    other = compared(desk, view)
    said = html.note(report.compared_depth_sentence(*other)) if other else ""
    profile = figures.depth_profile(view.depth, view.gates, other)
    return [drawing(profile), said, gr.update(visible=other is not None)]


def compared(desk: Desk, view: Merge) -> tuple[str, Depth] | None:
    """(name, profile) of the readings that are compared, as their gates are computed with the same knobs."""
    if desk.compared is None or desk.compared[1] is not view.pair:
        return None
    label, _, readings = desk.compared
    return label, Merge(view.pair, readings, view.recipe.but(overrides=())).depth


def depth_panel(desk: gr.State) -> Part:
    """Builds and wires the panel."""
    caption, empty = figures.DEPTH_CAPTION, "Open two adapters to see their depth profile."
    profile, said = plot_panel("Depth profile", caption, empty, "depth"), words(elem_id="compared")
    with gr.Accordion("Compare with other readings of this pair", open=False, elem_id="compare"):
        files = gr.File(
            label="readings.json and readings.safetensors, for example of a generic probe", file_count="multiple",
            file_types=[".json", ".safetensors"], height=120, elem_id="compare-files",
        )  # fmt: skip
    drop = gr.Button("Remove the compared readings", visible=False, size="sm", elem_id="compare-drop")
    part = Part([profile, said, drop], show)

    def act(does: Any) -> Any:
        def handler(desk: Desk, *values: Any) -> list[Any]:
            does(desk, *values)
            return show(desk)

        return spoken(handler)

    files.upload(act(edits.compare), [desk, files], part.components, **READ)
    removed = drop.click(act(edits.forget_compared), desk, part.components, **READ)
    removed.then(lambda: None, None, files, **READ)
    return part
