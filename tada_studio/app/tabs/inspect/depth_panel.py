"""The depth profile, right under the map and on its axis, and other readings of the same pair drawn beside it."""

from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import READ, Panel, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.core.gates import Depth
from tada_studio.pipeline.merge import Merge


def show(state: TabState) -> list[Any]:
    """The profile, what other readings say if there are any, and the button that takes them away."""
    view = state.session.view
    if view is None:
        return [None, "", gr.update(visible=False)]
    other = compared(state, view)
    message = html.note(report.compared_depth_sentence(*other)) if other else ""
    profile = figures.depth_profile(view.depth, view.gates, other)
    return [drawing(profile), message, gr.update(visible=other is not None)]


def compared(state: TabState, view: Merge) -> tuple[str, Depth] | None:
    """(name, profile) of the readings that are compared, as their gates are computed with the same knobs."""
    if state.compared is None or state.compared[1] is not view.pair:
        return None
    label, _, readings = state.compared
    return label, Merge(view.pair, readings, view.recipe.but(overrides=())).depth


def depth_panel(state: gr.State) -> Panel:
    """Builds and wires the panel."""
    caption, empty = figures.DEPTH_CAPTION, "Open two adapters to see their depth profile."
    profile, message = plot_panel("Depth profile", caption, empty, "depth"), words(elem_id="compared")
    with gr.Accordion("Compare with other readings of this pair", open=False, elem_id="compare"):
        files = gr.File(
            label="readings.json and readings.safetensors, for example of a generic probe", file_count="multiple",
            file_types=[".json", ".safetensors"], height=120, elem_id="compare-files",
        )  # fmt: skip
    drop = gr.Button("Remove the compared readings", visible=False, size="sm", elem_id="compare-drop")
    panel = Panel([profile, message, drop], show)

    def act(does: Any) -> Any:
        def handler(state: TabState, *values: Any) -> list[Any]:
            does(state, *values)
            return show(state)

        return user_errors(handler)

    files.upload(act(edits.compare), [state, files], panel.components, **READ)
    removed = drop.click(act(edits.forget_compared), state, panel.components, **READ)
    removed.then(lambda: None, None, files, **READ)
    return panel
