"""HTML from templates that escape whatever is put into them: names, remarks and items come from other people's files.

A template gives ``Markup``, which another template takes as it is; everything else is text, and becomes harmless.
"""

import math
from collections.abc import Callable, Iterable

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

#: What is missing is an error here and not an empty place on the screen.
_ENVIRONMENT = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def template(source: str) -> Callable[..., Markup]:
    """A function of the names in a Jinja2 template."""
    made = _ENVIRONMENT.from_string(source.strip())

    def fill(**values: object) -> Markup:
        return Markup(made.render(**values))

    return fill


_SUMMARY = template("""
<table><caption>{{ title }}</caption>{% for name, value in rows %}
<tr><th scope="row" style="text-align: left">{{ name }}</th><td style="text-align: left">{{ value }}</td></tr>{% endfor %}
</table>
""")


class Shown:
    """A value that is one line when it is printed, and a small table in a notebook."""

    def _facts(self) -> dict[str, object]:
        """What to say of it, the most telling first."""
        raise NotImplementedError

    def _rows(self) -> Iterable[tuple[str, object]]:
        """What the table says."""
        return self._facts().items()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        return str(_SUMMARY(title=type(self).__name__, rows=list(self._rows())))


_MAP = template("""
<table><tr><th></th>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr>{% for name, cells in rows %}
<tr><th>{{ name }}</th>{% for words, colour in cells %}<td style="text-align: right; background: {{ colour }}">{{ words }}</td>\
{% endfor %}</tr>{% endfor %}
</table>
""")


def share_map(rows: Iterable[tuple[object, Iterable[float]]], columns: Iterable[str]) -> Markup:
    """A table of shares in [0, 1]: the bluer the more the task's, the more orange the more the domain's; NaN is empty."""
    return _MAP(columns=columns, rows=[(name, list(map(_cell, shares))) for name, shares in rows])


def _cell(share: float) -> tuple[str, str]:
    if math.isnan(share):
        return "", "none"
    hue = "230, 126, 34" if share > 0.5 else "52, 120, 214"
    return f"{share:.2f}", f"rgba({hue}, {abs(2 * share - 1):.2f})"


def joined(parts: Iterable[str]) -> Markup:
    """Parts one after the other; those that are plain text are escaped."""
    return Markup("").join(parts)
