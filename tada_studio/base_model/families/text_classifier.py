"""Classifiers of texts: encoders (BERT), or decoders with a head for labels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tada_studio.base_model.families import causal
from tada_studio.base_model.family import Family, Opened, architecture, labels_of, tokenizer_of

#: Texts in one batch.
BATCH_TEXTS = 16


def is_it(config: Mapping[str, Any]) -> bool:
    return architecture(config).endswith("ForSequenceClassification")


def open_folder(folder: Path, how: Mapping[str, Any]) -> Opened:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(str(folder), **how)
    return Opened(model, tokenizer_of(folder), labels_of(model.config))


def classify(tokenizer: Any, texts: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Texts as the model takes them to answer with a label."""
    each = BATCH_TEXTS if tokenizer.pad_token else 1
    for start in range(0, len(texts), each):
        some = list(texts[start : start + each])
        yield dict(tokenizer(some, padding=each > 1, truncation=True, return_tensors="pt"))


FAMILY = Family("a classifier of texts", is_it, open_folder, causal.feed, classify=classify, task_type="SEQ_CLS")
