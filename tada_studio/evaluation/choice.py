"""Multiple choice: the same items for any number of variants of one loaded base, whose family says how likely a choice is.

Every variant gets the same batches in the same order, so in float32 two variants differ only where they really differ.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tada_studio.base_model.devices import runs_on
from tada_studio.base_model.families import causal
from tada_studio.base_model.family import Question, Scoring
from tada_studio.errors import InputError
from tada_studio.evaluation.batches import in_batches, room
from tada_studio.evaluation.scores import Rates, Score, check_finite, commonest, interval
from tada_studio.progress import ProgressFn, silent


@dataclass(frozen=True)
class Item:
    """A question with its choices; ``answer`` is the index of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int


def read_choice(value: Mapping[str, Any], where: str, items_file: Path) -> Item:
    """``{"question": str, "choices": [str, ...], "answer": int}``. Raises InputError."""
    question, choices, answer = value.get("question"), value["choices"], value.get("answer")
    texts = isinstance(choices, list) and all(isinstance(text, str) and text.strip() for text in choices)
    if not isinstance(question, str) or not texts or len(set(choices)) < max(2, len(choices)):
        raise InputError(f"{where}: needs a question and at least two different, non-empty choices.")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise InputError(f"{where}: answer = {answer!r}; give the index of a choice, 0 to {len(choices) - 1}.")
    return Item(question, tuple(choices), answer)


# -- scoring -------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def score(
    model: nn.Module,
    tokenizer: Any,
    items: Sequence[Item],
    name: str = "",
    progress: ProgressFn = silent,
    way: Callable[[Any, Any, Sequence[Question], int], Scoring] = causal.score,
) -> Score:
    """One variant's score on the items. way: how the base's family scores choices. Raises BaseError if the model's numbers are
    not finite."""
    on = runs_on(model).type
    return score_by(way(model, tokenizer, items, room(on)), on, items, name, progress)


def score_by(scoring: Scoring, on: str, items: Sequence[Item], name: str = "", progress: ProgressFn = silent) -> Score:
    """The same by whatever scores the items' choices, here or at an engine (``on``)."""
    loglik = torch.full((len(items), max(len(item.choices) for item in items)), -torch.inf)
    free = torch.zeros(loglik.shape, dtype=torch.bool)
    writes = True

    @torch.inference_mode()
    def work(batch: list[Any]) -> None:
        nonlocal writes
        found = scoring.run(batch)
        places = [target.item for target in found.targets], [target.choice for target in found.targets]
        loglik[places] = found.loglik
        if found.free is None:
            writes = False
        else:
            free[places] = found.free

    in_batches(scoring.rows, lambda row: row.length, on, work, progress, name, scoring.pack)
    return _score(name, items, loglik, free if writes else None, sum(row.cut for row in scoring.rows))


def _score(name: str, items: Sequence[Item], loglik: Tensor, free: Tensor | None, cut: int) -> Score:
    rows, answers = torch.arange(len(items)), torch.tensor([item.answer for item in items])
    gold = -loglik.double().log_softmax(1)[rows, answers]
    check_finite(gold, name)
    correct = loglik.argmax(1) == answers
    normed = per_character(items, loglik).argmax(1) == answers
    return Score(
        name, loglik, correct, float(gold.mean()), *interval(correct), cut, gold, normed, rates=blind_rates(items),
        free=None if free is None else free[rows, answers],
    )  # fmt: skip


def per_character(items: Sequence[Item], loglik: Tensor) -> Tensor:
    """(n, most choices) log-likelihoods divided by the choices' lengths in characters, as lm-evaluation-harness's acc_norm."""
    lengths = torch.ones_like(loglik)
    for i, item in enumerate(items):
        lengths[i, : len(item.choices)] = torch.tensor([float(len(choice)) for choice in item.choices])
    return loglik / lengths


def blind_rates(items: Sequence[Item]) -> Rates:
    """What a guess, one constant answer (a place or a text), and the longest choice get right."""
    return Rates(
        chance=sum(1 / len(item.choices) for item in items) / len(items),
        majority=max(
            commonest([item.answer for item in items]), commonest([item.choices[item.answer] for item in items])
        ),
        longest=sum(map(_longest_is_right, items)) / len(items),
    )


def _longest_is_right(item: Item) -> float:
    lengths = [len(choice) for choice in item.choices]
    longest = max(lengths)
    return (lengths[item.answer] == longest) / lengths.count(longest)
