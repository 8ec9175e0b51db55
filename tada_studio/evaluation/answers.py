"""Short answers: the base writes, greedily, and what it wrote is the answer or is not."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tada_studio.base_model.answering import Answering, Sampling
from tada_studio.base_model.generate import answers, tokens_of
from tada_studio.errors import InputError
from tada_studio.evaluation.batches import in_batches
from tada_studio.evaluation.scores import Rates, Score, commonest, interval
from tada_studio.progress import ProgressFn, silent

#: Tokens that may be written beyond the longest accepted answer, before the line ends.
SPARE = 8


@dataclass(frozen=True)
class ShortItem:
    """A question to be answered in a few words; any of ``answers`` is right."""

    question: str
    answers: tuple[str, ...]


def read_answer(value: Mapping[str, Any], where: str, items_file: Path) -> ShortItem:
    """``{"question": str, "answer": str or [str, ...]}``. Raises InputError."""
    question, given = value.get("question"), value.get("answer")
    accepted = [given] if isinstance(given, str) else given
    texts = isinstance(accepted, list) and all(isinstance(text, str) and plain(text) for text in accepted)
    if not isinstance(question, str) or not question.strip() or not texts or not accepted:
        raise InputError(
            f'{where}: expected {{"question": "...", "answer": "..."}}, the answer a text or a list of texts that count as right; '
            "or with choices, the answer the index of one."
        )
    return ShortItem(question, tuple(accepted))


def plain(text: str) -> str:
    """An answer as it is compared: case, blanks and what surrounds the words do not count."""
    return re.sub(r"\s+", " ", text).strip(" .,;:!?\"'`*()[]").casefold()


def score(base: Answering, items: Sequence[ShortItem], name: str = "", progress: ProgressFn = silent) -> Score:
    """The score of the base with the adapter attached, by exact match of its greedy answer's first line. Raises TadaError."""
    prompts = [tokens_of(base, item.question.rstrip()) for item in items]
    longest = max(len(base.tokenizer(text).input_ids) for item in items for text in item.answers)
    how = Sampling(most=longest + SPARE, until=("\n",))
    replies = [""] * len(items)

    def work(batch: list[int]) -> None:
        for i, text in zip(batch, answers(base, [prompts[i] for i in batch], how), strict=True):
            replies[i] = text.strip()

    in_batches(range(len(items)), lambda i: len(prompts[i]) + how.most, base.on, work, progress, name)
    correct = torch.tensor([plain(replies[i]) in map(plain, item.answers) for i, item in enumerate(items)])
    rates = Rates(majority=commonest([plain(item.answers[0]) for item in items]))
    return Score(name, None, correct, None, *interval(correct), replies=tuple(replies), rates=rates, kind="answer")
