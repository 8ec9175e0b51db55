"""One layer three ways: the task's, the domain's and the merged update of each of its projections."""

from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.addresses import row_words
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import READ, Named, Panel, listen, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel

NOTHING = "Open two adapters first; then choose a layer to see its three updates side by side."


def show(state: TabState) -> Named:
    """The layers to choose from, the sentence and the bars."""
    view = state.session.view
    if view is None:
        return {"layer": gr.update(choices=[], value=None), "message": html.note(NOTHING, "next"), "bars": None}
    i, _ = edits.shown_cell(state, view)
    gates = view.gates
    found, projections = view.three_way(gates.layers[i], gates.towers[i])
    rows = [row_words(tower, layer) for tower, layer in zip(gates.towers, gates.layers, strict=True)]
    return {
        "layer": gr.update(choices=rows, value=rows[i]),
        "message": html.note(report.three_way_sentence(found, projections)),
        "bars": drawing(figures.three_way_bars(found, projections)),
    }


def on_layer(state: TabState, layer: Any) -> Named:
    """Another layer is chosen from the list."""
    view = state.session.view
    rows = [row_words(*row) for row in zip(view.gates.towers, view.gates.layers, strict=True)] if view else []
    if view is not None and layer in rows:
        row, here = rows.index(layer), edits.shown_cell(state, view)[1]
        there = view.gates.there[row]
        state.cell = row, here if there[here] else int(there.int().argmax())
    return show(state)


def layer_panel(state: gr.State) -> Panel:
    """Builds and wires the section."""
    with gr.Row():
        layer = gr.Dropdown(
            [], label="Layer", info="or click a cell on the map", elem_id="layer", scale=1, min_width=180
        )
        with gr.Column(scale=4, min_width=320):
            message = words(html.note(NOTHING, "next"), elem_id="layer-message")
    bars = plot_panel(figures.THREE_WAY, NOTHING, "three-way")
    at = {"layer": layer, "message": message, "bars": bars}
    listen(layer.input, on_layer, [state, layer], at, **READ)
    return Panel(at, show)
