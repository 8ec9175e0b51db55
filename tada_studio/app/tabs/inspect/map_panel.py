"""The gate map, the line under it that says what just happened and takes it back, and the verdict on what it shows."""

import gradio as gr
from markupsafe import Markup

from tada_studio import report
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.tabs.inspect.against import against
from tada_studio.app.widgets import html
from tada_studio.app.widgets.gate_map import cell_facts, gate_map, packed, payload
from tada_studio.app.widgets.panel import Named, words
from tada_studio.core.methods import METHODS
from tada_studio.pipeline.merge import Merge

#: Stands under the map until something is done: who knows the way back tries more.
SAFE = "Try anything: every change can be undone, with the button or Ctrl+Z."


def stat_cards(view: Merge | None) -> Markup:
    """The merge in four figures."""
    if view is None:
        return html.cards(
            [
                ("-", "gates set by hand"),
                ("-", "of the merge is the domain's"),
                ("-", "dropped as conflict"),
                ("-", "energy kept"),
            ]
        )
    merged, drops = view.merged, view.how.drops
    lost = "-" if drops is None else " / ".join(report.percent(share) for share in drops.lost_of_each)
    return html.cards([
        _by_hand(view),
        (_domains_part(view), "of the merge's energy is the domain's"),
        (lost, "of task / domain energy dropped as conflict"),
        (f"{merged.kept_in_all:.1%}", f"of the merge's energy kept at rank {merged.rank}"),
    ])  # fmt: skip


def _by_hand(view: Merge) -> tuple[str, str]:
    if not METHODS[view.recipe.method].reads_map:
        return "-", f"gates set by hand: {view.recipe.method} reads no map"
    locked = int(view.gates.locked.sum())
    return str(int(view.gates.by_hand.sum())), "gates set by hand" + (f", {locked} locked" if locked else "")


def _domains_part(view: Merge) -> str:
    """Of all modules together, each counted by the energy of its merged update."""
    parts, energy = view.contributions, view.merged.energy
    if parts is None or not float(energy.sum()):
        return "-"
    return f"{float((parts[:, 1].nan_to_num() * energy).sum() / energy.sum()):.0%}"


def show(state: TabState) -> Named:
    """What follows a hand at once: map, status line, undo, redo, cards."""
    session = state.session
    return {
        "map": packed(payload(session.view, state.ack, against(state))),
        "message": html.message(state.message or (SAFE if session.view else "")),
        "undo": gr.update(interactive=session.can_undo),
        "redo": gr.update(interactive=session.can_redo),
        "clear": gr.update(interactive=bool(session.recipe.overrides)),
        "cards": stat_cards(session.view),
        "verdict": verdict(session.view),
    }


def verdict(view: Merge | None) -> str:
    """What the map says, in words: which layers lean where, and whether the domain's share rises with depth; of a method that
    does not read it, just that. And what was turned that changes nothing.
    """
    if view is None:
        return ""
    unread = report.unread_lines_sentence(view.unread_lines, view.recipe.method)
    unused = f"{report.ignored_sentence(view.ignored, view.recipe.method)} {unread}".strip()
    if "share" not in METHODS[view.recipe.method].planes:
        says = f"The map is even and stays so: {view.recipe.method} does not read it. "
        return html.note(f"{says}{report.readers('share')}. {unused}".strip())
    if view.separation is not None:  # what comes out, and what it was made from
        trained = report.asymmetry_sentence(view.asymmetry) if view.probed else ""
        says = " ".join(filter(None, (trained, report.separation_sentence(view.separation), unused)))
        return html.note(html.explained(says))
    trend = report.depth_sentences(view.depths, view.probed, int(view.gates.edited.sum()))
    return html.note(html.explained(f"{report.lean_sentence(view.gates)} {trend} {unused}".strip()))


def facts(state: TabState) -> Named:
    """What the card on a cell tells; for when the map has come to rest."""
    return {"map": gr.update(facts=packed(cell_facts(state.session.view)))}


def truth(state: TabState) -> Named:
    """``show`` that the map takes in any case, whatever strokes are on their way: after a refusal, or a new pair."""
    return {**show(state), "map": packed(payload(state.session.view, None, against(state)))}


def on_stroke(state: TabState, news: gr.EventData) -> None:
    """A stroke on the map."""
    edits.stroke(
        state, {name: getattr(news, name, None) for name in ("tool", "cells", "value", "on", "brush", "at", "id")}
    )


# -- layout ----------------------------------------------------------------------------------------------------------


def map_panel() -> dict[str, gr.HTML | gr.Button]:
    """Builds the panel and gives its components by the names in ``show``. On a phone the cards come under the map, by theme.css."""
    cards = words(stat_cards(None), elem_id="merge-cards")
    grid = gate_map()
    with gr.Row(elem_classes="below-map"):
        message = words(html.message(""), elem_id="message")
        undo, redo, clear = _small("↶ Undo", "undo"), _small("↷ Redo", "redo"), _small("Reset all", "clear")
    verdict = words(elem_id="verdict")
    return {
        "map": grid, "message": message, "undo": undo, "redo": redo, "clear": clear, "cards": cards, "verdict": verdict,
    }  # fmt: skip


def _small(text: str, name: str) -> gr.Button:
    return gr.Button(text, interactive=False, elem_id=name, elem_classes="act", size="sm", scale=0, min_width=90)
