"""Run: who is scored on what, and the scores as they come in."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from gradio.blocks import Block
from markupsafe import Markup

from tada_studio import figures, report
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.tabs.evaluate import variant_box
from tada_studio.app.widgets import html
from tada_studio.app.widgets.estimate import Pace, estimated
from tada_studio.app.widgets.own_items import items_box, own_items
from tada_studio.app.widgets.panel import READ, Named, Panel, listen, listen_early, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.app.widgets.task import Job, LongTask, bar, stop_button
from tada_studio.errors import InputError, TadaError
from tada_studio.evaluation.compare import Comparison, compared
from tada_studio.markup import joined
from tada_studio.pipeline.items import sample_validation, to_evaluate
from tada_studio.pipeline.variants import PARENTS, STRENGTHS, TUNED, TURNED, USUAL, by_name, run_name, variant_words
from tada_studio.progress import Progress
from tada_studio.session import Run

#: Offered before all methods are asked for, beside the recipe's own.
_FEW = (*PARENTS, *TURNED)
#: So many of the latest runs can stand beside the recipe.
EARLIER = 6
#: Items of one's own, unfolded, push it out of sight of the button that begins.
_BAR_INTO_SIGHT = """() => {
  const bar = document.getElementById('eval-bar'), { top, bottom } = bar.getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) bar.scrollIntoView({ block: 'center', behavior: 'smooth' });
}"""
NO_ITEMS = "A pair of your own brings no items: give some below, under “Items of your own”."
NOT_YET = "Nothing was evaluated yet. Choose variants and run: each appears as soon as it is scored."


# -- what is shown ---------------------------------------------------------------------------------------------------


def results(state: TabState, run: Run | None) -> Named:
    """The verdict on a run as far as it has come, then what it rests on; pale and named so if it is of an earlier recipe."""
    state.shown_run = run.number if run is not None else None
    if run is None or not run.sides:
        closed = gr.update(visible=False)
        nothing = {"cards": "", "table": "", "bars": None, "sentences": "", "csv": closed, "against": closed}
        return {"verdict": html.note(NOT_YET, "next"), **nothing, **variant_box.show(None)}
    old = state.session.stale(run)
    found = compared(run.sides, own_variant(run))
    return {
        "verdict": _verdict(run, found, old),
        **_against(state, run, found),
        "table": html.faded(_table(run), old),
        "bars": drawing(figures.score_bars(run.sides, "of an earlier recipe" if old else "", pale=old)),
        "sentences": _sentences(report.comparison_sentences(run.sides)),
        "csv": _csv(state, run),
        **variant_box.show(run),
    }


def _table(run: Run) -> Markup:
    """Every score, and what its columns count."""
    table = html.table(*report.score_table(run.sides))
    return html.box(joined([table, html.caption(report.score_table_caption(run.sides))]))


def own_variant(run: Run) -> str | None:
    """The variant that a run is about: its own recipe's; None, the last one, if that was not scored."""
    return run.recipe.method if run.recipe.method in run.variants else None


def _verdict(run: Run, found: Sequence[Comparison], old: bool) -> Markup:
    """The one sentence, and under it what it rests on."""
    says = report.verdict_words(found) or "Scored. Tick a second variant, such as the sum, to compare it with."
    points = [report.verdict_note(found)] if found else []
    if old:
        points += [f"Run {run.number} is of an earlier recipe, not of the merge on screen: run again, or restore it."]
    return html.note(says, "bad" if old else report.verdict_kind(found), points=points)


def _against(state: TabState, run: Run, found: Sequence[Comparison]) -> Named:
    """Whom the cards compare with, and the cards."""
    others = [one.against for one in found]
    if not others:
        return {"against": gr.update(visible=False), "cards": ""}
    against = state.against if state.against in others else others[0]
    [one] = [each for each in found if each.against == against]
    likelier = report.likelihood_card(one)
    cards = [*report.two_sides(run.sides, one.variant, against), *([likelier] if likelier else [])]
    offered = [(variant_words(name, run.recipe.method), name) for name in others]
    shown = html.cards([(card.figure, card.name) for card in cards]) if cards else Markup()
    return {
        "against": gr.update(choices=offered, value=against, visible=True), "cards": html.faded(shown, state.session.stale(run)),
    }  # fmt: skip


def _sentences(sentences: Sequence[str]) -> str:
    return html.note("Paired tests on the same items:", points=sentences) if sentences else ""


def _csv(state: TabState, run: Run) -> Any:
    path = state.session.folder / "scores.csv"
    path.write_text(report.runs_csv([run]), encoding="utf-8")
    return gr.update(value=str(path), visible=True)


def shown_run(state: TabState) -> Run | None:
    """The run whose scores are on the screen."""
    runs = state.session.runs
    return next((run for run in runs if run.number == state.shown_run), runs[-1] if runs else None)


def choices(state: TabState) -> list[tuple[str, str]]:
    """Everybody who can be scored now: (what it says, name). Unless all methods are asked for, those that everybody knows and
    those that are ticked."""
    session = state.session
    method, ticked = session.recipe.method, state.planned.get("evaluate", (USUAL,))[0] or ()
    names = [name for name in by_name(method) if state.all_methods or name in (*_FEW, method, *ticked)]
    plain = [(variant_words(name, method), name) for name in names]
    tuned = list(TUNED) if session.sample is not None and session.sample.validation else []
    tuned = [name for name in tuned if state.all_methods or name in ticked]
    runs = [run for run in session.runs if run.sides][-EARLIER:]
    earlier = [(f"{run_name(run)} ({run.recipe.method})", run_name(run)) for run in runs]
    return [*plain, *((name, name) for name in tuned), *earlier]


def show(state: TabState) -> Named:
    """Results, bar, choice of variants."""
    run = shown_run(state)
    message = "Ready." if state.session.pair else "Open a pair first."
    if run is not None:
        message = f"Run {run.number} is shown{'' if run.finished else '; it was stopped early'}."
    return {
        **results(state, run), "bar": html.progress_bar(None, message), "variants": gr.update(choices=choices(state)),
        **planned(state),
    }  # fmt: skip


# -- handlers --------------------------------------------------------------------------------------------------------


def on_all_methods(state: TabState, shown: bool, variants: Sequence[str]) -> Named:
    """The whole list of variants, or the short one with those that are ticked now: their estimate may still be on its way."""
    state.all_methods = bool(shown)
    state.planned["evaluate"] = (variants, *state.planned.get("evaluate", (USUAL, 50, None, None))[1:])
    return {"variants": gr.update(choices=choices(state))}


def on_against(state: TabState, against: str | None) -> Named:
    """The cards, against another variant."""
    state.against, run = against or state.against, shown_run(state)
    return {} if run is None or not run.sides else _against(state, run, compared(run.sides, own_variant(run)))


def evaluation(
    paths: AllowedPaths,
    state: TabState,
    variants: Sequence[str],
    limit: int | float,
    domain_file: str | None,
    task_file: str | None,
    exported: str | None = None,
) -> Job:
    """Score the chosen variants, each shown as soon as it is scored."""
    session, before = state.session, state.session.runs[-1:]
    sides, folders = own_items(state, domain_file, task_file), _folders(paths, exported)
    names = ordered(variants, session.recipe.method, bool(folders))

    def so_far() -> Run | None:
        return session.runs[-1] if session.runs and session.runs[-1:] != before else None

    def scored() -> int:
        run = so_far()
        return run.scored if run else 0

    count = units(state, [*names, *folders], limit, to_evaluate(session.sample, sides))
    return Job(
        work=lambda progress: session.evaluate(sides, names, int(limit), progress, folders),
        show=lambda: {**results(state, so_far()), **planned(state)},
        mark=scored,
        first=results(state, None),
        says=Clock().says,
        pace=Pace("evaluate", "evaluate", count),
        done=lambda run: f"Run {run.number} is done. Change the recipe and run again to compare.",
        stopped=lambda stopped: f"{stopped} What is scored is in the history." if so_far() else str(stopped),
    )


def units(state: TabState, variants: Sequence[str], limit: int | float, sides: Mapping[str, Sequence[Any]]) -> int:
    """Answers that a run takes: each variant's to each item; a tuned baseline's at every strength to its validation items."""
    items = sum(min(len(ones), int(limit)) for ones in sides.values())
    tuned, sample = [name for name in variants if name in TUNED], state.session.sample
    more = (
        sum(map(len, sample_validation(sample).values())) if tuned and sample is not None and sample.validation else 0
    )
    return items * len(variants) + more * len(STRENGTHS) * len(tuned)


def estimate(
    state: TabState, variants: Sequence[str], limit: int | float, domain_file: str | None, task_file: str | None
) -> Named:
    """About how long a run would take; nothing where it could not begin."""
    state.planned["evaluate"] = (variants, limit, domain_file, task_file)
    try:
        sides = to_evaluate(state.session.sample, own_items(state, domain_file, task_file))
        count = units(state, variants, limit, sides)
    except (TadaError, TypeError, ValueError):
        lacks = state.session.pair is not None and state.session.sample is None and not (domain_file or task_file)
        return {"estimate": html.note(NO_ITEMS, "next") if lacks else ""}
    items = sum(min(len(ones), int(limit)) for ones in sides.values())
    what = f"{report.counted(len(variants), 'variant')} on {items} items"
    return {"estimate": html.caption(estimated(state.session, "evaluate", count, what))}


def planned(state: TabState) -> Named:
    """The same of what was chosen last."""
    return estimate(state, *state.planned.get("evaluate", (USUAL, 50, None, None)))


class Clock:
    """How long the rest will take, judged by what is done of this step."""

    def __init__(self) -> None:
        self.step, self.start, self.first = "", 0.0, 0

    def says(self, progress: Progress) -> str:
        """What the bar says."""
        now = time.monotonic()
        if progress.step != self.step:
            self.step, self.start, self.first = progress.step, now, progress.done
        text = html.progress_words(progress)
        done, spent = progress.done - self.first, now - self.start
        left = spent / done * (progress.total - progress.done) if done else 0.0
        return f"{text}, about {_time(left)} left" if spent > 1 and left > 1 else text


def _time(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 90 else f"{round(seconds / 60)} min"


def _folders(paths: AllowedPaths, exported: str | None) -> dict[str, str]:
    """Adapters of a text with one folder or Hub id a line, by their last names where those are nobody else's. Raises InputError."""
    refs = [paths.checked(line, "Exported adapter") for line in (exported or "").splitlines() if line.strip()]
    taken = [*by_name("linear"), *(Path(ref).name for ref in refs)]
    return {ref if taken.count(Path(ref).name) > 1 else Path(ref).name: ref for ref in refs}


def ordered(variants: Sequence[str], method: str, others: bool = False) -> list[str]:
    """The chosen variants, the recipe's own method last: the sentences compare the last one with all others."""
    names = [name for name in variants if name != method]
    order = {name: i for i, name in enumerate(by_name(method))}
    names.sort(key=lambda name: order.get(name, len(order)))
    if method in variants:
        names.append(method)
    if not names and not others:
        raise InputError("No variant is chosen. Tick at least one, such as base and tada.")
    return names


# -- layout and wiring -----------------------------------------------------------------------------------------------


class RunInputs(NamedTuple):
    """What to evaluate, in the order of ``evaluation``."""

    variants: gr.CheckboxGroup
    limit: gr.Slider
    domain_file: gr.File
    task_file: gr.File
    exported: gr.Textbox


def run_panel(state: gr.State, paths: AllowedPaths) -> Panel:
    """Builds and wires the section."""
    inputs, task, about, whole = _inputs(state, paths)
    at, against = _results()
    box, made = variant_box.variant_box(state, shown_run)
    at |= {**box, "estimate": about}
    changed = partial(gr.on, [control.change for control in inputs[:4]])
    listen_early(
        changed, estimate, [state, *inputs[:4]], {"estimate": about}, **{**READ, "trigger_mode": "always_last"}
    )
    ran = task.begins(state, "run", partial(evaluation, paths), [*inputs], at)
    task.can_stop(state)
    task.starts["run"].click(None, None, None, js=_BAR_INTO_SIGHT, api_visibility="private")
    listen(whole.input, on_all_methods, [state, whole, inputs.variants], {"variants": inputs.variants}, **READ)
    listen(against.input, on_against, [state, against], {"against": against, "cards": at["cards"]}, **READ)
    return Panel({**at, "bar": task.bar, "variants": inputs.variants}, show, (made,), (ran,))


def _results() -> tuple[dict[str, Block], gr.Dropdown]:
    """Where results stand, the verdict first; and the choice of whom the cards compare with."""
    verdict = words(html.note(NOT_YET, "next"), elem_id="eval-verdict")
    with gr.Row(equal_height=False, elem_classes="beside-cards"):
        against = gr.Dropdown(
            [], label="Cards compare with", filterable=False, visible=False, elem_id="against", scale=1, min_width=180
        )
        with gr.Column(scale=4, min_width=320):
            cards = words(elem_id="two-sides")
    bars = plot_panel(figures.SCORES, "Bars appear here, variant by variant.", "bars")
    table = words(elem_id="scores")
    csv = gr.DownloadButton("Scores as CSV", size="sm", visible=False, elem_id="scores-csv", min_width=130, scale=0)
    sentences = words(elem_id="sentences")
    shown = {"verdict": verdict, "against": against, "cards": cards, "bars": bars, "table": table, "csv": csv}
    return {**shown, "sentences": sentences}, against


def _inputs(state: gr.State, paths: AllowedPaths) -> tuple[RunInputs, LongTask, gr.HTML, gr.Checkbox]:
    with gr.Row(equal_height=True):
        with gr.Column(scale=4, min_width=320):
            variants = gr.CheckboxGroup(choices(TabState()), value=list(USUAL), label="Variants", elem_id="variants")
            whole = gr.Checkbox(False, label="Offer all methods", container=False, elem_id="all-methods")
        limit = gr.Slider(10, 1000, 50, step=10, label="Items a side", elem_id="limit", scale=2, min_width=200)
        with gr.Column(scale=1, min_width=110):
            run = gr.Button("Run", variant="primary", elem_id="run", elem_classes="act")
            stop = stop_button("stop")
    about = words(elem_id="eval-estimate")
    domain, task, _ = items_box(state)
    with gr.Accordion("Other adapters", open=False, elem_id="other-adapters"):
        where = "a Hub id" if paths.hosted else "a folder or Hub id"
        exported = gr.Textbox(
            label="Exported adapters", info=f"Scored beside the variants: {where} on each line.", lines=2, elem_id="exported"
        )  # fmt: skip
    running = LongTask({"run": run}, stop, bar("Open a pair first.", "eval-bar"))
    return RunInputs(variants, limit, domain, task, exported), running, about, whole
