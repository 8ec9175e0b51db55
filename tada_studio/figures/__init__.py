"""Results in, plotly figures out. A figure computes nothing, and only this package knows plotly.

One file for each family; beside each figure stands its caption, which says how to read it. Colour means one thing everywhere:
blue is task, orange is domain, grey is base, red is conflict, green is a merge. Text, grids and backgrounds are left to whoever
shows a figure, so that one figure serves light and dark.
"""

from tada_studio.figures.conflict import OVERLAP_CAPTION, SPECTRUM_CAPTION, conflict_spectrum, overlap_table
from tada_studio.figures.depth import DEPTH_CAPTION, DEPTH_MARGIN, depth_profile
from tada_studio.figures.scores import SCORES_CAPTION, score_bars

__all__ = [
    "DEPTH_CAPTION",
    "DEPTH_MARGIN",
    "OVERLAP_CAPTION",
    "SCORES_CAPTION",
    "SPECTRUM_CAPTION",
    "conflict_spectrum",
    "depth_profile",
    "overlap_table",
    "score_bars",
]
