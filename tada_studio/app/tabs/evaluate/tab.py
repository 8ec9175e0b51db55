"""Evaluate: scores of any variants, the items that flipped, and a history from which any recipe comes back."""

import gradio as gr

from tada_studio.app.paths import AllowedPaths
from tada_studio.app.tabs.evaluate import flips_panel, history_panel, run_panel
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import READ, Panel, listen_early, together, words


def evaluate_tab(state: gr.State, paths: AllowedPaths) -> Panel:
    """Builds and wires the tab."""
    words(
        html.heading(
            "Evaluate",
            html.explained("Every variant answers the same items; baselines are made at the same rank as the merge."),
        )
    )
    with gr.Tabs(elem_id="evaluate-sections"):
        with gr.Tab("Run", elem_id="section-run"):
            run = run_panel.run_panel(state, paths)
        with gr.Tab("What flipped", elem_id="section-flips") as flips_tab:
            flips = flips_panel.flips_panel(state)
        with gr.Tab("History", elem_id="section-history") as history_tab:
            history = history_panel.history_panel(state, run, run_panel.results)
    for tab, panel in ((flips_tab, flips), (history_tab, history)):
        listen_early(tab.select, panel.show, [state], panel.at, **READ)
    return together({"run": run, "flips": flips, "history": history})
