"""Optuna's part: where trials are kept, what to try next, and whether a trial is worth going on with.

One study for each seed. A study's name holds a digest of all that its numbers depend on, so that processes (or machines on
one database) join a study only if they search the same thing.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from tada_studio.errors import InputError
from tada_studio.evaluation.benchmark import SideScore, SideScores, value
from tada_studio.tuning.space import Space

#: Trials of a study before the sampler learns from them, and before poor ones are stopped early.
RANDOM, PATIENT = 8, 4


@cache
def _optuna() -> Any:
    """Takes a third of a second: only who searches pays it. In a thread of its own: what Optuna does not find it notes with a
    traceback, which would hold the frames of whoever came here first, and the base in them, for good."""
    with ThreadPoolExecutor(1) as apart:
        optuna = apart.submit(import_module, "optuna").result()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def storage(where: str | Path | None) -> Any:
    """Trials in memory (None), in a database (a URL), or in a file that several processes may share. Raises InputError."""
    optuna = _optuna()
    try:
        if where is None:
            return optuna.storages.InMemoryStorage()
        if "://" in str(where):
            return optuna.storages.RDBStorage(str(where))
        path = Path(where).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        return _journal(path)
    except Exception as error:  # each database has errors of its own
        # not the URL: it may hold a password
        raise InputError(
            f"The storage of the search could not be opened ({type(error).__name__}). Give a file name, or a database URL such "
            "as sqlite:///tune.db."
        ) from error


def _journal(path: Path) -> Any:
    """Trials in a file of one JSON line a step. A line that a full disk or a power cut left half-written goes, and all behind it:
    Optuna would refuse the whole file."""
    journal = _optuna().storages.journal
    lock = journal.JournalFileSymlinkLock(str(path))
    if path.exists():
        lock.acquire()
        try:
            if (whole := _whole_lines(path)) < path.stat().st_size:
                os.truncate(path, whole)
        finally:
            lock.release()
    return _optuna().storages.JournalStorage(journal.JournalFileBackend(str(path), lock))


def _whole_lines(path: Path) -> int:
    """How many bytes of a journal can be read."""
    whole = 0
    with path.open("rb") as lines:
        for line in lines:
            try:
                json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            whole += len(line)
    return whole


@contextmanager
def _kept() -> Iterator[None]:
    """Whatever a storage raises as one sentence."""
    try:
        yield
    except (OSError, _optuna().exceptions.StorageInternalError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise InputError(
            f"The trials of the search could not be kept ({reason}). Make room and start again: what was finished before is kept."
        ) from error


class Trial(NamedTuple):
    """One point that was tried.

    state: "done", or "pruned": stopped early, on fewer items, because it was poor
    value: mean log-likelihood of the right answers over the sides, in nats
    """

    number: int
    seed: int
    params: dict[str, Any]
    state: str
    value: float
    side_scores: SideScores


class RunningTrial:
    """A trial while it is measured."""

    def __init__(self, study: Any, trial: Any, searched: Space) -> None:
        self._study, self._trial = study, trial
        self.params: dict[str, Any] = {name: _suggested(trial, name, searched[name]) for name in searched}

    def seen(self, side_scores: SideScores, chunk: int) -> bool:
        """Note the side scores so far; False if the trial is not worth going on with."""
        with _kept():
            self._trial.set_user_attr("marks", {side: list(mark) for side, mark in side_scores.items()})
            self._trial.report(value(side_scores), chunk)
            return not self._trial.should_prune()

    def finish(self, side_scores: SideScores) -> None:
        with _kept():
            self._study.tell(self._trial, value(side_scores))

    def prune(self) -> None:
        with _kept():
            self._study.tell(self._trial, state=_optuna().trial.TrialState.PRUNED)

    def abandon(self) -> None:
        """It was stopped from outside: no result, good or bad."""
        with _kept():
            self._study.tell(self._trial, state=_optuna().trial.TrialState.FAIL)


class Study:
    """One seed's search."""

    def __init__(self, kept: Any, name: str, seed: int, searched: Space, first: Sequence[dict[str, Any]]) -> None:
        optuna = _optuna()
        self.seed, self._searched, self._optuna = seed, searched, optuna
        pruner = optuna.pruners.MedianPruner(n_startup_trials=PATIENT)
        with _kept():
            self._study = optuna.create_study(
                storage=kept, study_name=f"{name}-seed{seed}", direction="maximize", pruner=pruner, load_if_exists=True
            )
            for params in first:
                self._study.enqueue_trial(params, skip_if_exists=True)

    def ask(self) -> RunningTrial:
        """The next point to try."""
        with _kept():
            return self._running(len(self._study.get_trials(deepcopy=False)))

    def _running(self, number: int) -> RunningTrial:
        # a sampler for every trial: the same trials for the same seed, also after a stop, and others in every process
        dice = (self.seed * 7919 + number * 104_729) % (1 << 31)
        self._study.sampler = self._optuna.samplers.TPESampler(seed=dice, n_startup_trials=RANDOM, multivariate=True)
        return RunningTrial(self._study, self._study.ask(), self._searched)

    @property
    def trials(self) -> list[Trial]:
        """All that were measured, by this process or another."""
        states = self._optuna.trial.TrialState
        known = {states.COMPLETE: "done", states.PRUNED: "pruned"}
        return [
            self._trial(found, known[found.state])
            for found in self._study.get_trials(deepcopy=False)
            if found.state in known and "marks" in found.user_attrs
        ]

    def _trial(self, found: Any, state: str) -> Trial:
        side_scores = {side: SideScore(*mark) for side, mark in found.user_attrs["marks"].items()}
        return Trial(found.number, self.seed, dict(found.params), state, value(side_scores), side_scores)


def _suggested(trial: Any, name: str, found: Any) -> Any:
    if found.options:
        return trial.suggest_categorical(name, list(found.options))
    return trial.suggest_float(name, found.low, found.high, step=found.step)
