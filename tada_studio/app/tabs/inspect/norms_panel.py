"""Norms: which adapter is louder, layer by layer, and what balance does about it."""

from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.controls import follow, linked, on_turn, turn_linked
from tada_studio.app.widgets.panel import DRAG, Named, Panel, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel

NOTHING = "Open two adapters first; then this shows which of them is louder, and where."
KNOB = "balance"


def show(state: TabState) -> Named:
    """Sentence, balance and the norms by layer."""
    view = state.session.view
    if view is None:
        return {"message": html.note(NOTHING, "next"), "lines": None}
    return {"message": message(state), **follow(state, KNOB), "lines": drawing(figures.norms_by_layer(view.norms))}


def message(state: TabState) -> str:
    """Who is louder, in words."""
    view = state.session.view
    if view is None:
        return html.note(NOTHING, "next")
    return html.note(report.norms_sentence(view.norms, view.recipe.balance))


def norms_panel(state: gr.State) -> Panel:
    """Builds and wires the section."""

    def on_balance(state: TabState, value: Any) -> Named:
        turn_linked(state, value, KNOB)
        return {"message": message(state)}

    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            line = words(html.note(NOTHING, "next"), elem_id="norms-message")
        with gr.Column(scale=2, min_width=280):
            slider = linked(KNOB)
    lines = plot_panel(figures.NORMS, NOTHING, "norms")
    turned = on_turn(slider, on_balance, state, {"message": line}, **DRAG)
    return Panel({"message": line, "slider": slider, "lines": lines}, show, (turned,))
