"""The truth line: which pair, which recipe, and what of it is probed, evaluated and exported. In the sidebar, or above the tabs
where that is folded; each step is a link to its tab.
"""

from typing import NamedTuple

from markupsafe import Markup

from tada_studio.app.state import TabState
from tada_studio.markup import template
from tada_studio.report.pair_names import pair_names
from tada_studio.session import Session

DONE, OLD, NEXT, LATER = "done", "old", "next", ""
#: Digits of a recipe's digest that tell the recipes of one session apart.
DIGITS = 8
_MARKS = {DONE: "✓", OLD: "↻"}
_STEPS = template("""
<ol class="steps">{% for step in steps %}<li class="{{ step.kind }}">
<span class="mark" aria-hidden="true">{{ marks.get(step.kind, loop.index) }}</span>
<span><a href="#{{ step.tab }}" data-tab="{{ step.tab }}" data-place="{{ step.place }}">{{ step.name }}</a><br>{{ step.line }}
</span></li>{% endfor %}</ol>
""")
_LINE = template("""
<nav class="truth" aria-label="What is open and how far it is"><div class="truth-pair">{{ pair }}
{%- if digest %} <span class="truth-recipe">recipe <code>{{ digest }}</code></span>{% endif %}</div>
<ol>{% for step in steps %}<li class="{{ step.kind }}">
<a href="#{{ step.tab }}" data-tab="{{ step.tab }}" data-place="{{ step.place }}">{{ step.tab_name }}
<small>{{ step.short }}</small></a></li>{% endfor %}</ol></nav>
""")
_PAIR = template('<b class="task-word">{{ task }}</b> + <b class="domain-word">{{ domain }}</b>')


class Step(NamedTuple):
    """One step of the main job.

    tab, place: where it is done: a tab, and the element there that is brought into sight
    kind: done, of an earlier recipe, the next thing to do, or not yet
    line, short: how far it is, in a sentence and in a word or two
    """

    name: str
    tab: str
    place: str
    kind: str
    line: str
    short: str

    @property
    def tab_name(self) -> str:
        """What it is called where there is little room."""
        return "Inspect" if self.tab == "inspect" else self.name


def recipe_digest(session: Session) -> str:
    """What the recipe on screen is called for short; equal for what gives the same merge, "" while nothing is open."""
    return session.digest[:DIGITS]


def names(session: Session) -> tuple[str, str]:
    """Both adapters, so that no other pair's look the same; ("", "") while nothing is open."""
    if session.pair is None or session.opened is None:
        return "", ""
    opened = session.opened
    return pair_names(session.pair.task, session.pair.domain, (opened.task, opened.domain))


def steps(session: Session) -> list[Step]:
    """All five; the first that is not done is the next."""
    found = [_opened(session), _probed(session), _tuned(session), _evaluated(session), _exported(session)]
    following = next((i for i, step in enumerate(found) if step.kind == LATER), None)
    return [step._replace(kind=NEXT) if i == following else step for i, step in enumerate(found)]


def _opened(session: Session) -> Step:
    is_open = session.pair is not None
    line = "two adapters that fit" if is_open else "choose a sample or two adapters"
    return Step("Open", "open", "", DONE if is_open else LATER, line, "fits" if is_open else "nothing yet")


def _probed(session: Session) -> Step:
    readings = session.readings
    if readings is None:
        return Step("Probe", "open", "probe", LATER, "on the Open tab; gates are even until then", "not yet")
    return Step("Probe", "open", "probe", DONE, f"{len(readings.tokens)} inputs read", f"{len(readings.tokens)} inputs")


def _tuned(session: Session) -> Step:
    by_hand = session.can_undo
    line, short = ("undo works", "edited") if by_hand else ("paint the map, turn knobs", "as computed")
    kind = DONE if by_hand or any(run.sides for run in session.runs) else LATER
    return Step("Inspect and tune", "inspect", "", kind, line, short)


def _evaluated(session: Session) -> Step:
    """Whether the merge on screen was scored, and what there is."""
    runs = [run for run in session.runs if run.sides]
    fresh = [run for run in runs if not session.stale(run)]
    if not runs:
        return Step("Evaluate", "evaluate", "", LATER, "measure before you trust it", "not yet")
    kind, which = (DONE, "at this recipe") if fresh else (OLD, "of an earlier recipe")
    number = (fresh or runs)[-1].number
    return Step("Evaluate", "evaluate", "", kind, f"{which} (run {number})", "this recipe" if fresh else "earlier one")


def _exported(session: Session) -> Step:
    if session.exported is None:
        return Step("Export", "export", "", LATER, "one PEFT folder, certified", "not yet")
    if session.stale(session.exported):
        return Step("Export", "export", "", OLD, "of an earlier recipe: build again", "earlier one")
    holds = session.exported.certificate.holds
    line = "at this recipe, certified" if holds else "at this recipe, but it did not pass"
    return Step("Export", "export", "", DONE if holds else OLD, line, "this recipe" if holds else "did not pass")


def step_list(state: TabState) -> Markup:
    """The steps for the sidebar."""
    return _STEPS(steps=steps(state.session), marks=_MARKS)


def line(state: TabState) -> Markup:
    """Everything in two lines, for where the sidebar is folded."""
    task, domain = names(state.session)
    pair = _PAIR(task=task, domain=domain) if task else "Nothing is open"
    return _LINE(pair=pair, digest=recipe_digest(state.session), steps=steps(state.session))
