"""Small parts of HTML that several tabs show. Everything that is put in is escaped by the templates."""

import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from tada_studio.glossary import parts
from tada_studio.markup import joined, template
from tada_studio.progress import LOAD, Progress

_HEADING = template('<div class="heading">{{ title }}<small>{{ line }}</small></div>')
_TERM = template("""
{%- if says %}<a class="term" href="#help" data-tab="help" data-place="glossary" title="{{ says }}">{{ text }}</a>
{%- else %}{{ text }}{% endif -%}
""")
_PROSE = template("""
<section class="prose-text"><h3>{{ title }}</h3>{% for text in paragraphs %}<p>{{ text }}</p>{% endfor %}</section>
""")
_NOTE = template("""
<div class="note {{ kind }}">{{ text }}
{%- if points %}<ul>{% for point in points %}<li>{{ point }}</li>{% endfor %}</ul>{% endif %}</div>
""")
_EMPTY = template('<div class="empty-state"><b>{{ what }}</b>{{ do }}</div>')
_CAPTION = template('<div class="caption">{{ text }}</div>')
_BADGE = template('<span class="badge {{ kind }}">{{ text }}</span>')
_CHECKS = template("""
{% if rows %}<ul class="checks" role="status">{% for right, text, says in rows %}
<li class="{{ "good" if right else "bad" }}"><span class="mark" aria-hidden="true">{{ "✓" if right else "✗" }}</span>
<span><code>{{ text }}</code> {{ says }}</span></li>{% endfor %}</ul>{% endif %}
""")
_MESSAGE = template("""
<div class="message-line" role="status" aria-live="polite">
{%- for part in parts %}{% if loop.index is even %}<span class="by-key">{{ part }}</span>{% else %}{{ part }}{% endif %}
{%- endfor -%}</div>
""")
#: What names keys, which a phone has not.
_BY_KEY = re.compile(r"( or Ctrl\+\w| (?:Undo|Redo): Ctrl\+\w\.)")
_BOX = template('<div class="box">{{ inner }}</div>')
_FADED = template('<div class="stale">{{ inner }}</div>')
_CARDS = template("""
<div class="cards">{% for figure, name in figures %}
<div class="card"><div class="figure">{{ figure }}</div><div class="name">{{ name }}</div></div>{% endfor %}</div>
""")
_FACTS = template("""
<div class="table-scroll"><table class="plain-table"><caption>{{ caption }}</caption><tbody>
{% for name, value in rows %}<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>{% endfor %}
</tbody></table></div>
""")
_TABLE = template("""
<div class="table-scroll"><table class="plain-table {{ kind }}">{% if caption %}<caption>{{ caption }}</caption>{% endif %}
<thead><tr>
{% for name in headers %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>
""")
_PROGRESS = template("""
<div class="progress" data-outcome="{{ outcome }}"><div class="track" role="progressbar" aria-label="progress" aria-valuemin="0"
 aria-valuemax="{{ total }}" aria-valuenow="{{ done }}"><div class="fill" style="width:{{ width }}%"></div></div>
<div class="note-line" role="status">{{ text }}</div></div>
""")


def heading(title: str, line: str = "") -> Markup:
    return _HEADING(title=title, line=line)


def explained(text: str) -> Markup:
    """A text whose words of the glossary say what they mean under the mouse, and lead to the glossary."""
    return joined(_TERM(text=part, says=says) for part, says in parts(text) if part)


def prose(title: str, paragraphs: Iterable[str]) -> Markup:
    """A title with a few paragraphs to read."""
    return _PROSE(title=title, paragraphs=paragraphs)


def note(text: str, kind: str = "", points: Iterable[str] = ()) -> Markup:
    """One sentence with points under it; kind is "", "good", "bad" or "next"."""
    return _NOTE(text=text, kind=kind, points=list(points))


def empty(what: str, do: str) -> Markup:
    """Stands where something will be: what is not there yet, and what to do about it."""
    return _EMPTY(what=what, do=do)


def caption(text: str) -> Markup:
    """How to read what stands above it."""
    return _CAPTION(text=text)


def badge(text: str, kind: str = "") -> Markup:
    """One or two words about a thing; kind is "", "good", "bad" or "hand" (set by a person)."""
    return _BADGE(text=text, kind=kind)


def checks(rows: Iterable[tuple[bool, str, str]]) -> Markup:
    """(whether it is right, what was written, what is said about it) rows; read out by screen readers."""
    return _CHECKS(rows=list(rows))


def message(text: str) -> Markup:
    """What just happened; read out by screen readers. Keys are not named where there is no keyboard."""
    return _MESSAGE(parts=_BY_KEY.split(text))


def box(inner: Markup) -> Markup:
    """A frame around HTML that another piece made."""
    return _BOX(inner=inner)


def faded(inner: Markup, old: bool = True) -> Markup:
    """What belongs to an earlier recipe, pale; as it is if ``old`` is false."""
    return _FADED(inner=inner) if old and inner else inner


def cards(figures: Iterable[tuple[str, str]]) -> Markup:
    """(figure, what it counts) pairs as a row of cards."""
    return _CARDS(figures=figures)


def fact_table(caption: str, rows: Iterable[tuple[str, str]]) -> Markup:
    """Two columns: what it is, and its value."""
    return _FACTS(caption=caption, rows=rows)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", kind: str = "") -> Markup:
    """``kind``: a class of the table, for style sheets. A cell may be Markup."""
    return _TABLE(headers=headers, rows=rows, caption=caption, kind=kind)


def progress_bar(progress: Progress | None, text: str | None = None, outcome: str = "") -> Markup:
    """How far a long task is; None is an empty bar with the text alone."""
    done, total = (progress.done, max(1, progress.total)) if progress else (0, 1)
    if text is None:
        text = progress_words(progress) if progress else ""
    width = min(100, round(100 * done / total))
    return _PROGRESS(done=done, total=total, width=width, text=text, outcome=outcome)


def progress_words(progress: Progress) -> str:
    """What is being done, and how far that is."""
    what = progress.note or progress.step
    if progress.step == LOAD:
        return what
    return f"{what} ({progress.done} of {progress.total})" if progress.total else what


def finished_bar(text: str) -> Markup:
    return ended_bar("done", text)


def ended_bar(outcome: str, text: str) -> Markup:
    """How a long task ended: "done", "stopped", "failed" or "refused"."""
    return progress_bar(Progress("", 1, 1) if outcome == "done" else None, text, outcome)
