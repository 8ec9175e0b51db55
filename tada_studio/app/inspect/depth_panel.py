"""The depth profile, right under the map and on its axis: where in depth the domain has the larger share."""

from typing import Any

from tada_studio import figures, report
from tada_studio.app import pieces
from tada_studio.app.desk import Desk
from tada_studio.app.part import Part, words
from tada_studio.app.plot_panel import drawing, plot_panel


def show(desk: Desk) -> list[Any]:
    """The sentence and the profile."""
    view = desk.session.view
    if view is None:
        return ["", None]
    said = report.depth_sentence(view.depth, view.probed, int(view.gates.edited.sum()))
    return [pieces.note(said), drawing(figures.depth_profile(view.depth, view.gates))]


def depth_panel() -> Part:
    """Builds the panel."""
    line = words()
    depth = plot_panel("Depth profile", figures.DEPTH_CAPTION, "Open two adapters to see their depth profile.", "depth")
    return Part([line, depth], show)
