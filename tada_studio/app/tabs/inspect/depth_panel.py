"""The depth profile, right under the map and on its axis, and other readings of the same pair drawn beside it."""

from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import READ, Named, Panel, listen, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.core.gates import Depth
from tada_studio.pipeline.merge import Merge


def show(state: TabState) -> Named:
    """The profile, what other readings say if there are any, and the button that takes them away."""
    view = state.session.view
    if view is None:
        return {"profile": None, "message": "", "drop": gr.update(visible=False)}
    other = compared(state, view)
    message = html.note(report.compared_depth_sentence(*other)) if other else ""
    profile = figures.depth_profile(view.depth, view.gates, other)
    return {"profile": drawing(profile), "message": message, "drop": gr.update(visible=other is not None)}


def compared(state: TabState, view: Merge) -> tuple[str, Depth] | None:
    """(name, profile) of the readings that are compared, as their gates are computed with the same knobs."""
    if state.compared is None or state.compared[1] is not view.pair:
        return None
    label, _, readings = state.compared
    return label, Merge(view.pair, readings, view.recipe.but(overrides=())).depth


def depth_panel(state: gr.State) -> Panel:
    """Builds and wires the panel."""
    profile = plot_panel(figures.DEPTH, "Open two adapters to see their depth profile.", "depth")
    message = words(elem_id="compared-depth")
    with gr.Accordion("Compare with other readings of this pair", open=False, elem_id="compare"):
        files = gr.File(
            label="readings.json and readings.safetensors, for example of a generic probe", file_count="multiple",
            file_types=[".json", ".safetensors"], height=120, elem_id="compare-files",
        )  # fmt: skip
    drop = gr.Button("Remove the compared readings", visible=False, size="sm", elem_id="compare-drop")
    panel = Panel({"profile": profile, "message": message, "drop": drop}, show)

    def act(does: Any) -> Any:
        def handler(state: TabState, *values: Any) -> Named:
            does(state, *values)
            return show(state)

        return handler

    listen(files.upload, act(edits.compare), [state, files], panel.at, **READ)
    removed = listen(drop.click, act(edits.forget_compared), [state], panel.at, **READ)
    removed.then(lambda: None, None, files, **READ)
    return panel
