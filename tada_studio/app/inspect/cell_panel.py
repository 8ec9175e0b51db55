"""One cell of the map: both adapters' directions in that module, how they meet, and what their merge keeps of them."""

from typing import Any

import gradio as gr

from tada_studio import figures, report, studio
from tada_studio.app import edits, pieces
from tada_studio.app.desk import Desk
from tada_studio.app.part import Part, words
from tada_studio.app.plot_panel import drawing, plot_panel
from tada_studio.core.conflict import in_units_of_chance
from tada_studio.lora import Address
from tada_studio.session import View


def show(desk: Desk) -> list[Any]:
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


def cell_panel() -> Part:
    """Builds the panel."""
    heading = words(show(Desk())[0])
    with gr.Row():
        with gr.Column(min_width=320):
            spectrum = plot_panel("Conflict spectrum", figures.SPECTRUM_CAPTION, "No cell to show yet.", "spectrum")
        with gr.Column(min_width=320):
            overlap = plot_panel("How directions meet", figures.OVERLAP_CAPTION, "No cell to show yet.", "overlap")
    return Part([heading, spectrum, overlap], show)
