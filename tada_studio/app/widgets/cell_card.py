"""What one cell of the map is, as a card: a table of facts with the cells that are pinned beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr
from markupsafe import Markup

from tada_studio.markup import template

_JS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
_CARD = template("""
<div class="cell-card" tabindex="0" role="group" aria-label="{{ title }}. Arrow keys go on to the next cell.">
<div class="cell-head"><button type="button" data-what="step" data-i="-1" data-j="0" aria-label="the layer before">&lsaquo;</button>
<div class="cell-title">{{ title }}</div>
<button type="button" data-what="step" data-i="1" data-j="0" aria-label="the next layer">&rsaquo;</button>
<button type="button" class="cell-pin" data-what="pin" data-i="{{ at[0] }}" data-j="{{ at[1] }}" aria-pressed="{{ pinned }}">
{{- "Unpin" if pinned == "true" else "Pin to compare" }}</button></div>
<div class="table-scroll"><table class="plain-table cell-facts">{% if others %}<thead><tr><th></th><th scope="col">this</th>
{% for one in others %}<th scope="col">{{ one.title }} <button type="button" data-what="pin" data-i="{{ one.at[0] }}"
 data-j="{{ one.at[1] }}" aria-label="unpin {{ one.title }}">&times;</button></th>{% endfor %}</tr></thead>{% endif %}<tbody>
{% for name, values in rows %}<tr><th scope="row">{{ name }}</th>{% for value in values %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div></div>
""")

Cell = tuple[int, int]


class Facts(NamedTuple):
    """A cell with what there is to say of it. at: (layer, projection) indexes"""

    at: Cell
    title: str
    rows: Mapping[str, str]


def cell_card(elem_id: str) -> gr.HTML:
    """An empty card; push ``card(...)`` into it. Event act: what ("step" or "pin"), at (by how much, or which)."""
    return gr.HTML("", js_on_load=_JS, apply_default_css=False, elem_id=elem_id, elem_classes="words")


def card(shown: Facts, others: Sequence[Facts], pinned: bool) -> Markup:
    """The HTML of a cell and those it is compared with; a fact that only another has has its row too."""
    names = list(dict.fromkeys(name for one in (shown, *others) for name in one.rows))
    rows = [(name, [one.rows.get(name, "") for one in (shown, *others)]) for name in names]
    return _CARD(title=shown.title, at=shown.at, others=others, rows=rows, pinned=str(pinned).lower())
