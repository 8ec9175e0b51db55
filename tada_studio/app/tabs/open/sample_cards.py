"""The embedded samples as cards: what each is about, what was measured on it, and one click that opens it."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from markupsafe import Markup

from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import Named, words
from tada_studio.markup import joined, template
from tada_studio.sample_pairs import Sample, samples

_CARD = template("""
<div class="story"><div class="story-title">{{ title }}{{ state }}</div><p>{{ story }}</p>
<p class="story-line">{{ line }}</p><div class="badges">{{ badges }}</div>
{% if is_open %}<p class="story-next"><a href="#inspect" data-tab="inspect">Look at its map</a></p>{% endif %}</div>
""")
#: What a card calls the variants that sample.json has figures of, in the order of the story.
_NAMES = {"base": "base", "task": "task alone", "domain": "domain alone", "sum": "plain sum", "tada": "tada"}


def measured_line(about: Mapping[str, Any]) -> str:
    """Accuracy of base, parents, sum and tada in one line; "" where sample.json measured nothing.

    Items that need both skills say it best; without such items it is the mean of the sides.
    """
    measured = about.get("measured")
    sides = [side for side in measured.values() if isinstance(side, dict)] if isinstance(measured, dict) else []
    if isinstance(measured, dict) and isinstance(measured.get("both"), dict):
        sides, what = [measured["both"]], "items that need both"
    else:
        what = "both skills, mean accuracy" if len(sides) > 1 else "accuracy"
    found = {message: _mean(name, sides) for name, message in _NAMES.items()}
    listed = ", ".join(
        f"{message} {value:.2f}".replace(" 0.", " .") for message, value in found.items() if value is not None
    )
    return f"{what.capitalize()}: {listed}." if listed else ""


def _mean(variant: str, sides: list[dict[str, Any]]) -> float | None:
    """None unless every side has a figure of the variant."""
    scores = [side.get(variant) for side in sides]
    found = [score["accuracy"] for score in scores if isinstance(score, dict) and "accuracy" in score]
    return sum(found) / len(found) if found and len(found) == len(sides) else None


def card(sample: Sample, is_open: bool) -> Markup:
    """One sample's story, facts and figures."""
    facts = ["images" if sample.kind == "image" else "text", f"{sample.size / 1e6:.1f} MB", _base(sample)]
    badges = [*facts, *([str(sample.about["licence"])] if sample.about.get("licence") else [])]
    return _CARD(
        title=sample.title, state=html.badge("open", "good") if is_open else "", story=sample.story,
        line=measured_line(sample.about), badges=joined(map(html.badge, badges)), is_open=is_open,
    )  # fmt: skip


def _base(sample: Sample) -> str:
    if sample.base is None:
        return "no base: weights only"
    return "base included" if sample.base_is_here else f"base: {sample.base.rpartition('/')[2]}"


def show(state: TabState) -> Named:
    """Every card, with the one that is open marked."""
    opened = state.session.sample.name if state.session.sample else None
    return {f"sample {name}": card(sample, name == opened) for name, sample in samples().items()}


def sample_cards() -> tuple[dict[str, gr.HTML], dict[str, gr.Button]]:
    """(the cards as ``show`` names them, the button that opens each by the sample's name); a click anywhere on a card is a
    click on its button."""
    known = samples()
    line = "Small, trained by us, with items to measure and readings already taken." if known else "None is installed."
    words(html.heading("Start from a sample", line))
    shown, buttons = {}, {}
    with gr.Row(elem_classes="sample-cards", elem_id="samples"):
        for name, sample in known.items():
            with gr.Column(min_width=260, elem_classes="sample-card", elem_id=f"sample-{name}"):
                shown[f"sample {name}"] = words(card(sample, False))
                buttons[name] = gr.Button("Open", size="sm", elem_id=f"open-{name}")
    return shown, buttons
