"""Projects in the sidebar: save what is on screen under a name, go on with it or with an earlier session, delete it."""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

import gradio as gr

from tada_studio.app.browser_tabs import Visits
from tada_studio.app.state import Desk
from tada_studio.app.widgets import html
from tada_studio.app.widgets.action_list import button, listing, rows
from tada_studio.app.widgets.messages import spoken
from tada_studio.app.widgets.panel import EDIT, READ, Part, words
from tada_studio.errors import InputError
from tada_studio.session.store import Saved

KEPT = "Every change is saved for this browser tab by itself, and is there again after a reload or a crash."


# -- what is shown ---------------------------------------------------------------------------------------------------


def state(desk: Desk) -> str:
    """Which project this is, and whether saving works."""
    keeper, project = desk.keeper, desk.session.project
    if keeper is not None and keeper.problem:
        return html.note(keeper.problem, "bad")
    return html.said(f"Project “{project}”. {KEPT}" if project else KEPT)


def saved(visits: Visits) -> dict[str, Any]:
    """Both lists, as a listing takes them."""
    projects, recent = visits.shelf.projects(), visits.shelf.recent()
    return rows(
        _list("", projects, "None yet. Give this one a name and save it.")
        + (_list("Earlier sessions", recent, "") if recent else "")
    )


def _list(title: str, found: Sequence[Saved], none: str) -> str:
    body = "".join(map(_row, found)) or f"<li>{escape(none)}</li>"
    head = f"<b>{escape(title)}</b>" if title else ""
    return f'<div class="saved">{head}<ul>{body}</ul></div>'


def _row(one: Saved) -> str:
    name = one.name or one.title
    under = [one.title] if one.name else []
    under += [_count(one.edits, "edit"), _count(one.runs, "run"), local_time(one.when)]
    acts = button("Open", "open", one.key, f"Open {name}")
    acts += button("Delete", "delete", one.key, f"Delete {name}") if one.name else ""
    return f"<li><span>{escape(name)}<small>{escape(', '.join(under))}</small></span><span>{acts}</span></li>"


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def local_time(when: str) -> str:
    """An ISO time in words, in this machine's time zone; as it stands if it is none."""
    try:
        return datetime.fromisoformat(when).astimezone().strftime("%d %b %H:%M")
    except ValueError:
        return when[:20]


# -- handlers --------------------------------------------------------------------------------------------------------


def save(visits: Visits, desk: Desk, name: str | None) -> str:
    """Save under a name; says what happened. Raises InputError."""
    visits.shelf.save_as(desk.session, name or "")
    return f"Saved as “{desk.session.project}”."


def press(visits: Visits, desk: Desk, what: Any, key: Any) -> str:
    """A button of the list; says what happened. Raises TadaError, and then the desk is as it was."""
    if what == "delete":
        said = visits.shelf.delete(str(key))
    elif what == "open":
        said = visits.go_on_with(desk, str(key))
    else:
        raise InputError("Choose a project or an earlier session from the list.")
    desk.acted(said)
    return said


# -- layout and wiring -----------------------------------------------------------------------------------------------


def projects(desk: gr.State, visits: Visits) -> Part:
    """Builds and wires the section. Call inside the sidebar."""
    with gr.Accordion("Projects", open=False, elem_id="projects") as section:
        with gr.Row(equal_height=True):
            name = gr.Textbox(
                show_label=False, container=False, placeholder="Name", elem_id="project-name", scale=3, min_width=120
            )
            store = gr.Button("Save", size="sm", elem_id="project-save", elem_classes="act", scale=1, min_width=64)
        said = words(state(Desk()), elem_id="project-state")
        there = listing("saved")

    def on_save(desk: Desk, text: str | None) -> list[Any]:
        return [html.said(save(visits, desk, text)), saved(visits)]

    def on_press(desk: Desk, news: gr.EventData) -> list[Any]:
        happened = press(visits, desk, getattr(news, "what", None), getattr(news, "key", None))
        return [html.said(happened), saved(visits), desk.session.project or ""]

    stored = gr.on([store.click, name.submit], spoken(on_save), [desk, name], [said, there], **EDIT)
    pressed = there.press(spoken(on_press), desk, [said, there, name], **EDIT)
    section.expand(lambda: saved(visits), None, there, **READ)
    return Part([said], lambda desk: [state(desk)], changes=(pressed,), news=(stored,))
