"""The gate map as a component: a grid of painted cells that speaks to Python in numbered strokes."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from jaxtyping import Float
from torch import Tensor

from tada_studio.core.gates import Gates
from tada_studio.figures import DEPTH_MARGIN
from tada_studio.lora import Address
from tada_studio.session import View

_HERE = Path(__file__).parent
_JS = (_HERE / "gate_map.js").read_text(encoding="utf-8")
_CSS = (_HERE / "gate_map.css").read_text(encoding="utf-8")

# Static on purpose: a template with values in it would be rendered anew at every update and wipe the cells.
_HTML = f"""
<div class="gm empty" style="--gm-margin: {DEPTH_MARGIN - 2}px">
  <div class="gm-none">Nothing is open yet. Choose a sample or two adapters on the Open tab.</div>
  <div class="gm-grid" role="grid"
       aria-label="Gate map: layers across, projections down. Arrow keys move, Enter paints, Delete resets."></div>
  <div class="gm-foot">
    <span class="gm-hint"></span>
    <span class="gm-scale gm-gate">task 0<span class="gm-bar"></span>1 domain
      <span class="gm-dot"></span>set by hand<span class="gm-box"></span>locked</span>
    <span class="gm-scale gm-lost">nothing dropped<span class="gm-bar"></span>most energy dropped</span>
  </div>
  <div class="gm-tip" role="tooltip" hidden></div>
</div>
"""

_revisions = itertools.count(1)


def gate_map() -> gr.HTML:
    """Events: stroke (tool, cells, value, on, id), cell_select (index), settled (rev), undo, redo.

    Props besides the value say which tools it starts with: ``tool`` (paint, reset, lock, inspect), ``brush`` (0 to 1),
    ``shows`` (gate, conflict).
    A function and not a subclass: subclassing gr.HTML writes a .pyi file next to this one.
    """
    return gr.HTML(
        value=None, tool="paint", brush=1.0, shows="gate", html_template=_HTML, css_template=_CSS, js_on_load=_JS,
        apply_default_css=False, container=True, padding=True, elem_id="gates",
    )  # fmt: skip


def hand_over(tool: str) -> str:
    """JavaScript that gives the map a tool's new value ("tool", "brush" or "shows") without a way through Python.

    A hand that takes another tool paints with it in the same second.
    """
    return f"(value) => {{ document.dispatchEvent(new CustomEvent('tada:tools', {{ detail: {{ {tool}: value }} }})); }}"


def payload(view: View | None, ack: int | None) -> dict[str, Any]:
    """What the map draws. ``ack`` is the last stroke that this answers; None is always accepted.

    Every payload has a new ``rev``: an update that equals the last one would be swallowed on its way, and a refused
    stroke would stay painted.
    """
    news = {"live": True, "ack": ack, "rev": next(_revisions)}
    if view is None:
        return {**news, "layers": [], "projections": [], "gates": [], "edited": [], "locked": []}
    gates = view.gates
    return {
        **news,
        "layers": list(gates.layers),
        "projections": list(gates.projections),
        "gates": _rows(gates.values),
        "computed": _rows(gates.computed),
        "edited": gates.edited.tolist(),
        "locked": gates.locked.tolist(),
        **_readings(view),
        "lost": _lost(view),
    }


def _readings(view: View) -> dict[str, Any]:
    if not view.probed:
        return {"task": None, "domain": None}
    task, domain = view.readings.average(view.recipe)
    places = view.readings.addresses
    return {"task": _on_grid(view.gates, places, task), "domain": _on_grid(view.gates, places, domain)}


def _lost(view: View) -> list | None:
    drops = view.merged.how.drops
    return None if drops is None else _on_grid(view.gates, view.pair.addresses, drops.lost)


def _on_grid(gates: Gates, places: Mapping[str, Address], values: Float[Tensor, " n"]) -> list[list[float | None]]:
    """One value for each module, laid out like the map: layers first, None where there is no module."""
    grid: list[list[float | None]] = [[None] * len(gates.projections) for _ in gates.layers]
    for place, value in zip(places.values(), values.tolist(), strict=True):
        grid[gates.layers.index(place.layer)][gates.projections.index(place.projection)] = value
    return grid


def _rows(values: Float[Tensor, "layers projections"]) -> list[list[float | None]]:
    """JSON knows no NaN: a cell without a module is None."""
    return [[None if cell != cell else cell for cell in row] for row in values.tolist()]
