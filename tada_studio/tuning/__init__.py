"""Auto-tune: the knobs of a recipe are searched on some of the items, and one report judges the find on all the others.

What is maximised is the log-likelihood of the right answers, not their number: on the same items it tells recipes apart about
three times as well, and it moves where an accuracy of 80 items stands still. The items that are held out are not scored
before the search has ended, and then once, for three variants: the find, the default recipe and the best baseline.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tada_studio.base_model.answering import Answering
from tada_studio.errors import InputError
from tada_studio.evaluation import Score
from tada_studio.evaluation.benchmark import Benchmark, Pulse, SideScores, items_digest
from tada_studio.evaluation.compare import compared
from tada_studio.lora import Adapter
from tada_studio.progress import Progress, ProgressFn, silent
from tada_studio.recipe import Recipe
from tada_studio.tuning.result import QUICK, QUICK_ITEMS, Judged, Plan, Tuning, front
from tada_studio.tuning.space import params_of, recipe_with, space
from tada_studio.tuning.split import Split, by_files, halves
from tada_studio.tuning.study import RunningTrial, Study, Trial, storage

__all__ = [
    "QUICK",
    "QUICK_ITEMS",
    "Contest",
    "Judged",
    "Plan",
    "Split",
    "Trial",
    "Tuning",
    "by_files",
    "front",
    "halves",
    "search",
    "space",
]

Make = Callable[[Recipe], Adapter]
#: Share of the time that may go into what trials are compared with; the rest is for trials and the verdict.
REFERENCES = 0.4
#: Variants that the verdict scores on the untouched items.
JUDGED = 3


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
    base: Answering,
    contest: Contest,
    tuning: Tuning,
    plan: Plan,
    where: str | Path | None = None,
    progress: ProgressFn = silent,
) -> Iterator[Tuning]:
    """Every state of a search as it goes on, the last one judged; without a finished trial there is nothing to judge.

    tuning: to start from. where: None (in memory), a file or a database URL; what a storage already holds of this very search is
    gone on with. Raises Stopped from ``progress``; then all finished trials stay. Raises InputError where trials cannot be kept.
    """
    clock = _Clock(plan.minutes)
    benchmark = Benchmark(base, tuning.split.search, plan.chunks, contest.parents)
    studies = _studies(tuning, contest, plan, where)
    for measured in _measured(benchmark, contest, tuning, clock, progress):
        tuning = measured
        yield tuning
    while True:
        tuning = replace(tuning, trials=_tried(studies), seconds=clock.spent)
        yield tuning
        if len(tuning.trials) >= plan.trials or not _in_time(clock, benchmark, tuning):
            break
        _pause(progress, "tune", len(tuning.trials), plan.trials)
        study = min(studies, key=lambda study: (len(study.trials), study.seed))
        _try(benchmark, contest, tuning, study.ask(), _announced(progress, plan.trials, tuning))
    if tuning.best is not None:
        judged = _judge(benchmark, contest, tuning, progress)
        yield replace(tuning, judged=judged, seconds=clock.spent)


def _pause(progress: ProgressFn, step: str, done: int, total: int) -> None:
    """No adapter is attached now: other work may go first."""
    progress(Progress(step, done, total, "between two parts", rests=True))


class _Clock:
    """Time since the search began, in seconds, and what is left of the limit."""

    def __init__(self, minutes: float | None) -> None:
        self.limit, self.began = None if minutes is None else minutes * 60, time.monotonic()

    @property
    def spent(self) -> float:
        return time.monotonic() - self.began

    def has(self, seconds: float, share: float = 1.0) -> bool:
        """Whether so many seconds still fit into this share of the limit."""
        return self.limit is None or self.spent + seconds < share * self.limit


def _studies(tuning: Tuning, contest: Contest, plan: Plan, where: str | Path | None) -> list[Study]:
    depends = [contest.key, items_digest(tuning.split.search), tuning.start.to_dict(), tuning.searched, plan.chunks]
    name = "tada-" + hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:16]
    rank = max(adapter.rank for adapter in contest.parents.values())
    first = params_of(tuning.start, tuning.searched, rank)
    kept = storage(where)
    return [Study(kept, name, plan.seed + i, tuning.searched, [first]) for i in range(plan.seeds)]


def _measured(
    benchmark: Benchmark, contest: Contest, tuning: Tuning, clock: _Clock, progress: ProgressFn
) -> Iterator[Tuning]:
    """The start, the default, the parents and the baselines, on the items that are searched on; the start whatever it takes, the
    others as long as there is time for them."""
    recipes = {"start": tuning.start, "default": Recipe(rank=tuning.start.rank)}
    makers: dict[str, Callable[[], Adapter]] = {name: _maker(contest, recipe) for name, recipe in recipes.items()}
    makers |= {name: lambda a=a: a for name, a in contest.parents.items()}  # type: ignore[misc]
    makers |= {name: _maker(contest, recipe) for name, recipe in contest.baselines.items()}
    for number, (name, make) in enumerate(makers.items()):
        if number and not clock.has(benchmark.pace * tuning.split.counts[0], REFERENCES):
            tuning = replace(tuning, left_out=list(makers)[number:])
            break
        _pause(progress, "baselines", number, len(makers))
        step = Progress("baselines", number, len(makers), f"{name} on the items to search on")
        side_scores = benchmark.side_scores(make(), lambda step=step: progress(step))  # type: ignore[misc]
        tuning = replace(tuning, side_scores={**tuning.side_scores, name: side_scores}, seconds=clock.spent)
        yield tuning
    yield tuning


def _maker(contest: Contest, recipe: Recipe) -> Callable[[], Adapter]:
    return lambda: contest.make(recipe)


def _tried(studies: list[Study]) -> list[Trial]:
    """What all processes have tried so far."""
    return [trial for study in studies for trial in study.trials]


def _in_time(clock: _Clock, benchmark: Benchmark, tuning: Tuning) -> bool:
    """Whether one more trial and the report still fit."""
    ahead, held = tuning.split.counts
    return clock.has(benchmark.pace * (ahead + JUDGED * held))


def _try(
    benchmark: Benchmark, contest: Contest, tuning: Tuning, trial: RunningTrial, each: Callable[[int], None]
) -> None:
    """Measure one trial, chunk by chunk; ``each`` is called often with the chunk that is at work, and may end it."""
    measured: list[SideScores] = []
    try:
        adapter = contest.make(recipe_with(tuning.start, trial.params))
        with closing(benchmark.running(adapter, lambda: each(len(measured) + 1))) as running:
            for side_scores in running:
                measured.append(side_scores)
                if not trial.seen(side_scores, len(measured)) and len(measured) < len(benchmark.parts):
                    return trial.prune()
    except BaseException:
        with suppress(InputError):  # what ended it is what must be said
            trial.abandon()
        raise
    return trial.finish(measured[-1])


def _announced(progress: ProgressFn, total: int, tuning: Tuning) -> Callable[[int], None]:
    best, done = tuning.best, len(tuning.trials)
    so_far = f"; best so far {best.value:.3f} nats" if best else ""
    return lambda chunk: progress(Progress("tune", done, total, f"trial {done + 1}, chunk {chunk}{so_far}"))


def _judge(benchmark: Benchmark, contest: Contest, tuning: Tuning, progress: ProgressFn) -> Judged:
    """Score the find, the default and the best baseline on the items that nobody has looked at, and compare."""
    subject = "tuned" if tuning.found else "start"
    adapters = {name: contest.make(recipe) for name, recipe in _contestants(contest, tuning, subject).items()}
    sides: dict[str, dict[str, Score]] = {side: {} for side in tuning.split.held}
    steps = [(name, side) for name in adapters for side in sides]
    total = len(steps)
    for done, (name, side) in enumerate(steps):
        step = Progress("judge", done, total, f"{name} on the untouched {side} items")
        pulse: Pulse = lambda step=step: progress(step)  # type: ignore[misc]  # noqa: E731
        sides[side][name] = benchmark.score(adapters[name], tuning.split.held[side], name, pulse)
    progress(Progress("judge", total, total, "judged on the untouched items"))
    return Judged(sides, compared(sides, subject))


def _contestants(contest: Contest, tuning: Tuning, subject: str) -> dict[str, Recipe]:
    """The find first; the others at its rank, and none that is the same recipe."""
    find, baseline = tuning.recipe, tuning.best_baseline(contest.baselines)
    others = {"default": Recipe(), **({baseline: contest.baselines[baseline]} if baseline else {})}
    at_rank = {name: recipe.but(rank=find.rank) for name, recipe in others.items()}
    return {subject: find, **{name: recipe for name, recipe in at_rank.items() if recipe != find}}
