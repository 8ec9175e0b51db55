"""Over depth, right under the map and on its axis: who speaks on which inputs, or the paper's asymmetry, with other readings of the
same pair drawn beside it."""

from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.tabs.inspect import against
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import READ, Named, Panel, listen, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.core.gates import Depth
from tada_studio.pipeline.merge import Merge

#: What can be drawn over depth.
KINDS = {
    "separation": "Who speaks on which inputs", "asymmetry": "The paper's asymmetry", "projections": "Projection by projection",
}  # fmt: skip


def show(state: TabState) -> Named:
    """The profile, what other readings say if there are any, and the button that takes them away."""
    view = state.session.view
    if view is None:
        hidden = gr.update(visible=False)
        return {"profile": None, "message": "", "drop": hidden, "kind": hidden}
    other = compared(state, view)
    names = [name for name in KINDS if name != "separation" or view.separation is not None]
    kind = state.depth_of if state.depth_of in names else names[0]
    return {
        "profile": drawing(profile(state, view, other)), "message": message(state, view, other),
        "drop": gr.update(visible=other is not None),
        "kind": gr.update(visible=view.probed, choices=[(KINDS[name], name) for name in names], value=kind),
        "against": gr.update(choices=against.choices(state), value=state.differs_from or against.FIRST),
    }  # fmt: skip


def profile(state: TabState, view: Merge, other: tuple[str, dict[str, Depth]] | None) -> figures.Figure:
    """Both gates over depth where there are two; the asymmetry, or each projection, where that was asked for."""
    if state.depth_of == "projections":
        return figures.projections_over_depth(view.asymmetry, view.separation)
    if view.separation is None or state.depth_of == "asymmetry":
        return figures.depth_profile(view.depths, view.asymmetry, other)
    return figures.separation_depth(view.separation)


def message(state: TabState, view: Merge, other: tuple[str, dict[str, Depth]] | None) -> str:
    """What other readings say; of the asymmetry, where the sentence under the map is of something else, what it comes to."""
    if view.separation is None or state.depth_of != "asymmetry":
        return html.note(report.compared_depth_sentences(*other)) if other else ""
    points = [report.compared_depth_sentences(*other)] if other else []
    return html.note(report.depth_sentences(view.depths, view.probed), points=points)


def compared(state: TabState, view: Merge) -> tuple[str, dict[str, Depth]] | None:
    """(name, profiles) of the readings that are compared, as their gates are computed with the same knobs."""
    if state.compared is None or state.compared[1] is not view.pair:
        return None
    label, _, readings = state.compared
    return label, view.depths_by(readings)


def on_kind(state: TabState, kind: Any) -> None:
    """Something else is to be drawn over depth."""
    state.depth_of = kind if kind in KINDS else "separation"


def depth_panel(state: gr.State) -> Panel:
    """Builds and wires the panel."""
    kind = gr.Radio(
        [(says, name) for name, says in KINDS.items()], value="separation", show_label=False, label="Over depth", container=False,
        visible=False, elem_id="depth-kind",
    )  # fmt: skip
    profile = plot_panel(figures.DEPTH, "Open two adapters to see their depth profile.", "depth")
    message = words(elem_id="compared-depth")
    with gr.Accordion("Compare with another recipe, or other readings of this pair", open=False, elem_id="compare"):
        choice = gr.Dropdown(
            [(says, name) for name, (says, _) in against.RECIPES.items()], value=against.FIRST,
            label="The view Difference of the map is from", filterable=False, elem_id="differs-from",
        )  # fmt: skip
        files = gr.File(
            label="readings.json and readings.safetensors, for example of a generic probe", file_count="multiple",
            file_types=[".json", ".safetensors"], height=120, elem_id="compare-files",
        )  # fmt: skip
    drop = gr.Button("Remove the compared readings", visible=False, size="sm", elem_id="compare-drop")
    panel = Panel({"profile": profile, "message": message, "drop": drop, "kind": kind, "against": choice}, show)

    def act(does: Any) -> Any:
        def handler(state: TabState, *values: Any) -> Named:
            does(state, *values)
            return show(state)

        return handler

    listen(kind.input, act(on_kind), [state, kind], panel.at, **READ)
    listen(files.upload, act(edits.compare), [state, files], panel.at, **READ)
    removed = listen(drop.click, act(edits.forget_compared), [state], panel.at, **READ)
    removed.then(lambda: None, None, files, **READ)
    return panel
