"""The maps of a merge, each with what it is over depth. Which there are its method says: shares, or the gates on both kinds of
inputs with the asymmetry of the readings.
"""

import re
from collections.abc import Mapping
from html import escape
from typing import Protocol, runtime_checkable

from plotly.subplots import make_subplots

from tada_studio.core.gates import Depth, Gates
from tada_studio.core.separation_map import SeparationMap
from tada_studio.figures.depth import depth_profile, separation_depth
from tada_studio.figures.figure import Figure
from tada_studio.figures.maps import ASYMMETRY, gate_picture, heat_of_gates

SPLIT = Figure(
    "Gates on each kind of inputs",
    "Each cell is one projection of one layer, on domain inputs and on task inputs: blue where the task speaks there, orange where "
    "the domain does. The more a cell differs between the two, the more it keeps the adapters apart.",
)


@runtime_checkable
class HasMaps(Protocol):
    """A merge, of which only its maps are asked for."""

    @property
    def gates(self) -> Gates: ...
    @property
    def asymmetry(self) -> Gates: ...
    @property
    def separation(self) -> SeparationMap | None: ...
    @property
    def depths(self) -> Mapping[str, Depth]: ...


def maps_of(merge: HasMaps) -> dict[str, Figure]:
    """File name -> figure, of each tower; what the method makes of the readings comes first."""
    found, computed = merge.separation, merge.gates is merge.asymmetry
    profile = depth_profile(merge.depths, merge.asymmetry)
    shares = {file_name("gate-map", tower): gate_picture(part, tower) for tower, part in merge.gates.by_tower.items()}
    if found is None:
        return {**shares, "depth-profile": profile}
    split = {file_name("split-map", tower): split_picture(found, tower) for tower in found.gates.by_tower}
    split["split-profile"] = separation_depth(found)
    if computed:
        return {**shares, "depth-profile": profile, **split}
    by_hand = shares if bool(merge.gates.edited.any()) else {}  # even, until a hand sets one
    asymmetry = {
        file_name("asymmetry-map", tower): ASYMMETRY.of(gate_picture(part).plot, escape(tower))
        for tower, part in merge.asymmetry.by_tower.items()
    }
    return {**split, **by_hand, **asymmetry, "asymmetry-profile": profile}


def gate_map(merge: HasMaps) -> Figure:
    """The map of what the method computes, shares or gates on each kind of inputs, of its first tower; a notebook shows it."""
    return next(iter(maps_of(merge).values()))


def split_picture(found: SeparationMap, tower: str = "") -> Figure:
    """The gate on domain inputs beside that on task inputs, of one tower."""
    gates = found.gates.by_tower[tower]
    figure = make_subplots(1, 2, subplot_titles=("on domain inputs", "on task inputs"), horizontal_spacing=0.02)
    for column, values in enumerate((found.on_domain, found.on_task), start=1):
        half = heat_of_gates(gates, found.gates.cut(tower, values))
        half.update_traces(showscale=column == 2)
        figure.add_traces(half.data, rows=1, cols=column)
        figure.update_xaxes(half.layout.xaxis, row=1, col=column).update_yaxes(half.layout.yaxis, row=1, col=column)
    figure.update_yaxes(showticklabels=False, col=2).update_annotations(font_size=12)
    margin = half.layout.margin.to_plotly_json()
    return SPLIT.of(figure.update_layout(height=half.layout.height + 14, margin={**margin, "t": 26}), escape(tower))


def file_name(name: str, tower: str) -> str:
    """A file's name, with the tower's where there are several."""
    return f"{name}-{re.sub(r'[^A-Za-z0-9_-]+', '-', tower)}" if tower else name
