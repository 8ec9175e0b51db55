"""Effect: what each layer, projection and cell of the merge does for the answers, beside how large it is."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.estimate import Pace, estimated
from tada_studio.app.widgets.own_items import own_items
from tada_studio.app.widgets.panel import READ, Named, Panel, listen_early, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.app.widgets.task import Job, LongTask, bar, stop_button, whole
from tada_studio.errors import TadaError
from tada_studio.evaluation.effect import parts
from tada_studio.pipeline.items import to_leave_out_on

NOTHING = (
    "Nothing was measured yet. Each layer and projection of the merge is left out in turn, and the sample's items say what it was "
    "good for; it takes one pass of the items for each."
)


#: What each button leaves out.
KINDS = {"parts": ("layer", "projection"), "each": ("cell",)}


def show(state: TabState) -> Named:
    """What was found, and how long more of it would take."""
    return {**pictures(state), **estimate(state, state.planned.get("effect", (24,))[0])}


def pictures(state: TabState) -> Named:
    """Sentences, layers, projections and cells."""
    view, found = state.session.view, state.session.effects
    if view is None or found is None or not found.changes:
        return {"message": html.note(NOTHING, "next"), "layers": None, "projections": None, "cells": None}
    first, *more = report.effect_sentences(found)
    if state.session.stale(found):
        more.append("Of an earlier recipe. The recipe has changed since: measure again to see what its parts do now.")
    return {
        "message": html.note(first, points=more),
        "layers": drawing(figures.effect_bars(found, view.gates, "layer")),
        "projections": drawing(figures.effect_bars(found, view.gates, "projection")),
        "cells": drawing(figures.effect_cells(found, view.gates)),
    }


def estimate(state: TabState, most: Any) -> Named:
    """About how long each button takes; nothing where it could not begin."""
    state.planned["effect"] = (most,)
    session = state.session
    try:
        items = _answers(state, whole(most, "The number of items a side"))
    except TadaError:
        return {"estimate": ""}
    wanted = {"parts": "layers and projections", "each": "cells"}
    left = {what: _left(state, KINDS[start]) for start, what in wanted.items()}
    passes = {f"{n} {what}": (n + 1) * items for what, n in left.items() if n}
    if not passes:
        return {"estimate": ""}
    (first, units), *others = passes.items()
    return {"estimate": html.caption(estimated(session, "effect", units, first, "evaluate", dict(others)))}


def _answers(state: TabState, most: int) -> int:
    """Answers that one pass takes. Raises InputError without items."""
    split, _ = to_leave_out_on(state.session.sample, own_items(state, *state.items), most)
    return split.counts[0]


def _left(state: TabState, kinds: Sequence[str]) -> int:
    """Parts that are not measured yet of the merge on screen."""
    view, found = state.session.view, state.session.effects
    if view is None:
        return 0
    known = found.changes if found is not None and not state.session.stale(found) else {}
    return sum(part not in known for part in parts(view.pair.addresses, kinds))


def measuring(kinds: tuple[str, ...], state: TabState, most: Any) -> Job:
    """Leave every part of these kinds out in turn."""
    session, items = state.session, whole(most, "The number of items a side")
    given = own_items(state, *state.items)
    passes = _left(state, kinds) + 1

    def fives() -> int:  # a picture for every few parts: drawing costs the browser more than a part costs here
        return len(session.effects.changes) // 5 if session.effects else 0

    return Job(
        work=lambda progress: session.measure_effects(kinds, items, progress, given),
        show=lambda: show(state),
        mark=fives,
        pace=Pace("effect", "effect", passes * _answers(state, items), by_note=False),
        done=lambda _: "Every part was left out once.",
        stopped=lambda _: "Stopped. What is measured stays; measure again to go on.",
    )


def effect_panel(state: gr.State) -> Panel:
    """Builds and wires the section."""
    with gr.Row(equal_height=True):
        most = gr.Slider(
            4,
            200,
            24,
            step=4,
            label="Items a side",
            info="drawn by seed",
            elem_id="effect-items",
            scale=2,
            min_width=200,
        )
        go = gr.Button(
            "Measure layers and projections", variant="primary", elem_id="effect", elem_classes="act", min_width=170
        )
        each = gr.Button("Measure every cell", elem_id="effect-each", elem_classes="act", min_width=150)
        stop = stop_button("effect-stop")
    about = words(elem_id="effect-estimate")
    task = LongTask({"parts": go, "each": each}, stop, bar("", "effect-bar"))
    message = words(html.note(NOTHING, "next"), elem_id="effect-message")
    none = "Bars appear here, part by part."
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            layers = plot_panel(figures.EFFECT["layer"], none, "effect-layers")
        with gr.Column(min_width=320):
            projections = plot_panel(figures.EFFECT["projection"], none, "effect-projections")
    none = "“Measure every cell” fills this map."
    cells = plot_panel(figures.CELLS, none, "effect-cells")
    at = {"message": message, "layers": layers, "projections": projections, "cells": cells, "estimate": about}
    listen_early(most.change, estimate, [state, most], {"estimate": about}, **{**READ, "trigger_mode": "always_last"})
    for start, kinds in KINDS.items():
        task.begins(state, start, partial(measuring, kinds), [most], at)
    task.can_stop(state)
    return Panel(at, show)
