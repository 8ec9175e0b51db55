"""Inspect and tune: the gate map, the depth profile under it, the conflict spectrum of one cell, and every knob."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gradio as gr

from tada_studio import figures, report, studio
from tada_studio.app import edits, pieces
from tada_studio.app.controls import Controls, further_controls, line_knobs, main_controls, on_turn
from tada_studio.app.desk import Desk
from tada_studio.app.gate_map import gate_map, hand_over, payload
from tada_studio.app.part import DRAG, EDIT, READ, Part, skip_early, words
from tada_studio.app.plot_panel import drawing, plot_panel
from tada_studio.app.spoken import spoken
from tada_studio.core.conflict import in_units_of_chance
from tada_studio.lora import Address
from tada_studio.recipe import Recipe, knobs
from tada_studio.session import View

TOOLS = [("Paint", "paint"), ("Reset", "reset"), ("Lock", "lock"), ("Inspect", "inspect")]
SHOWS = [("Gates", "gate"), ("Conflict", "conflict")]

Show = Callable[[Desk], list[Any]]

# -- what is shown, as functions of the desk -------------------------------------------------------------------------


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


def quick(desk: Desk) -> list[Any]:
    """What follows a hand at once: map, cards, status line, undo, redo, the boxes of lines."""
    session = desk.session
    return [
        payload(session.view, desk.ack),
        stat_cards(session.view),
        pieces.said(desk.said),
        gr.update(interactive=session.can_undo),
        gr.update(interactive=session.can_redo),
        *("\n".join(getattr(session.recipe, name)) for name in line_knobs()),
    ]


def truth(desk: Desk) -> list[Any]:
    """``quick`` that the map takes in any case, whatever strokes are on their way: after a refusal, or a new pair."""
    value, *rest = quick(desk)
    return [{**value, "ack": None}, *rest]


def settled(desk: Desk) -> list[Any]:
    """What follows once the map has come to rest: the depth profile and the shown cell, each with its sentence."""
    view = desk.session.view
    if view is None:
        return [None, "", *cell_figures(desk)]
    depth = figures.depth_profile(view.depth, view.gates)
    return [
        drawing(depth),
        pieces.note(report.depth_sentence(view.depth, view.probed, int(view.gates.edited.sum()))),
        *cell_figures(desk),
    ]


def cell_figures(desk: Desk) -> list[Any]:
    """Heading, conflict spectrum and overlap table of the shown cell."""
    view = desk.session.view
    if view is None:
        return [pieces.heading("Conflict spectrum", "Open two adapters, then click a cell of the map."), None, None]
    i, j = edits.shown_cell(desk, view)
    address = Address(view.gates.layers[i], view.gates.projections[j])
    row = list(view.pair.addresses.values()).index(address)
    spectrum = figures.conflict_spectrum(studio.analysis(view.pair).directions, view.merged, row)
    return [_cell_heading(view, address, row), drawing(spectrum), drawing(_overlap(view, row))]


def _cell_heading(view: View, address: Address, row: int) -> str:
    drops = view.merged.how.drops
    count = int(drops.task[row].sum() + drops.domain[row].sum()) if drops else 0
    dropped = (
        f"{count} directions dropped, {float(drops.lost[row]):.1%} of its energy"
        if drops and count
        else "No direction dropped"
    )
    kept = f"rank {view.merged.rank} keeps {float(view.merged.kept[row]):.1%} of this module"
    line = f"{dropped}; {kept}. {report.conflict_sentence(view.merged)}"
    return pieces.heading(f"Layer {address.layer} · {address.projection}", line)


def _overlap(view: View, row: int) -> Any:
    moment = view.readings.moment if view.probed else None
    table = in_units_of_chance(studio.analysis(view.pair).directions, view.recipe, moment)[row]
    drops = view.merged.how.drops
    return figures.overlap_table(table, drops.opposed[row] if drops else None, view.recipe.conflict_threshold)


# -- handlers --------------------------------------------------------------------------------------------------------


def on_stroke(desk: Desk, news: gr.EventData) -> list[Any]:
    """A stroke on the map."""
    edits.stroke(desk, {name: getattr(news, name, None) for name in ("tool", "cells", "value", "on", "id")})
    return quick(desk)


def on_select(desk: Desk, news: gr.EventData) -> list[Any]:
    """A click on a cell with the Inspect tool, or an arrow key."""
    edits.select(desk, getattr(news, "index", None))
    return cell_figures(desk)


def after(act: Callable[..., None], show: Show) -> Callable[..., list[Any]]:
    """A handler that does one thing to the desk and shows what follows."""

    def handler(desk: Desk, *values: Any) -> list[Any]:
        act(desk, *values)
        return show(desk)

    return spoken(handler)


# -- layout ----------------------------------------------------------------------------------------------------------


class Tools(NamedTuple):
    """The toolbar over the map."""

    tool: gr.Radio
    brush: gr.Slider
    shows: gr.Radio


class Below(NamedTuple):
    """The line under the map: what just happened, and how to take it back."""

    said: gr.HTML
    undo: gr.Button
    redo: gr.Button


def _toolbar() -> Tools:
    with gr.Row(equal_height=True, elem_classes="toolbar"):
        tool = gr.Radio(TOOLS, value="paint", label="Tool", elem_id="tool", scale=4, min_width=360)
        brush = gr.Slider(0, 1, 1, step=0.05, label="Brush: domain", elem_id="brush", scale=3, min_width=200)
        shows = gr.Radio(SHOWS, value="gate", label="Map shows", elem_id="shows", scale=2, min_width=190)
    return Tools(tool, brush, shows)


def _below() -> Below:
    with gr.Row(elem_classes="below-map"):
        said = words(pieces.said(""), elem_id="said")
        undo = gr.Button(
            "↶ Undo", interactive=False, elem_id="undo", elem_classes="act", size="sm", scale=0, min_width=90
        )
        redo = gr.Button(
            "↷ Redo", interactive=False, elem_id="redo", elem_classes="act", size="sm", scale=0, min_width=90
        )
    return Below(said, undo, redo)


class Knobs(NamedTuple):
    """The column beside the map. boxes: by name of the knob that is made of lines."""

    controls: Controls
    preset: gr.Dropdown
    line: gr.Textbox
    boxes: dict[str, gr.Textbox]


def _knobs() -> Knobs:
    main = main_controls(Recipe())
    names = [(says, name) for name, says in edits.PRESETS.items()]
    preset = gr.Dropdown(
        names,
        value=None,
        label="Start all gates from",
        info="replaces edits and locks",
        filterable=False,
        elem_id="preset",
    )
    line = gr.Textbox(
        label="Selector line", placeholder="layers 20-31 : attn : 0.7", elem_id="line",
        info="where : which : the domain's share. Enter adds it.",
    )  # fmt: skip
    with gr.Accordion("More knobs", open=False, elem_id="more-knobs"):
        further = further_controls(Recipe())
    with gr.Accordion("All lines of the recipe", open=False, elem_id="all-lines"):
        boxes = {name: _lines_box(name) for name in line_knobs()}
    return Knobs(Controls({**main.by_name, **further.by_name}), preset, line, boxes)


def _lines_box(name: str) -> gr.Textbox:
    info = f"{knobs()[name].metadata['says']}. One a line; taken over when you leave the box."
    return gr.Textbox(label=name, info=info, lines=3, max_lines=10, elem_id=f"lines-{name}")


class Picture(NamedTuple):
    """The map and what is drawn under it."""

    tools: Tools
    grid: gr.HTML
    below: Below
    depth: gr.HTML
    depth_line: gr.HTML
    heading: gr.HTML
    spectrum: gr.HTML
    overlap: gr.HTML


def _picture() -> Picture:
    tools, grid, below = _toolbar(), gate_map(), _below()
    depth_line = words()
    depth = plot_panel("Depth profile", figures.DEPTH_CAPTION, "Open two adapters to see their depth profile.", "depth")
    heading = words(cell_figures(Desk())[0])
    with gr.Row():
        with gr.Column(min_width=320):
            spectrum = plot_panel("Conflict spectrum", figures.SPECTRUM_CAPTION, "No cell to show yet.", "spectrum")
        with gr.Column(min_width=320):
            overlap = plot_panel("How directions meet", figures.OVERLAP_CAPTION, "No cell to show yet.", "overlap")
    return Picture(tools, grid, below, depth, depth_line, heading, spectrum, overlap)


# -- wiring ----------------------------------------------------------------------------------------------------------


def inspect_tab(desk: gr.State) -> Part:
    """Builds and wires the tab."""
    cards = words(stat_cards(None))
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            picture = _picture()
        with gr.Column(scale=1, min_width=270, elem_classes="knob-column"):
            side = _knobs()
    first = [picture.grid, cards, *picture.below, *side.boxes.values()]
    whole = Part([*first, *side.controls.components], partial(_all, side.controls))
    _wire_map(desk, picture, first, whole)
    _wire_figures(desk, picture)
    _wire_knobs(desk, side, first, whole)
    return whole


def _all(controls: Controls, desk: Desk) -> list[Any]:
    """Everything but the figures, which follow by themselves when the map has settled."""
    return [*truth(desk), *controls.showing(desk.session.recipe)]


def _wire_map(desk: gr.State, picture: Picture, first: list[Any], whole: Part) -> None:
    grid, below = picture.grid, picture.below
    grid.stroke(spoken(on_stroke), desk, first, **EDIT).failure(spoken(whole.show), desk, whole.components, **READ)
    for event in (below.undo.click, grid.undo):
        event(after(edits.undo, whole.show), desk, whole.components, **EDIT)
    for event in (below.redo.click, grid.redo):
        event(after(edits.redo, whole.show), desk, whole.components, **EDIT)
    for prop, control in picture.tools._asdict().items():
        control.input(None, control, None, js=hand_over(prop), api_visibility="private")


def _wire_figures(desk: gr.State, picture: Picture) -> None:
    cell = [picture.heading, picture.spectrum, picture.overlap]
    under = [picture.depth, picture.depth_line, *cell]
    how = {**READ, "trigger_mode": "always_last"}
    picture.grid.settled(skip_early(spoken(settled), len(under)), desk, under, **how)
    picture.grid.cell_select(spoken(on_select), desk, cell, **how)


def _wire_knobs(desk: gr.State, side: Knobs, first: list[Any], whole: Part) -> None:
    def edit(act: Callable[..., None]) -> Callable[..., list[Any]]:
        return after(act, whole.show)

    back = {"fn": spoken(whole.show), "inputs": desk, "outputs": whole.components, **READ}
    added = side.line.submit(edit(edits.add_line), [desk, side.line], whole.components, **EDIT)
    # in the browser: an answer from Python could come late and wipe the next line while it is being written
    added.success(None, None, side.line, js="() => ''", api_visibility="private")
    chosen = side.preset.input(edit(edits.preset), [desk, side.preset], whole.components, **EDIT)
    chosen.then(lambda: None, None, side.preset, **READ)
    for name, box in side.boxes.items():
        left = box.blur(edit(partial(edits.set_lines, name=name)), [desk, box], whole.components, **EDIT)
        left.failure(**back)
    for name, control in side.controls.by_name.items():
        # the control itself is no output: a slider must not be moved under the hand that drags it
        turned = on_turn(control, after(partial(edits.turn, name=name), quick), [desk], first, **DRAG)
        turned.failure(**back)
