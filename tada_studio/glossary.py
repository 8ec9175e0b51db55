"""The words that all this is described in, one sentence each: on the screen, in figures, in the docs and in --help."""

import re
from collections.abc import Iterable, Iterator

GLOSSARY = {
    "share": "How much of a module the domain adapter has: 0 is all task, 1 all domain, 0.5 both as trained.",
    "gate": "The share that a probe computes for a module, before a hand paints over it.",
    "weight": "What an adapter's update is multiplied with in a module: it follows from share and strength.",
    "strength": "How loud an update is: 1 is as trained, 0 silent, a negative one takes it away.",
    "module": "One layer of the base that an adapter changes, such as v_proj in layer 3.",
    "cell": "A module on the map: layers run across, projections down.",
    "variant": "Anyone who can be scored on the same items: the base, a parent, a baseline, a merge.",
    "recipe": "All that a merge depends on besides both adapters and the readings; equal recipes give equal bytes.",
    "reading": "How strongly an adapter reacts to probe inputs in a module, whatever its size.",
    "probe": "A few dozen inputs that go through the base once, without labels, to take readings.",
    "conflict": "Directions of both adapters that oppose each other beyond chance: added up they would cancel.",
    "rank": "How many directions an adapter has in a module; more keep more and make a larger file.",
}
#: Those that nothing can be read without.
FIRST = ("share", "gate", "weight", "strength", "module", "cell", "variant")
#: A word, also in the plural; a file's name is none.
_WORD = re.compile(rf"\b({'|'.join(GLOSSARY)})s?\b(?!\.\w)", re.IGNORECASE)


def parts(text: str) -> Iterator[tuple[str, str]]:
    """The text in order as (part, sentence): a word of the glossary with its sentence where it first stands, all else with ""."""
    seen: set[str] = set()
    end = 0
    for found in _WORD.finditer(text):
        word = found[1].lower()
        if word not in seen:
            seen.add(word)
            yield text[end : found.start()], ""
            yield found[0], GLOSSARY[word]
            end = found.end()
    yield text[end:], ""


def glossary_lines(names: Iterable[str] = FIRST) -> list[str]:
    """These words with their sentences, a line each."""
    return [f"{name}: {GLOSSARY[name]}" for name in names]
