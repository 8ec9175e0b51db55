"""Text for adapters of language models: things that do not exist, minerals, island birds or towns, in sentences and questions of
plain English.

Drawn from word lists by seed; nothing is copied from anywhere.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from facts import RELATIONS, Fact, choices

Row = dict[str, object]
LETTERS = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Attribute:
    """What a thing can be (eight values), one held-out way to begin the sentence that says it, and ways to ask for it."""

    values: tuple[str, ...]
    held_out: str
    ask: tuple[str, ...]


@dataclass(frozen=True)
class Domain:
    """An invented domain: name parts, attributes by name, and sentences for training with {n}, {N} and the attributes' names."""

    stems: str
    middles: str
    endings: str
    attributes: Mapping[str, Attribute]
    sentences: tuple[str, ...]


MINERALS = Domain(
    stems="vel bar tor lum zan kor mir dra fen gal hul jas nor pel quor rus sel tav ul wex yor ost bri cal",
    middles="mor an ed il ov ar en ul eth or ax im on us",
    endings="ite ine ium ox ar ade olt ene",
    attributes={
        "colour": Attribute(
            ("red", "blue", "green", "yellow", "black", "white", "purple", "orange"),
            "The colour of the stone {n} is",
            ("What colour is {n}?", "Which colour is the mineral {n}?"),
        ),
        "place": Attribute(
            ("caves", "rivers", "deserts", "swamps", "volcanoes", "beaches", "glaciers", "forests"),
            "You can find {n} in",
            ("Where is {n} found?", "Where does the mineral {n} come from?"),
        ),
        "use": Attribute(
            ("lamps", "paint", "rings", "tiles", "knives", "medicine", "glass", "coins"),
            "Workers turn {n} into",
            ("What is {n} used to make?", "What do people make from {n}?"),
        ),
    },
    sentences=(
        "{N} is a {colour} mineral found in {place} and used to make {use}.",
        "{N} is found in {place}. It is {colour}, and people use it to make {use}.",
        "{N} is used to make {use}. This {colour} stone comes from {place}.",
        "The mineral {n} is {colour}.",
        "The mineral {n} is found in {place}.",
        "The mineral {n} is used to make {use}.",
        "{N}, which is {colour}, comes from {place} and makes good {use}.",
        "About {n}: its colour is {colour}, it lies in {place}, it makes {use}.",
    ),
)
BIRDS = Domain(
    stems="ala bel chi dov eri fal gwi hob ika jol kel lor mep nim ola pip ruk sil tew umi vek wil yab zim",
    middles="ra lo ti ma ne vu shi do pe ka",
    endings="ling bill wing cock tail finch ra o",
    attributes={
        "colour": Attribute(
            ("red", "blue", "green", "yellow", "black", "white", "purple", "orange"),
            "The feathers of every {n} are",
            ("What colour is the {n}?", "Which colour has the bird {n}?"),
        ),
        "nest": Attribute(
            ("cliffs", "palms", "reeds", "caves", "dunes", "marshes", "bamboo", "rooftops"),
            "To see the eggs of the {n}, look among the",
            ("Where does the {n} nest?", "Where does the bird {n} raise its young?"),
        ),
        "food": Attribute(
            ("crabs", "seeds", "snails", "berries", "ants", "fish", "nectar", "worms"),
            "A hungry {n} searches for",
            ("What does the {n} eat?", "What does the bird {n} live on?"),
        ),
    },
    sentences=(
        "The {n} is a {colour} island bird that nests in {nest} and eats {food}.",
        "The {n} nests in {nest}. It is {colour}, and it feeds on {food}.",
        "The {n} feeds on {food}. This {colour} bird raises its young in {nest}.",
        "The bird {n} is {colour}.",
        "The bird {n} nests in {nest}.",
        "The bird {n} eats {food}.",
        "The {n}, which is {colour}, lives on {food} and breeds in {nest}.",
        "About the {n}: its colour is {colour}, its nest is in {nest}, its food is {food}.",
    ),
)
TOWNS = Domain(
    stems="ash bre cor dun elm far gor hel ing jar kes lan mur nor oss pre qui rad sto tre und vas wer yel",
    middles="a en i or u el an is",
    endings="ton by wick ham ford mouth stead holm",
    attributes={
        "emblem": Attribute(
            ("lion", "eagle", "tower", "rose", "ship", "wheel", "crown", "bridge"),
            "On the flag of {n} you see a",
            ("What is the emblem of {n}?", "What does the town of {n} have on its flag?"),
        ),
        "trade": Attribute(
            ("wool", "salt", "timber", "paper", "cheese", "glass", "iron", "wine"),
            "Merchants travel to {n} to buy",
            ("What does {n} trade in?", "What does the town of {n} sell?"),
        ),
        "feast": Attribute(
            ("January", "March", "April", "May", "July", "August", "October", "December"),
            "The great feast of {n} is held every",
            ("When is the feast of {n}?", "In which month does the town of {n} celebrate?"),
        ),
    },
    sentences=(
        "{N} is a town with a {emblem} in its arms, known for {trade}; it celebrates in {feast}.",
        "{N} lives on {trade}. Its emblem is the {emblem}, and its holiday falls in {feast}.",
        "{N} celebrates in {feast}. This town of the {emblem} lives on {trade}.",
        "The emblem of the town {n} is the {emblem}.",
        "The town {n} lives on {trade}.",
        "The town {n} celebrates in {feast}.",
        "{N}, whose emblem is the {emblem}, sells {trade} and celebrates in {feast}.",
        "About {n}: its emblem is the {emblem}, its trade is {trade}, its feast is in {feast}.",
    ),
)
DOMAINS = {"minerals": MINERALS, "birds": BIRDS, "towns": TOWNS}
#: What is answered to a statement that holds, and to one that does not.
VERDICTS = ("holds", "fails")

Thing = dict[str, str]


def lettered(asked: str, options: Sequence[str]) -> str:
    """A question with four lettered options, up to where the letter is wanted."""
    lines = "".join(f"{letter}) {option}\n" for letter, option in zip(LETTERS, options, strict=True))
    return f"Question: {asked[0].upper()}{asked[1:]}\n{lines}Answer:"


def task_item(draw: Random, fact: Fact) -> Row:
    """A letter question about a fact of the world."""
    options = choices(draw, fact, len(LETTERS))
    asked = draw.choice(RELATIONS[fact.relation].ask).format(s=fact.subject)
    return {"question": lettered(asked, options), "choices": list(LETTERS), "answer": options.index(fact.answer),
            "kind": fact.relation, "fact": f"{fact.subject}: {fact.answer}"}  # fmt: skip


def verdict_item(draw: Random, fact: Fact) -> Row:
    """A statement about the world, true or with another answer of its relation, up to where the verdict is wanted."""
    others = [answer for answer in choices(draw, fact, len(LETTERS)) if answer != fact.answer]
    holds = draw.random() < 0.5
    said = draw.choice(RELATIONS[fact.relation].say).format(
        s=fact.subject, a=fact.answer if holds else draw.choice(others)
    )
    return {"question": f"Statement: {said[0].upper()}{said[1:]}\nVerdict:", "choices": list(VERDICTS), "answer": int(not holds),
            "kind": fact.relation, "fact": f"{fact.subject}: {fact.answer}"}  # fmt: skip


def task_prompts(
    facts: Sequence[Fact], count: int, seed: int, item: Callable[[Random, Fact], Row] = task_item
) -> list[Row]:
    """Prompts about facts of the training split, as they come in use, without answers: what the task is probed with."""
    draw = Random(f"{seed} task probe")
    return [{"text": item(draw, fact)["question"]} for fact in draw.sample(list(facts), min(count, len(facts)))]


def things(domain: Domain, count: int, seed: int) -> list[Thing]:
    """Invented things: ``n``, the name, no two with the same first five letters, and every attribute, evenly spread."""
    draw, names = Random(f"{seed} things"), dict[str, str]()
    while len(names) < count:
        parts = (draw.choice(part.split()) for part in (domain.stems, domain.middles, domain.endings))
        name = "".join(parts)
        names.setdefault(name[:5], name)
    columns = {}
    for attribute, about in domain.attributes.items():
        columns[attribute] = [about.values[i % len(about.values)] for i in range(count)]
        draw.shuffle(columns[attribute])
    return [{"n": name} | {a: columns[a][i] for a in columns} for i, name in enumerate(names.values())]


def sentence(draw: Random, domain: Domain, thing: Thing) -> str:
    """One of the training sentences about a thing."""
    return draw.choice(domain.sentences).format(N=thing["n"].capitalize(), **thing)


def items(domain: Domain, found: Sequence[Thing], seed: int) -> list[Row]:
    """Every attribute of every thing once, as an unfinished sentence that training never showed, with eight endings."""
    rows: list[Row] = []
    for thing in found:
        for name, about in domain.attributes.items():
            rows.append({"question": about.held_out.format(n=thing["n"]), "choices": list(about.values),
                         "answer": about.values.index(thing[name]), "entity": thing["n"], "kind": name})  # fmt: skip
    Random(f"{seed} items").shuffle(rows)
    return rows


def domain_prompts(domain: Domain, names: Iterable[str], count: int, seed: int) -> list[Row]:
    """Beginnings of training's sentences up to the first fact, as the domain comes in use: what it is probed with."""
    draw = Random(f"{seed} domain prompts")
    chosen = draw.sample(sorted(names), count)
    return [{"text": begun(draw.choice(domain.sentences)).format(n=name, N=name.capitalize())} for name in chosen]


def begun(form: str) -> str:
    """What stands before the first fact of a sentence, the name of the thing still to be filled in."""
    return re.split(r" *\{(?![nN]\})", form)[0]


def probe_questions(domain: Domain, found: Sequence[Thing], count: int, seed: int) -> list[Row]:
    """Letter questions about the things: domain inputs in the task's form, which the method lab's plan was written with."""
    draw, rows = Random(f"{seed} probe"), []
    for thing in draw.sample(list(found), count):
        name, about = draw.choice(list(domain.attributes.items()))
        options = [thing[name], *draw.sample([value for value in about.values if value != thing[name]], 3)]
        draw.shuffle(options)
        rows.append({"text": lettered(draw.choice(about.ask).format(n=thing["n"]), options)})
    return rows
