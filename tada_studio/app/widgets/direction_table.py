"""The directions of one adapter in one module as a table with a tick each: ticked stays in the merge."""

from html import escape
from pathlib import Path

import gradio as gr

from tada_studio import report
from tada_studio.app.widgets import html
from tada_studio.core.module_detail import DirectionState, ModuleDetail

#: "weights" and "inputs": how far the two meet, in multiples of chance.
HEAD = ("kept", "direction", "energy", "opposes most", "weights", "inputs", "state")
GONE = ' class="gone"'
_JS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def direction_table(elem_id: str) -> gr.HTML:
    """An empty table; push ``rows(...)`` into it. A tick is the event pick (row, side, number)."""
    return gr.HTML("", js_on_load=_JS, apply_default_css=False, elem_id=elem_id, elem_classes="words")


def rows(side: str, near: ModuleDetail) -> str:
    """The table's HTML for one adapter."""
    if not near.drops:
        return html.empty("No choice here", "This method keeps every direction. Choose the method tada to drop any.")
    fates, other = (near.task, "domain") if side == "task" else (near.domain, "task")
    if not fates:
        return html.empty(f"Nothing of the {side} adapter", "It does not change this module.")
    body = "".join(_row(near.row, side, other, fate) for fate in fates)
    head = "".join(f'<th scope="col">{name}</th>' for name in HEAD)
    caption = f"<caption>{side.capitalize()} directions: untick to drop, tick to keep</caption>"
    return (
        f'<div class="table-scroll directions {side}"><table class="plain-table">{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(row: int, side: str, other: str, fate: DirectionState) -> str:
    says = report.fate_says(fate, other)
    kind = "hand" if fate.by_hand else "bad" if fate.dropped or fate.opposed else ""
    tick = (
        f'<input type="checkbox" data-row="{row}" data-side="{side}" data-number="{fate.number}" '
        f'aria-label="keep {side} {fate.number}"{"" if fate.dropped else " checked"}>'
    )
    cells = [
        tick,
        f"{side} {fate.number}",
        escape(report.percent(fate.share)),
        *map(escape, report.fate_meets(fate, other)),
        html.badge(says, kind) if kind else says,
    ]
    return f"<tr{GONE if fate.dropped else ''}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
