"""How much is to be searched, and what a search has come to. A search that goes on makes new results; none is ever changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tada_studio.errors import InputError
from tada_studio.evaluation import Score
from tada_studio.evaluation.benchmark import SideScores, value
from tada_studio.evaluation.compare import Comparison
from tada_studio.recipe import Recipe
from tada_studio.tuning.space import Space, recipe_with
from tada_studio.tuning.split import Split
from tada_studio.tuning.study import Trial


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to search. trials: of all seeds together, with those that a storage already holds; chunks: of the items, after each
    of which a poor trial may be stopped; minutes: for everything, what the trials are compared with and the verdict included; None:
    as long as it takes."""

    trials: int = 120
    seeds: int = 3
    chunks: int = 5
    minutes: float | None = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("trials", 0, 100_000), ("seeds", 1, 20), ("chunks", 1, 100)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} = {getattr(self, name)}: give {low} to {high}.")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"minutes = {self.minutes}: give more than 0, or leave it out.")


#: A look at whether it works, in seconds on a tiny base.
QUICK = Plan(trials=12, seeds=1, chunks=3)
QUICK_ITEMS = 24


@dataclass(frozen=True, eq=False)
class Judged:
    """The one report: scores on the untouched items, and the find against each other variant.

    sides:   side -> variant -> score; the variants are "tuned" ("start" if nothing better was found), "default" and the best
             baseline that was measured
    against: the first of them beside each of the others
    """

    sides: Mapping[str, Mapping[str, Score]]
    against: Sequence[Comparison]


@dataclass(frozen=True, eq=False)
class Tuning:
    """A search, as far as it has come.

    side_scores: what is known of the parents, the recipe to start from and the baselines, on the items that are searched on
    left_out: those of them that there was no time for
    digest: of the pair, the readings and the recipe to start from (``pipeline.provenance``); "" where nobody has said
    looks: how often somebody has looked at the untouched items, this search's verdict included
    """

    split: Split
    start: Recipe
    searched: Space
    side_scores: Mapping[str, SideScores] = field(default_factory=dict)
    trials: Sequence[Trial] = ()
    judged: Judged | None = None
    seconds: float = 0.0
    looks: int = 1
    left_out: Sequence[str] = ()
    digest: str = ""

    @property
    def best(self) -> Trial | None:
        """The best trial that went to the end; None before there is one."""
        return max(self._done, key=lambda trial: trial.value, default=None)

    @property
    def _done(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == "done"]

    @property
    def found(self) -> Recipe | None:
        """The best trial's recipe, if it beats the one to start from; None as long as there is nothing to take."""
        best, start = self.best, self.side_scores.get("start")
        if best is None or (start is not None and best.value <= value(start)):
            return None
        return recipe_with(self.start, best.params)

    @property
    def recipe(self) -> Recipe:
        """The find, or the recipe to start from if nothing better was found."""
        return self.found or self.start

    @property
    def best_by_seed(self) -> list[Trial]:
        """The best finished trial of each seed that has one."""
        seeds = sorted({trial.seed for trial in self._done})
        return [max((t for t in self._done if t.seed == seed), key=lambda t: t.value) for seed in seeds]

    @property
    def promised(self) -> float | None:
        """By how much the best trial beat the default on the items that were searched on, in nats."""
        default = self.side_scores.get("default")
        return None if self.best is None or default is None else self.best.value - value(default)

    @property
    def kept(self) -> float | None:
        """By how much the find beat the default on the untouched items, in nats; None where nobody has looked."""
        against = [one for one in (self.judged.against if self.judged else ()) if one.against == "default"]
        return against[0].gain.mean if against and against[0].gain else None

    def best_baseline(self, baselines: Mapping[str, Recipe]) -> str | None:
        """Of several, the one that does best on the items that are searched on; None if there was no time for any."""
        measured = [name for name in baselines if name in self.side_scores]
        return max(measured, key=lambda name: value(self.side_scores[name]), default=None)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """The finished trials that no other equals or beats on every side: how much of one skill is to be had for the other."""
    done = [trial for trial in trials if trial.state == "done"]
    return [trial for trial in done if not any(_beats(other, trial) for other in done)]


def _beats(first: Trial, second: Trial) -> bool:
    pairs = [(first.side_scores[side].gold, second.side_scores[side].gold) for side in second.side_scores]
    if all(a == b for a, b in pairs):
        return (first.seed, first.number) < (second.seed, second.number)  # of equals one stays
    return all(a >= b for a, b in pairs)
