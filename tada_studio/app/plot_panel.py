"""A plotly figure as a component: gr.Plot ignores dark mode and remounts at every update, this one does neither."""

import html
import importlib.util
from pathlib import Path
from typing import Protocol, runtime_checkable

import gradio as gr

_HERE = Path(__file__).parent
_JS = (_HERE / "plot_panel.js").read_text(encoding="utf-8")
_CSS = (_HERE / "plot_panel.css").read_text(encoding="utf-8")


@runtime_checkable
class Figure(Protocol):
    """What a panel needs of a plotly figure."""

    def to_json(self) -> str | None: ...


def plotly_js() -> Path:
    """The plotly.js inside the installed package: the one file that the app serves besides its own."""
    found = importlib.util.find_spec("plotly")
    assert found is not None and found.origin is not None, "plotly is a dependency of this package"
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


def plot_panel(title: str, caption: str, none: str, elem_id: str) -> gr.HTML:
    """An empty panel; push ``drawing(figure)`` into it. ``none`` says what to do while there is no figure.

    ``elem_id`` is for tests and style sheets only.
    """
    # static: after an update the page is morphed to the rendered template, which would strip plotly's own nodes
    template = (
        f'<div class="pp empty"><div class="pp-title">{html.escape(title)}</div><div class="pp-chart" role="img" '
        f'aria-label="{html.escape(title)}"></div><div class="pp-none">{html.escape(none)}</div>'
        f'<div class="pp-caption">{html.escape(caption)}</div></div>'
    )
    return gr.HTML(
        value=None, plotly_path=str(plotly_js()), html_template=template, css_template=_CSS, js_on_load=_JS,
        apply_default_css=False, container=True, padding=True, min_width=320, elem_id=elem_id,
    )  # fmt: skip


def drawing(figure: Figure | None) -> str | None:
    """A figure as the panel takes it."""
    return None if figure is None else figure.to_json()
