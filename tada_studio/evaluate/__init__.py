"""Items -> Score, for whatever adapter a loaded base wears; the kind of the items says how they are scored."""

from collections.abc import Callable, Sequence
from typing import Any

from tada_studio.base import Base
from tada_studio.errors import InputError
from tada_studio.evaluate import choice
from tada_studio.evaluate.items import Item, choose, read_items
from tada_studio.evaluate.scores import Rates, Score
from tada_studio.progress import Report, silent

__all__ = ["SCORERS", "Item", "Rates", "Score", "choose", "read_items", "score"]

Scorer = Callable[[Base, Sequence[Any], str, Report], Score]


def _choices(base: Base, items: Sequence[Item], name: str, report: Report) -> Score:
    return choice.score(base.model, base.tokenizer, items, name, report)


#: Kind of item -> how the base as it is dressed now is scored on items of that kind.
SCORERS: dict[type, Scorer] = {Item: _choices}


def score(base: Base, items: Sequence[Any], name: str = "", report: Report = silent) -> Score:
    """One variant's score: of the base with whatever it wears now. All items are of one kind. Raises TadaError."""
    kinds = {type(item) for item in items}
    if len(kinds) != 1 or not kinds <= SCORERS.keys():
        found = ", ".join(sorted(kind.__name__ for kind in kinds)) or "nothing"
        raise InputError(f"Items of one kind can be scored together, found {found}.")
    return SCORERS[kinds.pop()](base, items, name, report)
