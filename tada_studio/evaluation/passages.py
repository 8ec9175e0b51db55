"""Held-out texts: how likely the base finds them, as nats a token and perplexity. Nothing is right or wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tada_studio.base_model.answering import Answering
from tada_studio.base_model.family import LONGEST
from tada_studio.errors import InputError
from tada_studio.evaluation.batches import in_batches
from tada_studio.evaluation.scores import Score, check_finite
from tada_studio.progress import ProgressFn, silent


@dataclass(frozen=True)
class Passage:
    """A text that nobody was trained on."""

    text: str


def read_passage(value: Mapping[str, Any], where: str, items_file: Path) -> Passage:
    """``{"text": str}``. Raises InputError."""
    text = value.get("text")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f'{where}: expected {{"text": "..."}}, a text that is not empty.')
    return Passage(text)


def score(base: Answering, items: Sequence[Passage], name: str = "", progress: ProgressFn = silent) -> Score:
    """The score of the base with the adapter attached. The first token of a text is given, not predicted; of what is longer than
    ``LONGEST`` the rest is left out, and counted. Raises TadaError."""
    if not base.family.continues:
        raise InputError(
            f"{base.name} is {base.family.name} and does not go on from a text by itself. Give items with choices instead."
        )
    rows = [_row(base.tokenizer, i, item.text) for i, item in enumerate(items)]
    nats = torch.zeros(len(rows), dtype=torch.float64)

    def work(batch: list[int]) -> None:
        nats[batch] = -base.logliks([rows[i][:LONGEST] for i in batch])

    in_batches(range(len(rows)), lambda i: min(len(rows[i]), LONGEST), base.on, work, progress, name)
    check_finite(nats, name)
    tokens = sum(min(len(row), LONGEST) - 1 for row in rows)
    gold = nats * len(rows) / tokens  # its mean is nats a token
    cut = sum(len(row) > LONGEST for row in rows)
    return Score(name, None, None, float(gold.mean()), None, None, cut, gold=gold, kind="text")


def _row(tokenizer: Any, number: int, text: str) -> list[int]:
    ids: list[int] = tokenizer(text).input_ids
    if len(ids) < 2:
        raise InputError(
            f"Item {number + 1} ({text[:40]!r}): is a single token; give texts of which something can be predicted."
        )
    return ids
