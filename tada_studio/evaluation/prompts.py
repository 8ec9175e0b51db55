"""One prompt to several variants of one loaded base, attached in turn: what each says, and how likely it finds each choice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tada_studio.base_model.generate import Sampling, stream, tokens_of
from tada_studio.base_model.model import Base
from tada_studio.evaluation import Item, score
from tada_studio.lora import Adapter
from tada_studio.progress import Progress, ProgressFn, silent


@dataclass(frozen=True)
class Question:
    """What is asked.

    chat: in the base's own chat template; as plain text otherwise
    item: the evaluation item that the prompt is taken from, if it is: then its choices are weighed too
    """

    prompt: str
    chat: bool = False
    item: Item | None = None


class Odds(NamedTuple):
    """One choice of an item: the share of the choices' probability that it gets, and whether it is the right one."""

    choice: str
    share: float
    right: bool


@dataclass(eq=False)
class Answer:
    """One variant's answer, as far as it has come."""

    text: str = ""
    odds: list[Odds] = field(default_factory=list)
    done: bool = False


def ask(
    base: Base,
    variants: Mapping[str, Adapter | None],
    question: Question,
    how: Sampling,
    into: dict[str, Answer],
    progress: ProgressFn = silent,
) -> None:
    """Write each variant's answer (None: the base's own) into ``into`` while it is made. Raises TadaError."""
    tokens = tokens_of(base, question.prompt, question.chat)
    for number, (name, adapter) in enumerate(variants.items()):
        if adapter is not None:
            base.check_fits(adapter)
        answer = into[name] = Answer()
        with base.with_adapter(adapter):
            if question.item is not None:
                answer.odds = _odds(base, question.item)
            for count, (answer.text,) in enumerate(stream(base, [tokens], how), start=1):
                step = number * how.most + count
                progress(Progress("answer", step, len(variants) * how.most, f"{name} answers"))
        answer.done = True
    progress(Progress("answer", 1, 1, "all variants have answered"))


def _odds(base: Base, item: Item) -> list[Odds]:
    loglik = score(base, [item]).loglik
    assert loglik is not None, "items with choices have a log-likelihood for each"
    shares = loglik[0].double().softmax(0).tolist()
    return [
        Odds(choice, share, i == item.answer)
        for i, (choice, share) in enumerate(zip(item.choices, shares, strict=True))
    ]
