"""Conflict: what dropping removes in all, and one cell of the map closely: who opposes whom there, and what goes."""

from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.controls import follow, linked, on_turn, turn_linked
from tada_studio.app.widgets.direction_table import direction_table, rows
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import DRAG, EDIT, READ, Panel, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.lora import Address
from tada_studio.pipeline.merge import Merge

NOTHING = "Open two adapters first; then every cell of the map shows its directions here."
KNOB = "conflict_threshold"
CLICK = "A click on a bar drops the direction or keeps it; a second click gives it back to the rule."


# -- what is shown ---------------------------------------------------------------------------------------------------


def show(state: TabState) -> list[Any]:
    """Sentence, slider, choice of cell, heading, both tables of directions, and the figures."""
    view = state.session.view
    if view is None:
        return [html.note(NOTHING, "next"), gr.skip(), gr.update(choices=[], value=None), *[""] * 3, *[None] * 4]
    i, j = edits.shown_cell(state, view)
    address = Address(view.gates.layers[i], view.gates.projections[j])
    near, recipe = view.module_detail(address), view.recipe
    pictures = (
        figures.conflict_spectrum(near),
        figures.overlap_table(near, recipe.conflict_threshold),
        figures.against_chance(near, recipe.conflict_threshold, recipe.conflict_space),
        figures.merged_spectrum(near, view.merged.rank),
    )
    return [
        sentence(view),
        follow(state, KNOB),
        gr.update(choices=choices(view), value=_name(address)),
        html.heading(f"Layer {address.layer} · {address.projection}", report.cell_sentence(view.merged, near)),
        rows("task", near),
        rows("domain", near),
        *map(drawing, pictures),
    ]


def sentence(view: Merge) -> str:
    """What dropping removes from the whole merge."""
    return html.note(report.conflict_sentence(view.merged))


def _name(address: Address) -> str:
    return f"{address.layer}:{address.projection}"


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


def on_cell(state: TabState, name: Any) -> list[Any]:
    """Another cell is chosen from the list."""
    view = state.session.view
    known = {_name(address): address for address in view.pair.addresses.values()} if view else {}
    if view is not None and name in known:
        layer, projection = known[name]
        state.cell = view.gates.layers.index(layer), view.gates.projections.index(projection)
    return show(state)


def on_threshold(state: TabState, value: Any) -> str:
    """The slider of this section is turned; answered with the sentence alone, the rest follows."""
    turn_linked(state, value, KNOB)
    view = state.session.view
    return sentence(view) if view is not None else ""


# -- layout and wiring -----------------------------------------------------------------------------------------------


def cell_panel(state: gr.State) -> Panel:
    """Builds and wires the section."""
    with gr.Row(equal_height=True):
        with gr.Column(scale=3, min_width=320):
            message = words(html.note(NOTHING, "next"), elem_id="conflict-said")
            cell = gr.Dropdown(
                [],
                label="Cell",
                info="or click one on the map with the tool Inspect; type here to search",
                elem_id="cell",
            )
        with gr.Column(scale=2, min_width=280):
            slider = linked(KNOB)
    heading = words()
    with gr.Row():
        with gr.Column(min_width=320):
            spectrum = _panel("Conflict spectrum", f"{figures.SPECTRUM_CAPTION} {CLICK}", "spectrum")
        with gr.Column(min_width=440):  # narrower, a table would hide its last columns: it goes below instead
            task, domain = direction_table("task-directions"), direction_table("domain-directions")
    with gr.Row():
        with gr.Column(min_width=320):
            overlap = _panel("How directions meet", figures.OVERLAP_CAPTION, "overlap")
        with gr.Column(min_width=320):
            chance = _panel("Against chance", figures.CHANCE_CAPTION, "chance")
    merged = _panel("What the merge keeps of this cell", figures.MERGED_CAPTION, "merged-spectrum")
    shown = [message, slider, cell, heading, task, domain, spectrum, overlap, chance, merged]
    cell.input(user_errors(on_cell), [state, cell], shown, **READ)
    turned = on_turn(slider, user_errors(on_threshold), [state], [message], **DRAG)
    return Panel(shown, show, (turned, *_picks(state, spectrum, (task, domain), shown)))


def _panel(title: str, caption: str, elem_id: str) -> gr.HTML:
    return plot_panel(title, caption, "Open two adapters, then choose a cell.", elem_id)


def _picks(state: gr.State, spectrum: gr.HTML, tables: tuple[gr.HTML, ...], shown: list[Any]) -> list[Any]:
    """A tick in a table or a click on a bar drops or keeps a direction."""

    def on_tick(state: TabState, news: gr.EventData) -> list[Any]:  # gradio looks for its event in the annotations
        edits.pick(state, *(getattr(news, name, None) for name in ("row", "side", "number")))
        return show(state)

    def on_bar(state: TabState, news: gr.EventData) -> list[Any]:
        if (found := bar(getattr(news, "data", None))) is not None:
            edits.pick(state, *found)
        return show(state)

    return [
        *(table.pick(user_errors(on_tick), state, shown, **EDIT) for table in tables),
        spectrum.point_click(user_errors(on_bar), state, shown, **EDIT),
    ]


def bar(data: Any) -> tuple[int, str, int] | None:
    """(row, side, number) of a clicked bar; None for a click on anything else."""
    match data:
        case ["task" | "domain" as side, int() as number, str(), int() as row]:
            return row, side, number
    return None
