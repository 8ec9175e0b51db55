"""Effect: what each layer, projection and cell of the merge does for the answers, beside how large it is."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from tada_studio import figures, report
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import READ, WORK, Panel, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.app.widgets.task import in_turn, steps
from tada_studio.errors import InputError, Stopped, TadaError
from tada_studio.progress import Progress

NOTHING = (
    "Nothing was measured yet. Each layer and projection of the merge is left out in turn, and the sample's items say what it was "
    "good for; it takes one pass of the items for each."
)


def show(state: TabState) -> list[Any]:
    """Sentences, layers, projections and cells."""
    view, found = state.session.view, state.session.effects
    if view is None or found is None or not found.changes:
        return [html.note(NOTHING, "next"), None, None, None]
    first, *more = report.effect_sentences(found)
    if found.recipe != view.recipe:
        more.append("The recipe has changed since: measure again to see what its parts do now.")
    drawn = [figures.effect_bars(found, view.gates, kind) for kind in ("layer", "projection")]
    return [html.note(first, points=more), *map(drawing, (*drawn, figures.effect_cells(found, view.gates)))]


def on_measure(state: TabState, kinds: tuple[str, ...], most: Any) -> Iterator[list[Any]]:
    """Measure; yields (sentences, layers, projections, cells, progress, measure, measure cells, stop)."""
    session = state.session

    def now(body: list[Any], bar: str, running: bool) -> list[Any]:
        free = gr.update(interactive=not running)
        return [*body, bar, free, free, gr.update(interactive=running)]

    try:
        yield now([gr.skip()] * 4, html.progress_bar(None, "Starting…"), running=True)
        drawn = 0
        for step in steps(in_turn(session, lambda progress: session.measure_effects(kinds, _whole(most), progress))):
            if isinstance(step, Progress):
                many = len(session.effects.changes) if session.effects else 0
                # a picture for every few parts: drawing costs the browser more than a part costs here
                body = show(state) if many >= drawn + 5 else [gr.skip()] * 4
                drawn = many if many >= drawn + 5 else drawn
                yield now(body, html.progress_bar(step), running=True)
        yield now(show(state), html.finished_bar("Every part was left out once."), running=False)
    except Stopped:
        message = "Stopped. What is measured stays; measure again to go on."
        yield now(show(state), html.progress_bar(None, message), running=False)
    except TadaError as error:
        yield now(show(state), html.progress_bar(None, str(error)), running=False)
        raise


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError("The number of items a side must be a whole number.") from None


def on_layers(state: TabState, most: Any) -> Iterator[list[Any]]:
    """Layers and projections."""
    yield from on_measure(state, ("layer", "projection"), most)


def on_cells(state: TabState, most: Any) -> Iterator[list[Any]]:
    """Every cell."""
    yield from on_measure(state, ("cell",), most)


def on_stop(state: TabState) -> None:
    """Ask the measuring to stop; what is done stays."""
    state.session.stop()


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
        stop = gr.Button(
            "Stop", variant="stop", interactive=False, elem_id="effect-stop", elem_classes="act", min_width=90
        )
    bar = words(html.progress_bar(None, ""), elem_id="effect-bar")
    message = words(html.note(NOTHING, "next"), elem_id="effect-said")
    none = "Bars appear here, part by part."
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            layers = plot_panel(
                "Effect of each layer, beside its energy", figures.EFFECT_CAPTION, none, "effect-layers"
            )
        with gr.Column(min_width=320):
            projections = plot_panel("Effect of each projection", figures.EFFECT_CAPTION, none, "effect-projections")
    none = "“Measure every cell” fills this map."
    cells = plot_panel("Effect of every cell", figures.CELLS_CAPTION, none, "effect-cells")
    shown = [message, layers, projections, cells]
    for button, handler in ((go, on_layers), (each, on_cells)):
        button.click(user_errors(handler), [state, most], [*shown, bar, go, each, stop], **WORK)
    stop.click(user_errors(on_stop), state, None, **READ)
    return Panel(shown, show)
