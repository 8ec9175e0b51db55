"""A plotly figure as a component: gr.Plot ignores dark mode and remounts at every update, this one does neither."""

import json
from pathlib import Path

import gradio as gr

from tada_studio.app.widgets import html
from tada_studio.figures import Figure, standalone
from tada_studio.markup import template

_HERE = Path(__file__).parent
_JS = (_HERE / "plot_panel_load.js").read_text(encoding="utf-8")
#: What the browser fetches once a page for all charts, and for a page that is saved with one in it.
_FILES = {
    "plotly": standalone.plotly_js(), "themed": standalone.THEMED_JS, "panel": _HERE / "plot_panel.js",
    "template": standalone.TEMPLATE, "css": standalone.PAGE_CSS,
}  # fmt: skip
_PATHS = json.dumps({name: str(path) for name, path in _FILES.items()})
#: What a figure can be saved as: what its button says -> its full name.
SAVES = {
    "PNG": "PNG: save as a picture",
    "SVG": "SVG: save as a drawing",
    "CSV": "CSV: save the numbers",
    "HTML": "HTML: save as a page that works offline",
}
# without values: after an update the page is morphed to the rendered template, which would strip plotly's own nodes
_PANEL = template("""
<div class="pp empty" data-files="{{ files }}"><div class="pp-head"><div class="pp-title">{{ title }}</div>
<div class="pp-save" role="group" aria-label="Save this figure">
{% for kind, says in saves.items() %}
<button type="button" data-save="{{ kind.lower() }}" title="{{ says }}" aria-label="{{ says }}">{{ kind }}</button>
{% endfor %}</div></div>
<div class="pp-frame"><div class="pp-chart" role="img" aria-label="{{ title }}"></div></div>
<div class="pp-none empty-state">{{ empty }}</div>
<div class="pp-caption caption" data-here="{{ here }}">{{ caption }}</div><template class="pp-page">{{ page }}</template></div>
""")


def served() -> list[Path]:
    """The files that the app serves besides its own."""
    return list(_FILES.values())


def plot_panel(frame: Figure, none: str, elem_id: str, here: str = "", drawn: str | None = None) -> gr.HTML:
    """A panel under the frame's title; push ``drawing(figure)`` into it, or start with one.

    none: says what to do while there is no plot;  here: what a hand can do with the figure on this screen
    Its buttons save the figure as PNG, SVG or a page of its own. A click on a point is the event point_click (x, y, curve,
    data). ``elem_id`` is for tests and style sheets only.
    """
    made = _PANEL(
        title=frame.title, caption=html.explained(f"{frame.caption} {here}".strip()), empty=none, files=_PATHS, saves=SAVES,
        here=here, page=standalone.figure_block(Figure("%heading%", "%caption%")),
    )  # fmt: skip
    return gr.HTML(
        value=drawn, html_template=made, js_on_load=_JS, apply_default_css=False, container=True, padding=True,
        min_width=320, elem_id=elem_id,
    )  # fmt: skip


def drawing(figure: Figure | None) -> str | None:
    """A figure as the panel takes it; None leaves the panel empty."""
    if figure is None or figure.plot is None:
        return None
    about = json.dumps({"title": figure.title, "caption": figure.caption})
    return f'{about[:-1]}, "figure": {figure.plot.to_json()}}}'
