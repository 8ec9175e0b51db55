"""Any variant of a run as the recipe: the one that did best need not be the one that was painted."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.blocks import Block

from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import EDIT, Named, listen, words
from tada_studio.errors import InputError
from tada_studio.pipeline.variants import variant_words
from tada_studio.session import Run

#: Parents that all gates can be turned to; the base is no merge.
_ALONE = ("task", "domain")


def choices(run: Run) -> list[tuple[str, str]]:
    """(what it says, name) of every variant that a recipe can stand for."""
    names = [name for name in run.variants if name in run.recipes or name in _ALONE]
    return [
        (variant_words(name, run.recipe.method).replace("this recipe", f"run {run.number}"), name) for name in names
    ]


def show(run: Run | None) -> Named:
    """The choice, of the run that is shown."""
    offered = choices(run) if run is not None else []
    best = offered[-1][1] if offered else None
    return {
        "variant row": gr.update(visible=bool(offered)),
        "variant": gr.update(choices=offered, value=best),
        "took": "",
    }


def take(state: TabState, run: Run | None, name: str | None) -> None:
    """Make the recipe of one of the run's variants the recipe, undoably. Raises InputError."""
    if run is None or name not in [known for _, known in choices(run)]:
        raise InputError("Choose one of the variants that were scored first; the base alone is no recipe.")
    if name in run.recipes:
        edits.restore(state, run.recipes[name], f"{name} in run {run.number}")
    else:
        edits.preset(state, name)


def variant_box(state: gr.State, shown: Callable[[TabState], Run | None]) -> tuple[dict[str, Block], Any]:
    """Builds and wires it: its components by name, and the event after which the recipe is another one."""
    with gr.Row(visible=False, equal_height=True) as row:
        variant = gr.Dropdown([], label="Variant", filterable=False, elem_id="variant", scale=2, min_width=200)
        button = gr.Button("Make this the recipe", elem_id="variant-take", elem_classes="act", scale=1, min_width=180)
        took = words(elem_id="variant-took")
    at: dict[str, Block] = {"variant row": row, "variant": variant, "took": took}

    def on_take(state: TabState, name: str | None) -> Named:
        take(state, shown(state), name)
        return {"took": html.message(state.message)}

    return at, listen(button.click, on_take, [state, variant], at, **EDIT)
