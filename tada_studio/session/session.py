"""One person's work: what is open, and the long work on it. Free of gradio, safe to call from threads."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tada_studio import pipeline
from tada_studio.base_model.generate import Sampling
from tada_studio.base_model.inputs import Input, generic_inputs
from tada_studio.base_model.model import Base
from tada_studio.core.gates import Readings
from tada_studio.errors import InputError
from tada_studio.evaluation import Score, choose
from tada_studio.evaluation.benchmark import items_digest
from tada_studio.evaluation.effect import Effects, parts
from tada_studio.evaluation.prompts import Grid, PromptGrid, Question
from tada_studio.evaluation.runs import Run, cells
from tada_studio.evaluation.shown import shown
from tada_studio.exporting.certify import Certificate
from tada_studio.lora import Adapter, Pair
from tada_studio.pipeline import jobs
from tada_studio.pipeline.calibration import Calibration
from tada_studio.pipeline.items import to_evaluate, to_leave_out_on, to_tune, with_probe_texts
from tada_studio.pipeline.merge import Merge
from tada_studio.progress import ProgressFn, silent
from tada_studio.session.state import BothInputs, Exported
from tada_studio.session.workspace import Workspace
from tada_studio.tuning import Plan, Tuning


class Session(Workspace):
    """What one browser tab (or one script) is working on, and the work that takes its time: each method here can be stopped, and
    leaves its result where the screen finds it.
    """

    # -- Compare ---------------------------------------------------------------------------------------------------

    def rack(self, refs: Sequence[str], progress: ProgressFn = silent, allow_pickle: bool = False) -> pipeline.Rack:
        """How many adapters of one base stand to each other; what is open stays as it is. Raises InputError, Stopped."""
        self.visitor.limits.check_rack(len(refs))
        self.visitor.check_room()
        unpacked = self._unpacks_into(*refs)
        try:
            return pipeline.read_rack(refs, allow_pickle, self._started(progress), unpacked)
        finally:
            if unpacked is not None:
                shutil.rmtree(unpacked.folder, ignore_errors=True)

    # -- Probe -----------------------------------------------------------------------------------------------------

    def probe(
        self,
        inputs: Sequence[Input] | None = None,
        n: int = 32,
        progress: ProgressFn = silent,
        task_inputs: Sequence[Input] | None = None,
    ) -> Readings:
        """Run domain inputs and, if there are any, task inputs through the base once. Earlier readings stay if this fails or is
        stopped. inputs None: the sample's, of both kinds.
        """
        pair = self._open_pair()
        if inputs is None and self.sample is not None:
            inputs, own = pipeline.sample_inputs(self.sample), pipeline.sample_task_inputs(self.sample)
            task_inputs = own if task_inputs is None else task_inputs
        if not inputs:
            raise InputError(
                "No probe inputs. Paste about 32 domain questions, one a line, or upload a file or images."
            )
        self.visitor.limits.check_probe(min(n, len(inputs)))
        progress = self._started(progress)
        base = self.load_base(progress=progress)
        readings = jobs.probe(base, pair, inputs, n, task_inputs, progress=progress)
        self.use_readings(readings)
        self._inputs = BothInputs(inputs, task_inputs, n) if task_inputs else None
        return readings

    def probe_generic(self, n: int = 32, progress: ProgressFn = silent) -> Readings:
        """Readings of neutral lines that ship with the package, to compare the depth profile with; those in force stay."""
        base = self.load_base(progress=progress)
        return jobs.probe(base, self._open_pair(), generic_inputs(), n, progress=self._started(progress))

    def calibrate(
        self,
        inputs: Sequence[Input] | None = None,
        task_inputs: Sequence[Input] | None = None,
        n: int | None = None,
        progress: ProgressFn = silent,
    ) -> Calibration:
        """Let auto choose the separation, from inputs of both kinds (None: those probed with, or the sample's), and make it the
        recipe, undoably.

        The readings become those of these inputs. Raises InputError if there are too few inputs, or none of one kind.
        """
        pair = self._open_pair()
        known = self._both_inputs if inputs is None else BothInputs(inputs, task_inputs or (), 32)
        if known is None or not known.domain or not known.task:
            raise InputError("Auto needs domain inputs and task inputs, about 32 of each. Give both on the Open tab.")
        known = known._replace(n=n or known.n)
        self.visitor.limits.check_probe(min(known.n, max(len(known.domain), len(known.task))))
        progress = self._started(progress)
        base = self.load_base(progress=progress)
        found = jobs.calibrate(base, pair, known.domain, known.task, self.recipe, known.n, progress=progress)
        self.use_readings(jobs.probe(base, pair, known.domain, known.n, known.task, progress=progress))
        self._inputs = known
        self.restore(found.recipe)
        self._take(pair, calibration=found)
        return found

    @property
    def _both_inputs(self) -> BothInputs | None:
        """What the pair was probed with, if that was both kinds; else what its sample ships."""
        if self._inputs is not None or self.sample is None:
            return self._inputs
        return BothInputs(pipeline.sample_inputs(self.sample), pipeline.sample_task_inputs(self.sample) or (), 32)

    # -- Evaluate --------------------------------------------------------------------------------------------------

    def evaluate(
        self,
        sides: Mapping[str, Sequence[Any]] | None,
        variants: Sequence[str],
        limit: int,
        progress: ProgressFn = silent,
        folders: Mapping[str, str] | None = None,
    ) -> Run:
        """Score variants on each side's items: those that ``pipeline.variants`` knows, and exported adapters by a name of
        ``folders`` (name -> folder or Hub id).

        sides None: the sample's. A new run takes the place of ``self.runs[-1]`` with every score; when stopped, what is done stays.
        """
        pair, view = self._open_pair(), self._open_view()
        sides = to_evaluate(self.sample, sides)
        progress = self._started(progress)
        base = self.answering(progress)
        weights = base if isinstance(base, Base) else self.base_ref
        others = {name: pipeline.read_adapter(ref, base=weights) for name, ref in (folders or {}).items()}
        validation = pipeline.sample_validation(self.sample) if self.sample and self.sample.validation else None
        beside = pipeline.Beside(validation, self.runs, others, jobs.score)
        adapters = pipeline.variants(view, [*variants, *others], base, beside, progress)
        chosen = {side: choose(items, limit) for side, items in sides.items()}
        items = {side: tuple(map(shown, ones)) for side, ones in chosen.items()}
        with self.lock:
            self._runs_made += 1
            run = Run(
                self._runs_made, view.recipe, view.readings, limit, cells(view.gates.values), items, digest=view.digest,
                recipes=pipeline.recipes_of(adapters, view),
            )  # fmt: skip
            self.runs = (*self.runs, run)

        def publish(scored: Mapping[str, Mapping[str, Score]], finished: bool = False) -> None:
            nonlocal run
            run = replace(run, sides=scored, finished=finished)
            self._replace(pair, run)

        scored = jobs.score(base, adapters, chosen, progress=progress, each=publish)
        publish(scored, finished=True)
        self.on_change()
        return run

    # -- Auto-tune -------------------------------------------------------------------------------------------------

    def tune(
        self,
        sides: Mapping[str, Sequence[Any]] | None,
        plan: Plan,
        most: int | None = None,
        progress: ProgressFn = silent,
    ) -> Tuning:
        """Search the knobs from the recipe on screen, and judge the find; ``self.tuning`` is replaced as the search goes on.

        sides None: the sample's items. most: items a side to search on. A search that was stopped goes on where it was.
        """
        pair = self._open_pair()
        self.visitor.limits.check_trials(plan.trials)
        split = to_tune(self.sample, sides, plan.seed, most)
        progress = self._started(progress)
        base = self.answering(progress)
        view, held = self._open_view(), items_digest(split.held)
        # judging alone is of the search that there is, also after its find was taken
        start = self.tuning.start if self.tuning is not None and not plan.trials else view.recipe
        digest = Merge(pair, view.readings, start).digest

        def publish(found: Tuning) -> None:
            self._take(pair, tuning=replace(found, digest=digest))

        where, looks = self.folder / "trials.log", self._looks.get(held, 0) + 1
        found = jobs.search(
            base, pair, view.readings, split, start, plan, where, looks, progress=progress, each=publish
        )
        if found.judged is not None:
            self._looks[held] = found.looks
        self.on_change()
        return replace(found, digest=digest)

    # -- Effect ----------------------------------------------------------------------------------------------------

    def measure_effects(
        self,
        kinds: Sequence[str],
        most: int = 24,
        progress: ProgressFn = silent,
        sides: Mapping[str, Sequence[Any]] | None = None,
    ) -> Effects:
        """What each "layer", "projection" or "cell" of the merge on screen does on ``most`` items a side, never test items.

        sides None: the sample's. ``self.effects`` is replaced part by part; what it holds of this recipe and these items is kept.
        """
        pair, view = self._open_pair(), self._open_view()
        split, kind = to_leave_out_on(self.sample, sides, most)
        progress = self._started(progress)
        base = self.answering(progress)
        items, says = with_probe_texts(split, kind, self.sample, base, most)
        start = self.effects
        if start is None or (start.digest, start.says) != (view.digest, says):
            start = Effects(view.recipe, says, digest=view.digest)
        heads = {"task": pair.task, "domain": pair.domain}
        todo = parts(pair.addresses, kinds)

        def publish(found: Effects) -> None:
            self._take(pair, effects=found)

        return jobs.effects(base, view.adapter, heads, items, todo, start, progress=progress, each=publish)

    # -- Try it ----------------------------------------------------------------------------------------------------

    def ask(self, question: Question, variants: Sequence[str], how: Sampling, progress: ProgressFn = silent) -> None:
        """One prompt to variants ("base", "task", "domain", "merge"); ``self.answers`` is replaced while they are made."""
        pair, adapters, digest = self._open_pair(), self._speakers(variants), self.digest
        progress = self._started(progress)
        base = self.answering(progress)
        self.answers, self.answers_digest = {}, digest
        jobs.ask(
            base, adapters, question, how, progress=progress, each=lambda answers: self._take(pair, answers=answers)
        )

    def ask_all(
        self,
        prompts: Sequence[str],
        variants: Sequence[str],
        how: Sampling,
        chat: bool = False,
        progress: ProgressFn = silent,
    ) -> Grid:
        """Several prompts to the same variants; ``self.grid`` is replaced whenever one of them has answered."""
        pair, adapters, digest = self._open_pair(), self._speakers(variants), self.digest
        progress = self._started(progress)
        base = self.answering(progress)
        self.grid = None

        def publish(answers: Grid) -> None:
            self._take(pair, grid=PromptGrid(tuple(prompts), answers, digest))

        return jobs.ask_all(base, adapters, prompts, chat, how, progress=progress, each=publish)

    def _speakers(self, variants: Sequence[str]) -> dict[str, Adapter | None]:
        pair, view = self._open_pair(), self._open_view()
        known = {"base": None, "task": pair.task, "domain": pair.domain, "merge": view.adapter}
        return {name: known[name] for name in variants}

    # -- Export ----------------------------------------------------------------------------------------------------

    def export(self, out: str | Path, progress: ProgressFn = silent, formats: Collection[str] = ()) -> Certificate:
        """Write the merge on screen as a PEFT folder, read it back and certify it; formats: of other programs, written beside.

        Raises ExportError if that does not hold, or if a format cannot hold the merge.
        """
        view, progress = self._open_view(), self._started(progress)
        self.visitor.check_room(size_of_merge(view.pair))
        latest = next((run for run in reversed(self.runs) if run.digest == view.digest and run.sides), None)
        certificate = pipeline.export(
            pipeline.calibrated_by(pipeline.logged(view.adapter, self.log), self._auto),
            out,
            base=self.base,
            progress=progress,
            measured=latest.sides if latest else None,
            formats=formats,
        )
        self._take(view.pair, exported=Exported(Path(out), certificate, view.digest))
        return certificate

    @property
    def _auto(self) -> Mapping[str, Any] | None:
        """What auto chose, while the recipe is still what it made."""
        found = self.calibration
        return found.to_dict() if found is not None and found.recipe == self.recipe else None


def size_of_merge(pair: Pair) -> int:
    """Bytes that a merge of the pair may take, its zip included."""
    modules = [module for adapter in (pair.task, pair.domain) for module in adapter.modules.values()]
    return 2 * 4 * sum(module.up.numel() + module.down.numel() for module in modules)
