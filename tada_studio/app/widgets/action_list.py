"""A list or table whose rows carry buttons: HTML made in Python, presses sent to Python as (what, key)."""

import itertools
from typing import Any

import gradio as gr
from markupsafe import Markup

from tada_studio.markup import template

_revisions = itertools.count(1)
_BUTTON = template("""
<button type="button" data-press="{{ what }}" data-key="{{ key }}"
{% if says %} title="{{ says }}" aria-label="{{ says }}"{% endif %}>{{ text }}</button>
""")
_BOX = template('<input type="checkbox" data-tick="{{ key }}" aria-label="{{ says }}"{{ " checked" if on else "" }}>')

# the value's own rev makes every update a new one: gradio swallows an update that equals the last, and a press that was
# refused would leave its mark
_JS = """
const place = element.querySelector('.action-list');
const unfolded = new Set();  // what a person has opened in it stays open when it is drawn anew
const kept = () => place.querySelectorAll('details[data-keep]');
const draw = () => {
  place.innerHTML = (props.value || {}).html || '';
  kept().forEach((one) => { one.open = unfolded.has(one.dataset.keep); });
};
place.addEventListener('toggle', ({ target: { open, dataset } }) => {  // it does not bubble
  if (open) unfolded.add(dataset.keep); else unfolded.delete(dataset.keep);
}, true);
place.addEventListener('click', (event) => {
  const button = event.target.closest('[data-press]');
  if (button && !button.disabled) trigger('press', { what: button.dataset.press, key: button.dataset.key });
});
place.addEventListener('change', (event) => {
  const box = event.target.closest('input[data-tick]');
  if (box) trigger('tick', { key: box.dataset.tick, on: box.checked });
});
watch('value', draw);
draw();
"""


def action_list(elem_id: str, html: str = "") -> gr.HTML:
    """Events: press (what, key) of a ``button``, tick (key, on) of a ``box``."""
    return gr.HTML(
        value=rows(html), html_template='<div class="action-list"></div>', js_on_load=_JS, apply_default_css=False,
        container=False, padding=False, elem_id=elem_id, elem_classes="words",
    )  # fmt: skip


def rows(html: str) -> dict[str, Any]:
    """A new value for an action list."""
    return {"html": html, "rev": next(_revisions)}


def button(text: str, what: str, key: object, says: str = "") -> Markup:
    """A small button in a row; ``says`` is its full name for those who do not see which row it stands in."""
    return _BUTTON(text=text, what=what, key=key, says=says)


def box(key: object, says: str, on: bool = False) -> Markup:
    """A tick box in a row."""
    return _BOX(key=key, says=says, on=on)
