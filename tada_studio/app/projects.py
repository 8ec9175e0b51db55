"""Projects in the sidebar: save what is on screen under a name, go on with it or with an earlier session, delete it."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import gradio as gr
from markupsafe import Markup

from tada_studio import report
from tada_studio.app.browser_tabs import BrowserTabs
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.action_list import action_list, button, rows
from tada_studio.app.widgets.panel import EDIT, READ, Named, Panel, listen, words
from tada_studio.errors import InputError
from tada_studio.markup import joined, template
from tada_studio.session.store import Saved

KEPT = "Every change is saved for this browser tab by itself, and is there again after a reload or a crash."
_LIST = template('<div class="saved">{% if title %}<b>{{ title }}</b>{% endif %}<ul>{{ rows }}</ul></div>')
_NONE = template("<li>{{ text }}</li>")
_ROW = template("<li><span>{{ name }}<small>{{ under }}</small></span><span>{{ acts }}</span></li>")


# -- what is shown ---------------------------------------------------------------------------------------------------


def project_status(state: TabState) -> Markup:
    """Which project this is, and whether saving works."""
    autosave, project = state.autosave, state.session.project
    if autosave is not None and autosave.problem:
        return html.note(autosave.problem, "bad")
    return html.message(f"Project “{project}”. {KEPT}" if project else KEPT)


def saved(browser_tabs: BrowserTabs, state: TabState) -> dict[str, Any]:
    """Both lists, as an action list takes them."""
    store = browser_tabs.store(state)
    projects, recent = store.projects(), store.recent()
    return rows(
        _list("", projects, "None yet. Give this one a name and save it.")
        + (_list("Earlier sessions", recent, "") if recent else Markup())
    )


def _list(title: str, found: Sequence[Saved], none: str) -> Markup:
    return _LIST(title=title, rows=joined(map(_row, found)) or _NONE(text=none))


def _row(one: Saved) -> Markup:
    name = one.name or one.title
    under = [one.title] if one.name else []
    under += [report.counted(one.edits, "edit"), report.counted(one.runs, "run"), local_time(one.when)]
    acts = button("Open", "open", one.key, f"Open {name}")
    acts += button("Delete", "delete", one.key, f"Delete {name}") if one.name else Markup()
    return _ROW(name=name, under=", ".join(under), acts=acts)


def local_time(when: str) -> str:
    """An ISO time in words, in this machine's time zone; as it stands if it is none."""
    try:
        return datetime.fromisoformat(when).astimezone().strftime("%d %b %H:%M")
    except ValueError:
        return when[:20]


# -- handlers --------------------------------------------------------------------------------------------------------


def save(browser_tabs: BrowserTabs, state: TabState, name: str | None) -> str:
    """Save under a name; says what happened. Raises InputError."""
    browser_tabs.store(state).save_as(state.session, name or "")
    return f"Saved as “{state.session.project}”."


def press(browser_tabs: BrowserTabs, state: TabState, what: Any, key: Any) -> str:
    """A button of the list; says what happened. Raises TadaError, and then the tab is as it was."""
    if what == "delete":
        message = browser_tabs.store(state).delete(str(key))
    elif what == "open":
        message = browser_tabs.go_on_with(state, str(key))
    else:
        raise InputError("Choose a project or an earlier session from the list.")
    state.acted(message)
    return message


# -- layout and wiring -----------------------------------------------------------------------------------------------


def projects(state: gr.State, browser_tabs: BrowserTabs) -> Panel:
    """Builds and wires the section. Call inside the sidebar."""
    with gr.Accordion("Projects", open=False, elem_id="projects") as section:
        with gr.Row(equal_height=True):
            name = gr.Textbox(
                show_label=False, container=False, placeholder="Name", elem_id="project-name", scale=3, min_width=120
            )
            store = gr.Button("Save", size="sm", elem_id="project-save", elem_classes="act", scale=1, min_width=64)
        message = words(project_status(TabState()), elem_id="project-state")
        there = action_list("saved")

    at = {"message": message, "saved": there, "name": name}

    def on_save(state: TabState, text: str | None) -> Named:
        return {"message": html.message(save(browser_tabs, state, text)), "saved": saved(browser_tabs, state)}

    def on_press(state: TabState, news: gr.EventData) -> Named:
        happened = press(browser_tabs, state, getattr(news, "what", None), getattr(news, "key", None))
        return {
            "message": html.message(happened), "saved": saved(browser_tabs, state), "name": state.session.project or "",
        }  # fmt: skip

    stored = listen(partial(gr.on, [store.click, name.submit]), on_save, [state, name], at, **EDIT)
    pressed = listen(there.press, on_press, [state], at, **EDIT)
    section.expand(lambda state: saved(browser_tabs, state), state, there, **READ)
    return Panel({"message": message}, lambda state: {"message": project_status(state)}, (pressed,), (stored,))
