"""The noun that every kind of evaluation ends in: what one variant made of n items. What a kind does not know is None."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from tada_studio.core import stats
from tada_studio.errors import BaseError
from tada_studio.markup import Shown


class Rates(NamedTuple):
    """Share of these items that is answered right without reading them; no accuracy means anything without it.

    chance:   by a blind guess
    majority: by always giving the answer that is right most often; None where answers are not from a common set
    longest:  by always taking the longest choice (a tie counts as a guess among the longest); None without choices
    """

    chance: float | None = None
    majority: float | None = None
    longest: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Score(Shown):
    """What one variant made of n items.

    loglik:  (n, most choices) log-likelihood of each choice in nats, -inf where an item has fewer
    correct: whether the likeliest choice (or the answer given) is the right one
    nll:     mean negative log-probability of the right choice among the choices, in nats: finer than accuracy. Of texts: mean
             over their tokens
    low, high: 95 % interval of the accuracy (Wilson)
    cut:     how many questions were too long and lost their beginning
    gold:    the items' parts in ``nll``, which is their mean
    normed:  whether the choice that is likeliest per character is the right one
    free:    whether the right answer is what the model would say by itself, free to say anything: choices hide damage
    replies: what was answered in words
    rates:   what answering blindly gives on the same items
    kind:    "choice", "image", "answer" (short answers) or "text" (held-out texts)
    note:    what a reader must know about how this variant was scored, in a sentence
    """

    name: str
    loglik: Float[Tensor, "n choices"] | None
    correct: Bool[Tensor, " n"] | None
    nll: float | None
    low: float | None
    high: float | None
    cut: int = 0
    gold: Float[Tensor, " n"] | None = None
    normed: Bool[Tensor, " n"] | None = None
    replies: tuple[str, ...] | None = None
    rates: Rates | None = None
    kind: str = "choice"
    note: str = ""
    free: Bool[Tensor, " n"] | None = None

    def _facts(self) -> dict[str, object]:
        known = {
            "accuracy": self.accuracy,
            "low": self.low,
            "high": self.high,
            "nll": self.nll,
            "perplexity": self.perplexity,
        }
        rounded = {name: round(value, 4) for name, value in known.items() if value is not None}
        return {"name": self.name, "kind": self.kind, "n": self.n, **rounded}

    @property
    def n(self) -> int:
        known = self.correct if self.correct is not None else self.gold
        assert known is not None
        return len(known)

    @property
    def accuracy(self) -> float | None:
        return share(self.correct)

    @property
    def estimate(self) -> tuple[float, float, float] | None:
        """(accuracy, low, high), or None where nothing is right or wrong."""
        if self.accuracy is None or self.low is None or self.high is None:
            return None
        return self.accuracy, self.low, self.high

    @property
    def accuracy_norm(self) -> float | None:
        return share(self.normed)

    @property
    def accuracy_free(self) -> float | None:
        """Share of the items whose right answer is said unprompted by any choices."""
        return share(self.free)

    @property
    def perplexity(self) -> float | None:
        """exp of the mean negative log-likelihood of a token; None for anything but texts."""
        return math.exp(self.nll) if self.kind == "text" and self.nll is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Flat JSON values for a table; the same keys for every kind."""
        blind = self.rates or Rates()
        return {
            "name": self.name, "accuracy": self.accuracy, "low": self.low, "high": self.high, "n": self.n, "nll": self.nll,
            "accuracy_norm": self.accuracy_norm, "accuracy_free": self.accuracy_free, "perplexity": self.perplexity,
            "kind": self.kind, "cut": self.cut, "chance": blind.chance, "majority": blind.majority, "longest": blind.longest,
            "note": self.note,
        }  # fmt: skip


class Flips(NamedTuple):
    """Items, by number, on which two variants differ: right before and wrong after, wrong before and right after."""

    lost: tuple[int, ...]
    won: tuple[int, ...]


def flipped(sides: Mapping[str, Mapping[str, Score]], before: str, after: str) -> dict[str, Flips]:
    """What flipped from one variant to another, on every side where both were judged right or wrong."""
    found = {}
    for side, scores in sides.items():
        first, second = (scores[name].correct if name in scores else None for name in (before, after))
        if first is not None and second is not None:
            lost, won = (tuple(hits.nonzero().flatten().tolist()) for hits in (first & ~second, second & ~first))
            found[side] = Flips(lost, won)
    return found


def check_finite(loglik: Tensor, name: str) -> None:
    """Raises BaseError where what the variant ``name`` made of the items is no number."""
    if not loglik.isfinite().all():
        raise BaseError(f"{name}: the model's log-likelihoods are not finite numbers; load the base in float32.")


def share(hits: Bool[Tensor, " n"] | None) -> float | None:
    """The share of hits; None if there is nothing to count."""
    return float(hits.double().mean()) if hits is not None and len(hits) else None


def interval(correct: Bool[Tensor, " n"]) -> stats.Interval:
    """95 % interval (Wilson) of the accuracy of at least one item."""
    found = stats.wilson(int(correct.sum()), len(correct))
    assert found is not None
    return found


def commonest(answers: Sequence[Any]) -> float:
    """Share of the answer that is right most often."""
    return Counter(answers).most_common(1)[0][1] / len(answers)
