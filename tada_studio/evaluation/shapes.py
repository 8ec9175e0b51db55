"""Items in the shapes that others publish them in, brought to the lines of ``KINDS``; and any table by columns that a person names.

Every function here takes a row (column -> value) and gives another; raises InputError, which the caller prefixes with the place.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from tada_studio.errors import InputError

Row = Mapping[str, Any]
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: What the names of columns that hold one choice each end in, as far as a table goes on.
_ENDS = (_LETTERS[:10], _LETTERS[:10].lower(), [str(i) for i in range(30)], [str(i) for i in range(1, 30)])
#: Such columns, as tables spell them.
_ONE_EACH = (
    tuple(_LETTERS[:10]), tuple(_LETTERS[:10].lower()),
    *(tuple(f"{start}{end}" for end in ends)
      for start in ("choice", "option", "option_", "choice_", "answer") for ends in _ENDS),
    ("opa", "opb", "opc", "opd", "ope"),
)  # fmt: skip
#: What tables call the right one.
_ANSWERS = (
    "answer",
    "answerKey",
    "answer_key",
    "correct",
    "correct_answer",
    "correct_option",
    "target",
    "label",
    "cop",
    "gold",
)
_QUESTIONS = ("question", "question_stem", "prompt", "input", "instruction", "query", "sentence")
_REPLIES = ("answer", "response", "output", "completion", "target", "short_answer")


class Shape(NamedTuple):
    """A shape: what it is called, whether a row has it, and how it becomes one of ours."""

    name: str
    fits: Callable[[Row], bool]
    turn: Callable[[Row], dict[str, Any]]


class Columns(NamedTuple):
    """Which columns hold what, as a person says. choices: () for answers in words; one column may hold a list of them."""

    question: str
    answer: str
    choices: tuple[str, ...] = ()


def shape_of(row: Row) -> Shape | None:
    """The published shape of a row; None for one that is ours, or nobody's."""
    return next((shape for shape in SHAPES if shape.fits(row)), None)


def by_columns(row: Row, columns: Columns) -> dict[str, Any]:
    """The row as an item, by the columns that a person named. Raises InputError."""
    question, answer = row.get(columns.question), row.get(columns.answer)
    if not columns.choices:
        return {"question": _text(question, columns.question), "answer": _text(answer, columns.answer)}
    found = [row.get(name) for name in columns.choices]
    choices = (
        _listed(found[0], columns.choices[0])
        if len(found) == 1
        else [str(one) for one in found if one not in (None, "")]
    )
    return _choice(_text(question, columns.question), choices, answer)


def _choice(question: str, choices: Sequence[str], answer: Any, labels: Sequence[str] = ()) -> dict[str, Any]:
    return {"question": question, "choices": list(choices), "answer": index_of(answer, choices, labels)}


def index_of(answer: Any, choices: Sequence[str], labels: Sequence[str] = ()) -> int:
    """Which choice is right, by its label, its letter, its text, or its number from 0. Raises InputError."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    text = str(answer).strip()
    places: list[Sequence[str]] = [labels, choices, _LETTERS[: len(choices)], [str(i) for i in range(len(choices))]]
    for names in places:
        same = [i for i, name in enumerate(names) if str(name).strip().casefold() == text.strip("()").casefold()]
        if len(same) == 1:
            return same[0]
    raise InputError(
        f"answer = {str(answer)[:40]!r} names none of the {len(choices)} choices by letter, number or text."
    )


# -- the shapes ------------------------------------------------------------------------------------------------------


def _labelled(row: Row) -> dict[str, Any]:
    """ARC and OpenBookQA: choices as {"text": [...], "label": [...]}, or as [{"text": ..., "label": ...}], as OpenBookQA's authors
    publish them inside of the question."""
    question = row.get("question", row.get("question_stem"))
    choices = _unpacked(question.get("choices") if isinstance(question, Mapping) else row.get("choices"))
    if isinstance(choices, list):
        choices = {name: [one.get(name) for one in choices if isinstance(one, Mapping)] for name in ("text", "label")}
    inside: Mapping[str, Any] = choices if isinstance(choices, Mapping) else {}
    texts, labels = (_listed(inside.get(name), f"choices.{name}") for name in ("text", "label"))
    question = question.get("stem") if isinstance(question, Mapping) else question
    return _choice(_text(question, "question"), texts, row.get("answerKey"), labels)


def _sciq(row: Row) -> dict[str, Any]:
    """The right answer has a column of its own; in order of the alphabet it stands anywhere."""
    right = _text(row.get("correct_answer"), "correct_answer")
    choices = sorted({right, *(_text(row.get(f"distractor{i}"), f"distractor{i}") for i in (1, 2, 3))})
    return {"question": _text(row.get("question"), "question"), "choices": choices, "answer": choices.index(right)}


def _pubmed(row: Row) -> dict[str, Any]:
    """Yes, no or maybe, after the abstract where there is one."""
    context = _unpacked(row.get("context", row.get("CONTEXTS", "")))
    inside = context.get("contexts", []) if isinstance(context, Mapping) else context
    parts = inside if isinstance(inside, list) else [inside]
    question = _text(row.get("question", row.get("QUESTION")), "question")
    read = "\n".join(str(part) for part in parts if part)
    return _choice(f"{read}\n{question}" if read else question, ["yes", "no", "maybe"], row.get("final_decision"))


def _spread(row: Row) -> dict[str, Any]:
    """A column for each choice."""
    names = next(names for names in _ONE_EACH if all(name in row for name in names[:2]))
    there = takewhile(row.__contains__, names)
    choices = [str(row[name]) for name in there if row[name] not in (None, "")]
    answer = row.get(next(name for name in _ANSWERS if name in row))
    return _choice(_text(_first(row, _QUESTIONS), "question"), choices, answer)


def _lettered(row: Row) -> dict[str, Any]:
    """MMLU, whose answer may be a letter or a text; and tables, whose choices are a list in one cell."""
    answer = row.get(next((name for name in _ANSWERS if name in row), "answer"))
    return _choice(_text(_first(row, _QUESTIONS), "question"), _listed(row["choices"], "choices"), answer)


def _reply(row: Row) -> dict[str, Any]:
    """A question and its answer in words, under any of the names that these have."""
    question = next(name for name in _QUESTIONS if name in row)
    answer = next(name for name in _REPLIES if name in row)
    return {"question": _text(row[question], question), "answer": _text(row[answer], answer)}


def _is_labelled(row: Row) -> bool:
    question, choices = row.get("question"), _unpacked(row.get("choices"))
    inside = question.get("choices") if isinstance(question, Mapping) else choices
    named = isinstance(inside, Mapping) and {"text", "label"} <= set(inside)
    listed = (
        isinstance(inside, list) and bool(inside) and all(isinstance(one, Mapping) and "text" in one for one in inside)
    )
    return "answerKey" in row and (named or listed)


def _is_lettered(row: Row) -> bool:
    ours = isinstance(row.get("choices"), list) and isinstance(row.get("answer"), int) and "question" in row
    return "choices" in row and not ours and _has(row, _QUESTIONS) and _has(row, _ANSWERS)


def _is_spread(row: Row) -> bool:
    there = any(all(name in row for name in names[:2]) for names in _ONE_EACH)
    return there and "choices" not in row and _has(row, _ANSWERS) and _has(row, _QUESTIONS)


def _is_reply(row: Row) -> bool:
    ours = "question" in row and "answer" in row  # a number there is more likely the place of a choice that is missing
    other = {"choices", "label", "image", "text"} & set(row)
    return not ours and not other and _has(row, _QUESTIONS) and _has(row, _REPLIES)


#: The first that fits is a row's shape.
SHAPES = (
    Shape("SciQ", lambda row: {"correct_answer", "distractor1", "distractor2", "distractor3"} <= set(row), _sciq),
    Shape("PubMedQA", lambda row: "final_decision" in row and ("question" in row or "QUESTION" in row), _pubmed),
    Shape("ARC or OpenBookQA", _is_labelled, _labelled),
    Shape("a column for each choice", _is_spread, _spread),
    Shape("choices with a letter", _is_lettered, _lettered),
    Shape("question and answer", _is_reply, _reply),
)


# -- values ----------------------------------------------------------------------------------------------------------


def _has(row: Row, names: Sequence[str]) -> bool:
    return any(name in row for name in names)


def _first(row: Row, names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _text(value: Any, what: str) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
        return str(value)
    raise InputError(f"{what} is empty or no text.")


def _unpacked(value: Any) -> Any:
    """A cell of a table that holds JSON as what it holds."""
    if isinstance(value, str) and value.strip()[:1] in "[{" and value.strip():
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _listed(value: Any, what: str) -> list[str]:
    """A list of texts: as it is, as JSON, or parted by | or ;."""
    value = _unpacked(value)
    if isinstance(value, str):
        value = [part.strip() for part in re.split(r"\s*[|;]\s*", value) if part.strip()]
    if not isinstance(value, list) or not all(isinstance(one, str | int | float) for one in value):
        raise InputError(f"{what} is no list of texts.")
    return [str(one) for one in value]
