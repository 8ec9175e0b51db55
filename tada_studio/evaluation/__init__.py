"""Items -> Score, for whatever adapter is attached to a loaded base; the kind of the items says how they are scored."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tada_studio.base_model.answering import Answering
from tada_studio.base_model.images import ImageFile
from tada_studio.base_model.model import Base
from tada_studio.errors import InputError
from tada_studio.evaluation import answers, choice, labels, passages
from tada_studio.evaluation.answers import ShortItem
from tada_studio.evaluation.batches import room
from tada_studio.evaluation.choice import Item
from tada_studio.evaluation.items import choose, read_items
from tada_studio.evaluation.labels import Attached, LabelItem
from tada_studio.evaluation.passages import Passage
from tada_studio.evaluation.scores import Flips, Rates, Score, flipped
from tada_studio.lora import Adapter
from tada_studio.progress import ProgressFn, silent

__all__ = [
    "SCORERS",
    "Attached",
    "Flips",
    "Item",
    "LabelItem",
    "Passage",
    "Rates",
    "Score",
    "ShortItem",
    "attached",
    "choose",
    "flipped",
    "read_items",
    "score",
]  # fmt: skip

Scorer = Callable[[Any, Sequence[Any], str, ProgressFn], Score]


def _choices(base: Answering, items: Sequence[Item], name: str, progress: ProgressFn) -> Score:
    return choice.score_by(base.scoring(items, room(base.on)), base.on, items, name, progress)


#: Kind of item -> how the base, with the adapter attached now, is scored on items of that kind.
SCORERS: dict[type, Scorer] = {
    Item: _choices,
    LabelItem: labels.score,
    ShortItem: answers.score,
    Passage: passages.score,
}


def attached(base: Answering, variants: Mapping[str, Adapter | None], items: Sequence[Any]) -> dict[str, Attached]:
    """What each variant is scored in on these items: itself, and where they ask for labels a head that knows them.

    Raises InputError for items that this base cannot read.
    """
    _check_reads(base, items)
    if isinstance(items[0], LabelItem):
        assert isinstance(base, Base), "only a base of this process has labels"
        return labels.attached(base, variants, items)
    return {name: Attached(base, adapter) for name, adapter in variants.items()}


def _check_reads(base: Answering, items: Sequence[Any]) -> None:
    first = items[0] if items else None
    given = "image" if isinstance(first, LabelItem) and isinstance(first.content, ImageFile) else "text"
    if base.kind != given:
        raise InputError(
            f"The base {base.name} reads {base.kind}, and these items are of {given}. Give items of its kind."
        )
    if base.classifies != isinstance(first, LabelItem):
        does = "answers with labels" if base.classifies else "writes, and has no labels"
        raise InputError(f"The base {base.name} {does}; give items {'with' if base.classifies else 'without'} labels.")


def score(base: Answering, items: Sequence[Any], name: str = "", progress: ProgressFn = silent) -> Score:
    """One variant's score: of the base with whatever adapter is attached. All items are of one kind. Raises TadaError."""
    kinds = {type(item) for item in items}
    if len(kinds) != 1 or not kinds <= SCORERS.keys():
        found = ", ".join(sorted(kind.__name__ for kind in kinds)) or "nothing"
        raise InputError(f"Items of one kind can be scored together, found {found}.")
    return SCORERS[kinds.pop()](base, items, name, progress)
