"""Inspect and tune: the map, the depth profile under it, every knob beside it, and sections that look closer.

Panels live in ``inspect/``; here they are put together. What follows a hand at once (map, cards, boxes) is shown by every
edit; the pictures follow when the map has come to rest, and of the sections only the one in sight is drawn.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gradio as gr

from tada_studio.app import edits
from tada_studio.app.state import Desk
from tada_studio.app.tabs.inspect import map_panel
from tada_studio.app.tabs.inspect.cell_panel import cell_panel
from tada_studio.app.tabs.inspect.depth_panel import depth_panel
from tada_studio.app.tabs.inspect.effect_panel import effect_panel
from tada_studio.app.tabs.inspect.knob_column import Knobs, checks, knob_column, presets, touched
from tada_studio.app.tabs.inspect.layer_panel import layer_panel
from tada_studio.app.tabs.inspect.map_panel import Map
from tada_studio.app.tabs.inspect.norms_panel import norms_panel
from tada_studio.app.tabs.inspect.rank_panel import rank_panel
from tada_studio.app.tabs.inspect.stability_panel import stability_panel
from tada_studio.app.widgets import html
from tada_studio.app.widgets.controls import on_turn
from tada_studio.app.widgets.messages import spoken
from tada_studio.app.widgets.panel import DRAG, EDIT, READ, Part, skip_early, words

Show = Callable[[Desk], list[Any]]

#: What looks closer, under the map: name -> (what its tab says, what builds it). A section is a Part: its ``show`` is asked
#: when it is in sight and the map has come to rest; its ``changes`` are edits, after which everything is shown anew.
SECTIONS: dict[str, tuple[str, Callable[[gr.State], Part]]] = {
    "cell": ("Conflict", cell_panel),
    "rank": ("Rank", rank_panel),
    "norms": ("Norms and balance", norms_panel),
    "layer": ("One layer, three ways", layer_panel),
    "stability": ("Stability", stability_panel),
    "effect": ("Effect", effect_panel),
}


#: Moves the page only if what was asked for cannot be seen.
_INTO_SIGHT = """() => {
  const sections = document.getElementById('sections'), top = sections.getBoundingClientRect().top;
  if (top > innerHeight - 260) sections.scrollIntoView({ block: 'start', behavior: 'smooth' });
}"""


# -- handlers --------------------------------------------------------------------------------------------------------


def settled(depth: Part, sections: Mapping[str, Part], desk: Desk) -> list[Any]:
    """What follows once the map has come to rest: what its card tells, the depth profile and the section in sight."""
    return [map_panel.facts(desk), *depth.show(desk), *in_sight(sections, desk)]


def in_sight(sections: Mapping[str, Part], desk: Desk) -> list[Any]:
    """Updates for all sections, of which only the one in sight is drawn."""
    return [
        update
        for name, part in sections.items()
        for update in (part.show(desk) if name == desk.section else [gr.skip()] * len(part.components))
    ]


def on_section(name: str, part: Part, desk: Desk) -> list[Any]:
    """Another section comes into sight."""
    desk.section = name
    return part.show(desk)


def after(act: Callable[..., None], show: Show) -> Callable[..., list[Any]]:
    """A handler that does one thing to the desk and shows what follows."""

    def handler(desk: Desk, *values: Any) -> list[Any]:
        act(desk, *values)
        return show(desk)

    return spoken(handler)


# -- layout and wiring -----------------------------------------------------------------------------------------------


def inspect_tab(desk: gr.State) -> Part:
    """Builds and wires the tab."""
    cards = words(map_panel.stat_cards(None))
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            picture, depth = map_panel.map_panel(cards), depth_panel(desk)
        with gr.Column(scale=1, min_width=270, elem_classes="knob-column"):
            side = knob_column()
    tabs, sections = _sections(desk)
    at_once = [*picture, *side.texts]
    whole = Part([*at_once, *side.controls.components], partial(_all, side), _changes(sections))
    _wire_map(desk, picture, at_once, side, whole)
    _wire_figures(desk, picture, depth, tabs, sections)
    _wire_knobs(desk, side, at_once, whole)
    _wire_lines(desk, picture, side, whole)
    return whole


def _sections(desk: gr.State) -> tuple[gr.Tabs, dict[str, Part]]:
    built: dict[str, Part] = {}
    with gr.Tabs(elem_id="sections", overflow_behavior="wrap") as tabs:
        for name, (label, build) in SECTIONS.items():
            with gr.Tab(label, id=name, elem_id=f"section-{name}") as tab:
                built[name] = part = build(desk)
            shown = skip_early(spoken(partial(on_section, name, part)), len(part.components))
            tab.select(shown, desk, part.components, **READ)
    return tabs, built


def _changes(sections: Mapping[str, Part]) -> tuple[Any, ...]:
    return tuple(change for part in sections.values() for change in part.changes)


def quick(side: Knobs, desk: Desk) -> list[Any]:
    """What follows a hand at once: map and cards, and the boxes of lines."""
    return [*map_panel.show(desk), *side.lines(desk)]


def _all(side: Knobs, desk: Desk) -> list[Any]:
    """Everything but the pictures, which follow by themselves when the map has come to rest."""
    return [*map_panel.truth(desk), *side.lines(desk), *side.controls.showing(desk.session.recipe)]


def _wire_map(desk: gr.State, picture: Map, at_once: list[Any], side: Knobs, whole: Part) -> None:
    grid = picture.grid

    def on_stroke(desk: Desk, news: gr.EventData) -> list[Any]:
        map_panel.on_stroke(desk, news)
        return quick(side, desk)

    grid.stroke(spoken(on_stroke), desk, at_once, **EDIT).failure(spoken(whole.show), desk, whole.components, **READ)
    for event in (picture.undo.click, grid.undo):
        event(after(edits.undo, whole.show), desk, whole.components, **EDIT)
    for event in (picture.redo.click, grid.redo):
        event(after(edits.redo, whole.show), desk, whole.components, **EDIT)
    picture.clear.click(after(edits.clear, whole.show), desk, whole.components, **EDIT)


def _wire_figures(desk: gr.State, picture: Map, depth: Part, tabs: gr.Tabs, sections: Mapping[str, Part]) -> None:
    closer = [component for part in sections.values() for component in part.components]
    under = [*depth.components, *closer]
    how = {**READ, "trigger_mode": "always_last"}

    def on_select(desk: Desk, news: gr.EventData) -> list[Any]:  # gradio looks for its event in the annotations
        edits.select(desk, getattr(news, "index", None))
        return in_sight(sections, desk)

    def on_inspect(desk: Desk, news: gr.EventData) -> list[Any]:
        desk.section = "cell"
        return [gr.update(selected="cell"), *on_select(desk, news)]

    rest = [picture.grid, *under]
    picture.grid.settled(skip_early(spoken(partial(settled, depth, sections)), len(rest)), desk, rest, **how)
    picture.grid.cell_select(spoken(on_select), desk, closer, **how)
    shown = picture.grid.inspect(spoken(on_inspect), desk, [tabs, *closer], **how)
    shown.success(None, None, None, js=_INTO_SIGHT, api_visibility="private")


def _wire_knobs(desk: gr.State, side: Knobs, at_once: list[Any], whole: Part) -> None:
    def edit(act: Callable[..., None]) -> Callable[..., list[Any]]:
        return after(act, whole.show)

    back = {"fn": spoken(whole.show), "inputs": desk, "outputs": whole.components, **READ}
    chosen = side.preset.input(edit(edits.preset), [desk, side.preset, side.own], whole.components, **EDIT)
    chosen.then(lambda: None, None, side.preset, **READ)
    for name, box in side.boxes.items():
        left = box.blur(edit(partial(edits.set_lines, name=name)), [desk, box], whole.components, **EDIT)
        left.failure(**back)
    for name, control in side.controls.by_name.items():
        # the control itself is no output: a slider must not be moved under the hand that drags it
        turned = on_turn(control, after(partial(edits.turn, name=name), partial(quick, side)), [desk], at_once, **DRAG)
        turned.failure(**back)


def on_line(desk: Desk, text: str | None) -> list[Any]:
    """What the lines being written would do: in words, as cells on the map, and whether they can be added."""
    found = edits.preview(desk, text)
    addable = bool(found) and all(one.touched is not None for one in found)
    return [checks(found), gr.update(preview=touched(found)), gr.update(visible=addable)]


def _wire_lines(desk: gr.State, picture: Map, side: Knobs, whole: Part) -> None:
    about = [side.check, picture.grid, side.add]
    written = skip_early(spoken(on_line), len(about))
    side.line.change(written, [desk, side.line], about, **{**READ, "trigger_mode": "always_last"})
    for event in (side.line.submit, side.add.click):
        added = event(after(edits.add_lines, whole.show), [desk, side.line], whole.components, **EDIT)
        # in the browser: an answer from Python could come late and wipe the next line while it is being written
        added.success(None, None, side.line, js="() => ''", api_visibility="private")

    def kept(act: Callable[..., Any]) -> Callable[..., list[Any]]:
        def handler(desk: Desk, name: str | None, saved: Any) -> list[Any]:
            return [act(desk, name, saved), html.said(desk.said)]

        return spoken(handler)

    for event, act in ((side.save.click, edits.save_preset), (side.forget.click, edits.forget_preset)):
        event(kept(act), [desk, side.name, side.own], [side.own, picture.said], **READ)
    gr.on(None, presets, side.own, side.preset, **READ)  # None: when the page opens, and whenever they change
