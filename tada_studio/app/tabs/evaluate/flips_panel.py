"""What flipped: the items that one variant gets right and another wrong, with every score, to read and to take home."""

from base64 import b64encode
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from tada_studio import report
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.action_list import action_list, button, rows
from tada_studio.app.widgets.panel import READ, Named, Panel, listen
from tada_studio.base_model.images import thumbnail
from tada_studio.errors import InputError
from tada_studio.markup import joined, template
from tada_studio.report.history import Flip
from tada_studio.session import Run

DIRECTIONS = [("Both ways", ""), ("Right now", "won"), ("Wrong now", "lost")]
#: Rows of one page; the downloads have all.
PER_PAGE = 25
_PAGE = template("""
{{ head }}{% if rows %}<div class="flips"><div class="flip-row flip-head" aria-hidden="true">
<span>Now</span><span>Item</span><span>What it asks</span><span>Margin, nats</span></div>{{ rows }}</div>{% endif %}{{ pages }}
""")
_ROW = template("""
<details class="flip {{ "won" if won else "lost" }}" data-keep="{{ side }} {{ number }}"><summary class="flip-row">
<span class="state">{{ "right" if won else "wrong" }}<span class="unseen"> now</span></span><span>{{ side }} {{ number }}</span>
<span class="flip-text">{{ line }}</span><span class="flip-margin">{{ moved }}</span></summary><div class="flip-body">
{% if picture %}<img src="data:image/png;base64,{{ picture }}" alt="">{% endif %}<p>{{ prompt }}</p>
<div class="table-scroll"><table class="plain-table">{{ rows }}</table></div></div></details>
""")
_PAGES = template("""
<div class="flip-pages">{{ before }} <span>{{ first }} to {{ last }} of {{ count }}</span> {{ after }}</div>
""")
_CHOICES = template("""
<thead><tr><th scope="col">choice</th><th scope="col">{{ before }}</th><th scope="col">{{ after }}</th></tr></thead><tbody>
{% for name, cells in rows %}<tr><th scope="row">{{ name }}</th>
{% for value, picked in cells %}<td{% if picked %} class="picked"{% endif %}>{{ "%.2f" | format(value) }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
""")
_ANSWERS = template("""
<tbody>{% for who, what in rows %}<tr><th scope="row">{{ who }}</th><td>{{ what }}</td></tr>{% endfor %}</tbody>
""")
EMPTY = "Evaluate two variants on the same items first: here is each item that one gets right and the other wrong."


# -- what is shown ---------------------------------------------------------------------------------------------------


def page(found: Sequence[Flip], chosen: Sequence[Flip], before: str, after: str, number: int = 0) -> Markup:
    """How many flipped each way, and one page of the chosen ones as rows that open."""
    won, lost = sum(flip.won for flip in found), sum(not flip.won for flip in found)
    head = html.note(
        f"From {before} to {after}: {won} items are right now and were wrong, {lost} are wrong now and were right. "
        + (f"{len(chosen)} of them fit the filter." if len(chosen) < len(found) else "")
    )
    number = max(0, min(number, (len(chosen) - 1) // PER_PAGE))
    shown = chosen[number * PER_PAGE : (number + 1) * PER_PAGE]
    return _PAGE(head=head, rows=joined(_row(flip, before, after) for flip in shown), pages=_pages(number, len(chosen)))


def _pages(number: int, count: int) -> Markup:
    """Buttons to the pages before and after; none where there is a single page."""
    if count <= PER_PAGE:
        return Markup()
    last = min(count, (number + 1) * PER_PAGE)
    before = button("Earlier", "page", number - 1, "Earlier flips") if number else Markup()
    after = button("Further", "page", number + 1, "Further flips") if last < count else Markup()
    return _PAGES(before=before, after=after, first=number * PER_PAGE + 1, last=last, count=count)


def _row(flip: Flip, before: str, after: str) -> Markup:
    margins = (flip.margin_before, flip.margin_after)
    moved = "" if None in margins else f"{margins[0]:+.2f} → {margins[1]:+.2f}"
    inside = _choices(flip, before, after) if flip.before and flip.after else _answers(flip, before, after)
    return _ROW(
        won=flip.won, side=flip.side, number=flip.item + 1, moved=moved, picture=_picture(flip.shown.image),
        line=_line(flip.shown.prompt), prompt=flip.shown.prompt, rows=inside,
    )  # fmt: skip


def _line(prompt: str) -> str:
    """The prompt in one line; the style sheet cuts it where the room ends."""
    return " ".join(prompt.split())[:160]


def _picture(path: str | None) -> str:
    """The image itself in base64; nothing if it is gone, as an upload may be after a reload."""
    try:
        return "" if path is None else b64encode(thumbnail(path)).decode()
    except InputError:
        return ""


def _choices(flip: Flip, before: str, after: str) -> Markup:
    each = [_choice(flip, i, text) for i, text in enumerate(flip.shown.choices)]
    return _CHOICES(before=before, after=after, rows=each)


def _choice(flip: Flip, i: int, text: str) -> tuple[str, list[tuple[float, bool]]]:
    """What it is called, and each variant's score of it with whether the variant chose it."""
    values = zip((flip.before, flip.after), flip.replies, strict=True)
    name = f"✓ {text}" if text == flip.shown.right else text
    return name, [(scores[i], reply == text) for scores, reply in values]


def _answers(flip: Flip, before: str, after: str) -> Markup:
    fields = [("right answer", flip.shown.right), (before, flip.replies[0]), (after, flip.replies[1])]
    return _ANSWERS(rows=[(who, what) for who, what in fields if what])


def files(state: TabState, chosen: Sequence[Flip]) -> Named:
    """Both downloads, written when there is something in them."""
    made = {"table": ("flips.csv", report.flips_csv), "lines": ("flips.jsonl", report.flips_jsonl)}
    return {
        key: _file(state.session.folder, name, text(chosen)) if chosen else gr.update(visible=False)
        for key, (name, text) in made.items()
    }


def _file(folder: Path, name: str, text: str) -> Any:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return gr.update(value=str(path), visible=True)


def show(state: TabState) -> Named:
    """The latest run, its last variant against the task's."""
    return show_run(state, None)


def show_run(state: TabState, number: int | None) -> Named:
    """Everything for one run (None: the latest that has two variants)."""
    runs = [run for run in state.session.runs if len(run.variants) > 1]
    run = next((run for run in runs if run.number == number), runs[-1] if runs else None)
    if run is None:
        none = gr.update(choices=[], value=None)
        nothing = {"controls": gr.update(visible=False), "run": none, "before": none, "after": none}
        return {**nothing, "page": rows(html.note(EMPTY, "next")), **files(state, [])}
    names = run.variants
    before, after = ("task" if "task" in names[:-1] else names[0]), names[-1]
    return {
        "controls": gr.update(visible=True),
        "run": gr.update(choices=[(f"Run {run.number}", run.number) for run in reversed(runs)], value=run.number),
        "before": gr.update(choices=names, value=before),
        "after": gr.update(choices=names, value=after),
        "side": gr.update(choices=[("Both sides", ""), *((side, side) for side in run.sides)], value=""),
        **on_choice(state, run.number, before, after, "", "", ""),
    }


# -- handlers --------------------------------------------------------------------------------------------------------


def on_choice(
    state: TabState, number: int | None, before: str | None, after: str | None, side: str, direction: str, text: str
) -> Named:
    """The flips that were asked for: the first page of them and both downloads."""
    run = _run(state, number)
    if run is None or not before or not after or before == after:
        nothing = html.note(EMPTY if run is None else "Choose two different variants.", "next")
        return {"page": rows(nothing), **files(state, [])}
    found = report.flips(run.sides, run.items, before, after)
    chosen = report.chosen_flips(found, side or "", direction or "", text or "")
    return {"page": rows(page(found, chosen, before, after)), **files(state, chosen)}


def turned(state: TabState, pick: Sequence[Any], key: Any) -> Named:
    """Another page of the same flips. Raises InputError."""
    number, before, after, side, direction, text = pick
    run = _run(state, number)
    if run is None or not before or not after or not str(key).isdigit():
        raise InputError("That page is not there any more. Choose the run again.")
    found = report.flips(run.sides, run.items, before, after)
    chosen = report.chosen_flips(found, side or "", direction or "", text or "")
    return {"page": rows(page(found, chosen, before, after, int(key)))}


def _run(state: TabState, number: int | None) -> Run | None:
    return next((run for run in state.session.runs if run.number == number), None)


# -- layout and wiring -----------------------------------------------------------------------------------------------


class Pick(NamedTuple):
    """Which flips are shown."""

    run: gr.Dropdown
    before: gr.Dropdown
    after: gr.Dropdown
    side: gr.Dropdown
    direction: gr.Dropdown
    text: gr.Textbox


def flips_panel(state: gr.State) -> Panel:
    """Builds and wires the section."""
    with gr.Row(visible=False) as controls:
        pick = Pick(
            _dropdown("Run", "flips-run"), _dropdown("Before", "flips-before"), _dropdown("After", "flips-after"),
            _dropdown("Side", "flips-side"),
            gr.Dropdown(DIRECTIONS, value="", label="Direction", filterable=False, elem_id="flips-direction", min_width=120),
            gr.Textbox(label="Search", placeholder="words in the item", elem_id="flips-text", min_width=150),
        )  # fmt: skip
    with gr.Row():
        table, lines = (
            gr.DownloadButton(text, size="sm", visible=False, elem_id=name, min_width=120, scale=0)
            for text, name in (("Download CSV", "flips-csv"), ("Download JSONL", "flips-jsonl"))
        )
    found = action_list("flips", html.note(EMPTY, "next"))
    shown = {"page": found, "table": table, "lines": lines}
    chosen = {"run": pick.run, "before": pick.before, "after": pick.after, "side": pick.side}
    everything = {"controls": controls, **chosen, **shown}
    listen(pick.run.input, show_run, [state, pick.run], everything, **READ)
    # change: gradio tells of no input when a text is pasted into an empty box
    events = [*(control.input for control in pick[1:-1]), pick.text.change]
    listen(partial(gr.on, events), on_choice, [state, *pick], shown, **{**READ, "trigger_mode": "always_last"})

    def on_page(
        state: TabState, run: Any, before: Any, after: Any, side: Any, direction: Any, text: Any, news: gr.EventData
    ) -> Named:  # gradio looks for its event in the annotations
        return turned(state, (run, before, after, side, direction, text), getattr(news, "key", None))

    listen(found.press, on_page, [state, *pick], {"page": found}, **READ)
    return Panel(everything, show)


def _dropdown(label: str, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown([], label=label, filterable=False, elem_id=elem_id, min_width=120)
