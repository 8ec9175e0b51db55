"""Classifying by label: log-likelihoods over the rows of a classifier's head, for images and for texts.

The head that answers must know the labels that are asked for. Where a variant's own does not (a base and a domain adapter on
the labels of the task), the head of one that does is attached, and its score says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tada_studio.base_model.answering import Answering
from tada_studio.base_model.images import ImageFile, image_beside, image_files, is_image
from tada_studio.base_model.model import Base
from tada_studio.errors import BaseError, InputError
from tada_studio.evaluation.scores import Rates, Score, check_finite, commonest, interval
from tada_studio.lora import Adapter
from tada_studio.progress import Progress, ProgressFn, silent


@dataclass(frozen=True)
class LabelItem:
    """An image or a text and its label: a name, or a row of the head that answers (from 0).

    names: all the labels that are names in the file or folder it came from, in alphabetical order
    """

    content: str | ImageFile
    label: str | int
    names: tuple[str, ...] = ()


# -- items -----------------------------------------------------------------------------------------------------------


def read_image(value: Mapping[str, Any], where: str, items_file: Path) -> LabelItem:
    """``{"image": path, "label": str or int}``, the path relative to its items file. Raises InputError."""
    return LabelItem(image_beside(items_file, value.get("image"), where), _label(value, where))


def read_text(value: Mapping[str, Any], where: str, items_file: Path) -> LabelItem:
    """``{"text": str, "label": str or int}``. Raises InputError."""
    text = value.get("text")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: needs a text (or an image) beside its label.")
    return LabelItem(text, _label(value, where))


def _label(value: Mapping[str, Any], where: str) -> str | int:
    label = value.get("label")
    named = isinstance(label, str) and bool(label.strip())
    row = isinstance(label, int) and not isinstance(label, bool) and label >= 0
    if not named and not row:
        raise InputError(f"{where}: label = {label!r}; give a label's name, or its row in the head, from 0.")
    return label  # type: ignore[return-value]


def read_folders(folder: Path) -> list[LabelItem]:
    """Images in a folder for each label, whatever their own names. Raises InputError."""
    homes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))
    loose = next((path for path in sorted(folder.iterdir()) if path.is_file() and is_image(path)), None)
    items = [LabelItem(image, home.name) for home in homes for image in image_files(home)]
    if loose is not None or not items:
        found = f"{loose.name} lies in no label's folder" if loose is not None else "holds no folder of images"
        raise InputError(
            f"{folder}: {found}. Put images into one folder for each label, or give a .jsonl that names them."
        )
    return items


def all_named(items: Sequence[LabelItem]) -> list[LabelItem]:
    """The items, each knowing all the names among them."""
    names = tuple(sorted({item.label for item in items if isinstance(item.label, str)}))
    return [replace(item, names=names) for item in items]


# -- heads -----------------------------------------------------------------------------------------------------------


class Head(NamedTuple):
    """A classifier's head: whose it is ("base", or a variant's name), the adapter that brings it (None: the base's own)."""

    whose: str
    adapter: Adapter | None
    labels: tuple[str, ...]
    rows: int

    def knows(self, items: Sequence[LabelItem]) -> bool:
        """Whether every item's label is one of its own."""
        names = set(self.labels)
        return all(item.label in names if isinstance(item.label, str) else item.label < self.rows for item in items)

    def fits(self, items: Sequence[LabelItem]) -> bool:
        """Whether it is without names and has one row for each of theirs: then they are taken in alphabetical order, the order
        in which folders of images become labels everywhere."""
        return (
            not self.labels and all(isinstance(item.label, str) for item in items) and len(items[0].names) == self.rows
        )


class Attached(NamedTuple):
    """What a variant is scored in. base: with the labels of the head that answers; note: what a reader should know of it."""

    base: Answering
    adapter: Adapter | None
    head: Adapter | None = None
    note: str = ""


def attached(base: Base, variants: Mapping[str, Adapter | None], items: Sequence[LabelItem]) -> dict[str, Attached]:
    """Each variant under its own head if that knows the items' labels, else under the first that does."""
    own = {name: _own(base, name, adapter) for name, adapter in variants.items()}
    heads = [head for head in (_own(base, "base", None), *own.values()) if head.rows]
    return {name: _score_one(base, name, adapter, [own[name], *heads], items) for name, adapter in variants.items()}


def _own(base: Base, name: str, adapter: Adapter | None) -> Head:
    if adapter is not None and adapter.head_tensors:
        # of several (DistilBERT has a pre_classifier) the answer comes from the one that the model runs last
        last = [n for n, _ in base.model.named_parameters() if n in adapter.head_tensors][-1]
        return Head(name, adapter, adapter.labels, len(adapter.head_tensors[last]))
    config: Any = base.model.config
    return Head("base", None, base.labels, config.num_labels if base.has_head else 0)


def _score_one(
    base: Base, name: str, adapter: Adapter | None, heads: Sequence[Head], items: Sequence[LabelItem]
) -> Attached:
    own, notes = heads[0], []
    head = next((head for head in heads if head.rows and head.knows(items)), None)
    if head is None and (head := next((head for head in heads if head.rows and head.fits(items)), None)):
        notes.append(
            f"The head of {head.whose} has {head.rows} rows without names: taken as the labels in alphabetical order."
        )
        head = head._replace(labels=items[0].names)
    if head is None or head.adapter is own.adapter:
        return Attached(replace(base, labels=(head or own).labels), adapter, None, " ".join(notes))
    notes.insert(0, f"{name} answers with the head of {head.whose} ({head.rows} labels): its own has other labels.")
    bare = adapter.bare if adapter is not None and adapter.heads else adapter
    return Attached(replace(base, labels=head.labels), bare, head.adapter, " ".join(notes))


# -- scoring ---------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def log_probs(base: Base, contents: Sequence[str | ImageFile]) -> Tensor:
    """(n, labels) log-probabilities of whatever head is attached, for texts or images. Raises BaseError."""
    return torch.cat([_logits(base, feed).float().log_softmax(-1).cpu() for feed in _feeds(base, contents)])


@torch.inference_mode()
def score(base: Base, items: Sequence[LabelItem], name: str = "", progress: ProgressFn = silent) -> Score:
    """The score of the base with the adapter attached; ``base.labels`` are those of the head that answers.

    An item whose label that head does not have is a miss, and there is no mean log-likelihood then. Raises BaseError.
    """
    found, done = [], 0
    for feed in _feeds(base, [item.content for item in items]):
        progress(Progress("evaluate", done, len(items), name))
        logits = _logits(base, feed)
        found.append(logits.float().log_softmax(-1).cpu())
        done += len(logits)
    progress(Progress("evaluate", len(items), len(items), name))
    loglik = torch.cat(found)
    check_finite(loglik, name)
    return _score(name, items, loglik, base.labels)


def _feeds(base: Base, contents: Sequence[Any]) -> Iterator[dict[str, Tensor]]:
    assert base.family.classify is not None, "only a classifier is asked for labels"
    return base.family.classify(base.tokenizer, contents)


def _logits(base: Base, feed: Mapping[str, Tensor]) -> Tensor:
    model: Any = base.model
    moved = {key: x.to(base.device, base.dtype if x.is_floating_point() else None) for key, x in feed.items()}
    try:
        return model(**moved).logits
    except ValueError as error:  # a ViT refuses images of another size than it was made for
        raise BaseError(f"{base.ref}: does not take inputs as its own settings prepare them ({error}).") from error


def _score(name: str, items: Sequence[LabelItem], loglik: Tensor, labels: Sequence[str]) -> Score:
    row = {label: i for i, label in enumerate(labels)}
    rows = [row.get(item.label, -1) if isinstance(item.label, str) else item.label for item in items]
    answers = torch.tensor([i if i < loglik.shape[1] else -1 for i in rows])
    correct = loglik.argmax(1) == answers
    gold = -loglik.double()[torch.arange(len(items)), answers] if bool((answers >= 0).all()) else None
    rates = Rates(chance=1 / loglik.shape[1], majority=commonest([item.label for item in items]))
    nll = None if gold is None else float(gold.mean())
    kind = "image" if isinstance(items[0].content, ImageFile) else "choice"
    replies = tuple(labels[i] for i in loglik.argmax(1).tolist()) if len(labels) == loglik.shape[1] else None
    return Score(name, loglik, correct, nll, *interval(correct), gold=gold, replies=replies, rates=rates, kind=kind)
