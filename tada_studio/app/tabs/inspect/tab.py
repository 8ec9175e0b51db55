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
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import DRAG, EDIT, READ, Panel, skip_early, words

Show = Callable[[TabState], list[Any]]

#: What looks closer, under the map: name -> (what its tab says, what builds it). A section is a Panel: its ``show`` is asked
#: when it is in sight and the map has come to rest; its ``changes`` are edits, after which everything is shown anew.
SECTIONS: dict[str, tuple[str, Callable[[gr.State], Panel]]] = {
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


def settled(depth: Panel, sections: Mapping[str, Panel], state: TabState) -> list[Any]:
    """What follows once the map has come to rest: what its card tells, the depth profile and the section in sight."""
    return [map_panel.facts(state), *depth.show(state), *in_sight(sections, state)]


def in_sight(sections: Mapping[str, Panel], state: TabState) -> list[Any]:
    """Updates for all sections, of which only the one in sight is drawn."""
    return [
        update
        for name, panel in sections.items()
        for update in (panel.show(state) if name == state.section else [gr.skip()] * len(panel.components))
    ]


def on_section(name: str, panel: Panel, state: TabState) -> list[Any]:
    """Another section comes into sight."""
    state.section = name
    return panel.show(state)


def after(act: Callable[..., None], show: Show) -> Callable[..., list[Any]]:
    """A handler that does one thing to the state and shows what follows."""

    def handler(state: TabState, *values: Any) -> list[Any]:
        act(state, *values)
        return show(state)

    return user_errors(handler)


# -- layout and wiring -----------------------------------------------------------------------------------------------


def inspect_tab(state: gr.State) -> Panel:
    """Builds and wires the tab."""
    cards = words(map_panel.stat_cards(None))
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            picture, depth = map_panel.map_panel(cards), depth_panel(state)
        with gr.Column(scale=1, min_width=270, elem_classes="knob-column"):
            side = knob_column()
    tabs, sections = _sections(state)
    at_once = [*picture, *side.texts]
    whole = Panel([*at_once, *side.controls.components], partial(_all, side), _changes(sections))
    _wire_map(state, picture, at_once, side, whole)
    _wire_figures(state, picture, depth, tabs, sections)
    _wire_knobs(state, side, at_once, whole)
    _wire_lines(state, picture, side, whole)
    return whole


def _sections(state: gr.State) -> tuple[gr.Tabs, dict[str, Panel]]:
    built: dict[str, Panel] = {}
    with gr.Tabs(elem_id="sections", overflow_behavior="wrap") as tabs:
        for name, (label, build) in SECTIONS.items():
            with gr.Tab(label, id=name, elem_id=f"section-{name}") as tab:
                built[name] = panel = build(state)
            shown = skip_early(user_errors(partial(on_section, name, panel)), len(panel.components))
            tab.select(shown, state, panel.components, **READ)
    return tabs, built


def _changes(sections: Mapping[str, Panel]) -> tuple[Any, ...]:
    return tuple(change for panel in sections.values() for change in panel.changes)


def quick(side: Knobs, state: TabState) -> list[Any]:
    """What follows a hand at once: map and cards, and the boxes of lines."""
    return [*map_panel.show(state), *side.lines(state)]


def _all(side: Knobs, state: TabState) -> list[Any]:
    """Everything but the pictures, which follow by themselves when the map has come to rest."""
    return [*map_panel.truth(state), *side.lines(state), *side.controls.showing(state.session.recipe)]


def _wire_map(state: gr.State, picture: Map, at_once: list[Any], side: Knobs, whole: Panel) -> None:
    grid = picture.grid

    def on_stroke(state: TabState, news: gr.EventData) -> list[Any]:
        map_panel.on_stroke(state, news)
        return quick(side, state)

    grid.stroke(user_errors(on_stroke), state, at_once, **EDIT).failure(
        user_errors(whole.show), state, whole.components, **READ
    )
    for event in (picture.undo.click, grid.undo):
        event(after(edits.undo, whole.show), state, whole.components, **EDIT)
    for event in (picture.redo.click, grid.redo):
        event(after(edits.redo, whole.show), state, whole.components, **EDIT)
    picture.clear.click(after(edits.clear, whole.show), state, whole.components, **EDIT)


def _wire_figures(state: gr.State, picture: Map, depth: Panel, tabs: gr.Tabs, sections: Mapping[str, Panel]) -> None:
    closer = [component for panel in sections.values() for component in panel.components]
    under = [*depth.components, *closer]
    how = {**READ, "trigger_mode": "always_last"}

    def on_select(state: TabState, news: gr.EventData) -> list[Any]:  # gradio looks for its event in the annotations
        edits.select(state, getattr(news, "index", None))
        return in_sight(sections, state)

    def on_inspect(state: TabState, news: gr.EventData) -> list[Any]:
        state.section = "cell"
        return [gr.update(selected="cell"), *on_select(state, news)]

    rest = [picture.grid, *under]
    picture.grid.settled(skip_early(user_errors(partial(settled, depth, sections)), len(rest)), state, rest, **how)
    picture.grid.cell_select(user_errors(on_select), state, closer, **how)
    shown = picture.grid.inspect(user_errors(on_inspect), state, [tabs, *closer], **how)
    shown.success(None, None, None, js=_INTO_SIGHT, api_visibility="private")


def _wire_knobs(state: gr.State, side: Knobs, at_once: list[Any], whole: Panel) -> None:
    def edit(act: Callable[..., None]) -> Callable[..., list[Any]]:
        return after(act, whole.show)

    back = {"fn": user_errors(whole.show), "inputs": state, "outputs": whole.components, **READ}
    chosen = side.preset.input(edit(edits.preset), [state, side.preset, side.own], whole.components, **EDIT)
    chosen.then(lambda: None, None, side.preset, **READ)
    for name, box in side.boxes.items():
        left = box.blur(edit(partial(edits.set_lines, name=name)), [state, box], whole.components, **EDIT)
        left.failure(**back)
    for name, control in side.controls.by_name.items():
        # the control itself is no output: a slider must not be moved under the hand that drags it
        turned = on_turn(control, after(partial(edits.turn, name=name), partial(quick, side)), [state], at_once, **DRAG)
        turned.failure(**back)


def on_line(state: TabState, text: str | None) -> list[Any]:
    """What the lines being written would do: in words, as cells on the map, and whether they can be added."""
    found = edits.preview(state, text)
    addable = bool(found) and all(one.touched is not None for one in found)
    return [checks(found), gr.update(preview=touched(found)), gr.update(visible=addable)]


def _wire_lines(state: gr.State, picture: Map, side: Knobs, whole: Panel) -> None:
    about = [side.check, picture.grid, side.add]
    written = skip_early(user_errors(on_line), len(about))
    side.line.change(written, [state, side.line], about, **{**READ, "trigger_mode": "always_last"})
    for event in (side.line.submit, side.add.click):
        added = event(after(edits.add_lines, whole.show), [state, side.line], whole.components, **EDIT)
        # in the browser: an answer from Python could come late and wipe the next line while it is being written
        added.success(None, None, side.line, js="() => ''", api_visibility="private")

    def kept(act: Callable[..., Any]) -> Callable[..., list[Any]]:
        def handler(state: TabState, name: str | None, saved: Any) -> list[Any]:
            return [act(state, name, saved), html.message(state.message)]

        return user_errors(handler)

    for event, act in ((side.save.click, edits.save_preset), (side.forget.click, edits.forget_preset)):
        event(kept(act), [state, side.name, side.own], [side.own, picture.message], **READ)
    gr.on(None, presets, side.own, side.preset, **READ)  # None: when the page opens, and whenever they change
