"""The directions of one adapter in one module as a table with a tick each: ticked stays in the merge."""

from pathlib import Path

import gradio as gr
from markupsafe import Markup

from tada_studio import report
from tada_studio.app.widgets import html
from tada_studio.core.module_detail import DirectionState, ModuleDetail
from tada_studio.markup import joined, template

#: "weights" and "inputs": how far the two meet, in multiples of chance.
HEAD = ("kept", "direction", "energy", "opposes most", "weights", "inputs", "state")
_TABLE = template("""
<div class="table-scroll directions {{ side }}"><table class="plain-table">
<caption>{{ side.capitalize() }} directions: untick to drop, tick to keep</caption>
<thead><tr>{% for name in head %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>{{ rows }}</tbody></table></div>
""")
_ROW = template("""
<tr{{ gone }}><td><input type="checkbox" data-row="{{ row }}" data-side="{{ side }}" data-number="{{ number }}"
 aria-label="keep {{ side }} {{ number }}"{% if not dropped %} checked{% endif %}></td>
{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
""")
_GONE = Markup(' class="gone"')
_JS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def direction_table(elem_id: str) -> gr.HTML:
    """An empty table; push ``rows(...)`` into it. A tick is the event pick (row, side, number)."""
    return gr.HTML("", js_on_load=_JS, apply_default_css=False, elem_id=elem_id, elem_classes="words")


def rows(side: str, near: ModuleDetail) -> Markup:
    """The table's HTML for one adapter."""
    if not near.drops:
        return html.empty("No choice here", "This method keeps every direction. Choose the method tada to drop any.")
    directions, other = (near.task, "domain") if side == "task" else (near.domain, "task")
    if not directions:
        return html.empty(f"Nothing of the {side} adapter", "It does not change this module.")
    return _TABLE(side=side, head=HEAD, rows=joined(_row(near.row, side, other, direction) for direction in directions))


def _row(row: int, side: str, other: str, direction: DirectionState) -> Markup:
    says = report.direction_says(direction, other)
    kind = "hand" if direction.by_hand else "bad" if direction.dropped or direction.opposed else ""
    state = html.badge(says, kind) if kind else says
    cells = [
        f"{side} {direction.number}",
        report.percent(direction.share),
        *report.direction_meets(direction, other),
        state,
    ]
    gone = _GONE if direction.dropped else ""
    return _ROW(row=row, side=side, number=direction.number, dropped=direction.dropped, cells=cells, gone=gone)
