"""Pages that show figures without the app: one file with everything in it, plotly.js too. They ask for nothing else."""

import importlib.util
import re
from html import escape
from pathlib import Path

import plotly.graph_objects as go

_HERE = Path(__file__).parent
#: A whole page with gaps for its %title%, %css%, %body%, %plotly% and %themed%.
TEMPLATE, PAGE_CSS = _HERE / "page.html", _HERE / "page.css"
#: JavaScript that gives a figure the look of the page it is on.
THEMED_JS = _HERE / "themed.js"


def plotly_js() -> Path:
    """The plotly.js inside the installed package."""
    found = importlib.util.find_spec("plotly")
    assert found is not None and found.origin is not None, "plotly is a dependency of this package"
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


def figure_block(title: str, caption: str, figure: go.Figure | None) -> str:
    """A figure as HTML for the body of a ``page``: title, buttons that save it, chart, caption. None leaves a gap %figure%."""
    content = "%figure%" if figure is None else escape(figure.to_json() or "", quote=False)
    return (
        f"<figure><header><span>{escape(title)}</span><div>{_save('PNG')} {_save('SVG')}</div></header>"
        f'<div class="chart" role="img" aria-label="{escape(title)}"></div>'
        f'<div class="content" hidden>{content}</div><div class="caption">{escape(caption)}</div></figure>'
    )


def _save(kind: str) -> str:
    return f'<button type="button" data-save="{kind.lower()}" aria-label="Save as {kind}">{kind}</button>'


def page(title: str, body: str) -> str:
    """One self-contained HTML file. ``body`` is HTML and already safe; the title is escaped here."""
    gaps = {"title": escape(title), "body": body}
    gaps |= {"css": _text(PAGE_CSS), "themed": _text(THEMED_JS), "plotly": _text(plotly_js())}
    # all at once: what fills one gap is not searched for others
    return re.sub("%(title|css|body|plotly|themed)%", lambda gap: gaps[gap[1]], _text(TEMPLATE))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
