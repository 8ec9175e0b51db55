"""Rank advisor: what each rank keeps of the whole merge, and the ranks that servers take, one click away."""

import gradio as gr

from tada_studio import figures, report
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import EDIT, Named, Panel, listen, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.exporting.portable import VLLM_RANKS
from tada_studio.pipeline.merge import Merge

NOTHING = "Open two adapters first; then this shows what each rank keeps of their merge."


def show(state: TabState) -> Named:
    """Advice, the ranks to choose from, and the curve."""
    view = state.session.view
    if view is None:
        return {"message": html.note(NOTHING, "next"), "ranks": gr.update(choices=[], value=None), "curve": None}
    places = [str(address) for address in view.pair.addresses.values()]
    rank = view.merged.rank
    advice = report.rank_advice(view.ranks, rank, VLLM_RANKS, places)
    offered = choices(view)
    chosen = rank if rank in {value for _, value in offered} else None
    return {
        "message": html.note(advice),
        "ranks": gr.update(choices=offered, value=chosen),
        "curve": drawing(figures.energy_against_rank(view.ranks, rank, VLLM_RANKS)),
    }


def choices(view: Merge) -> list[tuple[str, int]]:
    """(what it says, rank): those that servers take up to one that keeps everything, and the smallest that is enough."""
    enough, everything = view.ranks.smallest(report.ENOUGH), len(view.ranks.everywhere)
    served = [rank for i, rank in enumerate(VLLM_RANKS) if i == 0 or VLLM_RANKS[i - 1] < everything]
    return [(_says(view, rank, enough), rank) for rank in sorted({*served, enough})]


def _says(view: Merge, rank: int, enough: int) -> str:
    kept = report.percent(view.ranks.at(rank)[0])
    return f"{rank}: keeps {kept}{f', smallest for {report.ENOUGH:.0%}' if rank == enough else ''}"


def rank_panel(state: gr.State) -> Panel:
    """Builds and wires the section."""
    message = words(html.note(NOTHING, "next"), elem_id="rank-message")
    ranks = gr.Radio(
        [], label="Set the rank", elem_id="ranks",
        info="the knob Rank follows; servers such as vLLM make room for 8, 16, 32, 64, 128, 256, 320 or 512",
    )  # fmt: skip
    curve = plot_panel(figures.RANK, NOTHING, "rank-curve")
    at = {"message": message, "ranks": ranks, "curve": curve}

    def on_rank(state: TabState, rank: int | None) -> Named:
        edits.turn(state, rank, "rank")
        return show(state)

    return Panel(at, show, (listen(ranks.input, on_rank, [state, ranks], at, **EDIT),))
