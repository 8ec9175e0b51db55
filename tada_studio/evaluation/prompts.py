"""One prompt to several variants of one loaded base, attached in turn: what each says, and how likely it finds each choice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tada_studio.base_model.generate import Sampling, stream, tokens_of
from tada_studio.base_model.model import Base
from tada_studio.evaluation import Item, score
from tada_studio.lora import Adapter
from tada_studio.progress import Progress, ProgressFn, ignore, silent


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


@dataclass(frozen=True)
class Answer:
    """One variant's answer, as far as it has come."""

    text: str = ""
    odds: Sequence[Odds] = ()
    done: bool = False


#: By variant, in the order in which they answer.
Answers = Mapping[str, Answer]


def ask(
    base: Base,
    variants: Mapping[str, Adapter | None],
    question: Question,
    how: Sampling,
    progress: ProgressFn = silent,
    each: Callable[[Answers], None] = ignore,
) -> Answers:
    """Every variant's answer (of None: the base's own). Raises TadaError, and Stopped from ``progress``.

    each: receives all answers as far as they have come, after every token: a new mapping each time.
    """
    tokens, answers = tokens_of(base, question.prompt, question.chat), dict[str, Answer]()
    for number, (name, adapter) in enumerate(variants.items()):
        if adapter is not None:
            base.check_fits(adapter)
        with base.with_adapter(adapter):
            answer = Answer(odds=() if question.item is None else _odds(base, question.item))
            each(answers := {**answers, name: answer})
            for count, (text,) in enumerate(stream(base, [tokens], how), start=1):
                answer = replace(answer, text=text)
                each(answers := {**answers, name: answer})
                step = number * how.most + count
                progress(Progress("answer", step, len(variants) * how.most, f"{name} answers"))
        each(answers := {**answers, name: replace(answer, done=True)})
    progress(Progress("answer", 1, 1, "all variants have answered"))
    return answers


def _odds(base: Base, item: Item) -> list[Odds]:
    loglik = score(base, [item]).loglik
    assert loglik is not None, "items with choices have a log-likelihood for each"
    shares = loglik[0].double().softmax(0).tolist()
    return [
        Odds(choice, share, i == item.answer)
        for i, (choice, share) in enumerate(zip(item.choices, shares, strict=True))
    ]
