"""An item of any kind as people read it: what a list of items shows, and what is kept of the items of a run."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tada_studio.base_model.images import ImageFile
from tada_studio.evaluation.items import Item


class Shown(NamedTuple):
    """prompt:  the question, or the text, or the name of the image
    right:   the right answer in words; "" where nothing is right or wrong
    choices: in the order of a score's log-likelihoods; () where the items do not bring their own
    image:   where the image lies
    """

    prompt: str
    right: str = ""
    choices: tuple[str, ...] = ()
    image: str | None = None


def shown(item: Any) -> Shown:
    """An item of any kind."""
    if isinstance(item, Item):
        return Shown(item.question, item.choices[item.answer], item.choices)
    content = _first(item, "content", "question", "prompt", "text")
    right = _first(item, "label", "answer", "answers")
    if isinstance(right, Sequence) and not isinstance(right, str):
        right = " / ".join(map(str, right))
    if isinstance(content, ImageFile):
        return Shown(content.path.name, str(right), image=str(content.path))
    return Shown(str(content), str(right))


def _first(item: Any, *names: str) -> Any:
    return next((getattr(item, name) for name in names if hasattr(item, name)), "")
