"""Both adapters' passports side by side."""

from collections.abc import Sequence

from markupsafe import Markup

from tada_studio import report
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import Named
from tada_studio.lora import Passport
from tada_studio.markup import template

_TABLE = template("""
<div class="table-scroll"><table class="plain-table passports"><caption>{{ caption }}</caption>
<thead><tr><th scope="col">{% if same %}what differs{% endif %}</th>{% for label in labels %}
<th scope="col">{{ label }}</th>{% endfor %}</tr></thead><tbody>{% for row in rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody></table></div>
{% for name, text in notes %}<div class="caption">{{ name }}: {{ text }}</div>{% endfor %}
{% if same %}<details><summary>{{ same | length }} more facts are the same for both</summary><div class="table-scroll">
<table class="plain-table"><tbody>{% for row in same %}<tr><th scope="row">{{ row[0] }}</th><td>{{ row[1] }}</td></tr>{% endfor %}
</tbody></table></div></details>{% endif %}
""")


def show(state: TabState) -> Named:
    """What differs is in sight, what is equal is folded."""
    pair = state.session.pair
    found = [one for one in pair.passports if one is not None] if pair else []
    return {"passports": _table(found) if found else Markup()}


def _table(found: Sequence[Passport]) -> Markup:
    """One table for all of them, their notes last."""
    by_adapter = [dict(report.passport_rows(one)) for one in found]
    names = dict.fromkeys(name for rows in by_adapter for name in rows if name != "note")
    rows = [(name, *(of.get(name, "") for of in by_adapter)) for name in names]
    other, same = [row for row in rows if len(set(row[1:])) > 1], [row for row in rows if len(set(row[1:])) == 1]
    notes = [(f"note on {one.label}", text) for one in found for text in one.remarks]
    return html.box(_TABLE(
        caption=" and ".join(f"{role} adapter: {one.label}" for role, one in zip(("Task", "Domain"), found, strict=False)),
        labels=[one.label for one in found], same=same if len(found) > 1 else [], notes=notes,
        rows=other if len(found) > 1 else rows,
    ))  # fmt: skip
