"""A figure as a file: PNG, SVG and PDF by plotly's kaleido where that and a Chromium are there, a page of its own otherwise."""

import importlib.util
import textwrap
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go
import plotly.io

from tada_studio.errors import ExportError
from tada_studio.figures.figure import Figure
from tada_studio.figures.standalone import figure_block, page

#: What kaleido draws.
IMAGES = ("png", "svg", "pdf")
#: Fonts that pictures can be drawn in, the usual one first; another is taken by name too, if it is installed.
FONTS = ("sans-serif", "serif", "monospace", "Arial", "Helvetica", "Times New Roman", "IBM Plex Sans")
FONT = FONTS[0]
#: Pixels that a picture may be wide: fewer hold no caption, more no browser draws.
NARROWEST, WIDEST = 200, 4000
#: Pixels of a picture's width, and of what stands above and under the plot; letters of a caption's line at that width.
WIDTH, _HEAD, _FOOT, _LINE, _LEGEND = 900, 34, 30, 17, 24
_LETTERS = 130


def can_draw() -> bool:
    """Whether kaleido is installed; it needs a Chromium too, which shows when it draws."""
    return importlib.util.find_spec("kaleido") is not None


def save_page(figure: Figure, path: Path, about: str = "") -> None:
    """The figure as one HTML file that opens offline, in light and dark. about: pair and recipe, for the caption."""
    whole = figure._replace(caption=f"{figure.caption} {about}".strip())
    path.write_text(page(f"TaDA Studio: {figure.title}", figure_block(whole)), encoding="utf-8")


def save_image(figure: Figure, path: Path, about: str = "", width: int = WIDTH, font: str = FONT) -> None:
    """The figure with its title and caption in it, on white; the ending of the path says as what. Raises ExportError."""
    save_images({path: figure}, about, width, font)


def save_images(pictures: Mapping[Path, Figure], about: str = "", width: int = WIDTH, font: str = FONT) -> None:
    """The same for many: one start of kaleido's browser, which takes longer than it draws. Raises ExportError."""
    check_width(width)
    for path, figure in pictures.items():
        if figure.plot is None:
            raise ExportError(f"{figure.title}: there is nothing to draw.")
        if path.suffix[1:].lower() not in IMAGES:
            raise ExportError(f"{path.name}: give a name that ends in .{', .'.join(IMAGES)}.")
    names = ", ".join(path.name for path in list(pictures)[:3])
    if not can_draw():
        raise ExportError(f"{names}: drawing needs kaleido and a Chromium (pip install kaleido). Or save it as .html.")
    plots = [captioned(figure, about, width, font) for figure in pictures.values()]
    try:
        plotly.io.write_images(plots, list(pictures), width=width)
    except Exception as error:  # kaleido raises whatever its browser does
        raise ExportError(
            f"{names}: kaleido could not draw it ({type(error).__name__}). It needs a Chromium; BROWSER_PATH names one."
        ) from error


def _legend_below(plot: go.Figure, height: int | float) -> int:
    """Pixels that a legend under a plot of that height takes; a caption has to stand under it."""
    y = plot.layout.legend.y
    return round(-y * height) + _LEGEND if y is not None and y < 0 else 0


def check_width(width: int) -> None:
    """Raises ExportError for a width that no picture can have."""
    if not NARROWEST <= width <= WIDEST:
        raise ExportError(f"width = {width}: give one from {NARROWEST} to {WIDEST} pixels.")


def captioned(figure: Figure, about: str = "", width: int = WIDTH, font: str = FONT) -> go.Figure:
    """A plot that stands for itself: title above, caption with ``about`` under it."""
    assert figure.plot is not None
    plot = go.Figure(figure.plot)
    lines = textwrap.wrap(f"{figure.caption} {about}".strip(), max(30, _LETTERS * width // WIDTH))
    above, below, height = plot.layout.margin.t or 24, plot.layout.margin.b or 40, plot.layout.height or 260
    below = max(below, _legend_below(plot, height - above - below))
    top, bottom = above + _HEAD, below + _LINE * len(lines) + _FOOT
    plot.update_layout(
        height=height + _HEAD + _LINE * len(lines) + _FOOT, margin={"t": top, "b": bottom}, template="plotly_white",
        title={"text": figure.title, "x": 0.01, "y": 0.985, "yanchor": "top", "font": {"size": 15}}, font={"family": font},
    )  # fmt: skip
    return plot.add_annotation(
        text="<br>".join(lines), xref="paper", yref="paper", x=0, y=0, yshift=-below - _FOOT // 2,
        yanchor="top", xanchor="left", align="left", showarrow=False, font={"size": 11, "color": "#555"},
    )  # fmt: skip
