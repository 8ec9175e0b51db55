"""What each part of a merge does: leave it out, and see how much less likely the right answers become.

Geometry says how large a part is; this says what it is good for. Parts work together, so that effects do not add up.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tada_studio.addresses import Address
from tada_studio.base_model.answering import Answering
from tada_studio.core import stats
from tada_studio.evaluation import Item
from tada_studio.evaluation.benchmark import Answers, Benchmark, Sides, answers
from tada_studio.lora import Adapter
from tada_studio.progress import Progress, ProgressFn, silent
from tada_studio.recipe import Recipe

#: Draws of a bootstrap over items.
DRAWS = 1000
#: The side of probe texts: nobody is right or wrong on them, so they are shown, and do not judge.
PROBE = "probe"


def side_words(side: str) -> str:
    """A side as sentences and legends call it."""
    return "probe texts (a token)" if side == PROBE else f"{side} items"


class Change(NamedTuple):
    """What leaving a part out does to one side: mean change over the items, in nats an item; below 0: the part helps.

    gold:   of the log-likelihood of the right answer, and of probe texts that of a token; low, high: its 95 % bootstrap interval
    margin: of the log-likelihood of the right choice over the best other one; None for items without choices
    """

    gold: float
    low: float
    high: float
    margin: float | None


class Part(NamedTuple):
    """A part of a merge: a "layer", a "projection" or a "cell", what it is called, and the modules in it."""

    kind: str
    name: str
    modules: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects measured so far, of one recipe's merge. More of them are new Effects; none is ever changed.

    says:    on which items
    digest:  of the pair, the readings and the recipe (``pipeline.provenance``); "" where nobody has said
    changes: part -> side -> change
    energy:  part -> its share of the merge's energy (squared norm)
    """

    recipe: Recipe
    says: str
    changes: Mapping[Part, Mapping[str, Change]] = field(default_factory=dict)
    energy: Mapping[Part, float] = field(default_factory=dict)
    digest: str = ""

    def and_also(self, part: Part, changes: Mapping[str, Change], energy: float) -> "Effects":
        """These and one more."""
        return replace(self, changes={**self.changes, part: changes}, energy={**self.energy, part: energy})

    def of(self, kind: str) -> list[Part]:
        """The parts of a kind that are measured."""
        return [part for part in self.changes if part.kind == kind]

    def total(self, part: Part) -> float:
        """Mean over the sides that judge."""
        found = self.judged(part).values()
        return sum(change.gold for change in found) / len(found)

    def judged(self, part: Part) -> dict[str, Change]:
        """What leaving the part out does to the sides of items, which can be right or wrong."""
        return {side: change for side, change in self.changes[part].items() if side != PROBE}

    def goes_with_energy(self, kind: str) -> float | None:
        """Spearman's correlation over a kind's parts of how much is lost without them and how much energy they hold."""
        parts = self.of(kind)
        lost, energy = ([f(part) for part in parts] for f in (lambda p: -self.total(p), self.energy.__getitem__))
        return stats.spearman(torch.tensor(lost), torch.tensor(energy)) if len(parts) > 2 else None


def parts(addresses: Mapping[str, Address], kinds: Iterable[str]) -> list[Part]:
    """The parts of these kinds, in order of depth."""
    found: dict[tuple[str, str], list[str]] = {}
    for kind in kinds:
        for name, place in addresses.items():
            found.setdefault((kind, _called(kind, place)), []).append(name)
    return [Part(kind, name, tuple(modules)) for (kind, name), modules in found.items()]


def _called(kind: str, place: Address) -> str:
    return {"layer": place.row, "projection": f"{place.tower} {place.projection}".strip(), "cell": str(place)}[kind]


def measure(
    base: Answering,
    merged: Adapter,
    heads: Mapping[str, Adapter],
    sides: Sides,
    todo: Iterable[Part],
    start: Effects,
    progress: ProgressFn = silent,
) -> Iterator[Effects]:
    """Leave each part out in turn; what is known after each, beginning with ``start``. Raises Stopped from ``progress``.

    heads: adapters whose heads may answer where the merge's own does not know an item's label
    """
    yield start
    todo = [part for part in todo if part not in start.changes]
    benchmark = Benchmark(base, sides, heads=heads)
    progress(Progress("effect", 0, len(todo) + 1, "the whole merge"))
    whole = _answered(benchmark, merged, sides)
    shares = energy_shares(merged)
    for done, part in enumerate(todo, start=1):
        progress(Progress("effect", done, len(todo) + 1, f"without {part.name}"))
        rest = _answered(benchmark, without(merged, part.modules), sides)
        changes = {side: _change(rest[side], whole[side]) for side in sides}
        start = start.and_also(part, changes, sum((shares.get(name, 0.0) for name in part.modules), 0.0))
        yield start
    progress(Progress("effect", len(todo) + 1, len(todo) + 1, "every part was left out once"))


def without(adapter: Adapter, modules: Iterable[str]) -> Adapter | None:
    """The adapter without these modules; None if nothing of it is left (then it is the base itself)."""
    gone = set(modules)
    left = {name: module for name, module in adapter.modules.items() if name not in gone}
    return replace(adapter, modules=left, origin=None) if left else None


def energy_shares(adapter: Adapter) -> dict[str, float]:
    """Each module's share of the squared Frobenius norm of the whole update: sum of (A A^T) * (B^T B), scaled."""
    energy = {name: _energy(m.up, m.down, m.scale) for name, m in adapter.modules.items()}
    whole = sum(energy.values())
    return {name: value / whole if whole else 0.0 for name, value in energy.items()}


def _energy(up: Tensor, down: Tensor, scale: float) -> float:
    up, down = up.double(), down.double()
    return float(((down @ down.mT) * (up.mT @ up)).sum()) * scale**2


class _Answered(NamedTuple):
    answers: Answers
    margin: Tensor | None


def _answered(benchmark: Benchmark, adapter: Adapter | None, sides: Sides) -> dict[str, _Answered]:
    with benchmark.base.holding(adapter):
        found = {side: (benchmark.score(adapter, items), items) for side, items in sides.items()}
    return {side: _Answered(answers(score), margins(score.loglik, items)) for side, (score, items) in found.items()}


def margins(loglik: Tensor | None, items: Iterable[Any]) -> Tensor | None:
    """(n,) log-likelihood of each right choice minus that of the best other; None for items that are not multiple choice."""
    right = [item.answer for item in items if isinstance(item, Item)]
    if loglik is None or len(right) != len(loglik):
        return None
    rows = torch.arange(len(right))
    others = loglik.double().clone()
    others[rows, right] = -torch.inf
    return loglik.double()[rows, right] - others.max(1).values


def _change(rest: _Answered, whole: _Answered) -> Change:
    gains = rest.answers.gold.double() - whole.answers.gold.double()
    generator = torch.Generator().manual_seed(0)
    band = stats.bootstrap_mean(gains, generator, DRAWS)
    margin = None if rest.margin is None or whole.margin is None else float((rest.margin - whole.margin).mean())
    low, high = band or (float(gains.mean()), float(gains.mean()))
    return Change(float(gains.mean()), low, high, margin)
