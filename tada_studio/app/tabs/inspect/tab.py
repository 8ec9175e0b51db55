"""Inspect and tune: the map, the depth profile under it, every knob beside it, and sections that look closer.

Panels live in ``inspect/``; here they are put together. What follows a hand at once (map, cards, boxes) is shown by every
edit; the pictures follow when the map has come to rest, and of the sections only the one in sight is drawn.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gradio as gr

from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.tabs.inspect import against, map_panel
from tada_studio.app.tabs.inspect.auto_panel import auto_panel
from tada_studio.app.tabs.inspect.beside_panel import beside_panel, wire_card
from tada_studio.app.tabs.inspect.cell_panel import cell_panel
from tada_studio.app.tabs.inspect.depth_panel import depth_panel
from tada_studio.app.tabs.inspect.effect_panel import effect_panel
from tada_studio.app.tabs.inspect.knob_column import Knobs, checks, knob_column, presets, touched
from tada_studio.app.tabs.inspect.layer_panel import layer_panel
from tada_studio.app.tabs.inspect.norms_panel import norms_panel
from tada_studio.app.tabs.inspect.rank_panel import rank_panel
from tada_studio.app.tabs.inspect.stability_panel import stability_panel
from tada_studio.app.widgets import html
from tada_studio.app.widgets.controls import on_turn
from tada_studio.app.widgets.gate_map import packed
from tada_studio.app.widgets.panel import (
    DRAG,
    EDIT,
    READ,
    Named,
    Panel,
    listen,
    listen_early,
    together,
)

Show = Callable[[TabState], Named]

#: What looks closer, under the map: name -> (what its tab says, what builds it). A section is a Panel: its ``show`` is asked
#: when it is in sight and the map has come to rest; its ``changes`` are edits, after which everything is shown anew.
SECTIONS: dict[str, tuple[str, Callable[[gr.State], Panel]]] = {
    "cell": ("Conflict", cell_panel),
    "auto": ("Auto", auto_panel),
    "rank": ("Rank", rank_panel),
    "norms": ("Norms and balance", norms_panel),
    "layer": ("One layer, three ways", layer_panel),
    "stability": ("Stability", stability_panel),
    "effect": ("Effect", effect_panel),
}


#: Moves the page only if what was asked for cannot be seen.
_INTO_SIGHT = """() => {
  const pane = document.getElementById('beside'), top = pane.getBoundingClientRect().top;
  if (top > innerHeight - 260 || top < -200) pane.scrollIntoView({ block: 'start', behavior: 'smooth' });
}"""


# -- handlers --------------------------------------------------------------------------------------------------------


def settled(depth: Panel, sections: Mapping[str, Panel], state: TabState) -> Named:
    """What follows once the map has come to rest: what its card tells, the depth profile, what is in sight beside it and below."""
    return {**map_panel.facts(state), **_of("depth", depth.show(state)), **in_sight(sections, state)}


def in_sight(sections: Mapping[str, Panel], state: TabState) -> Named:
    """Updates for the pane beside the map and the section in sight; the others are drawn when they are looked at."""
    shown = {name for name in (state.beside, state.section) if name in sections}
    return {name: update for one in shown for name, update in _of(one, sections[one].show(state)).items()}


def _of(panel: str, shown: Named) -> Named:
    """As ``together`` names them."""
    return {f"{panel}.{name}": update for name, update in shown.items()}


def on_section(name: str, panel: Panel, state: TabState) -> Named:
    """Another section comes into sight."""
    state.section = name
    return panel.show(state)


def on_against(state: TabState, name: str | None = None) -> Named:
    """The map is compared with something, or with something else."""
    against.choose(state, name or against.FIRST)
    return {"map": map_panel.truth(state)["map"]}


def on_beside(name: str, near: Panel, state: TabState) -> Named:
    """Knobs or the cell come into sight beside the map."""
    state.beside = name
    return near.show(state) if name == "near" else {}


def after(act: Callable[..., None], show: Show) -> Callable[..., Named]:
    """A handler that does one thing to the state and shows what follows."""

    def handler(state: TabState, *values: Any) -> Named:
        act(state, *values)
        return show(state)

    return handler


# -- layout and wiring -----------------------------------------------------------------------------------------------


def inspect_tab(state: gr.State) -> Panel:
    """Builds and wires the tab."""
    with gr.Row(elem_id="map-and-beside"):
        with gr.Column(scale=5, min_width=320, elem_classes="map-column"):
            picture = map_panel.map_panel()
            with gr.Column(elem_classes="depth-block"):
                depth = depth_panel(state)
        with gr.Column(scale=2, min_width=310, elem_id="beside", elem_classes="knob-column"):
            tabs, side, near = _beside(state)
    sections = {"near": near, **_sections(state)}
    quick = Panel({**picture, **side.texts}, partial(_at_once, side))
    rest = _wire_figures(state, picture["map"], depth, tabs, sections)
    # once the map has come to rest the sidebar says what of the results is of an earlier recipe
    whole = Panel({**quick.at, **side.knobs}, partial(_all, side), _changes(sections), news=(rest,))
    _wire_map(state, quick, whole)
    _wire_knobs(state, side, quick, whole)
    _wire_lines(state, picture, side, whole)
    return whole


def _beside(state: gr.State) -> tuple[gr.Tabs, Knobs, Panel]:
    """Knobs and the cell in sight, one at a time beside the map."""
    with gr.Tabs(selected="knobs", elem_id="beside-tabs") as tabs:
        with gr.Tab("Knobs", id="knobs", elem_id="beside-knobs") as first:
            side = knob_column()
        with gr.Tab("Cell", id="near", elem_id="beside-near") as second:
            near = beside_panel(state)
    listen_early(first.select, partial(on_beside, "knobs", near), [state], near.at, **READ)
    listen_early(second.select, partial(on_beside, "near", near), [state], near.at, **READ)
    return tabs, side, near


def _sections(state: gr.State) -> dict[str, Panel]:
    built: dict[str, Panel] = {}
    with gr.Tabs(elem_id="sections", overflow_behavior="wrap"):
        for name, (label, build) in SECTIONS.items():
            with gr.Tab(label, id=name, elem_id=f"section-{name}") as tab:
                built[name] = panel = build(state)
            listen_early(tab.select, partial(on_section, name, panel), [state], panel.at, **READ)
    return built


def _changes(sections: Mapping[str, Panel]) -> tuple[Any, ...]:
    return tuple(change for panel in sections.values() for change in panel.changes)


def _at_once(side: Knobs, state: TabState) -> Named:
    """What follows a hand at once: map and cards, and the boxes of lines."""
    return {**map_panel.show(state), **side.lines(state)}


def _all(side: Knobs, state: TabState) -> Named:
    """Everything but the pictures, which follow by themselves when the map has come to rest."""
    return {**map_panel.truth(state), **side.lines(state), **side.settings(state)}


def _wire_map(state: gr.State, quick: Panel, whole: Panel) -> None:
    grid = whole.at["map"]

    def on_stroke(state: TabState, news: gr.EventData) -> Named:  # gradio looks for its event in the annotations
        map_panel.on_stroke(state, news)
        return quick.show(state)

    struck = listen(grid.stroke, on_stroke, [state], quick.at, **EDIT)
    listen(struck.failure, whole.show, [state], whole.at, **EDIT)
    for event, act in (
        (whole.at["undo"].click, edits.undo), (grid.undo, edits.undo),
        (whole.at["redo"].click, edits.redo), (grid.redo, edits.redo), (whole.at["clear"].click, edits.clear),
    ):  # fmt: skip
        listen(event, after(act, whole.show), [state], whole.at, **EDIT)


def _wire_figures(state: gr.State, grid: gr.HTML, depth: Panel, tabs: gr.Tabs, sections: Mapping[str, Panel]) -> Any:
    """Returns the event of the map at rest."""
    closer = together(sections).at
    under = {"map": grid, **together({"depth": depth}).at, **closer}
    how = {**READ, "trigger_mode": "always_last"}

    def on_select(state: TabState, news: gr.EventData) -> Named:
        edits.select(state, getattr(news, "index", None))
        return in_sight(sections, state)

    def on_look(state: TabState, news: gr.EventData) -> Named:
        state.beside = "near"
        return {"tabs": gr.update(selected="near"), **on_select(state, news)}

    def follow(state: TabState) -> Named:
        closer = _of("cell", sections["cell"].show(state)) if state.section == "cell" else {}
        return {"map": gr.update(at=list(state.cell)), **closer}

    chosen = {"map": grid}
    listen(grid.compare, on_against, [state], chosen, **DRAG)
    listen(depth.at["against"].input, on_against, [state, depth.at["against"]], chosen, **DRAG)
    rests = listen_early(grid.settled, partial(settled, depth, sections), [state], under, **how)
    listen(grid.cell_select, on_select, [state], closer, **how)
    shown = listen(grid.look, on_look, [state], {"tabs": tabs, **closer}, **how)
    wire_card(state, sections["near"], {"map": grid, **together({"cell": sections["cell"]}).at}, follow)
    shown.success(None, None, None, js=_INTO_SIGHT, api_visibility="private")
    return rests


def _wire_knobs(state: gr.State, side: Knobs, quick: Panel, whole: Panel) -> None:
    def edit(event: Any, act: Callable[..., None], *inputs: Any) -> Any:
        return listen(event, after(act, whole.show), [state, *inputs], whole.at, **EDIT)

    chosen = edit(side.preset.input, edits.preset, side.preset, side.own)
    chosen.then(lambda: None, None, side.preset, **READ)
    for name, box in side.boxes.items():
        left = edit(box.blur, partial(edits.set_lines, name=name), box)
        listen(left.failure, whole.show, [state], whole.at, **EDIT)
    for name, control in side.controls.by_name.items():
        # the control itself is not updated: a slider must not be moved under the hand that drags it
        # but another method opens and closes controls
        shown = whole if name == "method" else quick
        turned = on_turn(control, after(partial(edits.turn, name=name), shown.show), state, shown.at, **DRAG)
        listen(turned.failure, whole.show, [state], whole.at, **EDIT)


def on_line(state: TabState, text: str | None) -> Named:
    """What the lines being written would do: in words, as cells on the map, and whether they can be added."""
    found = edits.preview(state, text)
    addable = bool(found) and all(one.touched is not None for one in found)
    return {
        "check": checks(found), "map": gr.update(preview=packed(touched(found))), "add": gr.update(visible=addable),
    }  # fmt: skip


def _wire_lines(state: gr.State, picture: Mapping[str, Any], side: Knobs, whole: Panel) -> None:
    about = {"check": side.check, "map": picture["map"], "add": side.add}
    last = {**READ, "trigger_mode": "always_last"}
    listen_early(side.line.change, on_line, [state, side.line], about, **last)
    for event in (side.line.submit, side.add.click):
        added = listen(event, after(edits.add_lines, whole.show), [state, side.line], whole.at, **EDIT)
        # in the browser: an answer from Python could come late and wipe the next line while it is being written
        added.success(None, None, side.line, js="() => ''", api_visibility="private")

    def kept(act: Callable[..., Any]) -> Callable[..., Named]:
        def handler(state: TabState, name: str | None, saved: Any) -> Named:
            return {"own": act(state, name, saved), "message": html.message(state.message)}

        return handler

    own = {"own": side.own, "message": picture["message"]}
    for event, act in ((side.save.click, edits.save_preset), (side.forget.click, edits.forget_preset)):
        listen(event, kept(act), [state, side.name, side.own], own, **READ)
    gr.on(None, presets, side.own, side.preset, **READ)  # None: when the page opens, and whenever they change
