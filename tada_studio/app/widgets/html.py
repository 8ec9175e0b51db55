"""Small pieces of HTML that several tabs show. Everything that is put in is escaped here, and only here."""

from collections.abc import Iterable, Sequence
from html import escape

from tada_studio.progress import Progress


def heading(title: str, line: str = "") -> str:
    return f'<div class="heading">{escape(title)}<small>{escape(line)}</small></div>'


def prose(title: str, paragraphs: Iterable[str]) -> str:
    """A title with a few paragraphs to read."""
    body = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
    return f'<section class="prose-text"><h3>{escape(title)}</h3>{body}</section>'


def note(text: str, kind: str = "", points: Iterable[str] = ()) -> str:
    """One sentence with points under it; kind is "", "good", "bad" or "next"."""
    listed = "".join(f"<li>{escape(point)}</li>" for point in points)
    return f'<div class="note {escape(kind)}">{escape(text)}{f"<ul>{listed}</ul>" if listed else ""}</div>'


def empty(what: str, do: str) -> str:
    """Stands where something will be: what is not there yet, and what to do about it."""
    return f'<div class="empty-state"><b>{escape(what)}</b>{escape(do)}</div>'


def caption(text: str) -> str:
    """How to read what stands above it."""
    return f'<div class="caption">{escape(text)}</div>'


def badge(text: str, kind: str = "") -> str:
    """One or two words about a thing; kind is "", "good", "bad" or "hand" (set by a person)."""
    return f'<span class="badge {escape(kind)}">{escape(text)}</span>'


def checks(rows: Iterable[tuple[bool, str, str]]) -> str:
    """(whether it is right, what was written, what is said about it) rows; read out by screen readers."""
    made = "".join(
        f'<li class="{"good" if right else "bad"}"><span class="mark" aria-hidden="true">{"✓" if right else "✗"}</span>'
        f"<span><code>{escape(text)}</code> {escape(says)}</span></li>"
        for right, text, says in rows
    )
    return f'<ul class="checks" role="status">{made}</ul>' if made else ""


def message(text: str) -> str:
    """What just happened; read out by screen readers."""
    return f'<div class="said" role="status" aria-live="polite">{escape(text)}</div>'


def box(inner: str) -> str:
    """A frame around HTML that another piece made."""
    return f'<div class="box">{inner}</div>'


def cards(figures: Iterable[tuple[str, str]]) -> str:
    """(figure, what it counts) pairs as a row of cards."""
    made = "".join(
        f'<div class="card"><div class="figure">{escape(figure)}</div><div class="name">{escape(name)}</div></div>'
        for figure, name in figures
    )
    return f'<div class="cards">{made}</div>'


def fact_table(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """Two columns: what it is, and its value."""
    body = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    caption = f"<caption>{escape(caption)}</caption>"
    return f'<div class="table-scroll"><table class="plain-table">{caption}<tbody>{body}</tbody></table></div>'


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="table-scroll"><table class="plain-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def progress_bar(progress: Progress | None, text: str | None = None) -> str:
    """How far a long task is; None is an empty bar with the text alone."""
    done, total = (progress.done, max(1, progress.total)) if progress else (0, 1)
    if text is None:
        text = progress_words(progress) if progress else ""
    width = min(100, round(100 * done / total))
    return (
        f'<div class="progress"><div class="track" role="progressbar" aria-label="progress" aria-valuemin="0" '
        f'aria-valuemax="{total}" aria-valuenow="{done}"><div class="fill" style="width:{width}%"></div></div>'
        f'<div class="note-line" role="status">{escape(text)}</div></div>'
    )


def progress_words(progress: Progress) -> str:
    """What is being done, and how far that is."""
    what = progress.note or progress.step
    return f"{what} ({progress.done} of {progress.total})" if progress.total else what


def finished_bar(text: str) -> str:
    return progress_bar(Progress("", 1, 1), text)
