"""One prompt to several variants of one loaded base, attached in turn: what each says, and how likely it finds each choice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tada_studio.base_model.answering import Answering, Sampling
from tada_studio.base_model.generate import tokens_of
from tada_studio.base_model.images import ImageFile
from tada_studio.base_model.model import Base
from tada_studio.errors import InputError
from tada_studio.evaluation import Item, score
from tada_studio.evaluation.labels import LabelItem, attached, log_probs
from tada_studio.lora import Adapter
from tada_studio.progress import Progress, ProgressFn, ignore, silent


@dataclass(frozen=True)
class Question:
    """What is asked.

    chat: in the base's own chat template; as plain text otherwise
    item: the evaluation item that the prompt is taken from, if it is: then its choices are weighed too
    image: what an image classifier is shown instead of the prompt;  label: the class that it is known to have
    """

    prompt: str
    chat: bool = False
    item: Item | None = None
    image: ImageFile | None = None
    label: str | None = None


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
    base: Answering,
    variants: Mapping[str, Adapter | None],
    question: Question,
    how: Sampling,
    progress: ProgressFn = silent,
    each: Callable[[Answers], None] = ignore,
) -> Answers:
    """Every variant's answer (of None: the base's own). Raises TadaError, and Stopped from ``progress``.

    each: receives all answers as far as they have come, after every token: a new mapping each time.
    """
    if base.classifies:
        return _classified(base, variants, question, progress, each)
    if question.image is not None:
        raise InputError(f"{base.name} reads texts. Write a prompt instead of giving an image.")
    tokens, answers = tokens_of(base, question.prompt, question.chat), dict[str, Answer]()
    for number, (name, adapter) in enumerate(variants.items()):
        if adapter is not None:
            base.check_fits(adapter)
        with base.with_adapter(adapter):
            answer = Answer(odds=() if question.item is None else _odds(base, question.item))
            each(answers := {**answers, name: answer})
            for count, (text,) in enumerate(base.stream([tokens], how), start=1):
                answer = replace(answer, text=text)
                each(answers := {**answers, name: answer})
                step = number * how.most + count
                progress(Progress("answer", step, len(variants) * how.most, f"{name} answers"))
        each(answers := {**answers, name: replace(answer, done=True)})
    progress(Progress("answer", 1, 1, "all variants have answered"))
    return answers


#: Classes that are shown of a classifier, the likeliest first.
CLASSES = 6


def _classified(
    base: Answering,
    variants: Mapping[str, Adapter | None],
    question: Question,
    progress: ProgressFn,
    each: Callable[[Answers], None],
) -> Answers:
    """What each variant's head makes of one image or text: the likeliest classes with their probabilities."""
    assert isinstance(base, Base), "only a base of this process has labels"
    content = question.image if base.kind == "image" else question.prompt.strip()
    if not content:
        raise InputError(
            "Give an image: this base looks at images." if base.kind == "image" else "Write a text to be judged."
        )
    answers: dict[str, Answer] = {}
    # any head has a row 0, so that each variant answers with its own
    for number, (name, one) in enumerate(attached(base, variants, [LabelItem(content, 0)]).items()):
        progress(Progress("answer", number, len(variants), f"{name} looks"))
        with one.base.with_adapter(one.adapter), one.base.with_head(one.head):
            assert isinstance(one.base, Base)
            shares = log_probs(one.base, [content])[0].exp().tolist()
        named = len(one.base.labels) == len(shares)
        odds = [
            Odds(one.base.labels[i] if named else f"row {i}", share, named and one.base.labels[i] == question.label)
            for i, share in enumerate(shares)
        ]
        best = sorted(odds, key=lambda each: -each.share)[:CLASSES]
        each(answers := {**answers, name: Answer(best[0].choice, best, done=True)})
    progress(Progress("answer", 1, 1, "all variants have answered"))
    return answers


#: By variant, what it says to each prompt.
Grid = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class PromptGrid:
    """What several prompts were answered, as far as it has come; ``digest`` of the merge that was asked."""

    prompts: tuple[str, ...]
    answers: Grid
    digest: str


def ask_all(
    base: Answering,
    variants: Mapping[str, Adapter | None],
    prompts: Sequence[str],
    chat: bool,
    how: Sampling,
    progress: ProgressFn = silent,
    each: Callable[[Grid], None] = ignore,
) -> Grid:
    """Every variant's answer to each of several prompts, which go through the base together. Raises TadaError."""
    tokens, grid = [tokens_of(base, prompt, chat) for prompt in prompts], dict[str, Sequence[str]]()
    for number, (name, adapter) in enumerate(variants.items()):
        if adapter is not None:
            base.check_fits(adapter)
        texts: Sequence[str] = [""] * len(prompts)
        with base.with_adapter(adapter):
            for count, texts in enumerate(base.stream(tokens, how), start=1):  # noqa: B007 - the last ones count
                progress(Progress("answer", number * how.most + count, len(variants) * how.most, f"{name} answers"))
        each(grid := {**grid, name: texts})
    progress(Progress("answer", 1, 1, "all variants have answered"))
    return grid


def _odds(base: Answering, item: Item) -> list[Odds]:
    loglik = score(base, [item]).loglik
    assert loglik is not None, "items with choices have a log-likelihood for each"
    shares = loglik[0].double().softmax(0).tolist()
    return [
        Odds(choice, share, i == item.answer)
        for i, (choice, share) in enumerate(zip(item.choices, shares, strict=True))
    ]
