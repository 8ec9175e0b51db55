"""Items of one's own, the same on every tab that scores: files by side, as they were read, and what of them was refused and why."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from gradio.blocks import Block
from markupsafe import Markup

from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import ONCE, READ, Named, listen, words
from tada_studio.errors import InputError, TadaError
from tada_studio.evaluation.hub_items import fetch_items
from tada_studio.evaluation.items import TABLES, Read, read_table
from tada_studio.evaluation.shapes import Columns
from tada_studio.evaluation.shown import shown
from tada_studio.markup import joined, template

FILES = [".jsonl", *TABLES, ".zip"]
SIDES = ("domain", "task")
_HELP = (
    'JSON lines such as {"question": "…", "choices": ["…", "…"], "answer": 0}, CSV, TSV or Parquet. Files of ARC, MMLU, SciQ, '
    "OpenBookQA, PubMedQA and plain questions with answers are recognised. Or a zip of images, in a folder for each label. Any one "
    "of the two is enough; Auto-tune, Effect and Try it take them too."
)
#: Refused rows that are named, and items that are shown.
_NAMED, _PREVIEW = 5, 3
_SIDE = template('<div class="box">{{ head }}{{ preview }}{{ refused }}</div>')


class Choice(NamedTuple):
    """Which columns hold what, while somebody chooses."""

    side: gr.Radio
    question: gr.Dropdown
    choices: gr.Dropdown
    answer: gr.Dropdown


def read_side(state: TabState, path: str) -> Read:
    """The items of an uploaded file, by the columns that were chosen for it. Raises InputError that calls it by its own name."""
    try:
        return read_table(path, state.columns.get(path))
    except TadaError as error:
        raise type(error)(str(error).replace(path, Path(path).name)) from error


def own_items(state: TabState, domain_file: str | None, task_file: str | None) -> dict[str, Sequence[Any]] | None:
    """Items of these files, refused rows left out; None without a file: then the sample's. Raises InputError if all are refused."""
    found: dict[str, Sequence[Any]] = {}
    for side, path in zip(SIDES, (domain_file, task_file), strict=True):
        if not path:
            continue
        read = read_side(state, path)
        if not read.items:
            first = read.refused[0]
            raise InputError(f"{Path(path).name}, {first.where}: {first.why}")
        found[side] = read.items
    return found or None


def summary(state: TabState) -> Markup:
    """Of both files what was read and what was not, with the first items."""
    return joined(_side(state, side, path) for side, path in zip(SIDES, state.items, strict=True) if path)


def _side(state: TabState, side: str, path: str) -> Markup:
    name = Path(path).name
    try:
        read = read_side(state, path)
    except TadaError as error:
        return html.note(f"{side}: {error}", "bad")
    shape = f", read as {read.shape}" if read.shape else ""
    head = html.heading(f"{side}: {len(read.items)} items from {name}", f"{_count(len(read.refused))} refused{shape}.")
    return _SIDE(head=head, preview=_preview(read), refused=_refused(read))


def _count(rows: int) -> str:
    return f"{rows or 'no'} row{'' if rows == 1 else 's'}"


def _preview(read: Read) -> Markup:
    rows = [(one.prompt[:160], one.right, " | ".join(one.choices)[:120]) for one in map(shown, read.items[:_PREVIEW])]
    return html.table(["what it asks", "right", "choices"], rows) if rows else Markup()


def _refused(read: Read) -> Markup:
    """The first reasons; columns that nobody recognised are best chosen by hand."""
    if not read.refused:
        return Markup()
    points = [f"{one.where}: {one.why}" for one in read.refused[:_NAMED]]
    more = len(read.refused) - len(points)
    points += [f"and {more} more"] if more > 0 else []
    says = "Left out:" if read.items else f"No row is an item. Choose columns by hand: {', '.join(read.columns)}."
    return html.note(says, "bad", points)


def columns_of(state: TabState, side: str) -> tuple[str, ...]:
    """The columns of a side's file."""
    path = state.items[SIDES.index(side)]
    try:
        return read_side(state, path).columns if path else ()
    except TadaError:
        return ()


def on_files(state: TabState, domain_file: str | None, task_file: str | None) -> Named:
    """Other files: what they hold, and their columns to choose from."""
    state.items = (domain_file, task_file)
    side = next((side for side, path in zip(SIDES, state.items, strict=True) if path), "domain")
    return {"summary": summary(state), "by hand": gr.update(visible=any(state.items)), **_offered(state, side)}


def _offered(state: TabState, side: str) -> Named:
    names = list(columns_of(state, side))
    empty = gr.update(choices=names, value=None)
    return {"side": side, "question": empty, "choices": gr.update(choices=names, value=[]), "answer": empty}


def on_columns(
    state: TabState, side: str, question: str | None, choices: Sequence[str] | None, answer: str | None
) -> Named:
    """Read a side's file by these columns. Raises InputError, and then it is read as before."""
    path = state.items[SIDES.index(side)] if side in SIDES else None
    if not path or not question or not answer:
        raise InputError("Choose a side that has a file, and its columns for the question and the answer.")
    columns = Columns(question, answer, tuple(choices or ()))
    read_table(path, columns)
    state.columns = {**state.columns, path: columns}
    return {"summary": summary(state)}


def on_hub(state: TabState, side: str, ref: str | None) -> Iterator[Named]:
    """Fetch the items of a data set on the Hub into the field of a side. Raises InputError, which stays beside the field."""
    ref = (ref or "").strip()
    yield {"fetched": html.note(f"Asking the Hub for {ref}…") if ref else ""}
    try:
        state.session.visitor.check_room()
        found = fetch_items(ref, state.session.folder / "items" / re.sub(r"[^\w.-]+", "-", ref)[:80])
    except TadaError as error:
        yield {"fetched": html.note(str(error), "bad")}
        raise
    yield {
        "fetched": html.note(f"{found.name} of {ref} is the file of {side} items now.", "good"),
        f"{side} file": str(found),
    }


def items_box(state: gr.State) -> tuple[gr.File, gr.File, dict[str, Block]]:
    """Builds and wires the files of both sides; their components by name besides."""
    with gr.Accordion("Items of your own (otherwise the sample's)", open=False, elem_id="own-items"):
        words(html.note(_HELP))
        with gr.Row():
            domain, task = (
                gr.File(label=f"{side.capitalize()} items", file_types=FILES, elem_id=f"{side}-items", height=120)
                for side in SIDES
            )
        _hub(state, {"domain file": domain, "task file": task})
        read = words(elem_id="items-read")
        with gr.Accordion("Choose columns by hand", open=False, visible=False, elem_id="columns-by-hand") as by_hand:
            choice = _choice()
            use = gr.Button("Read with these columns", size="sm", elem_id="use-columns")
    at: dict[str, Block] = {"summary": read, "by hand": by_hand, **choice._asdict()}
    for file in (domain, task):
        listen(file.change, on_files, [state, domain, task], at, **READ)
    listen(choice.side.input, _offered, [state, choice.side], at, **READ)
    listen(use.click, on_columns, [state, *choice], at, **READ)
    return domain, task, at


def _hub(state: gr.State, files: dict[str, Block]) -> None:
    """Items of a data set on the Hub: asked for only when somebody presses the button."""
    with gr.Row(equal_height=True):
        side = gr.Radio(
            list(SIDES), value="domain", label="Items of a data set on the Hub, for", elem_id="hub-side", min_width=170
        )
        ref = gr.Textbox(
            label="Its id",
            placeholder="owner/name, or owner/name:data/test.parquet",
            elem_id="hub-items",
            scale=3,
            min_width=240,
        )
        fetch = gr.Button("Fetch", elem_id="hub-fetch", elem_classes="act", min_width=90)
    fetched = words(elem_id="hub-fetched")
    for event in (fetch.click, ref.submit):
        listen(event, on_hub, [state, side, ref], {"fetched": fetched, **files}, **ONCE)


def _choice() -> Choice:
    with gr.Row():
        side = gr.Radio(list(SIDES), value="domain", label="File of", elem_id="columns-side", min_width=160)
        question = gr.Dropdown([], label="Question", elem_id="columns-question", filterable=False, min_width=160)
        choices = gr.Dropdown(
            [],
            label="Choices",
            info="none: answers in words",
            multiselect=True,
            elem_id="columns-choices",
            min_width=220,
        )
        answer = gr.Dropdown([], label="Answer", elem_id="columns-answer", filterable=False, min_width=160)
    return Choice(side, question, choices, answer)
