"""Stability: would other inputs, or fewer, have given another map? And does an adapter's size matter?"""

import gradio as gr

from tada_studio import figures, report
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import Named, Panel, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel

NOTHING = "Probe on the Open tab first; then this shows how sure the gates are."


def show(state: TabState) -> Named:
    """Sentences, curve and bands."""
    view = state.session.view
    if view is None or not view.probed:
        return {"message": html.note(NOTHING, "next"), "curve": None, "bands": None}
    found = view.stability
    verdict, *more = report.stability_sentences(found)
    return {
        "message": html.note(verdict, points=more),
        "curve": drawing(figures.stability_curve(found)),
        "bands": drawing(figures.cell_bands(found, view.gates)),
    }


def stability_panel(state: gr.State) -> Panel:
    """Builds the section."""
    message = words(html.note(NOTHING, "next"), elem_id="stability-message")
    with gr.Row():
        with gr.Column(min_width=320):
            curve = plot_panel(figures.SUBSETS, NOTHING, "stability")
        with gr.Column(min_width=320):
            bands = plot_panel(figures.BANDS, NOTHING, "cell-bands")
    return Panel({"message": message, "curve": curve, "bands": bands}, show)
