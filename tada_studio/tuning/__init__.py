"""Auto-tune: the knobs of a recipe are searched on some of the items, and one report judges the find on all the others.

What is maximised is the log-likelihood of the right answers, not their number: on the same items it tells recipes apart about
three times as well, and it moves where an accuracy of 80 items stands still. The items that are held out are not scored
before the search has ended, and then once, for three variants: the find, the default recipe and the best baseline.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tada_studio.base_model.model import Base
from tada_studio.errors import InputError
from tada_studio.evaluation import Score
from tada_studio.evaluation.benchmark import Benchmark, SideScores, items_digest, value
from tada_studio.evaluation.compare import Comparison, compared
from tada_studio.lora import Adapter
from tada_studio.progress import Progress, ProgressFn, silent
from tada_studio.recipe import Recipe
from tada_studio.tuning.space import Space, params_of, recipe_with, space
from tada_studio.tuning.split import Split, by_files, halves
from tada_studio.tuning.study import RunningTrial, Study, Trial, storage

__all__ = ["Judged", "Mark", "Plan", "Split", "Trial", "Tuning", "by_files", "front", "halves", "search", "space"]

Make = Callable[[Recipe], Adapter]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to search. trials: of all seeds together, with those that a storage already holds; chunks: of the items, after each
    of which a poor trial may be stopped; minutes: for everything, the report included; None: as long as it takes."""

    trials: int = 120
    seeds: int = 3
    chunks: int = 5
    minutes: float | None = None
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

    sides:   side -> variant -> score; the variants are "tuned", "default" and the best baseline
    against: the find beside each of the others, the default first
    """

    sides: dict[str, dict[str, Score]]
    against: Sequence[Comparison]


@dataclass(eq=False)
class Tuning:
    """A search, as far as it has come.

    side_scores: what is known of the parents, the recipe to start from and the baselines, on the items that are searched on
    looks: how often somebody has looked at the untouched items, this search's verdict included
    """

    split: Split
    start: Recipe
    searched: Space
    side_scores: dict[str, SideScores] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    judged: Judged | None = None
    seconds: float = 0.0
    looks: int = 1

    @property
    def best(self) -> Trial | None:
        """The best trial that went to the end; None before there is one."""
        done = [trial for trial in self.trials if trial.state == "done"]
        return max(done, key=lambda trial: trial.value, default=None)

    @property
    def recipe(self) -> Recipe:
        """The find: the best trial's recipe, or the one to start from if none beats it."""
        best, start = self.best, self.side_scores.get("start")
        if best is None or (start is not None and best.value <= value(start)):
            return self.start
        return recipe_with(self.start, best.params)

    @property
    def best_by_seed(self) -> list[Trial]:
        """The best finished trial of each seed that has one."""
        done = [trial for trial in self.trials if trial.state == "done"]
        seeds = sorted({trial.seed for trial in done})
        return [max((t for t in done if t.seed == seed), key=lambda t: t.value) for seed in seeds]

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

    def best_baseline(self, baselines: Mapping[str, Recipe]) -> str:
        """Of several, the one that does best on the items that are searched on."""
        return max(baselines, key=lambda name: value(self.side_scores[name]))


def front(trials: list[Trial]) -> list[Trial]:
    """The finished trials that no other equals or beats on every side: how much of one skill is to be had for the other."""
    done = [trial for trial in trials if trial.state == "done"]
    return [trial for trial in done if not any(_beats(other, trial) for other in done)]


def _beats(first: Trial, second: Trial) -> bool:
    pairs = [(first.side_scores[side].gold, second.side_scores[side].gold) for side in second.side_scores]
    if all(a == b for a, b in pairs):
        return (first.seed, first.number) < (second.seed, second.number)  # of equals one stays
    return all(a >= b for a, b in pairs)


class Contest(NamedTuple):
    """Who takes part besides the trials, and how recipes become adapters.

    parents:   attached as they are, for the axes of the picture; baselines: recipes by name, one of which the find must beat
    key:       what the numbers depend on besides items, start and space: digests of the pair, the base and the readings
    """

    make: Make
    parents: Mapping[str, Adapter]
    baselines: Mapping[str, Recipe]
    key: str


def search(
    base: Base,
    contest: Contest,
    tuning: Tuning,
    plan: Plan,
    where: str | Path | None = None,
    progress: ProgressFn = silent,
) -> None:
    """Search, then judge; ``tuning`` fills in on the way. Raises Stopped from ``progress``; then all finished trials stay.

    where: None (in memory), a file or a database URL; what a storage already holds of this very search is gone on with.
    """
    began = time.monotonic()
    benchmark = Benchmark(base, tuning.split.search, plan.chunks, contest.parents)
    studies = _studies(tuning, contest, plan, where)
    _measure_known(benchmark, contest, tuning, progress)
    while (done := _sync(tuning, studies)) < plan.trials and _in_time(plan, began, benchmark, tuning):
        study = min(studies, key=lambda study: (len(study.trials), study.seed))
        _try(benchmark, contest, tuning, study.ask(), _trial_progress(progress, done, plan.trials, tuning))
        tuning.seconds = time.monotonic() - began
    _judge(benchmark, contest, tuning, progress)
    tuning.seconds = time.monotonic() - began


def _studies(tuning: Tuning, contest: Contest, plan: Plan, where: str | Path | None) -> list[Study]:
    depends = [contest.key, items_digest(tuning.split.search), tuning.start.to_dict(), tuning.searched, plan.chunks]
    name = "tada-" + hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:16]
    rank = max(adapter.rank for adapter in contest.parents.values())
    first = params_of(tuning.start, tuning.searched, rank)
    kept = storage(where)
    return [Study(kept, name, plan.seed + i, tuning.searched, [first]) for i in range(plan.seeds)]


def _measure_known(benchmark: Benchmark, contest: Contest, tuning: Tuning, progress: ProgressFn) -> None:
    """The parents, the start and the baselines, on the items that are searched on."""
    makers: dict[str, Callable[[], Adapter]] = {name: lambda a=a: a for name, a in contest.parents.items()}  # type: ignore[misc]
    recipes = {"start": tuning.start, "default": Recipe(rank=tuning.start.rank), **contest.baselines}
    makers.update({name: lambda recipe=recipe: contest.make(recipe) for name, recipe in recipes.items()})  # type: ignore[misc]
    for number, (name, make) in enumerate(makers.items()):
        progress(Progress("baselines", number, len(makers), f"{name} on the items to search on"))
        tuning.side_scores[name] = benchmark.side_scores(make())


def _sync(tuning: Tuning, studies: list[Study]) -> int:
    """Take over what all processes have tried so far; how many trials that is."""
    tuning.trials = [trial for study in studies for trial in study.trials]
    return len(tuning.trials)


def _in_time(plan: Plan, began: float, benchmark: Benchmark, tuning: Tuning) -> bool:
    """Whether one more trial and the report still fit."""
    if plan.minutes is None:
        return True
    left = plan.minutes * 60 - (time.monotonic() - began)
    ahead, held = tuning.split.counts
    return left > benchmark.pace * (ahead + 3 * held)


def _try(
    benchmark: Benchmark, contest: Contest, tuning: Tuning, trial: RunningTrial, each: Callable[[int], None]
) -> None:
    try:
        adapter = contest.make(recipe_with(tuning.start, trial.params))
        for chunk, side_scores in enumerate(benchmark.running(adapter), start=1):
            each(chunk)
            if not trial.seen(side_scores, chunk) and chunk < len(benchmark.parts):
                return trial.prune()
    except BaseException:
        trial.abandon()
        raise
    return trial.finish(side_scores)


def _trial_progress(progress: ProgressFn, done: int, total: int, tuning: Tuning) -> Callable[[int], None]:
    best = tuning.best
    so_far = f"; best so far {best.value:.3f} nats" if best else ""
    return lambda chunk: progress(Progress("tune", done, total, f"trial {done + 1}, chunk {chunk}{so_far}"))


def _judge(benchmark: Benchmark, contest: Contest, tuning: Tuning, progress: ProgressFn) -> None:
    """Score the find, the default and the best baseline on the items that nobody has looked at, and compare."""
    tuned, baseline = tuning.recipe, tuning.best_baseline(contest.baselines)
    others = {"default": Recipe(), baseline: contest.baselines[baseline]}
    recipes = {"tuned": tuned, **{name: recipe.but(rank=tuned.rank) for name, recipe in others.items()}}
    sides: dict[str, dict[str, Score]] = {side: {} for side in tuning.split.held}
    total, done = len(recipes) * len(sides), 0
    for name, recipe in recipes.items():
        adapter = contest.make(recipe)
        for side, items in tuning.split.held.items():
            progress(Progress("judge", done, total, f"{name} on the untouched {side} items"))
            sides[side][name] = benchmark.score(adapter, items, name)
            done += 1
    tuning.judged = Judged(sides, compared(sides, "tuned"))
    progress(Progress("judge", total, total, "judged on the untouched items"))
