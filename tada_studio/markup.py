"""HTML from templates that escape whatever is put into them: names, remarks and items come from other people's files.

A template gives ``Markup``, which another template takes as it is; everything else is text, and becomes harmless.
"""

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


def joined(parts: Iterable[str]) -> Markup:
    """Parts one after the other; those that are plain text are escaped."""
    return Markup("").join(parts)
