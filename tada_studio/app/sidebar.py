"""The sidebar: what is open, how far one has come, and what to do next."""

from pathlib import Path

import gradio as gr
from markupsafe import Markup

from tada_studio.app import truth_line
from tada_studio.app.browser_tabs import BrowserTabs
from tada_studio.app.projects import projects
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import Named, Panel, together, words
from tada_studio.markup import joined, template
from tada_studio.session import Session
from tada_studio.session.limits import OWN, Limits

_TITLE = (
    '<h1 class="side-title">TaDA Studio</h1>'
    '<div class="side-line">Merge a <b class="task-word">task</b> LoRA and a <b class="domain-word">domain</b> LoRA, '
    "and see every step of it.</div>"
)
_DARK = "() => { document.body.classList.toggle('dark'); }"
_OPEN = template('<dl class="side-open">{{ rows }}</dl>')
_ROW = template("""
<div><dt>{% if colour %}<span class="swatch" style="background: var(--tada-{{ colour }})"></span>{% endif %}{{ name }}</dt>
<dd>{{ value }}</dd></div>
""")
_RECIPE = template('{{ method }} <code title="equal for what gives the same merge">{{ digest }}</code>')


def what_is_open(state: TabState) -> Markup:
    """Project, both adapters and the base, with the colours they have everywhere; and which recipe."""
    session = state.session
    if session.pair is None:
        return _OPEN(rows=_row("Project", "", "nothing open"))
    base = _base(session)
    task, domain = truth_line.names(session)
    rows = [
        ("Project", "", _project(session)),
        ("Task adapter", "task", task),
        ("Domain adapter", "domain", domain),
        ("Base", "base", base if session.base or not session.base_ref else f"{base} (loaded when needed)"),
        ("Recipe", "", _RECIPE(method=session.recipe.method, digest=truth_line.recipe_digest(session))),
    ]
    return _OPEN(rows=joined(_row(*row) for row in rows))


def _base(session: Session) -> str:
    """The base by name; a folder that a sample brings along is not spelled out."""
    ref = session.base.ref if session.base else session.base_ref or "none: weights only"
    own = session.sample is not None and ref == session.sample.base and Path(ref).is_dir()
    called = f"{Path(ref).name}, in the sample" if own else ref
    return f"{called}; scores and answers come from an engine" if session.visitor.runs.engine else called


def _project(session: Session) -> str:
    pair = session.sample.title if session.sample else "your own pair"
    return f"{session.project} ({pair})" if session.project else pair


def _row(name: str, colour: str, value: str) -> Markup:
    return _ROW(name=name, colour=colour, value=value)


def show(state: TabState) -> Named:
    return {"open": what_is_open(state), "steps": truth_line.step_list(state)}


def sidebar(state: gr.State, browser_tabs: BrowserTabs, limits: Limits = OWN) -> Panel:
    """Builds the sidebar. Where little is kept there are no projects, and it says what a visitor may use."""
    with gr.Sidebar(width=290, elem_id="side"):
        words(_TITLE)
        empty = TabState()
        at = {"open": words(what_is_open(empty)), "steps": words(truth_line.step_list(empty), elem_id="steps")}
        if allowed := limits.in_words():
            words(html.note("This is a public server. For each visitor:", points=allowed), elem_id="limits")
        saved = Panel({}, lambda state: {}) if allowed else projects(state, browser_tabs)
        gr.Button("Light / dark", size="sm", elem_id="dark").click(None, None, None, js=_DARK, api_visibility="private")
    return together({"pair": Panel(at, show), "projects": saved})


def top_line() -> Panel:
    """Builds the same above the tabs, for where the sidebar is folded. Call it there."""
    at = {"line": words(truth_line.line(TabState()), elem_id="truth")}
    return Panel(at, lambda state: {"line": truth_line.line(state)})
