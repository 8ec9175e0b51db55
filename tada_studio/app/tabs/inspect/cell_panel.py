"""Conflict: what dropping removes in all, and one cell of the map closely: who opposes whom there, and what goes."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.addresses import Address
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.controls import follow, linked, on_turn, turn_linked
from tada_studio.app.widgets.direction_table import direction_table, rows
from tada_studio.app.widgets.gate_map import chain
from tada_studio.app.widgets.panel import DRAG, EDIT, READ, Named, Panel, listen, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.core.module_detail import ModuleDetail
from tada_studio.pipeline.merge import Merge

NOTHING = "Open two adapters first; then every cell of the map shows its directions here."
EMPTY = "Open two adapters, then choose a cell."
KNOB = "conflict_threshold"
#: Names of the figures.
PICTURES = ("overlap", "chance", "merged")


# -- what is shown ---------------------------------------------------------------------------------------------------


def show(state: TabState) -> Named:
    """Sentence, slider, choice of cell, heading, both tables of directions, and the figures."""
    view = state.session.view
    if view is None:
        state.cells = []
        none = {"cell": gr.update(choices=[], value=None), "heading": "", "task": "", "domain": ""}
        return {"message": html.note(NOTHING, "next"), **none, **dict.fromkeys(PICTURES)}
    i, j = edits.shown_cell(state, view)
    address = view.gates.place(i, j)
    near = view.module_detail(address)
    return {
        "message": sentence(view),
        **follow(state, KNOB),
        "cell": _chosen(state, view, address),
        "heading": html.heading(
            f"{address.row.capitalize()} · {address.projection}",
            html.explained(f"{chain(view, near.row, i, j)} {report.cell_sentence(view.merged, near)}"),
        ),
        "task": rows("task", near),
        "domain": rows("domain", near),
        **{name: drawing(figure) for name, figure in pictures(view, near, str(address)).items()},
    }


def pictures(view: Merge, near: ModuleDetail, where: str) -> dict[str, figures.Figure]:
    """One cell in three figures; its spectrum is beside the map."""
    threshold, space = view.recipe.conflict_threshold, view.recipe.conflict_space
    return {
        "overlap": figures.overlap_table(near, threshold, where),
        "chance": figures.against_chance(near, threshold, space, where),
        "merged": figures.merged_spectrum(near, view.merged.rank, where),
    }


def sentence(view: Merge) -> str:
    """What dropping removes from the whole merge."""
    return html.note(report.conflict_sentence(view.merged))


def _name(address: Address) -> str:
    return f"{address.tower}:{address.layer}:{address.projection}".removeprefix(":")


def _chosen(state: TabState, view: Merge, address: Address) -> Any:
    """An update for the list of cells; with what it offers only where that is new: a browser builds hundreds of lines of it."""
    found, before = choices(view), state.cells
    state.cells = found
    return gr.update(value=_name(address), **({} if found == before else {"choices": found}))


def choices(view: Merge) -> list[tuple[str, str]]:
    """Every cell as (what it says, its name): first those where something is dropped, most energy first."""
    drops = view.merged.how.drops
    lost = drops.lost.tolist() if drops else [0.0] * len(view.pair.names)
    counts = (drops.task.sum(1) + drops.domain.sum(1)).tolist() if drops else [0] * len(lost)
    cells = zip(view.pair.addresses.values(), lost, counts, strict=True)
    return [
        (f"{address}{_dropped(count, share)}", _name(address))
        for address, share, count in sorted(cells, key=lambda cell: (not cell[2], -cell[1]))
    ]


def _dropped(count: int, share: float) -> str:
    return f": {count} dropped, {report.percent(share)} of its energy" if count else ""


# -- handlers --------------------------------------------------------------------------------------------------------


def on_cell(state: TabState, name: Any) -> Named:
    """Another cell is chosen from the list."""
    view = state.session.view
    known = {_name(address): address for address in view.pair.addresses.values()} if view else {}
    if view is not None and name in known:
        state.cell = view.gates.cell(known[name])
    return show(state)


def on_threshold(state: TabState, value: Any) -> Named:
    """The slider of this section is turned; answered with the sentence alone, the rest follows."""
    turn_linked(state, value, KNOB)
    view = state.session.view
    return {"message": sentence(view)} if view is not None else {}


# -- layout and wiring -----------------------------------------------------------------------------------------------


def cell_panel(state: gr.State) -> Panel:
    """Builds and wires the section."""
    with gr.Row(equal_height=True):
        with gr.Column(scale=3, min_width=320):
            message = words(html.note(NOTHING, "next"), elem_id="conflict-message")
            cell = gr.Dropdown(
                [],
                label="Cell",
                info="or click one on the map with the tool Look; type here to search",
                elem_id="cell",
            )
        with gr.Column(scale=2, min_width=280):
            slider = linked(KNOB)
    heading = words()
    with gr.Row():
        with gr.Column(min_width=440):  # narrower, a table would hide its last columns: it goes below instead
            task = direction_table("task-directions")
        with gr.Column(min_width=440):
            domain = direction_table("domain-directions")
    with gr.Row():
        with gr.Column(min_width=320):
            overlap = plot_panel(figures.OVERLAP, EMPTY, "overlap")
        with gr.Column(min_width=320):
            chance = plot_panel(figures.CHANCE, EMPTY, "chance")
    merged = plot_panel(figures.MERGED, EMPTY, "merged-spectrum")
    at = {
        "message": message, "slider": slider, "cell": cell, "heading": heading, "task": task, "domain": domain,
        "overlap": overlap, "chance": chance, "merged": merged,
    }  # fmt: skip
    listen(cell.input, on_cell, [state, cell], at, **READ)
    turned = on_turn(slider, on_threshold, state, {"message": message}, **DRAG)
    return Panel(at, show, (turned, *_picks(state, at)))


def _picks(state: gr.State, at: Mapping[str, Any]) -> list[Any]:
    """A tick in a table drops or keeps a direction."""

    def on_tick(state: TabState, news: gr.EventData) -> Named:  # gradio looks for its event in the annotations
        edits.pick(state, *(getattr(news, name, None) for name in ("row", "side", "number")))
        return show(state)

    return [listen(at[side].pick, on_tick, [state], at, **EDIT) for side in ("task", "domain")]
