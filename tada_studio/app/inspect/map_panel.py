"""The gate map with its toolbar, and the line under it that says what just happened and takes it back."""

from typing import Any, NamedTuple

import gradio as gr

from tada_studio.app import edits, pieces
from tada_studio.app.desk import Desk
from tada_studio.app.gate_map import gate_map, hand_over, payload
from tada_studio.app.part import words
from tada_studio.session import View

TOOLS = [("Paint", "paint"), ("Reset", "reset"), ("Lock", "lock"), ("Inspect", "inspect")]
SHOWS = [("Gates", "gate"), ("Conflict", "conflict")]


def stat_cards(view: View | None) -> str:
    """The merge in four figures."""
    if view is None:
        return pieces.cards(
            [("-", "gates set by hand"), ("-", "mean gate"), ("-", "directions dropped"), ("-", "energy kept")]
        )
    gates, merged = view.gates, view.merged
    locked, drops = int(gates.locked.sum()), merged.how.drops
    return pieces.cards([
        (str(int(gates.edited.sum())), "gates set by hand" + (f", {locked} locked" if locked else "")),
        (f"{float(gates.values.nanmean()):.2f}", "mean gate: 0 is task, 1 is domain"),
        ("-" if drops is None else f"{drops.count:,}", "directions dropped as conflict"),
        (f"{merged.kept_in_all:.1%}", f"of the merge's energy kept at rank {merged.rank}"),
    ])  # fmt: skip


def show(desk: Desk) -> list[Any]:
    """What follows a hand at once: map, status line, undo, redo, cards."""
    session = desk.session
    return [
        payload(session.view, desk.ack),
        pieces.said(desk.said),
        gr.update(interactive=session.can_undo),
        gr.update(interactive=session.can_redo),
        stat_cards(session.view),
    ]


def truth(desk: Desk) -> list[Any]:
    """``show`` that the map takes in any case, whatever strokes are on their way: after a refusal, or a new pair."""
    value, *rest = show(desk)
    return [{**value, "ack": None}, *rest]


def on_stroke(desk: Desk, news: gr.EventData) -> None:
    """A stroke on the map."""
    edits.stroke(desk, {name: getattr(news, name, None) for name in ("tool", "cells", "value", "on", "id")})


# -- layout ----------------------------------------------------------------------------------------------------------


class Map(NamedTuple):
    """What ``show`` gives updates for, in its order."""

    grid: gr.HTML
    said: gr.HTML
    undo: gr.Button
    redo: gr.Button
    cards: gr.HTML


def map_panel(cards: gr.HTML) -> Map:
    """Builds the panel; ``cards`` stand above it, over the whole width."""
    _toolbar()
    grid = gate_map()
    with gr.Row(elem_classes="below-map"):
        said = words(pieces.said(""), elem_id="said")
        undo, redo = _small("↶ Undo", "undo"), _small("↷ Redo", "redo")
    return Map(grid, said, undo, redo, cards)


def _toolbar() -> None:
    with gr.Row(equal_height=True, elem_classes="toolbar"):
        tool = gr.Radio(TOOLS, value="paint", label="Tool", elem_id="tool", scale=4, min_width=360)
        brush = gr.Slider(0, 1, 1, step=0.05, label="Brush: domain", elem_id="brush", scale=3, min_width=200)
        shows = gr.Radio(SHOWS, value="gate", label="Map shows", elem_id="shows", scale=2, min_width=190)
    for prop, control in {"tool": tool, "brush": brush, "shows": shows}.items():
        control.input(None, control, None, js=hand_over(prop), api_visibility="private")


def _small(text: str, name: str) -> gr.Button:
    return gr.Button(text, interactive=False, elem_id=name, elem_classes="act", size="sm", scale=0, min_width=90)
