"""Evaluate: scores of any variants, the items that flipped, and a history from which any recipe comes back."""

from typing import Any

import gradio as gr

from tada_studio.app.paths import Places
from tada_studio.app.state import Desk
from tada_studio.app.tabs.evaluate import flips_panel, history_panel, run_panel
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import spoken
from tada_studio.app.widgets.panel import READ, Part, skip_early, words


def show(desk: Desk) -> list[Any]:
    """All three sections."""
    return [*run_panel.show(desk), *flips_panel.show(desk), *history_panel.show(desk)]


def evaluate_tab(desk: gr.State, places: Places) -> Part:
    """Builds and wires the tab."""
    words(
        html.heading(
            "Evaluate", "Every variant answers the same items; baselines are made at the same rank as the merge."
        )
    )
    with gr.Tabs(elem_id="evaluate-sections"):
        with gr.Tab("Run", elem_id="section-run"):
            run = run_panel.run_panel(desk, places)
        with gr.Tab("What flipped", elem_id="section-flips") as flips_tab:
            flips = flips_panel.flips_panel(desk)
        with gr.Tab("History", elem_id="section-history") as history_tab:
            history = history_panel.history_panel(desk, run.components[:4], run_panel.results)
    for tab, part in ((flips_tab, flips), (history_tab, history)):
        tab.select(skip_early(spoken(part.show), len(part.components)), desk, part.components, **READ)
    parts = (run, flips, history)
    return Part([component for part in parts for component in part.components], show, history.changes, run.news)
