"""Results in, plotly figures out. A figure computes nothing, and only this package knows plotly.

One file for each family; beside each figure stands its caption, which says how to read it. Colour means one thing everywhere:
blue is task, orange is domain, grey is base, red is conflict, green is a merge. Text, grids and backgrounds are left to whoever
shows a figure, so that one figure serves light and dark; so is the colour of traces whose meta is "ink".
"""

from tada_studio.figures.conflict import (
    CHANCE_CAPTION,
    MERGED_CAPTION,
    OVERLAP_CAPTION,
    SPECTRUM_CAPTION,
    against_chance,
    conflict_spectrum,
    merged_spectrum,
    overlap_table,
)
from tada_studio.figures.depth import DEPTH_CAPTION, DEPTH_MARGIN, DEPTH_MARGIN_RIGHT, depth_profile
from tada_studio.figures.effect import CELLS_CAPTION, EFFECT_CAPTION, effect_bars, effect_cells
from tada_studio.figures.maps import GATES_CAPTION, LOST_CAPTION, gate_picture, lost_picture
from tada_studio.figures.scores import SCORES_CAPTION, score_bars
from tada_studio.figures.search import TUNING_CAPTION, tuning_scatter
from tada_studio.figures.sizes import (
    NORMS_CAPTION,
    RANK_CAPTION,
    THREE_WAY_CAPTION,
    energy_against_rank,
    norms_by_layer,
    three_way_bars,
)
from tada_studio.figures.stability import BANDS_CAPTION, SUBSETS_CAPTION, cell_bands, stability_curve

__all__ = [
    "BANDS_CAPTION",
    "CELLS_CAPTION",
    "CHANCE_CAPTION",
    "DEPTH_CAPTION",
    "DEPTH_MARGIN",
    "DEPTH_MARGIN_RIGHT",
    "EFFECT_CAPTION",
    "GATES_CAPTION",
    "LOST_CAPTION",
    "MERGED_CAPTION",
    "NORMS_CAPTION",
    "OVERLAP_CAPTION",
    "RANK_CAPTION",
    "SCORES_CAPTION",
    "SPECTRUM_CAPTION",
    "SUBSETS_CAPTION",
    "THREE_WAY_CAPTION",
    "TUNING_CAPTION",
    "against_chance",
    "cell_bands",
    "conflict_spectrum",
    "depth_profile",
    "effect_bars",
    "effect_cells",
    "energy_against_rank",
    "gate_picture",
    "lost_picture",
    "merged_spectrum",
    "norms_by_layer",
    "overlap_table",
    "score_bars",
    "stability_curve",
    "three_way_bars",
    "tuning_scatter",
]
