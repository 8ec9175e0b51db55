"""Beside the map: the cell that was clicked, in facts and as a spectrum, next to cells that are pinned."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.cell_card import Cell, Facts, card, cell_card
from tada_studio.app.widgets.panel import EDIT, Named, Panel, listen, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.pipeline.merge import Merge

NOTHING = "Take the tool Look and click a cell of the map: what its two adapters do there opens here."
CLICK = "A click on a bar drops the direction or keeps it; a second click gives it back to the rule."


def show(state: TabState) -> Named:
    """The card, the sentence on what is dropped, and the spectrum."""
    view = state.session.view
    if view is None:
        return {"card": html.note(NOTHING, "next"), "message": "", "spectrum": None}
    at = edits.shown_cell(state, view)
    address = view.gates.place(*at)
    near = view.module_detail(address)
    others = [facts(view, one) for one in edits.pinned_cells(state, view) if one != at]
    return {
        "card": card(facts(view, at), others, at in state.pinned),
        "message": html.note(report.cell_sentence(view.merged, near)),
        "spectrum": drawing(figures.conflict_spectrum(near, str(address))),
    }


def facts(view: Merge, at: Cell) -> Facts:
    """What there is to say of a cell: who speaks when, what a hand set, what comes out."""
    address, (i, j) = view.gates.place(*at), at
    row = list(view.pair.addresses.values()).index(address)
    separation = report.separation_rows(view.separation, address) if view.separation is not None else []
    gates = view.gates
    task, domain = gates.strength[:, i, j].tolist()
    marks = "".join(says for says, on in ((", by hand", gates.edited[i, j]), (", locked", gates.locked[i, j])) if on)
    by_hand = {"share": f"{float(gates.values[i, j]):.2f}{marks}"}
    if (task, domain) != (1, 1):
        by_hand["strength"] = f"task x {task:g}, domain x {domain:g}"
    if float(gates.separation[i, j]) != 1:
        by_hand["separation set"] = f"{float(gates.separation[i, j]):.2f}"
    return Facts(
        at, f"{address.row.capitalize()} · {address.projection}", {**dict(separation), **by_hand, **_outcome(view, row)}
    )


def _outcome(view: Merge, row: int) -> Mapping[str, str]:
    """Weights, what the merged update is made of, norms, what is dropped."""
    weights, norms = view.how.weights[row].tolist(), view.adapter_norms[row].tolist()
    lost = view.dropped_energy[row].tolist()
    parts = [] if view.contributions is None else view.contributions[row].tolist()
    return {
        "weights": f"task {weights[0]:.2f}, domain {weights[1]:.2f}",
        **({"merged energy": f"task {parts[0]:.0%}, domain {parts[1]:.0%}"} if parts and parts[0] == parts[0] else {}),
        "norms": f"task {norms[0]:.3g}, domain {norms[1]:.3g}",
        "dropped": "nothing" if not any(lost) else f"task {report.percent(lost[0])}, domain {report.percent(lost[1])}",
    }


def beside_panel(state: gr.State) -> Panel:
    """Builds and wires the pane; ``changes``: a direction was dropped or kept."""
    at = {
        "card": cell_card("cell-card"),
        "spectrum": plot_panel(figures.SPECTRUM, NOTHING, "spectrum", CLICK),
        "message": words(elem_id="cell-message"),
    }

    def on_bar(state: TabState, news: gr.EventData) -> Named:  # gradio looks for its event in the annotations
        if (found := bar(getattr(news, "data", None))) is not None:
            edits.pick(state, *found)
        return show(state)

    return Panel(at, show, (listen(at["spectrum"].point_click, on_bar, [state], at, **EDIT),))


def wire_card(state: gr.State, beside: Panel, more: Mapping[str, Any], follow: Any) -> None:
    """A button of the card goes on to another cell or pins one. ``follow(state)``: what else shows the cell, among ``more``."""

    def on_act(state: TabState, news: gr.EventData) -> Named:
        edits.on_card(state, getattr(news, "what", None), getattr(news, "at", None))
        return {**show(state), **follow(state)}

    listen(beside.at["card"].act, on_act, [state], {**beside.at, **more}, **EDIT)


def bar(data: Any) -> tuple[int, str, int] | None:
    """(row, side, number) of a clicked bar; None for a click on anything else."""
    match data:
        case ["task" | "domain" as side, int() as number, str(), int() as row, *_]:
            return row, side, number
    return None
