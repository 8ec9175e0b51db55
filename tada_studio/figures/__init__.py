"""Results in, plotly figures out. A figure computes nothing, and only this package knows plotly.

One file for each family. A figure comes with its title and caption, which says how to read it, and is named
nowhere else. Colour means one thing everywhere:
blue is task, orange is domain, grey is base, red is conflict, green is a merge. Text, grids and backgrounds are left to whoever
shows a figure, so that one figure serves light and dark; so is the colour of traces whose meta is "ink".
"""

from tada_studio.figures.conflict import (
    CHANCE,
    MERGED,
    OVERLAP,
    SPECTRUM,
    against_chance,
    conflict_spectrum,
    merged_spectrum,
    overlap_table,
)
from tada_studio.figures.depth import (
    DEPTH,
    DEPTH_MARGIN,
    DEPTH_MARGIN_RIGHT,
    PROJECTIONS,
    SEPARATION,
    depth_profile,
    projections_over_depth,
    row_margin,
    separation_depth,
)
from tada_studio.figures.effect import CELLS, EFFECT, effect_bars, effect_cells
from tada_studio.figures.figure import Figure
from tada_studio.figures.maps import ASYMMETRY, GATES, LOST, gate_picture, lost_picture
from tada_studio.figures.of_merge import SPLIT, file_name, gate_map, maps_of, split_picture
from tada_studio.figures.rack import RACK, rack_map
from tada_studio.figures.scores import SCORES, score_bars
from tada_studio.figures.search import TUNING, tuning_scatter
from tada_studio.figures.sizes import (
    NORMS,
    RANK,
    THREE_WAY,
    energy_against_rank,
    norms_by_layer,
    three_way_bars,
)
from tada_studio.figures.stability import BANDS, SUBSETS, cell_bands, stability_curve

__all__ = [
    "ASYMMETRY",
    "BANDS",
    "CELLS",
    "CHANCE",
    "DEPTH",
    "DEPTH_MARGIN",
    "DEPTH_MARGIN_RIGHT",
    "EFFECT",
    "GATES",
    "LOST",
    "MERGED",
    "NORMS",
    "OVERLAP",
    "PROJECTIONS",
    "RACK",
    "RANK",
    "SCORES",
    "SEPARATION",
    "SPECTRUM",
    "SPLIT",
    "SUBSETS",
    "THREE_WAY",
    "TUNING",
    "Figure",
    "against_chance",
    "cell_bands",
    "conflict_spectrum",
    "depth_profile",
    "effect_bars",
    "effect_cells",
    "energy_against_rank",
    "file_name",
    "gate_map",
    "gate_picture",
    "lost_picture",
    "maps_of",
    "merged_spectrum",
    "norms_by_layer",
    "overlap_table",
    "projections_over_depth",
    "rack_map",
    "row_margin",
    "score_bars",
    "separation_depth",
    "split_picture",
    "stability_curve",
    "three_way_bars",
    "tuning_scatter",
]
