"""What flipped: the items that one variant gets right and another wrong, with every score, to read and to take home."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from tada_studio import report
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import READ, Panel, words
from tada_studio.base_model.images import thumbnail
from tada_studio.errors import InputError
from tada_studio.report.history import Flip
from tada_studio.session import Run

DIRECTIONS = [("Both ways", ""), ("Right now", "won"), ("Wrong now", "lost")]
#: More are in the download; a page of thousands would help nobody.
MOST = 60
EMPTY = "Evaluate two variants on the same items first: here is each item that one gets right and the other wrong."


# -- what is shown ---------------------------------------------------------------------------------------------------


def page(found: Sequence[Flip], chosen: Sequence[Flip], before: str, after: str) -> str:
    """How many flipped each way, and the chosen ones."""
    won, lost = sum(flip.won for flip in found), sum(not flip.won for flip in found)
    head = html.note(
        f"From {before} to {after}: {won} items are right now and were wrong, {lost} are wrong now and were right. "
        + (f"{len(chosen)} of them fit the filter." if len(chosen) < len(found) else "")
    )
    more = html.message(f"The first {MOST} are shown; the download has all.") if len(chosen) > MOST else ""
    cards = "".join(_card(flip, before, after) for flip in chosen[:MOST])
    return f'{head}<div class="flips">{cards}</div>{more}'


def _card(flip: Flip, before: str, after: str) -> str:
    kind, outcome = ("won", "right now") if flip.won else ("lost", "wrong now")
    margins = (flip.margin_before, flip.margin_after)
    moved = "" if None in margins else f"margin {margins[0]:+.2f} → {margins[1]:+.2f} nats"
    top = f'<span class="state">{outcome}</span> {escape(flip.side)}: item {flip.item + 1}<span>{moved}</span>'
    rows = _choices(flip, before, after) if flip.before and flip.after else _answers(flip, before, after)
    asked = f"{_picture(flip.shown.image)}<p>{escape(flip.shown.prompt)}</p>"
    return (
        f'<article class="flip {kind}"><header>{top}</header>{asked}'
        f'<div class="table-scroll"><table class="plain-table">{rows}</table></div></article>'
    )


def _picture(path: str | None) -> str:
    """The image itself; nothing if it is gone, as an upload may be after a reload."""
    try:
        return "" if path is None else f'<img src="data:image/png;base64,{b64encode(thumbnail(path)).decode()}" alt="">'
    except InputError:
        return ""


def _choices(flip: Flip, before: str, after: str) -> str:
    head = (
        f'<tr><th scope="col">choice</th><th scope="col">{escape(before)}</th><th scope="col">{escape(after)}</th></tr>'
    )
    return f"<thead>{head}</thead><tbody>{''.join(_choice(flip, i) for i in range(len(flip.shown.choices)))}</tbody>"


def _choice(flip: Flip, i: int) -> str:
    text = flip.shown.choices[i]
    name = f"✓ {text}" if text == flip.shown.right else text
    cells = "".join(
        f"<td{' class=picked' if reply == text else ''}>{values[i]:.2f}</td>"
        for values, reply in ((flip.before, flip.replies[0]), (flip.after, flip.replies[1]))
    )
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _answers(flip: Flip, before: str, after: str) -> str:
    fields = [("right answer", flip.shown.right), (before, flip.replies[0]), (after, flip.replies[1])]
    rows = (f'<tr><th scope="row">{escape(who)}</th><td>{escape(what)}</td></tr>' for who, what in fields if what)
    return f"<tbody>{''.join(rows)}</tbody>"


def files(state: TabState, chosen: Sequence[Flip]) -> list[Any]:
    """Both downloads, written when there is something in them."""
    made = {"flips.csv": report.flips_csv(chosen), "flips.jsonl": report.flips_jsonl(chosen)}
    return [
        _file(state.session.folder, name, text) if chosen else gr.update(visible=False) for name, text in made.items()
    ]


def _file(folder: Path, name: str, text: str) -> Any:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return gr.update(value=str(path), visible=True)


def show(state: TabState) -> list[Any]:
    """Controls, run, before, after, side, page, both downloads: the latest run, its last variant against the task's."""
    return show_run(state, None)


def show_run(state: TabState, number: int | None) -> list[Any]:
    """The same for one run (None: the latest that has two variants)."""
    runs = [run for run in state.session.runs if len(run.variants) > 1]
    run = next((run for run in runs if run.number == number), runs[-1] if runs else None)
    named = [(f"Run {run.number}", run.number) for run in reversed(runs)]
    if run is None:
        none = gr.update(choices=[], value=None)
        return [gr.update(visible=False), none, none, none, gr.update(), html.note(EMPTY, "next"), *files(state, [])]
    names = run.variants
    before, after = ("task" if "task" in names[:-1] else names[0]), names[-1]
    sides = gr.update(choices=[("Both sides", ""), *((side, side) for side in run.sides)], value="")
    return [
        gr.update(visible=True), gr.update(choices=named, value=run.number), gr.update(choices=names, value=before),
        gr.update(choices=names, value=after), sides, *on_choice(state, run.number, before, after, "", "", ""),
    ]  # fmt: skip


# -- handlers --------------------------------------------------------------------------------------------------------


def on_choice(
    state: TabState, number: int | None, before: str | None, after: str | None, side: str, direction: str, text: str
) -> list[Any]:
    """The flips that were asked for: page and both downloads."""
    run = _run(state, number)
    if run is None or not before or not after or before == after:
        return [html.note(EMPTY if run is None else "Choose two different variants.", "next"), *files(state, [])]
    found = report.flips(run.sides, run.items, before, after)
    chosen = report.chosen_flips(found, side or "", direction or "", text or "")
    return [page(found, chosen, before, after), *files(state, chosen)]


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
    found = words(html.note(EMPTY, "next"), elem_id="flips")
    shown = [found, table, lines]
    everything = [controls, *pick[:4], *shown]
    pick.run.input(user_errors(show_run), [state, pick.run], everything, **READ)
    # change: gradio tells of no input when a text is pasted into an empty box
    asked = [*(control.input for control in pick[1:-1]), pick.text.change]
    gr.on(asked, user_errors(on_choice), [state, *pick], shown, **{**READ, "trigger_mode": "always_last"})
    return Panel(everything, show)


def _dropdown(label: str, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown([], label=label, filterable=False, elem_id=elem_id, min_width=120)
