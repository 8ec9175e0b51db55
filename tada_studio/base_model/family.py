"""What a family of base models can be asked: to be opened, fed for a probe, scored on choices, and made to write.

``families/`` holds a file for each, found by the base's config.json. Whoever runs a base asks its family and knows no architecture.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tada_studio.base_model.images import ImageFile
from tada_studio.errors import BaseError, InputError

#: Never code from the folder, never a pickle, never a look at the Hub.
HOW: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
#: The same for a model, in the number format of its files; a placement of a base changes some of it.
WEIGHTS: Mapping[str, Any] = {**HOW, "dtype": "auto", "use_safetensors": True}
#: Longest text that is read, in tokens; of what is longer the beginning is cut where an answer follows, else the end.
LONGEST, LONGEST_INPUT = 2048, 1024
#: Tokens that go through a base in one batch of probe inputs, padding included; on a CPU small batches are fastest.
BATCH_TOKENS = 512

Input = str | ImageFile


class Opened(NamedTuple):
    """A model with what talks to it (see ``Base``); ``reads`` tells image settings apart."""

    model: nn.Module
    tokenizer: Any
    labels: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    has_head: bool = True
    reads: str = ""


@runtime_checkable  # the annotations are checked in tests
class Question(Protocol):
    """A question with the choices of an answer."""

    @property
    def question(self) -> str: ...

    @property
    def choices(self) -> tuple[str, ...]: ...


class Place(NamedTuple):
    """Which choice of which question."""

    item: int
    choice: int


class Found(NamedTuple):
    """What a model makes of choices: which they are, how likely each is (log-likelihood in nats, or what stands for it), and
    whether the model would have given it by itself: every token of it the likeliest of the whole vocabulary. None: it writes
    nothing."""

    targets: Sequence[Any]
    loglik: Tensor
    free: Tensor | None


class Scoring(NamedTuple):
    """How questions are scored: rows (each with a ``length`` in tokens, and ``cut``), a batch of them at a time.

    pack: (rows, tokens) -> batches of at most so many tokens; None: longest first, each with its padding
    """

    rows: Sequence[Any]
    run: Callable[[list[Any]], Found]
    pack: Callable[[Sequence[Any], int], list[list[Any]]] | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """A few probe inputs as the model takes them.

    feed:   the model's arguments; members: (rows,) which input each row is
    where:  flat positions of the tokens that count, in (rows, length); None: all of them do
    """

    feed: Mapping[str, Any]
    members: Tensor
    where: Tensor | None = None
    length: int = 1

    def to(self, device: torch.device) -> "Batch":
        where = None if self.where is None else self.where.to(device)
        return Batch(self.feed, self.members.to(device), where, self.length)

    def halves(self) -> "list[Batch]":
        """Its rows in two batches; a single row stays."""
        rows, middle = len(self.members), len(self.members) // 2
        return [self] if rows == 1 else [self._rows(0, middle), self._rows(middle, rows)]

    def _rows(self, start: int, end: int) -> "Batch":
        feed = {name: value[start:end] if isinstance(value, Tensor) else value for name, value in self.feed.items()}
        where = self.where
        if where is not None:
            begin, beyond = start * self.length, end * self.length
            where = where[(begin <= where) & (where < beyond)] - begin
        return Batch(feed, self.members[start:end], where, self.length)

    @property
    def look(self) -> dict[str, Any]:
        """The arguments of a short look at one input: its first two tokens, or its image."""
        ids = {name: value[:1, :2] for name, value in self.feed.items() if name.endswith("input_ids")}
        pixels = {name: value[:1] for name, value in self.feed.items() if name == "pixel_values"}
        return {**ids, **pixels, **({"use_cache": False} if "use_cache" in self.feed else {})}

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens that count in what a layer is fed, and which input each belongs to.

        x: (rows, ..., d), or the ids that an embedding is fed. A layer may see windows of its rows, one vector a row (a
        pooler, a head), or every token.
        """
        pooled = x.is_floating_point() and x.ndim == 2
        if self.where is not None and not pooled:
            return x.flatten(0, 1)[self.where], self.members[self.where // self.length]
        flat = x.reshape(-1, x.shape[-1])
        return flat, self.members.repeat_interleave(len(flat) // len(self.members))


#: The logits of what follows each prompt; whoever chose the tokens sends them back in.
Writing = Generator[Tensor, list[int], None]


@dataclass(frozen=True, eq=False)
class Family:
    """One family of base models.

    name:     as sentences call it, "a decoder"; reads: "text" or "image"
    is_it:    whether a config.json is one of its; the first family of the list that says so takes it
    open:     (folder, what from_pretrained is given) -> the model and what talks to it; raises BaseError, or whatever
              transformers raises
    feed:     (tokenizer or image reader, probe inputs) -> batches
    classify: (tokenizer or image reader, contents) -> what the model is fed to answer with a label; None: it has no labels
    score:    (model, tokenizer, questions, tokens of a batch) -> how their choices are scored; None: it cannot
    write:    (model, pad token, prompts, keep: whether more than one token is wanted) -> logits, token by token; None: it cannot
    continues: whether it goes on from a text by itself, so that held-out texts have a likelihood
    task_type: what PEFT calls it
    """

    name: str
    is_it: Callable[[Mapping[str, Any]], bool]
    open: Callable[[Path, Mapping[str, Any]], Opened]
    feed: Callable[[Any, Sequence[Any]], list[Batch]]
    reads: str = "text"
    classify: Callable[[Any, Sequence[Any]], Iterator[dict[str, Tensor]]] | None = None
    score: Callable[[Any, Any, Sequence[Question], int], Scoring] | None = None
    write: Callable[..., Writing] | None = None
    continues: bool = False
    task_type: str | None = None

    @property
    def answers(self) -> bool:
        """Whether it answers by itself, in words or with a label."""
        return self.write is not None or self.classifies

    @property
    def classifies(self) -> bool:
        """Whether it answers with one of a set of labels."""
        return self.classify is not None


def architecture(config: Mapping[str, Any]) -> str:
    """The class that a config names first."""
    return (config.get("architectures") or [""])[0]


def is_in(mapping: str, config: Mapping[str, Any]) -> bool:
    """Whether transformers lists the config's model_type under one of its mappings of classes."""
    from transformers.models.auto import modeling_auto

    of = config.get("model_type")
    return isinstance(of, str) and of in getattr(modeling_auto, mapping)


def text_batches(
    tokenizer: Any, inputs: Sequence[str], feed: Callable[[Tensor, Tensor], dict[str, Any]]
) -> list[Batch]:
    """Texts as batches, longest first; padding and position 0 do not count.

    feed: (ids, mask) -> the model's arguments
    """
    encoded = [tokenizer(text).input_ids[:LONGEST_INPUT] for text in inputs]
    for i, ids in enumerate(encoded):
        if len(ids) < 2:
            raise InputError(
                f"Probe input {i + 1} ({inputs[i][:40]!r}) has fewer than two tokens; position 0 is not read."
            )
    order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
    rows: list[list[int]] = [[]]
    for i in order:  # longest first: the first of a batch says how long all its rows are
        if rows[-1] and (len(rows[-1]) + 1) * len(encoded[rows[-1][0]]) > BATCH_TOKENS:
            rows.append([])
        rows[-1].append(i)
    return [_batch([encoded[i] for i in members], members, tokenizer.pad_token_id or 0, feed) for members in rows]


def _batch(
    encoded: list[list[int]], members: list[int], pad: int, feed: Callable[[Tensor, Tensor], dict[str, Any]]
) -> Batch:
    ids, mask = padded(encoded, pad)
    counts = mask.clone()
    counts[:, 0] = 0
    return Batch(feed(ids, mask), torch.tensor(members), counts.flatten().nonzero()[:, 0], ids.shape[1])


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """(ids, mask), filled up on the right."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])


def no_tokens(number: int, one: Question) -> InputError:
    """What to say of item ``number``, from 0, where the question or a choice comes to nothing."""
    return InputError(
        f"Item {number + 1} ({one.question[:40]!r}): the tokenizer makes nothing of the question or a choice."
    )


def text_part(config: Any) -> Any:
    """The part of a config that is about the language model; all of it where that is all there is."""
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def labels_of(config: Any) -> tuple[str, ...]:
    """The label of every row of the head, as the config names them; () for LABEL_0, LABEL_1, which name nothing."""
    named = {int(row): str(label) for row, label in (config.id2label or {}).items()}
    if set(named) != set(range(len(named))) or all(label == f"LABEL_{row}" for row, label in named.items()):
        return ()
    return tuple(named[row] for row in sorted(named))


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer that lies beside a model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), **HOW)


def refused(does: str) -> Callable[[Path, Mapping[str, Any]], Opened]:
    """``open`` of a family that is not run, for what it does."""

    def open_it(folder: Path, how: Mapping[str, Any]) -> Opened:
        raise BaseError(
            f"{folder}: is a model that {does}, which is not run here. Leave the base out: its adapters are inspected, painted, "
            "merged and exported by their weights, and their names are still held to its config.json."
        )

    return open_it


def not_fed(tokenizer: Any, inputs: Sequence[Any]) -> list[Batch]:
    """``feed`` of a family that is not run."""
    raise InputError("This base is not run here, so nothing can be probed with it.")


@contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' own progress bars and remarks: whoever asked for the base shows its own."""
    from transformers.utils import logging

    bars, words = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(words)
        if bars:
            logging.enable_progress_bar()
