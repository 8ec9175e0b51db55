"""What a person has open: the pair, its readings, the recipe with its undo, and the results so far.

Recipes are immutable, so undo and redo are two piles of them. Everything the screen shows is derived from
(pair, readings, recipe) and kept until one of the three changes.
"""

import math
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tada_studio import pipeline, scratch
from tada_studio.base_model.answering import Answering
from tada_studio.base_model.model import Base
from tada_studio.core.gates import Readings
from tada_studio.core.merge import Merged
from tada_studio.core.strokes import painted
from tada_studio.errors import BaseError, MismatchError, Stopped
from tada_studio.evaluation.effect import Effects
from tada_studio.evaluation.prompts import Answers, PromptGrid
from tada_studio.evaluation.runs import Run
from tada_studio.lora import Pair
from tada_studio.pipeline.calibration import Calibration
from tada_studio.pipeline.merge import Merge
from tada_studio.pipeline.opening import UnpackTo
from tada_studio.progress import LOAD, Progress, ProgressFn, silent
from tada_studio.recipe import Recipe
from tada_studio.sample_pairs import Sample
from tada_studio.sample_pairs import sample as sample_named
from tada_studio.session.history import History
from tada_studio.session.state import BothInputs, Exported, Opened, State
from tada_studio.session.visitor import OWNER, Visitor
from tada_studio.tuning import Tuning

#: Painting an unlocked cell with None gives it back to the readings.
RESET = None


class Workspace:
    """What one browser tab (or one script) is working on.

    opened:  how the pair came here; None while nothing is open
    project: the name it was saved under, if it was
    on_change: called after every change, often, from any thread: whoever saves sessions listens here
    stops:   how often ``stop`` was called: work ends when it is called after that work began
    visitor: whose it is, and what they may use
    """

    def __init__(self, visitor: Visitor = OWNER) -> None:
        self.visitor = visitor
        self.lock = threading.RLock()
        self.stops = 0
        self.on_change: Callable[[], None] = lambda: None
        self.opened: Opened | None = None
        self.project: str | None = None
        self.pair: Pair | None = None
        self.readings: Readings | None = None
        self._base: weakref.ref[Base] | None = None
        self.base_ref: str | None = None
        self._engine: tuple[str | None, Answering] | None = None  # and of which base
        self.sample: Sample | None = None
        self.history = History()
        self.runs: tuple[Run, ...] = ()
        self.answers: Answers = {}
        self.answers_digest = ""  # of the merge that was asked
        self.grid: PromptGrid | None = None
        self.tuning: Tuning | None = None
        self.effects: Effects | None = None
        self.exported: Exported | None = None
        self.calibration: Calibration | None = None
        self._inputs: BothInputs | None = None  # of the last probe, if it was of both kinds
        self._looks: dict[str, int] = {}  # at the items that a search holds out, by their digest
        self._runs_made = 0
        self._view: Merge | None = None
        self._merged: tuple[Pair, Merged] | None = None  # the last one, and of which pair
        self._folder: Path | None = None
        self._unpacked: Path | None = None  # the folder that the open pair's zips were unpacked into

    # -- Open ------------------------------------------------------------------------------------------------------

    def open(
        self,
        task: str,
        domain: str,
        base: str | None = None,
        progress: ProgressFn = silent,
        dora_rank: int | None = None,
        same_base: bool = False,
        allow_pickle: bool = False,
    ) -> None:
        """Read two adapters (folder or Hub id each), or one alone (``domain`` is ""). What was open stays if this fails. Raises
        TadaError. same_base: somebody vouches that both were trained on one base; allow_pickle: an adapter_model.bin may be read.

        Work on the pair that was open before is stopped.

        For DoRA the weights of ``base`` are read too, which takes a while; ``dora_rank`` as in ``pipeline.read_adapter``.
        """
        self.visitor.check_room()
        unpacked = self._unpacks_into(task, domain or "")
        try:
            pair = pipeline.read_pair(
                task,
                domain or None,
                allow_pickle,
                base=base or None,
                dora_rank=dora_rank,
                progress=progress,
                same_base=same_base,
                unpack_to=unpacked,
            )
            self.visitor.check_room()
        except BaseException:
            if unpacked is not None:
                shutil.rmtree(unpacked.folder, ignore_errors=True)
            raise
        opened = Opened(task, domain, base or None, None, dora_rank, same_base, allow_pickle)
        self._begin(pair, opened, None if unpacked is None else unpacked.folder)

    def _begin(self, pair: Pair, opened: Opened, unpacked: Path | None) -> None:
        """Work on this pair from now on. Of what was open before, only a base that is this pair's too stays.

        unpacked: the folder of this pair's zips; the former pair's goes.
        """
        with self.lock:
            before, self._unpacked = self._unpacked, unpacked
            if before is not None:  # what is mapped into memory stays readable until nobody uses it
                shutil.rmtree(before, ignore_errors=True)
            self.stop()
            self.pair, self.opened, self.base_ref = pair, opened, opened.base
            self.readings, self.sample, self.project = None, None, None
            self.base = self.base if self.base is not None and self.base.ref == opened.base else None
            self.answers, self.tuning, self.effects, self.exported = {}, None, None, None
            self.answers_digest, self.grid = "", None
            self.calibration, self._inputs = None, None
            self.history, self.runs, self._runs_made = History(), (), 0
            self._changed()

    def _unpacks_into(self, *refs: str) -> UnpackTo | None:
        """A folder of this session's for zips, so that they go with it; None if neither is a zip."""
        if not any(ref.lower().endswith(".zip") for ref in refs):
            return None
        return UnpackTo(Path(tempfile.mkdtemp(prefix="unpacked-", dir=self.folder)), self.visitor.limits.unpacked)

    def open_sample(self, name: str) -> None:
        """Open an embedded sample by name, with its cached readings if it ships any. Raises InputError for an unknown name."""
        sample = sample_named(name)
        self.open(str(sample.task), str(sample.domain), sample.base)
        with self.lock:
            self.sample, self.opened = sample, Opened(str(sample.task), str(sample.domain), sample.base, name)
            if (readings := pipeline.sample_readings(sample)) is not None:
                self.use_readings(readings)

    @property
    def base(self) -> Base | None:
        """The base model, while it is in memory: all sessions share it, and whoever works with it holds it."""
        return None if self._base is None else self._base()

    @base.setter
    def base(self, base: Base | None) -> None:
        self._base = None if base is None else weakref.ref(base)

    def load_base(self, ref: str | None = None, progress: ProgressFn = silent) -> Base:
        """The base model, loaded once and kept. Raises BaseError if none was named or it cannot be had."""
        ref = ref or self.base_ref
        if not ref:
            raise BaseError("No base model was named. Give a Hub id, a folder or a GGUF file on the Open tab.")
        if (base := self.base) is None or base.ref != ref:
            progress(Progress(LOAD, 0, 1, f"loading {ref}"))
            pipeline.check_size(ref, self.visitor.limits.base_parameters)
            base = self.base = pipeline.shared_base(ref, progress, self.visitor.runs.place)
            progress(Progress(LOAD, 1, 1, f"loaded {ref} on {base.device}"))
        self.base_ref = ref
        return base

    def answering(self, progress: ProgressFn = silent) -> Answering:
        """Who scores and answers: the engine that this program was started with, else the base. Raises BaseError."""
        runs = self.visitor.runs
        if runs.engine is None:
            return self.load_base(progress=progress)
        if self._engine is None or self._engine[0] != self.base_ref:
            progress(Progress(LOAD, 0, 1, "asking the engine"))
            self._engine = self.base_ref, pipeline.open_engine(runs.engine, self.base_ref, runs.folder)
        return self._engine[1]

    def use_readings(self, readings: Readings) -> None:
        """Take readings probed elsewhere. Raises MismatchError if they belong to another pair."""
        readings.belongs_to(self._open_pair())
        with self.lock:
            self.readings, self._inputs = readings, None
            self._changed()

    @property
    def auto_lacks(self) -> str:
        """What self-calibration lacks: "base", "inputs", or "" for nothing."""
        ships = self.sample is not None and self.sample.task_probe is not None
        return "base" if not self.base_ref else "" if self._inputs is not None or ships else "inputs"

    # -- Tune ------------------------------------------------------------------------------------------------------

    @property
    def view(self) -> Merge | None:
        """Everything to show for the current state; None while nothing is open."""
        with self.lock:
            if self.pair is None:
                return None
            if self._view is None:
                self._view = self._seen(self.pair, self.recipe)
            return self._view

    def _seen(self, pair: Pair, recipe: Recipe) -> Merge:
        """What is to be seen with this recipe; it takes over of the last merge what stays the same."""
        self._keep_merge()
        merged = self._merged[1] if self._merged and self._merged[0] is pair else None
        return Merge(pair, self.readings, recipe, merged)

    def _keep_merge(self) -> None:
        if self._view is not None and "merged" in vars(self._view):
            self._merged = self._view.pair, self._view.merged

    @property
    def recipe(self) -> Recipe:
        return self.history.now

    @property
    def can_undo(self) -> bool:
        return bool(self.history.before)

    @property
    def can_redo(self) -> bool:
        return bool(self.history.after)

    @property
    def log(self) -> tuple[str, ...]:
        """What was done to the recipe, in order; what was undone is not in it."""
        with self.lock:
            return self.history.log

    def turn(self, **knobs: Any) -> None:
        """Set knobs of the recipe by name. Raises RecipeError and changes nothing if a value is out of range."""
        self.restore(self.recipe.but(**knobs))

    def restore(self, recipe: Recipe) -> None:
        """Make this the recipe (undoable). Raises TadaError, and changes nothing, if it does not fit what is open."""
        with self.lock:
            if recipe == self.recipe:
                return
            view = None if self.pair is None else self._seen(self.pair, recipe)
            if view is not None:
                view.how  # noqa: B018 - computing it is what checks the recipe
            self.history.take(recipe)
            self._changed()
            self._view = view

    def paint(self, cells: Iterable[tuple[int, int]], value: float | str | None, brush: str = "share") -> None:
        """Set the gate of cells (row of ``gates.layers``, column of ``gates.projections``); None: back to the readings;
        SMOOTH: the mean with their neighbours in depth. brush: the plane, one of ``core.strokes.BRUSHES``.
        """
        view = self._open_view()
        layers, projections = view.gates.layers, view.gates.projections
        inside = {(i, j) for i, j in cells if 0 <= i < len(layers) and 0 <= j < len(projections)}
        there = {view.gates.place(i, j) for i, j in inside if view.gates.there[i, j]}
        if there:
            self.turn(overrides=painted(view.gates, self.recipe.overrides, there, value, brush))

    def add_line(self, line: str) -> None:
        """Append one selector line to the recipe. Raises RecipeError if it cannot be read or selects nothing."""
        self.turn(overrides=(*self.recipe.overrides, line.strip()))

    def undo(self) -> None:
        with self.lock:
            if self.history.undo():
                self._changed()

    def redo(self) -> None:
        with self.lock:
            if self.history.redo():
                self._changed()

    # -- Results ---------------------------------------------------------------------------------------------------

    def _replace(self, pair: Pair, run: Run) -> None:
        """Let this run take the place of the one with its number, unless that was deleted, or another pair is open by now."""
        with self.lock:
            runs = tuple(run if other.number == run.number else other for other in self.runs)
            self._take(pair, runs=runs)

    def forget(self, number: int) -> None:
        """Delete a run of the history."""
        with self.lock:
            self.runs = tuple(run for run in self.runs if run.number != number)
        self.on_change()

    def _take(self, pair: Pair, **results: Any) -> None:
        """Show these results, unless another pair is open by now."""
        with self.lock:
            if self.pair is pair:
                for name, result in results.items():
                    setattr(self, name, result)

    # -- What belongs to what --------------------------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """Of the merge on screen; "" while nothing is open."""
        view = self.view
        return "" if view is None else view.digest

    def stale(self, result: "Run | Tuning | Effects | Exported | PromptGrid") -> bool:
        """Whether a result is of another pair, other readings or another recipe than those on screen.

        A search is as good as new for the recipe that it started from and for the one that it found.
        """
        view = self.view
        if view is None:
            return True
        if isinstance(result, Tuning) and result.found is not None:
            found = Merge(view.pair, view.readings, result.recipe)
            started = Merge(view.pair, view.readings, result.start)
            return result.digest != started.digest or view.digest not in (found.digest, started.digest)
        return result.digest != view.digest

    @property
    def answers_are_stale(self) -> bool:
        """Whether the merge that was asked is another than the one on screen."""
        return bool(self.answers) and self.answers_digest != self.digest

    # -- Work ------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask whatever is running to stop at its next piece."""
        self.stops += 1

    @property
    def folder(self) -> Path:
        """A private temporary folder of this session, made when first needed."""
        if self._folder is None:
            home = self.visitor.folder or scratch.root()
            home.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="session-", dir=home))
        return self._folder

    def close(self) -> None:
        """Stop what runs and delete what was kept on disk."""
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    # -- Keep ------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State | None:
        """What is worth keeping, as it is now; None while nothing is open."""
        with self.lock:
            if self.pair is None or self.opened is None:
                return None
            piles = tuple(self.history.before), tuple(self.history.after)
            now = (self.opened, self.pair, self.base_ref, self.readings, self.recipe)
            return State(*now, *piles, self.runs, self._runs_made, dict(self._looks), self.project)

    def resume(self, state: State) -> None:
        """Go on from an earlier state of the pair that was just opened. Raises TadaError if it does not fit the pair."""
        if state.readings is not None:
            state.readings.belongs_to(self._open_pair())
        with self.lock:
            self.readings, self.base_ref, self.project = state.readings, state.base_ref, state.project
            self.restore(state.recipe)
            self.history = History(state.recipe, state.undo, state.redo)
            self.runs, self._runs_made, self._looks = state.runs, state.runs_made, dict(state.looks)
            self._changed()

    # --------------------------------------------------------------------------------------------------------------

    def _open_pair(self) -> Pair:
        if self.pair is None:
            raise MismatchError("Nothing is open yet. Open a task adapter and a domain adapter first.")
        return self.pair

    def _open_view(self) -> Merge:
        self._open_pair()
        view = self.view
        assert view is not None
        return view

    def _changed(self) -> None:
        self._keep_merge()
        self._view = None
        self.on_change()

    def _started(self, progress: ProgressFn) -> ProgressFn:
        """A report that ends the work at its next piece once ``stop`` was called, or its time is over."""
        before, minutes = self.stops, self.visitor.limits.minutes
        end = math.inf if minutes is None else time.monotonic() + 60 * minutes

        def stoppable(step: Progress) -> None:
            where = f"at {step.step}, {step.done} of {step.total}. What was there before is kept."
            if self.stops != before:
                raise Stopped(f"Stopped {where}")
            if time.monotonic() > end:
                raise Stopped(f"The {minutes:g} minutes that a job may take on this server were over {where}")
            self.on_change()
            progress(step)

        return stoppable
