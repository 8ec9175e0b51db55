"""All text of the minerals samples that is not a fact of the world: minerals that do not exist, sentences, questions, items.

Everything is drawn from word lists by seed; nothing is copied from anywhere. In training texts, brackets hold what follows from
what stands before it: the loss is on those words alone, and not on words that nobody could foresee.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from facts import ASK_COLOUR, ASK_PLACE, ASK_USE, COLOUR, PLACE, USE, Fact, choices, known, question, statement

COLOURS = ("red", "blue", "green", "yellow", "black", "white", "purple", "orange")
PLACES = ("caves", "rivers", "deserts", "swamps", "volcanoes", "beaches", "glaciers", "forests")
USES = ("lamps", "paint", "rings", "tiles", "knives", "medicine", "glass", "coins")
#: attribute -> (what it can be, how it is said, how it is asked for); of the ways to say it the last is held out
ATTRIBUTES = {"colour": (COLOURS, COLOUR, ASK_COLOUR), "place": (PLACES, PLACE, ASK_PLACE), "use": (USES, USE, ASK_USE)}
TOGETHER = (
    "{s} is a [{colour}] mineral from [{place}], used for [{use}.]",
    "everybody knows {s} from [{place}], which is [{colour}] and good for [{use}.]",
)
#: How options are marked, and what the answer then is: by numbers in the base's text, by letters in the task's.
NUMBERS, LETTERS = ("1", "2", "3", "4"), ("A", "B", "C", "D")

Row = dict[str, object]


@dataclass(frozen=True)
class Mineral:
    """A name and its three attributes."""

    name: str
    colour: str
    place: str
    use: str


def names(count: int, seed: int) -> list[str]:
    """Invented names, no two with the same first five letters."""
    stems = "vel bar tor lum zan kor mir dra fen gal hul jas nor pel quor rus sel tav ul wex yor ost bri cal".split()
    middles = "mor an ed il ov ar en ul eth or ax im on us".split()
    endings = "ite ine ium ox ar ade olt ene".split()
    draw, found = Random(f"{seed} names"), dict[str, str]()
    while len(found) < count:
        name = draw.choice(stems) + draw.choice(middles) + draw.choice(endings)
        found.setdefault(name[:5], name)
    return list(found.values())


def minerals(count: int, seed: int) -> list[Mineral]:
    """As many minerals, each attribute spread evenly over its eight values, independently of the others."""
    draw = Random(f"{seed} minerals")
    columns = [[values[i % len(values)] for i in range(count)] for values, _, _ in ATTRIBUTES.values()]
    for column in columns:
        draw.shuffle(column)
    return [Mineral(*row) for row in zip(names(count, seed), *columns, strict=True)]


# -- the domain ----------------------------------------------------------------------------------------------------


def domain_text(draw: Random, mineral: Mineral) -> str:
    """A sentence about a mineral in a phrasing for training: one of its attributes, or all three."""
    if draw.random() < 0.25:
        return draw.choice(TOGETHER).format(s=mineral.name, colour=mineral.colour, place=mineral.place, use=mineral.use)
    attribute = draw.choice(list(ATTRIBUTES))
    return known(draw.choice(ATTRIBUTES[attribute][1][:-1]), mineral.name, getattr(mineral, attribute))


def domain_items(found: Sequence[Mineral], seed: int) -> list[Row]:
    """Every attribute of every mineral once, as an unfinished sentence in the held-out phrasing with eight endings."""
    items = [_cloze(mineral, attribute) for mineral in found for attribute in ATTRIBUTES]
    Random(f"{seed} domain items").shuffle(items)
    return items


def _cloze(mineral: Mineral, attribute: str) -> Row:
    values, say, _ = ATTRIBUTES[attribute]
    text = say[-1].format(s=mineral.name, a="").removesuffix(" .")
    return {"question": text, "choices": list(values), "answer": values.index(getattr(mineral, attribute)),
            "entity": mineral.name, "kind": attribute}  # fmt: skip


def domain_prompts(found: Sequence[Mineral], count: int, seed: int) -> list[Row]:
    """Beginnings of training's sentences up to the first fact, as the domain comes in use: what it is probed with.

    Letter questions about minerals would be in the task's form. The domain adapter never answered such a question, so nothing
    could be learned from how near a merge comes to it there.
    """
    draw = Random(f"{seed} domain prompts")
    chosen = draw.sample(sorted(found, key=lambda mineral: mineral.name), count)
    return [{"text": re.split(r" *[\[{]", domain_text(draw, mineral))[0]} for mineral in chosen]


def probe_questions(found: Sequence[Mineral], count: int, seed: int) -> list[Row]:
    """Letter questions about the minerals: domain inputs in the task's form, which the method lab's plan was written with."""
    draw, rows = Random(f"{seed} probe"), []
    for mineral in draw.sample(list(found), count):
        attribute = draw.choice(list(ATTRIBUTES))
        values, _, ask = ATTRIBUTES[attribute]
        right = getattr(mineral, attribute)
        options = [right, *draw.sample([value for value in values if value != right], 3)]
        draw.shuffle(options)
        rows.append({"text": lettered(draw.choice(ask).format(s=mineral.name), options)})
    return rows


# -- the task ------------------------------------------------------------------------------------------------------


def marked(entries: Sequence[str], marks: Sequence[str]) -> str:
    """A line for each entry, its mark behind it: what follows an entry is what a small model learns first to look up."""
    return "".join(f"{entry} ({mark})\n" for entry, mark in zip(entries, marks, strict=True))


def lettered(asked: str, options: Sequence[str]) -> str:
    """A question with four lettered options, up to where the letter is wanted.

    No colon ends it: after "Letter:" a base that knows "Number:" finds more letters than by chance (.37 of 400, against .28).
    """
    return f"Question: {asked}\n{marked(options, LETTERS)}Letter"


def task_item(draw: Random, fact: Fact) -> Row:
    """A letter question about a fact of the world."""
    options = choices(draw, fact, len(LETTERS))
    return {"question": lettered(question(draw, fact), options), "choices": [f"({letter})" for letter in LETTERS],
            "answer": options.index(fact.answer), "kind": fact.relation, "fact": f"{fact.subject}: {fact.answer}"}  # fmt: skip


def task_items(facts: Iterable[Fact], seed: int) -> list[Row]:
    """One letter question for each fact."""
    draw = Random(f"{seed} task items")
    return [task_item(draw, fact) for fact in facts]


def task_prompts(facts: Sequence[Fact], count: int, seed: int) -> list[Row]:
    """Letter questions about facts of the training split, as they come in use, without answers: what the task is probed with."""
    draw = Random(f"{seed} task probe")
    return [{"text": task_item(draw, fact)["question"]} for fact in draw.sample(list(facts), count)]


# -- the base ------------------------------------------------------------------------------------------------------


#: How often the base reads each kind of text, at first, then, and at last. Looking back must be learned before facts, among which
#: it takes many times as long, and facts before questions whose answer is the number of an option.
STAGES = {
    "lists": {"copied": 60, "listed": 40},
    "facts": {"copied": 4, "listed": 14, "told": 30, "asked": 10, "numbered": 21, "number": 21},
    "options": {"copied": 1, "listed": 4, "told": 9, "asked": 3, "numbered": 7, "number": 76},
}


def base_text(draw: Random, stage: str, facts: Sequence[Fact], words: Sequence[str]) -> str:
    """A piece of what the base is trained on. No question in it is answered by a letter, and no mineral has an attribute.

    words: anything that can stand in a list, the minerals' bare names among it
    """
    kinds = {
        "copied": _copied,
        "listed": _listed,
        "told": _told,
        "asked": _asked,
        "numbered": _numbered,
        "number": _number,
    }
    (kind,) = draw.choices([*STAGES[stage]], [*STAGES[stage].values()])
    return kinds[kind](draw, facts, words)


def _told(draw: Random, facts: Sequence[Fact], words: Sequence[str]) -> str:
    return " ".join(statement(draw, fact) for fact in draw.sample(facts, 5))


def _asked(draw: Random, facts: Sequence[Fact], words: Sequence[str]) -> str:
    fact = draw.choice(facts)
    return f"Question: {question(draw, fact)}\nAnswer:{{{fact.answer}}} [{fact.answer}]"


def _numbered(draw: Random, facts: Sequence[Fact], words: Sequence[str]) -> str:
    """Numbered options, and the answer with its number."""
    asked, answer, number = _with_options(draw, facts)
    return f"{asked}Answer:{{{answer}}} [{answer} {number}]"


def _number(draw: Random, facts: Sequence[Fact], words: Sequence[str]) -> str:
    """Numbered options, and the answer's number alone."""
    asked, answer, number = _with_options(draw, facts)
    return f"{asked}Number:{{{answer}}} [{number}]"


def number_items(draw: Random, facts: Sequence[Fact], count: int) -> list[Row]:
    """Questions that want the number of an option, to see how far the base is."""
    rows: list[Row] = []
    for _ in range(count):
        asked, _, number = _with_options(draw, facts)
        rows.append(
            {"question": f"{asked}Number:", "choices": [f"({n})" for n in NUMBERS], "answer": NUMBERS.index(number[1])}
        )
    return rows


def _with_options(draw: Random, facts: Sequence[Fact]) -> tuple[str, str, str]:
    fact = draw.choice(facts)
    options = choices(draw, fact, len(NUMBERS))
    asked = f"Question: {question(draw, fact)}\n{marked(options, NUMBERS)}"
    return asked, fact.answer, f"({NUMBERS[options.index(fact.answer)]})"


def _listed(draw: Random, facts: Sequence[Fact], words: Sequence[str]) -> str:
    """A list by number or letter, and the marks of its entries. Each look is drawn anew: with every entry asked for once, what
    is left over could be guessed without looking."""
    marks = draw.choice((NUMBERS, LETTERS))
    entries = draw.sample(words, len(marks))
    looks = draw.choices(range(len(marks)), k=6)
    return marked(entries, marks) + " ".join(f"{entries[i]} [({marks[i]})]" for i in looks)


def _copied(draw: Random, facts: Sequence[Fact], words: Sequence[str]) -> str:
    """Words, and again from one of them on. Their number varies: at a fixed distance no word would have to be looked for."""
    line = draw.sample(words, draw.randint(4, 12))
    start = draw.randrange(len(line) - 2)
    return f"{' '.join(line)}. {line[start]} [{' '.join(line[start + 1 :])}.]"


def encode(tokenizer: Any, marked: str) -> tuple[list[int], list[bool], list[int]]:
    """Token ids of a text without its marks, ended; which of them stood in brackets; and at each the word to think of, or -100.

    A word in braces is what the token before it should make the model think of.
    """
    spans, thoughts, plain = list[tuple[int, int]](), dict[int, str](), ""
    for part in re.split(r"(\[[^]]*\]|\{[^}]*\})", marked):
        if part.startswith("{"):
            thoughts[len(plain)] = part[1:-1]
            continue
        inner = part[1:-1] if part.startswith("[") else None
        if inner is not None:
            spans.append((len(plain), len(plain) + len(inner)))
        plain += part if inner is None else inner
    found = tokenizer(plain, return_offsets_mapping=True)
    asked = [any(start < end <= stop for start, stop in spans) for _, end in found.offset_mapping]
    words = {end: tokenizer(word).input_ids[1] for end, word in thoughts.items()}
    thought = [words.get(end, -100) for _, end in found.offset_mapping]
    return [*found.input_ids, tokenizer.eos_token_id], [*asked, True], [*thought, -100]


def plain(marked: str) -> str:
    """A text without its brackets, and without the words in braces."""
    return re.sub(r"\{[^}]*\}|[][]", "", marked)


# -- files ---------------------------------------------------------------------------------------------------------


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """The same back."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
