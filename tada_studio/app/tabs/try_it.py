"""Try it: one prompt, and what base, parents and merge say to it, side by side and word by word."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import READ, WORK, Panel, words
from tada_studio.app.widgets.task import in_turn, steps
from tada_studio.base_model.generate import Sampling
from tada_studio.errors import InputError, Stopped, TadaError
from tada_studio.evaluation import Item, choose, read_items
from tada_studio.evaluation.prompts import Answer, Odds, Question
from tada_studio.progress import Progress
from tada_studio.sample_pairs import Sample

#: Who can be asked: name -> what its card is called.
VARIANTS = {"base": "Base", "task": "Task adapter", "domain": "Domain adapter", "merge": "The merge on screen"}
NOT_YET = "Nobody was asked yet. Write a prompt or take an example; base, parents and merge answer one after the other."
#: Examples of each side.
EXAMPLES = 6


# -- what is shown ---------------------------------------------------------------------------------------------------


def cards(answers: Mapping[str, Answer]) -> str:
    """The answers so far, a card for each variant."""
    if not answers:
        return html.note(NOT_YET, "next")
    made = "".join(_card(name, answer, _twin(name, answers)) for name, answer in answers.items())
    return f'<div class="answers">{made}</div>'


def _card(name: str, answer: Answer, linked: str | None) -> str:
    text = escape(answer.text.lstrip()) if answer.text.strip() else "(nothing yet)" if not answer.done else "(nothing)"
    state = f"the same words as {VARIANTS[linked].lower()}" if linked else "" if answer.done else "answering…"
    return (
        f'<section class="answer {escape(name)}" aria-label="{escape(VARIANTS[name])}">'
        f'<h4>{escape(VARIANTS[name])}</h4><pre class="answer-text">{text}</pre>{_odds(answer.odds)}'
        f'<div class="answer-state">{escape(state)}</div></section>'
    )


def _odds(odds: Sequence[Odds]) -> str:
    rows = "".join(
        f'<li class="{"right" if one.right else ""}"><span class="odds-name">{"✓ " if one.right else ""}'
        f'{escape(one.choice)}</span><span class="odds-bar"><i style="width:{one.share:.1%}"></i></span>'
        f"<span>{one.share:.0%}</span></li>"
        for one in sorted(odds, key=lambda one: -one.share)
    )
    return f'<ol class="odds" aria-label="How likely it finds each choice">{rows}</ol>' if rows else ""


def _twin(name: str, answers: Mapping[str, Answer]) -> str | None:
    """An earlier variant that said exactly the same."""
    mine = answers[name]
    same = (other for other, answer in answers.items() if answer.done and answer.text == mine.text)
    first = next(same, None)
    return first if mine.done and mine.text and first != name else None


def examples(sample: Sample | None) -> list[tuple[str, str]]:
    """(label, key) of some of the sample's items, from every side."""
    return [(label, key) for key, (label, _) in _known(sample).items()]


def _known(sample: Sample | None) -> dict[str, tuple[str, Item]]:
    return {} if sample is None else _examples(tuple(sorted(sample.items.items())))


@lru_cache(8)
def _examples(files: tuple[tuple[str, Path], ...]) -> dict[str, tuple[str, Item]]:
    found = {}
    for side, path in files:
        items = [item for item in read_items(path) if isinstance(item, Item)]
        for number, item in enumerate(choose(items, EXAMPLES) if items else []):
            first = item.question.strip().splitlines()[0]
            found[f"{side} {number}"] = (f"{side}: {first[:80]}", item)
    return found


def show(state: TabState) -> list[Any]:
    """Answers, examples, bar."""
    session = state.session
    choices = examples(session.sample)
    bar = html.progress_bar(None, "Ready." if session.pair else "Open a pair first.")
    return [cards(dict(session.answers)), gr.update(choices=choices, visible=bool(choices)), bar]


# -- handlers --------------------------------------------------------------------------------------------------------


def on_example(state: TabState, key: str | None) -> Any:
    """An example's question becomes the prompt."""
    known = _known(state.session.sample)
    return known[key][1].question if key in known else gr.skip()


def on_ask(
    state: TabState,
    prompt: str | None,
    example: str | None,
    form: str | None,
    who: Sequence[str] | None,
    most: Any,
    heat: Any,
    seed: Any,
) -> Iterator[list[Any]]:
    """Ask; yields (answers, bar, ask, stop)."""
    session = state.session

    def now(bar: str, running: bool) -> list[Any]:
        return [cards(dict(session.answers)), bar, gr.update(interactive=not running), gr.update(interactive=running)]

    try:
        question = Question(prompt or "", form == "chat", _item(state, prompt, example))
        how = _manner(most, heat, seed)
        names = _variants(who)
        session.answers = {}
        yield now(html.progress_bar(None, "Starting…"), running=True)
        for step in steps(in_turn(session, lambda progress: session.ask(question, names, how, progress))):
            if isinstance(step, Progress):
                yield now(html.progress_bar(step, step.note), running=True)
        yield now(html.finished_bar("All have answered."), running=False)
    except Stopped:
        yield now(html.progress_bar(None, "Stopped. What was said so far is kept."), running=False)
    except TadaError as error:
        yield now(html.progress_bar(None, str(error)), running=False)
        raise


def _item(state: TabState, prompt: str | None, example: str | None) -> Item | None:
    """The item that the prompt still is, word by word: only then do its choices belong to it."""
    _, item = _known(state.session.sample).get(example or "", ("", None))
    return item if item is not None and item.question == prompt else None


def _manner(most: Any, heat: Any, seed: Any) -> Sampling:
    try:
        return Sampling(most=int(most), temperature=float(heat), seed=int(seed or 0))
    except (TypeError, ValueError, OverflowError):
        raise InputError("Tokens, temperature and seed must be numbers.") from None


def _variants(who: Sequence[str] | None) -> list[str]:
    names = [name for name in VARIANTS if name in (who or [])]
    if not names:
        raise InputError("Nobody is chosen. Tick at least one, such as the merge.")
    return names


def on_stop(state: TabState) -> None:
    """Ask whoever speaks to stop; what was said stays."""
    state.session.stop()


# -- layout and wiring -----------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """What is asked, of whom, and how they answer; in the order of ``on_ask``."""

    prompt: gr.Textbox
    example: gr.Dropdown
    form: gr.Radio
    who: gr.CheckboxGroup
    most: gr.Slider
    heat: gr.Slider
    seed: gr.Number


def try_tab(state: gr.State) -> Panel:
    """Builds and wires the tab."""
    words(html.heading("Try it", "One prompt, the same seed, and the base loaded once: adapters are attached in turn."))
    asked = _asked()
    with gr.Row():
        go = gr.Button("Ask", variant="primary", elem_id="ask", elem_classes="act", scale=1, min_width=110)
        stop = gr.Button(
            "Stop", variant="stop", interactive=False, elem_id="ask-stop", elem_classes="act", scale=1, min_width=90
        )
    bar = words(html.progress_bar(None, "Open a pair first."), elem_id="ask-bar")
    answers = words(cards({}), elem_id="answers")
    asked.example.input(user_errors(on_example), [state, asked.example], asked.prompt, **READ)
    ran = go.click(user_errors(on_ask), [state, *asked], [answers, bar, go, stop], **WORK)
    stop.click(user_errors(on_stop), state, None, **READ)
    return Panel([answers, asked.example, bar], show, news=(ran,))


def _asked() -> Asked:
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            example = gr.Dropdown(
                [], label="Examples", info="from the sample's items", elem_id="examples", visible=False
            )
            prompt = gr.Textbox(
                label="Prompt", lines=6, max_lines=16, elem_id="prompt", placeholder="You can find rusanine in"
            )
        with gr.Column(scale=2, min_width=320):
            who = gr.CheckboxGroup(
                [(label, name) for name, label in VARIANTS.items()], value=list(VARIANTS), label="Who answers", elem_id="who"
            )  # fmt: skip
            form = gr.Radio(
                [("Plain text", "plain"), ("Chat template", "chat")], value="plain", label="The prompt is put as",
                info="as the adapters were trained: most often plain text", elem_id="form",
            )  # fmt: skip
            most = gr.Slider(1, 512, 32, step=1, label="Tokens at most", elem_id="most")
            with gr.Row():
                heat = gr.Slider(
                    0,
                    2,
                    0,
                    step=0.05,
                    label="Temperature",
                    info="0: always the likeliest",
                    elem_id="heat",
                    min_width=200,
                )
                seed = gr.Number(
                    0, label="Seed", info="the same dice for all", precision=0, elem_id="ask-seed", min_width=110
                )
    return Asked(prompt, example, form, who, most, heat, seed)
