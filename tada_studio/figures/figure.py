"""A figure as whoever shows it takes it: its title, how to read it, and the plot."""

from __future__ import annotations

from typing import Any, NamedTuple

import plotly.graph_objects as go


class Figure(NamedTuple):
    """A plot with its title and the caption that says how to read it.

    The constants of this package are figures without a plot: the frame that stands on the screen before there is one. Every
    function here fills one of them, so that the screen and the report cannot call the same picture by two names. Without a
    plot (None) there was nothing to draw.
    """

    title: str
    caption: str
    plot: go.Figure | None = None

    def of(self, plot: go.Figure | None, about: str = "") -> Figure:
        """This frame with a plot in it; ``about`` says which module or run it shows and goes into the title."""
        return Figure(f"{self.title}, {about}" if about else self.title, self.caption, plot)

    def _repr_mimebundle_(self, *args: Any, **how: Any) -> Any:
        """Shown inline by a notebook."""
        return None if self.plot is None else self.plot._repr_mimebundle_(*args, **how)
