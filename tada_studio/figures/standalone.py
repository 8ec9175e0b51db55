"""Pages that show figures without the app: one file with everything in it, plotly.js too. They ask for nothing else."""

import importlib.util
import re
from pathlib import Path

from markupsafe import Markup, escape

from tada_studio.figures.figure import Figure
from tada_studio.markup import template

_HERE = Path(__file__).parent
#: A whole page with gaps for its %title%, %css%, %body%, %plotly% and %themed%.
TEMPLATE, PAGE_CSS = _HERE / "page.html", _HERE / "page.css"
#: JavaScript that gives a figure the look of the page it is on.
THEMED_JS = _HERE / "themed.js"
_FIGURE = template("""
<figure><header><span>{{ title }}</span><div>
{% for kind in ("PNG", "SVG") %}
<button type="button" data-save="{{ kind.lower() }}" aria-label="Save as {{ kind }}">{{ kind }}</button>
{% endfor %}</div></header>
<div class="chart" role="img" aria-label="{{ title }}"></div><div class="content" hidden>{{ content }}</div>
<div class="caption">{{ caption }}</div></figure>
""")


def plotly_js() -> Path:
    """The plotly.js inside the installed package."""
    found = importlib.util.find_spec("plotly")
    assert found is not None and found.origin is not None, "plotly is a dependency of this package"
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


def figure_block(figure: Figure) -> Markup:
    """A figure as HTML for the body of a ``page``: title, buttons that save it, chart, caption. Without a plot there is a gap
    %figure% instead of it."""
    content = "%figure%" if figure.plot is None else figure.plot.to_json()
    return _FIGURE(title=figure.title, caption=figure.caption, content=content)


def page(title: str, body: Markup) -> str:
    """One self-contained HTML file."""
    gaps = {"title": str(escape(title)), "body": str(escape(body))}
    gaps |= {"css": _text(PAGE_CSS), "themed": _text(THEMED_JS), "plotly": _text(plotly_js())}
    # all at once: what fills one gap is not searched for others
    return re.sub("%(title|css|body|plotly|themed)%", lambda gap: gaps[gap[1]], _text(TEMPLATE))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
