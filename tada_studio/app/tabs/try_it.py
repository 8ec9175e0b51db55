"""Try it: one prompt, and what base, parents and merge say to it, side by side and word by word."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from tada_studio import report
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.estimate import Pace, estimated
from tada_studio.app.widgets.own_items import SIDES
from tada_studio.app.widgets.panel import READ, Named, Panel, listen, listen_early, words
from tada_studio.app.widgets.task import Job, LongTask, bar, stop_button
from tada_studio.base_model.generate import Sampling
from tada_studio.base_model.images import SUFFIXES, ImageFile, image_file
from tada_studio.errors import InputError, TadaError
from tada_studio.evaluation import Item, choose
from tada_studio.evaluation.items import read_table
from tada_studio.evaluation.labels import LabelItem
from tada_studio.evaluation.prompts import Answer, Odds, PromptGrid, Question
from tada_studio.evaluation.shapes import Columns
from tada_studio.markup import joined, template

#: Who can be asked: name -> what its card is called.
VARIANTS = {"base": "Base", "task": "Task adapter", "domain": "Domain adapter", "merge": "The merge on screen"}
NOT_YET = "Nobody was asked yet. Write a prompt or take an example; base, parents and merge answer one after the other."
#: Prompts that are put at once at most.
MOST_PROMPTS = 64
#: Examples of each side.
EXAMPLES = 6
_ANSWERS = template('<div class="answers">{{ cards }}</div>')
_CARD = template("""
<section class="answer {{ name }}" aria-label="{{ title }}"><h4>{{ title }}</h4>
<pre class="answer-text">{{ text }}</pre>{{ odds }}<div class="answer-state">{{ state }}</div></section>
""")
_ODDS = template("""
{% if rows %}<ol class="odds" aria-label="How likely it finds each choice">{% for each in rows %}
<li class="{{ "right" if each.right else "" }}"><span class="odds-name">{{ "✓ " if each.right else "" }}{{ each.choice }}</span>
<span class="odds-bar"><i style="width:{{ "%.1f%%" | format(100 * each.share) }}"></i></span>
<span>{{ "%.0f%%" | format(100 * each.share) }}</span></li>{% endfor %}</ol>{% endif %}
""")


# -- what is shown ---------------------------------------------------------------------------------------------------


def cards(answers: Mapping[str, Answer], old: bool = False) -> Markup:
    """The answers so far, a card for each variant. old: the merge that answered is of an earlier recipe; base and parents have
    none."""
    if not answers:
        return html.note(NOT_YET, "next")
    made = (
        (_card(name, answer, _same_as(name, answers), old), old and name == "merge") for name, answer in answers.items()
    )
    return _ANSWERS(cards=joined(html.faded(card, is_old) for card, is_old in made))


def _card(name: str, answer: Answer, linked: str | None, old: bool = False) -> Markup:
    text = answer.text.lstrip() if answer.text.strip() else "(nothing yet)" if not answer.done else "(nothing)"
    state = f"the same words as {VARIANTS[linked].lower()}" if linked else "" if answer.done else "answering…"
    return _CARD(name=name, title=_title(name, old), text=text, odds=_odds(answer.odds), state=state)


def _title(name: str, old: bool) -> str:
    return "The merge of an earlier recipe" if old and name == "merge" else VARIANTS[name]


def _odds(odds: Sequence[Odds]) -> Markup:
    return _ODDS(rows=sorted(odds, key=lambda each: -each.share))


def _same_as(name: str, answers: Mapping[str, Answer]) -> str | None:
    """An earlier variant that said exactly the same."""
    mine = answers[name]
    same = (other for other, answer in answers.items() if answer.done and answer.text == mine.text)
    first = next(same, None)
    return first if mine.done and mine.text and first != name else None


def examples(state: TabState) -> list[tuple[str, str]]:
    """(label, key) of some of the items, from every side; none where they cannot be read."""
    try:
        return [(label, key) for key, (label, _) in _known(state).items()]
    except TadaError:
        return []


def _known(state: TabState) -> dict[str, tuple[str, Item | LabelItem]]:
    """By key: of items of one's own, and of the sample's where there are none."""
    sample = state.session.sample
    files = {side: Path(path) for side, path in zip(SIDES, state.items, strict=True) if path} or (
        sample.items if sample else {}
    )
    columns = tuple(state.columns.get(str(path)) for _, path in sorted(files.items()))
    return _examples(tuple(sorted(files.items())), columns)


@lru_cache(8)
def _examples(
    files: tuple[tuple[str, Path], ...], columns: tuple[Columns | None, ...]
) -> dict[str, tuple[str, Item | LabelItem]]:
    found = {}
    for (side, path), chosen in zip(files, columns, strict=True):
        items = [item for item in read_table(path, chosen).items if isinstance(item, Item | LabelItem)]
        for number, item in enumerate(choose(items, EXAMPLES) if items else []):
            found[f"{side} {number}"] = (f"{side}: {_line(item)}", item)
    return found


def _line(item: Item | LabelItem) -> str:
    """An example in a few words."""
    if isinstance(item, Item):
        return item.question.strip().splitlines()[0][:80]
    content = item.content if isinstance(item.content, str) else item.content.path.name
    return f"{content[:60]} ({item.label})"


_NO_GRID = {"grid": "", "csv": gr.update(visible=False)}


def _grid(state: TabState) -> Named:
    """The grid of the open pair, and its file."""
    session, found = state.session, state.session.grid
    if found is None:
        return _NO_GRID
    path = session.folder / "answers.csv"
    path.write_text(grid_csv(found), encoding="utf-8")
    return {"grid": grid(found, session.stale(found)), "csv": gr.update(value=str(path), visible=True)}


def grid(found: PromptGrid, old: bool = False) -> Markup:
    """A row for each prompt, a column for whoever has answered. old: the merge that answered is of an earlier recipe."""
    heads = [_title(name, old) for name in found.answers]
    table = html.table(["prompt", *heads], [[cell.strip() for cell in row] for row in _rows(found)], kind="answer-grid")
    return html.faded(html.box(table), old and "merge" in found.answers)


def grid_csv(found: PromptGrid) -> str:
    """The same as CSV."""
    return report.table_csv(["prompt", *found.answers], _rows(found))


def _rows(found: PromptGrid) -> list[list[str]]:
    return [[prompt, *(column[i] for column in found.answers.values())] for i, prompt in enumerate(found.prompts)]


def show(state: TabState) -> Named:
    """Answers, examples, bar."""
    session = state.session
    choices = examples(state)
    return {
        "answers": cards(dict(session.answers), session.answers_are_stale),
        **_grid(state),
        **_suggested(state, choices),
        "bar": html.progress_bar(None, "Ready." if session.pair else "Open a pair first."),
        **planned(state),
    }


def _suggested(state: TabState, choices: list[tuple[str, str]]) -> Named:
    """The examples; and the first of them as the prompt, once a pair: what somebody wrote meanwhile stays."""
    offered = gr.update(choices=choices, visible=bool(choices))
    if not choices or state.suggested == state.session.opened:
        return {"examples": offered}
    state.suggested, (_, key) = state.session.opened, choices[0]
    return {"examples": gr.update(choices=choices, visible=True, value=key), **on_example(state, key)}


# -- handlers --------------------------------------------------------------------------------------------------------


def on_example(state: TabState, key: str | None) -> Named:
    """An example's question becomes the prompt; an image stands for itself."""
    known = _known(state)
    if key not in known:
        return {}
    item = known[key][1]
    return {
        "prompt": item.question if isinstance(item, Item) else item.content if isinstance(item.content, str) else ""
    }


def asking(
    state: TabState,
    prompt: str | None,
    example: str | None,
    form: str | None,
    who: Sequence[str] | None,
    most: Any,
    heat: Any,
    seed: Any,
    image: str | None = None,
) -> Job:
    """Ask those who are ticked; every word is shown as it comes."""
    session = state.session
    question = _question(state, prompt, example, form == "chat", image)
    how, names = _sampling(most, heat, seed), _variants(who)
    session.answers = {}
    return Job(
        work=lambda progress: session.ask(question, names, how, progress),
        show=lambda: {"answers": cards(dict(session.answers), session.answers_are_stale), **planned(state)},
        mark=object,  # never the same twice
        first={"answers": cards({})},
        says=lambda step: step.note,
        done=lambda _: "All have answered.",
        pace=Pace("ask", "answer", len(names) * how.most),
        stopped=lambda _: "Stopped. What was said so far is kept.",
    )


def _question(state: TabState, prompt: str | None, example: str | None, chat: bool, image: str | None) -> Question:
    """What is asked: an uploaded image, an example's image, or the prompt with the choices that belong to it."""
    if image:
        return Question("", chat, image=image_file(image))
    _, item = _known(state).get(example or "", ("", None))
    if isinstance(item, LabelItem):
        label = item.label if isinstance(item.label, str) else None
        if isinstance(item.content, ImageFile):
            return Question("", chat, image=item.content, label=label)
        return Question(prompt or "", chat, label=label if item.content == prompt else None)
    return Question(prompt or "", chat, _item(state, prompt, example))


def asking_all(
    state: TabState, prompts: str | None, form: str | None, who: Sequence[str] | None, most: Any, heat: Any, seed: Any
) -> Job:
    """Several prompts to those who are ticked, one variant after the other."""
    session, lines = state.session, [line.strip() for line in (prompts or "").splitlines() if line.strip()]
    how, names = _sampling(most, heat, seed), _variants(who)
    if not 0 < len(lines) <= MOST_PROMPTS:
        raise InputError(f"Write one prompt a line, up to {MOST_PROMPTS}.")
    return Job(
        work=lambda progress: session.ask_all(lines, names, how, form == "chat", progress),
        show=lambda: {**_grid(state), **planned(state)},
        mark=lambda: session.grid,
        first=_NO_GRID,
        done=lambda _: "All have answered all prompts.",
        pace=Pace("ask", "answer", len(names) * how.most),
    )


def estimate(state: TabState, who: Sequence[str] | None, most: Any) -> Named:
    """About how long the answers take at most."""
    state.planned["ask"] = (who, most)
    count = len(who or ())
    tokens = count * int(most) if isinstance(most, int | float) else 0
    what = f"{report.counted(count, 'answer')} of {most} tokens"
    return {"estimate": html.caption(estimated(state.session, "ask", tokens, what))}


def planned(state: TabState) -> Named:
    """The same of what was chosen last."""
    return estimate(state, *state.planned.get("ask", (list(VARIANTS), 32)))


def _item(state: TabState, prompt: str | None, example: str | None) -> Item | None:
    """The item that the prompt still is, word by word: only then do its choices belong to it."""
    _, item = _known(state).get(example or "", ("", None))
    return item if isinstance(item, Item) and item.question == prompt else None


def _sampling(most: Any, heat: Any, seed: Any) -> Sampling:
    try:
        return Sampling(most=int(most), temperature=float(heat), seed=int(seed or 0))
    except (TypeError, ValueError, OverflowError):
        raise InputError("Tokens, temperature and seed must be numbers.") from None


def _variants(who: Sequence[str] | None) -> list[str]:
    names = [name for name in VARIANTS if name in (who or [])]
    if not names:
        raise InputError("Nobody is chosen. Tick at least one, such as the merge.")
    return names


# -- layout and wiring -----------------------------------------------------------------------------------------------


class TryInputs(NamedTuple):
    """What is asked, of whom, and how they answer; in the order of ``asking``."""

    prompt: gr.Textbox
    example: gr.Dropdown
    form: gr.Radio
    who: gr.CheckboxGroup
    most: gr.Slider
    heat: gr.Slider
    seed: gr.Number
    image: gr.File


def try_tab(state: gr.State) -> Panel:
    """Builds and wires the tab."""
    words(html.heading("Try it", "One prompt, the same seed, and the base loaded once: adapters are attached in turn."))
    inputs = _inputs()
    with gr.Row():
        go = gr.Button("Ask", variant="primary", elem_id="ask", elem_classes="act", scale=1, min_width=110)
        stop = stop_button("ask-stop")
    about = words(elem_id="ask-estimate")
    changed = partial(gr.on, [inputs.who.change, inputs.most.change])
    how = {**READ, "trigger_mode": "always_last"}
    listen_early(changed, estimate, [state, inputs.who, inputs.most], {"estimate": about}, **how)
    with gr.Accordion("Several prompts at once", open=False, elem_id="many-prompts"):
        many = gr.Textbox(label="Prompts, one a line", lines=4, max_lines=12, elem_id="prompts")
        every = gr.Button("Ask all of them", elem_id="ask-all", elem_classes="act", min_width=140)
        table = words(elem_id="answer-grid")
        csv = gr.DownloadButton(
            "Answers as CSV", size="sm", visible=False, elem_id="answers-csv", min_width=130, scale=0
        )
    task = LongTask({"ask": go, "all": every}, stop, bar("Open a pair first.", "ask-bar"))
    answers = words(cards({}), elem_id="answers")
    listen(inputs.example.input, on_example, [state, inputs.example], {"prompt": inputs.prompt}, **READ)
    ran = task.begins(state, "ask", asking, [*inputs], {"answers": answers, "estimate": about})
    put = [many, inputs.form, inputs.who, inputs.most, inputs.heat, inputs.seed]
    task.begins(state, "all", asking_all, put, {"grid": table, "csv": csv, "estimate": about})
    task.can_stop(state)
    return Panel(
        {
            "answers": answers,
            "grid": table,
            "csv": csv,
            "examples": inputs.example,
            "prompt": inputs.prompt,
            "bar": task.bar,
            "estimate": about,
        },
        show,
        news=(ran,),
    )


def _inputs() -> TryInputs:
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            example = gr.Dropdown([], label="Examples", info="from the items", elem_id="examples", visible=False)
            prompt = gr.Textbox(
                label="Prompt", lines=6, max_lines=16, elem_id="prompt", placeholder="You can find rusanine in"
            )
            with gr.Accordion("An image instead, for an image classifier", open=False, elem_id="try-image"):
                image = gr.File(label="Image", file_types=[*SUFFIXES], elem_id="image", height=110)
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
    return TryInputs(prompt, example, form, who, most, heat, seed, image)
