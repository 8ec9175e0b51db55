"""The sidebar: what is open, how far one has come, and what to do next."""

from pathlib import Path

import gradio as gr
from markupsafe import Markup

from tada_studio.app.browser_tabs import BrowserTabs
from tada_studio.app.projects import projects
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import Named, Panel, together, words
from tada_studio.markup import joined, template
from tada_studio.session import Session
from tada_studio.session.limits import OWN, Limits

_TITLE = (
    '<div class="side-title">TaDA Studio</div>'
    '<div class="side-line">Merge a <b class="task-word">task</b> LoRA and a <b class="domain-word">domain</b> LoRA, '
    "and see every step of it.</div>"
)
_DARK = "() => { document.body.classList.toggle('dark'); }"
_OPEN = template('<dl class="side-open">{{ rows }}</dl>')
_ROW = template("""
<div><dt>{% if colour %}<span class="swatch" style="background: var(--tada-{{ colour }})"></span>{% endif %}{{ name }}</dt>
<dd>{{ value }}</dd></div>
""")
_STEPS = template('<ol class="steps">{{ rows }}</ol>')
_STEP = template("""
<li class="{{ kind }}"><span class="mark" aria-hidden="true">{{ mark }}</span><span><b>{{ name }}</b><br>{{ line }}</span></li>
""")


def what_is_open(state: TabState) -> Markup:
    """Project, both adapters and the base, with the colours they have everywhere."""
    session = state.session
    if session.pair is None:
        return _OPEN(rows=_row("Project", "", "nothing open"))
    base = _base(session)
    rows = [
        ("Project", "", _project(session)),
        ("Task adapter", "task", session.pair.task.label),
        ("Domain adapter", "domain", session.pair.domain.label),
        ("Base", "base", base if session.base or not session.base_ref else f"{base} (loaded when needed)"),
    ]
    return _OPEN(rows=joined(_row(*row) for row in rows))


def _base(session: Session) -> str:
    """The base by name; a folder that a sample brings along is not spelled out."""
    ref = session.base.ref if session.base else session.base_ref or "none: weights only"
    own = session.sample is not None and ref == session.sample.base and Path(ref).is_dir()
    return f"{Path(ref).name}, in the sample" if own else ref


def _project(session: Session) -> str:
    pair = session.sample.title if session.sample else "your own pair"
    return f"{session.project} ({pair})" if session.project else pair


def _row(name: str, colour: str, value: str) -> Markup:
    return _ROW(name=name, colour=colour, value=value)


def steps(state: TabState) -> Markup:
    """The pipeline as a list: what is done, and the one thing to do next."""
    session = state.session
    runs = sum(bool(run.sides) for run in session.runs)
    read = (
        f"{len(session.readings.tokens)} inputs read"
        if session.readings
        else "on the Open tab; gates are even until then"
    )
    pipeline = [
        (
            "Open",
            session.pair is not None,
            "two adapters that fit" if session.pair else "choose a sample or two adapters",
        ),
        ("Probe", session.readings is not None, read),
        (
            "Inspect and tune",
            session.can_undo or bool(runs),
            "undo works" if session.can_undo else "paint the map, turn knobs",
        ),
        ("Evaluate", *_evaluated(session, runs)),
        ("Export", *_exported(session)),
    ]
    following = next((i for i, (_, is_done, _) in enumerate(pipeline) if not is_done), None)
    return _STEPS(rows=joined(_step(i, *step, i == following) for i, step in enumerate(pipeline)))


def _evaluated(session: Session, runs: int) -> tuple[bool, str]:
    """Whether the merge on screen was scored, and what there is."""
    if not runs:
        return False, "measure before you trust it"
    fresh = any(run.sides and not session.stale(run) for run in session.runs)
    return fresh, f"runs so far: {runs}{'' if fresh else ', of an earlier recipe'}"


def _exported(session: Session) -> tuple[bool, str]:
    if session.exported is None:
        return False, "one PEFT folder, certified"
    if session.stale(session.exported):
        return False, "of an earlier recipe: build again"
    holds = session.exported.certificate.holds
    return holds, "written and certified" if holds else "written, but it did not pass"


def _step(i: int, name: str, is_done: bool, line: str, is_next: bool) -> Markup:
    kind = "done" if is_done else "next" if is_next else ""
    return _STEP(kind=kind, mark="✓" if is_done else i + 1, name=name, line=line)


def show(state: TabState) -> Named:
    return {"open": what_is_open(state), "steps": steps(state)}


def sidebar(state: gr.State, browser_tabs: BrowserTabs, limits: Limits = OWN) -> Panel:
    """Builds the sidebar. Where little is kept there are no projects, and it says what a visitor may use."""
    with gr.Sidebar(width=290, elem_id="side"):
        words(_TITLE)
        empty = TabState()
        at = {"open": words(what_is_open(empty)), "steps": words(steps(empty))}
        if allowed := limits.in_words():
            words(html.note("This is a public server. For each visitor:", points=allowed), elem_id="limits")
        saved = Panel({}, lambda state: {}) if allowed else projects(state, browser_tabs)
        gr.Button("Light / dark", size="sm", elem_id="dark").click(None, None, None, js=_DARK, api_visibility="private")
    return together({"pair": Panel(at, show), "projects": saved})
