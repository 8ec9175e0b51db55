"""Evaluate: scores of any variants, the items that flipped, and a history from which any recipe comes back."""

from typing import Any

import gradio as gr

from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.tabs.evaluate import flips_panel, history_panel, run_panel
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import READ, Panel, skip_early, words


def show(state: TabState) -> list[Any]:
    """All three sections."""
    return [*run_panel.show(state), *flips_panel.show(state), *history_panel.show(state)]


def evaluate_tab(state: gr.State, paths: AllowedPaths) -> Panel:
    """Builds and wires the tab."""
    words(
        html.heading(
            "Evaluate", "Every variant answers the same items; baselines are made at the same rank as the merge."
        )
    )
    with gr.Tabs(elem_id="evaluate-sections"):
        with gr.Tab("Run", elem_id="section-run"):
            run = run_panel.run_panel(state, paths)
        with gr.Tab("What flipped", elem_id="section-flips") as flips_tab:
            flips = flips_panel.flips_panel(state)
        with gr.Tab("History", elem_id="section-history") as history_tab:
            history = history_panel.history_panel(state, run.components[:4], run_panel.results)
    for tab, panel in ((flips_tab, flips), (history_tab, history)):
        tab.select(skip_early(user_errors(panel.show), len(panel.components)), state, panel.components, **READ)
    panels = (run, flips, history)
    return Panel([component for panel in panels for component in panel.components], show, history.changes, run.news)
