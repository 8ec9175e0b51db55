"""Recipe <-> components: the one place where a slider meets a knob. Everything is read from ``recipe.knobs()``."""

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.events import Dependency

from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.widgets.panel import Named, listen
from tada_studio.core.methods import METHODS, OF_BOTH_INPUTS, idle
from tada_studio.recipe import Recipe, knobs

#: Always in sight, in this order.
MAIN = ("method", "ridge", "own_weight", "strength", "conflict_threshold", "rank", "sharpness")
#: Options that have another name where variants are compared.
_OPTIONS = {"linear": "linear (the sum, at strength 1)"}
#: A slider's far end where a knob's own range is longer than a hand can aim on; the recipe file can go further.
_REACH = {"conflict_threshold": 50.0, "ridge": 10.0, "own_weight": 20.0}
#: Ranges with more steps than this are typed, not dragged.
_MOST_STEPS = 500


@dataclass(frozen=True)
class Controls:
    """The components of knobs, by name of the knob."""

    by_name: dict[str, Component]

    def showing(self, recipe: Recipe, probed: bool = True, separable: bool = True) -> Named:
        """Updates that make every control show the recipe; those that change nothing in it are closed, and say so. separable:
        inputs of both kinds were read."""
        useless = idle(recipe.method, probed, separable)
        return {name: _shown(knobs()[name], recipe, name in useless) for name in self.by_name}


def main_controls(recipe: Recipe) -> Controls:
    """The knobs that are always in sight. Call inside a layout."""
    return Controls({name: _control(knobs()[name], getattr(recipe, name)) for name in MAIN})


def further_controls(recipe: Recipe) -> Controls:
    """All other knobs, except those that are lines of text: these have a box of their own. Call inside a layout."""
    names = [name for name, spec in knobs().items() if name not in MAIN and "lines" not in spec.metadata]
    return Controls({name: _control(knobs()[name], getattr(recipe, name)) for name in names})


def linked(name: str) -> Component:
    """A second control for a knob, where its effect is shown. Call inside a layout."""
    return _control(knobs()[name], knobs()[name].default, f"linked-{name}")


def follow(state: TabState, name: str) -> Named:
    """An update for a second control, called "slider"; none if it shows the recipe already: a slider must not be moved under
    the hand that drags it."""
    value = getattr(state.session.recipe, name)
    if state.linked.get(name) == value:
        return {}
    state.linked[name] = value
    return {"slider": _update(knobs()[name], value)}


def turn_linked(state: TabState, value: Any, name: str) -> None:
    """A hand turns a second control. Raises RecipeError."""
    state.linked[name] = value
    edits.turn(state, value, name)


def line_knobs() -> list[str]:
    """Names of the knobs that are lines of text."""
    return [name for name, spec in knobs().items() if "lines" in spec.metadata]


def on_turn(
    control: Component, handler: Callable[..., Named], state: gr.State, at: Mapping[str, Block], **how: Any
) -> Dependency:
    """Call ``handler(state, value)`` when a hand turns the control: a slider while it moves, a number once typed."""
    events = [control.submit, control.blur] if isinstance(control, gr.Number) else [control.input]
    return listen(partial(gr.on, events), handler, [state, control], at, **how)


def _control(spec: Field, value: Any, elem_id: str | None = None) -> Component:
    about = spec.metadata
    label = spec.name.replace("_", " ").capitalize()
    shared = {"label": label, "info": about["says"], "elem_id": elem_id or f"knob-{spec.name}", "min_width": 180}
    if "options" in about:
        choices = [(_OPTIONS.get(option, option), option) for option in about["options"]]
        return gr.Dropdown(choices, value=value, filterable=False, **shared)
    if _is_typed(spec):
        precision = 0 if about["step"] == 1 else None
        return gr.Number(value=value, precision=precision, step=about["step"], **shared)
    return gr.Slider(about["low"], _reach(spec, value), value=value, step=about["step"], **shared)


def _is_typed(spec: Field) -> bool:
    about = spec.metadata
    steps = (about["high"] - about["low"]) / about["step"]
    return spec.default is None or (steps > _MOST_STEPS and spec.name not in _REACH)


def _reach(spec: Field, value: float) -> float:
    return max(_REACH.get(spec.name, spec.metadata["high"]), value)


def _shown(spec: Field, recipe: Recipe, is_idle: bool) -> Any:
    says, name = spec.metadata["says"], spec.name
    needs = "needs a probe with task inputs too" if name in OF_BOTH_INPUTS else "needs a probe"
    why = needs if name in METHODS[recipe.method].uses else f"{recipe.method} does not use it"
    info = f"{says} ({why})" if is_idle else says
    return {**_update(spec, getattr(recipe, name)), "info": info, "interactive": not is_idle}


def _update(spec: Field, value: Any) -> Any:
    if "options" in spec.metadata or _is_typed(spec):
        return gr.update(value=value)
    return gr.update(value=value, maximum=_reach(spec, value))
