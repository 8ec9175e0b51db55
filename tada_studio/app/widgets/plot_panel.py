"""A plotly figure as a component: gr.Plot ignores dark mode and remounts at every update, this one does neither."""

import html
import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import gradio as gr

from tada_studio.figures import standalone

_HERE = Path(__file__).parent
_JS = standalone.THEMED_JS.read_text(encoding="utf-8") + (_HERE / "plot_panel.js").read_text(encoding="utf-8")
_CSS = (_HERE / "plot_panel.css").read_text(encoding="utf-8")
#: What the browser fetches for a chart, and for a page that is saved with one in it.
_FILES = {
    "plotly": standalone.plotly_js(), "template": standalone.TEMPLATE, "css": standalone.PAGE_CSS,
    "themed": standalone.THEMED_JS,
}  # fmt: skip
_PATHS = html.escape(json.dumps({name: str(path) for name, path in _FILES.items()}))


@runtime_checkable
class Figure(Protocol):
    """What a panel needs of a plotly figure."""

    def to_json(self) -> str | None: ...


def served() -> list[Path]:
    """The files that the app serves besides its own."""
    return list(_FILES.values())


def plot_panel(title: str, caption: str, none: str, elem_id: str, drawn: str | None = None) -> gr.HTML:
    """A panel; push ``drawing(figure)`` into it, or start with one. ``none`` says what to do while there is no figure.

    Its buttons save the figure as PNG, SVG or a page of its own. A click on a point is the event point_click (x, y, curve,
    data). ``elem_id`` is for tests and style sheets only.
    """
    # static: after an update the page is morphed to the rendered template, which would strip plotly's own nodes
    template = (
        f'<div class="pp empty" data-files="{_PATHS}">'
        f'<div class="pp-head"><div class="pp-title">{html.escape(title)}</div>{_buttons()}</div>'
        f'<div class="pp-chart" role="img" aria-label="{html.escape(title)}"></div>'
        f'<div class="pp-none empty-state">{html.escape(none)}</div>'
        f'<div class="pp-caption caption">{html.escape(caption)}</div>'
        f'<template class="pp-page">{standalone.figure_block(title, caption, None)}</template></div>'
    )
    return gr.HTML(
        value=drawn, html_template=template, css_template=_CSS,
        js_on_load=_JS, apply_default_css=False, container=True, padding=True, min_width=320, elem_id=elem_id,
    )  # fmt: skip


def _buttons() -> str:
    made = "".join(
        f'<button type="button" data-save="{kind.lower()}" title="{says}" aria-label="{says}">{kind}</button>'
        for kind, says in (
            ("PNG", "Save as a picture (PNG)"),
            ("SVG", "Save as a drawing (SVG)"),
            ("HTML", "Save as a page that works offline (HTML)"),
        )
    )
    return f'<div class="pp-save" role="group" aria-label="Save this figure">{made}</div>'


def drawing(figure: Figure | None) -> str | None:
    """A figure as the panel takes it."""
    return None if figure is None else figure.to_json()
