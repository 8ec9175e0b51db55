"""Sentence encoders (MiniLM, E5, BGE): they write nothing; of several texts the one nearest to the question is their answer.

How likely a choice is stands for its similarity: the cosine of question and choice times SCALE, as sentence-transformers trains
them, so that the share of right answers is accuracy@1 of a retrieval among the choices.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tada_studio.base_model.devices import runs_on
from tada_studio.base_model.families import causal
from tada_studio.base_model.family import (
    LONGEST_INPUT,
    Family,
    Found,
    Opened,
    Place,
    Question,
    Scoring,
    architecture,
    is_in,
    no_tokens,
    padded,
    tokenizer_of,
)

#: What a cosine is multiplied by before the softmax over the choices (sentence-transformers' default).
SCALE = 20.0


def is_it(config: Mapping[str, Any]) -> bool:
    """The bare body of a model that fills in masked words: without a head, what it can be used for is its vectors."""
    return architecture(config).endswith("Model") and is_in("MODEL_FOR_MASKED_LM_MAPPING_NAMES", config)


def open_folder(folder: Path, how: Mapping[str, Any]) -> Opened:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(str(folder), **how)
    tokenizer, pooling = tokenizer_of(folder), pooling_of(folder)
    tokenizer.pooling = pooling
    return Opened(model, tokenizer, says=(f"Texts become vectors by the {_WORDS[pooling]}.",))


_WORDS = {"mean": "mean over their tokens", "cls": "vector of their first token", "last": "vector of their last token"}


def pooling_of(folder: Path) -> str:
    """How token vectors become one, as sentence-transformers writes it down; the mean where nothing says so."""
    try:
        about = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return "mean"
    modes = {"cls": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}
    return next((mode for mode, key in modes.items() if isinstance(about, dict) and about.get(key) is True), "mean")


class Row(NamedTuple):
    """The tokens of a question, then those of each choice, and whether any was cut."""

    item: int
    texts: list[list[int]]
    cut: bool

    @property
    def length(self) -> int:
        return len(self.texts) * max(map(len, self.texts))


def score(model: Any, tokenizer: Any, questions: Sequence[Question], tokens: int) -> Scoring:
    """Cosine of the question's vector and each choice's, times SCALE."""
    room = min(LONGEST_INPUT, getattr(model.config, "max_position_embeddings", None) or LONGEST_INPUT)
    rows = [_row(tokenizer, i, one, room) for i, one in enumerate(questions)]
    return Scoring(rows, partial(_run, model, tokenizer))


def _row(tokenizer: Any, number: int, one: Question, room: int) -> Row:
    texts = [list(tokenizer(text.strip()).input_ids) for text in (one.question, *one.choices)]
    if not all(texts):
        raise no_tokens(number, one)
    return Row(number, [ids[:room] for ids in texts], cut=any(len(ids) > room for ids in texts))


@torch.inference_mode()
def _run(model: Any, tokenizer: Any, batch: Sequence[Row]) -> Found:
    vectors = _vectors(model, tokenizer, [ids for row in batch for ids in row.texts])
    found, places = [], []
    for row, some in zip(batch, vectors.split([len(row.texts) for row in batch]), strict=True):
        found.append(SCALE * torch.nn.functional.cosine_similarity(some[:1], some[1:]))
        places += [Place(row.item, c) for c in range(len(row.texts) - 1)]
    return Found(places, torch.cat(found).cpu(), None)


def _vectors(model: Any, tokenizer: Any, texts: Sequence[Sequence[int]]) -> Tensor:
    device = runs_on(model)
    ids, mask = (t.to(device) for t in padded(texts, tokenizer.pad_token_id or 0))
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    return POOLED[getattr(tokenizer, "pooling", "mean")](hidden, mask)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    return (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


def _last(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]


POOLED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "cls": lambda hidden, mask: hidden[:, 0],
    "last": _last,
}

FAMILY = Family("a sentence encoder", is_it, open_folder, causal.feed, score=score, task_type="FEATURE_EXTRACTION")
