"""Whoever answers for a base: the model in this process (``Base``), or a server elsewhere that holds it (``Engine``).

What scores variants or asks them knows this and no more, so that a base too large for this machine is scored by the same code.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from tada_studio.base_model.family import Family, Question, Scoring
from tada_studio.errors import InputError
from tada_studio.lora import Adapter


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How an answer is made.

    most:        tokens at most
    temperature: 0 always takes the likeliest token; above, how far the dice decide
    seed:        of the dice
    until:       texts that end an answer, and are not part of it
    """

    most: int = 64
    temperature: float = 0.0
    seed: int = 0
    until: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.most <= 4096:
            raise InputError(f"At most {self.most} tokens: give a number from 1 to 4096.")
        if not 0 <= self.temperature <= 5:  # written this way round so that NaN fails too
            raise InputError(f"temperature = {self.temperature}: give 0 (always the likeliest) to 5.")
        if not 0 <= self.seed < 1 << 31:
            raise InputError(f"seed = {self.seed}: give 0 to {(1 << 31) - 1}.")


@runtime_checkable  # the annotations are checked in tests
class Answering(Protocol):
    """A base, wherever it runs, with at most one adapter attached to it.

    ref:    what it was asked for by; digest: tells bases apart, for caching scores
    lasting: tells them apart from one start of the program to the next, for what is kept longer than a score
    family: what it is; labels: of a classifier
    on:     where batches go, a key of ``evaluation.batches.ROOM``: a kind of device, or "engine"
    """

    @property
    def ref(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def tokenizer(self) -> Any: ...
    @property
    def digest(self) -> str: ...
    @property
    def lasting(self) -> str: ...
    @property
    def family(self) -> Family: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def kind(self) -> str: ...
    @property
    def classifies(self) -> bool: ...
    @property
    def on(self) -> str: ...

    def check_fits(self, adapter: Adapter) -> None:
        """Raise MismatchError for an adapter that cannot be attached."""

    def with_adapter(self, adapter: Adapter | None) -> AbstractContextManager[Any]:
        """The adapter is attached while the block runs; None: the base alone."""

    def holding(self, adapter: Adapter | None) -> AbstractContextManager[Any]:
        """However often the adapter is attached while the block runs, it travels once."""

    def with_head(self, adapter: Adapter | None) -> AbstractContextManager[Any]:
        """Likewise an adapter's heads alone."""

    def scoring(self, questions: Sequence[Question], tokens: int) -> Scoring:
        """How likely each choice of these questions is; at most so many tokens at once. Raises InputError."""

    def logliks(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """(n,) log-likelihood of each row's tokens after its first, in nats, in float64."""

    def stream(self, prompts: Sequence[Sequence[int]], how: Sampling) -> Iterator[list[str]]:
        """The answers to a batch of prompts, as far as they have come; the last are whole."""


@runtime_checkable
class InProcess(Answering, Protocol):
    """One whose model is in this process."""

    @property
    def model(self) -> nn.Module: ...
