"""Norms: which adapter is louder, layer by layer, and what balance does about it."""

from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.app.state import Desk
from tada_studio.app.widgets import html
from tada_studio.app.widgets.controls import follow, on_turn, turn_twin, twin
from tada_studio.app.widgets.messages import spoken
from tada_studio.app.widgets.panel import DRAG, Part, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel

NOTHING = "Open two adapters first; then this shows which of them is louder, and where."
KNOB = "balance"


def show(desk: Desk) -> list[Any]:
    """Sentence, balance and the norms by layer."""
    view = desk.session.view
    if view is None:
        return [html.note(NOTHING, "next"), gr.skip(), None]
    return [said(desk), follow(desk, KNOB), drawing(figures.norms_by_layer(view.norms))]


def said(desk: Desk) -> str:
    """Who is louder, in words."""
    view = desk.session.view
    if view is None:
        return html.note(NOTHING, "next")
    return html.note(report.norms_sentence(view.norms, view.recipe.balance))


def norms_panel(desk: gr.State) -> Part:
    """Builds and wires the section."""

    def on_balance(desk: Desk, value: Any) -> str:
        turn_twin(desk, value, KNOB)
        return said(desk)

    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            line = words(html.note(NOTHING, "next"), elem_id="norms-said")
        with gr.Column(scale=2, min_width=280):
            slider = twin(KNOB)
    lines = plot_panel("Norms by layer", figures.NORMS_CAPTION, NOTHING, "norms")
    turned = on_turn(slider, spoken(on_balance), [desk], [line], **DRAG)
    return Part([line, slider, lines], show, (turned,))
