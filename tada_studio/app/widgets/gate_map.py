"""The gate map as a component: a grid of painted cells that speaks to Python in numbered strokes."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tada_studio import report
from tada_studio.app.widgets.plot_panel import SAVES
from tada_studio.core.methods import METHODS
from tada_studio.core.selectors import families
from tada_studio.figures import DEPTH_MARGIN, DEPTH_MARGIN_RIGHT, row_margin
from tada_studio.pipeline.merge import Merge

_HERE = Path(__file__).parent
#: One script in six files: looks and words, what is drawn, groups that fold, the same as a table, as a figure, and the hand.
_JS = "\n".join(
    (_HERE / name).read_text(encoding="utf-8")
    for name in ("gate_looks.js", "gate_map.js", "gate_groups.js", "gate_table.js", "gate_save.js", "gate_input.js")
)

#: The tools, in the order of the toolbar.
TOOLS = ("paint", "rectangle", "reset", "lock", "smooth", "look")
#: What the map shows: name -> label.
SHOWS = {
    "split": "Split", "gate": "Share", "strength": "Strength", "separation": "Separation", "merged": "In the merge",
    "conflict": "Conflict", "asymmetry": "Asymmetry", "difference": "Difference", "table": "Table",
}  # fmt: skip
#: What a brush sets on the split map, where all planes meet.
PAINTS = {"share": "Share", "strength": "Strength", "separation": "Separation"}
#: Whose strength is shown and painted.
WHOSE = {"both": "Both", "task": "Task", "domain": "Domain"}
#: Planes of the map, and what a method without one is said not to read.
PLANES = {"share": "shares", "strength": "strengths", "separation": "separation"}


def _choice(sets: str, name: str, options: Mapping[str, str]) -> str:
    """Radio buttons that belong to the map alone: a hand that takes another tool paints with it in the same second."""
    made = "".join(
        f'<label><input type="radio" name="gm-{sets}" value="{value}"{" checked" if i == 0 else ""}>{label}</label>'
        for i, (value, label) in enumerate(options.items())
    )
    return f'<div class="gm-choice" role="radiogroup" aria-label="{name}" data-sets="{sets}" id="{sets}">{made}</div>'


_SAVES = "".join(
    f'<button type="button" data-save="{kind.lower()}" title="{says}" aria-label="{says}">{kind}</button>'
    for kind, says in SAVES.items()
)
# Static on purpose: a template with values in it would be rendered anew at every update and wipe the cells.
_HTML = f"""
<div class="gm empty" style="--gm-margin: {DEPTH_MARGIN - 2}px; --gm-right: {DEPTH_MARGIN_RIGHT - 2}px">
  <div class="gm-none empty-state"><b>Nothing is open yet</b>Choose a sample or two adapters on the Open tab.</div>
  <div class="gm-head">
    {_choice("shows", "Map shows", SHOWS)}
    <span class="gm-scale gm-halves"><span class="gm-half"></span>
      <span>upper left: on task inputs, lower right: on domain inputs</span></span>
    <span class="gm-scale gm-gate">
      <span class="gm-low">task 0</span><span class="gm-bar"></span><span class="gm-high">1 domain</span>
      <span class="gm-sign gm-fitted"></span>
      <span class="gm-sign"><span class="gm-dot"></span>set by hand</span>
      <span class="gm-sign"><span class="gm-box"></span>locked</span></span>
    <span class="gm-scale gm-times"><span>subtracted x -2</span><span class="gm-bar"></span><span>x 2 twice as strong</span></span>
    <span class="gm-scale gm-apart"><span>not separated 0</span><span class="gm-bar"></span><span>1 fully</span></span>
    <span class="gm-scale gm-lost"><span>energy dropped</span><span class="gm-ticks">
      <span style="left:0%">0</span><span style="left:10%">1%</span><span style="left:31.6%">10%</span>
      <span style="left:70.7%">50%</span><span style="left:100%">all</span></span></span>
    <label class="gm-fit"><input type="checkbox" id="fit">fit colours to this map</label>
    <div class="gm-save pp-save" role="group" aria-label="Save the map as it is shown">{_SAVES}</div>
  </div>
  <div class="gm-tools">
    {_choice("tool", "Tool", {name: name.capitalize() for name in TOOLS})}
    <label class="gm-fit gm-finger"><input type="checkbox" id="finger">finger paints</label>
    <span class="gm-what" aria-hidden="true">the brush sets</span>
    {_choice("paints", "The brush sets", PAINTS)}
    {_choice("whose", "Whose strength", WHOSE)}
    <div class="gm-brush" id="brush"><span>brush</span>
      <input type="range" min="0" max="1" step="0.05" aria-label="Brush: what is painted">
      <input type="number" min="0" max="1" step="0.05" aria-label="Brush, as a number"></div>
  </div>
  <div class="gm-scroll"><div class="gm-grid" role="grid" aria-multiselectable="true"
       aria-label="Gate map: layers across, projections down. Arrow keys move, with Shift they select; 0 to 9 set the brush,
       Enter uses the tool, Delete resets. The same cells can be shown as a table."></div></div>
  <div class="gm-table"></div>
  <div class="gm-foot">
    <span class="gm-hint" role="status"></span>
  </div>
  <div class="gm-tip" role="tooltip" hidden></div>
</div>
"""

_revisions = itertools.count(1)


def gate_map() -> gr.HTML:
    """Events: stroke (tool, cells, value, on, id), cell_select and look (index), settled (rev), compare, undo, redo.

    Props besides the value: ``facts`` (what the card on a cell tells of it), ``preview`` (cells to point out), ``at`` (the cell
    that was chosen elsewhere). Value, facts and preview are ``packed``.
    A function and not a subclass: subclassing gr.HTML writes a .pyi file next to this one.
    """
    return gr.HTML(
        value=None, facts=None, preview=None, at=None, html_template=_HTML, js_on_load=_JS,
        apply_default_css=False, container=True, padding=True, elem_id="gates",
    )  # fmt: skip


def packed(content: Mapping[str, Any] | Sequence[Any] | None) -> str | None:
    """As text: of a value in many parts gradio watches and copies each one, a dozen times at every stroke."""
    return None if content is None else json.dumps(content, separators=(",", ":"))


#: Digits that are sent of a number: more than a screen shows, and a map stays small on its way.
DIGITS = 5


def payload(view: Merge | None, ack: int | None, against: tuple[str, Merge] | None = None) -> dict[str, Any]:
    """What the map draws. ``ack`` is the last stroke that this answers; None is always accepted. against: (name, merge) that it is
    compared with.

    Every payload has a new ``rev``: an update that equals the last one would be swallowed on its way, and a refused
    stroke would stay painted.
    """
    news = {"live": True, "ack": ack, "rev": next(_revisions)}
    if view is None:
        return {**news, "layers": [], "projections": [], "gates": [], "edited": [], "locked": []}
    gates, drops = view.gates, view.how.drops
    return {
        **news,
        "towers": list(gates.towers),
        "layers": list(gates.layers),
        "projections": list(gates.projections),
        "groups": groups(gates.projections),
        "margin": row_margin(gates.projections) - 2,
        "gates": _rows(gates.values),
        "computed": _rows(gates.computed),
        "strength": gates.strength.permute(1, 2, 0).tolist(),
        "separation": _rows(gates.separation) if "separation" in METHODS[view.recipe.method].planes else None,
        "edited": gates.edited.int().tolist(),
        "locked": gates.locked.int().tolist(),
        **split(view),
        "difference": None if against is None else {"from": against[0], **(difference(view, against[1]) or {})},
        "weights": _on_grid(view, view.how.weights),
        "merged": None if view.contributions is None else _on_grid(view, view.contributions[:, 1]),
        "lost": None if drops is None else _on_grid(view, drops.lost_by_cell),
        "dropped": None if drops is None else _on_grid(view, drops.task.sum(1) + drops.domain.sum(1)),
        "method": view.recipe.method,
        "computes": METHODS[view.recipe.method].computes_shares and view.probed,
        "unread": unread(view),
    }


#: What the families of projections are called on the map.
_FAMILY = {"attn": "attention", "mlp": "feed-forward"}


def groups(projections: tuple[str, ...]) -> list[tuple[str, list[int]]]:
    """(name, columns) of groups whose rows lie together, in their order; none if there is only one."""
    found = [(_FAMILY[name], rows) for name, rows in families(projections).items() if rows]
    together = all(rows == list(range(rows[0], rows[0] + len(rows))) for _, rows in found)
    return sorted(found, key=lambda group: group[1]) if together and len(found) > 1 else []


def difference(view: Merge, against: Merge | None) -> dict[str, Any] | None:
    """How far the domain's part of each merged update is from that in another merge; None where there is none."""
    if against is None or view.contributions is None or against.contributions is None:
        return None
    other = dict(zip(against.pair.addresses.values(), against.contributions[:, 1].tolist(), strict=True))
    ours = view.contributions[:, 1]
    theirs = ours.new_tensor([other.get(place, math.nan) for place in view.pair.addresses.values()])
    return {"of": _on_grid(view, ours - theirs)}


def split(view: Merge) -> dict[str, Any]:
    """What the merge makes of both kinds of inputs, by cell; and the paper's asymmetry, where shares are not that already."""
    found = view.separation
    asymmetry = _rows(view.asymmetry.values) if view.probed and view.gates is not view.asymmetry else None
    if found is None:
        return {"split": None, "kept": None, "asymmetry": asymmetry}
    both = {"task": found.on_task, "domain": found.on_domain}
    kept = {
        f"{name} {kind}": _rows(values[a])
        for kind, values in (("own", found.own), ("foreign", found.foreign))
        for a, name in enumerate(("task", "domain"))
    }
    return {"split": {kind: _rows(gate) for kind, gate in both.items()}, "kept": kept, "asymmetry": asymmetry}


def unread(view: Merge) -> dict[str, str]:
    """By plane that the method does not read: that it does not, and who does."""
    method = METHODS[view.recipe.method]
    return {
        plane: f"The method {method.name} does not read {says}: painting them would change nothing. {report.readers(plane)}."
        for plane, says in PLANES.items()
        if plane not in method.planes
    }


def cell_facts(view: Merge | None) -> dict[str, Any] | None:
    """What the card on a cell tells of where its gate came from: readings, the ratio that counts as even, the band of the
    computed gate, both adapters' norms.

    It does not change while a hand paints, so it is sent apart from the map.
    """
    if view is None:
        return None
    norms = zip(("norm_task", "norm_domain"), view.adapter_norms.unbind(1), strict=True)
    facts: dict[str, Any] = {name: _on_grid(view, norm) for name, norm in norms}
    if view.readings is None:
        return facts
    task, domain = view.readings.average(view.recipe)
    facts |= {"task": _on_grid(view, task), "domain": _on_grid(view, domain)}
    if view.gates is not view.asymmetry:  # shares are a hand's: no response makes them, and no band lies around them
        return facts
    band = {name: _rows(values) for name, values in zip(("low", "high"), view.band, strict=True)}
    return {**facts, "even": _on_grid(view, _even(view)), "where": _EVEN[view.recipe.calibration], **band}


def chain(view: Merge, row: int, i: int, j: int) -> str:
    """The same in a sentence, down to the merged update, for one module of the pair and its cell of the map."""
    gates, method = view.gates, METHODS[view.recipe.method]
    responses, even = None, None
    if view.readings is not None:
        task, domain = view.readings.average(view.recipe)
        responses = float(task[row]), float(domain[row])
        even = float(_even(view)[row]) if method.computes_shares else None
    weights, parts = view.how.weights[row].tolist(), view.contributions
    part = None if parts is None or bool(parts[row].isnan().any()) else float(parts[row, 1])
    shares = float(gates.computed[i, j]), float(gates.values[i, j])
    separated = "separation" in method.planes and view.moments.both is not None
    return report.chain_sentence(responses, even, shares, (weights[0], weights[1]), part, separated)


#: Where a ratio of responses counts as even.
_EVEN = {"projection": "in this row", "global": "everywhere", "none": "(no calibration)"}


def _even(view: Merge) -> Float[Tensor, " n"]:
    """The ratio of the domain's to the task's response that each module's gate takes for even; NaN where it is unknown."""
    assert view.readings is not None
    task, domain = view.readings.average(view.recipe)
    computed = view.gates.computed[view.gates.cells_of(view.pair.addresses.values())]
    return domain / task / torch.exp(torch.logit(computed) / view.recipe.sharpness)


def _on_grid(view: Merge, values: Shaped[Tensor, "n ..."]) -> list[list[Any]]:
    """One value (or row of values) for each module, laid out like the map: layers first, None where there is no module."""
    gates = view.gates
    grid: list[list[Any]] = [[None] * len(gates.projections) for _ in gates.layers]
    for i, j, value in zip(*gates.cells_of(view.pair.addresses.values()), values.tolist(), strict=True):
        grid[i][j] = _short(value)
    return grid


def _short(value: Any) -> Any:
    """JSON knows neither NaN nor infinity: what is not known is None."""
    if isinstance(value, list):
        return [_short(each) for each in value]
    return round(value, DIGITS) if math.isfinite(value) else None


def _rows(values: Float[Tensor, "layers projections"]) -> list[list[float | None]]:
    """JSON knows no NaN: a cell without a module is None."""
    return [[None if cell != cell else round(cell, DIGITS) for cell in row] for row in values.tolist()]
