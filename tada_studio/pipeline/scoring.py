"""Base + variants + items -> scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tada_studio.base_model.model import Base
from tada_studio.evaluation import Score, Worn, worn
from tada_studio.evaluation import score as score_items
from tada_studio.evaluation.harness import TaskResult, read_task
from tada_studio.evaluation.harness import run as run_task
from tada_studio.lora import Adapter
from tada_studio.pipeline.cache import Kept
from tada_studio.progress import Progress, Report, silent

Sides = dict[str, dict[str, Score]]

_SCORES: Kept[Score] = Kept(256)


def evaluate(
    base: Base, variants: Mapping[str, Adapter | None], items: Sequence[Any], report: Report = silent
) -> dict[str, Score]:
    """A score for every variant (None: the base itself) on the same items, in the order given. Raises TadaError."""
    sides: Sides = {}
    score_sides(base, variants, {"items": items}, sides, report)
    return sides["items"]


def score_sides(
    base: Base,
    variants: Mapping[str, Adapter | None],
    sides: Mapping[str, Sequence[Any]],
    into: Sides,
    report: Report = silent,
) -> None:
    """Score every variant on every side's items, writing each score into ``into[side][variant]`` as it is done."""
    total = sum(map(len, sides.values())) * len(variants)
    done = 0
    for adapter in filter(None, variants.values()):
        base.check_fits(adapter)
    dressed = {side: worn(base, variants, items) for side, items in sides.items()}
    for name in variants:
        for side, items in sides.items():
            part = _shifted(report, done, total)
            into.setdefault(side, {})[name] = _score(dressed[side][name], items, name, part)
            done += len(items)
    report(Progress("evaluate", done, total, "all variants scored"))


def score_tasks(
    base: Base,
    variants: Mapping[str, Adapter | None],
    tasks: Sequence[str],
    limit: int | None = None,
    report: Report = silent,
) -> dict[str, dict[str, TaskResult]]:
    """Task -> variant -> result of lm-evaluation-harness (the extra ``lm-eval``); tasks by name or as .yaml files. Raises
    InputError, MismatchError."""
    read = [read_task(task) for task in tasks]
    for worn_adapter in filter(None, variants.values()):
        base.check_fits(worn_adapter)
    found: dict[str, dict[str, TaskResult]] = {}
    for name, adapter in variants.items():
        for task in read:
            with base.wearing(adapter):
                result = run_task(base, task, limit, name, report)
            found.setdefault(result.task, {})[name] = result
    return found


def _shifted(report: Report, before: int, total: int) -> Report:
    return lambda progress: report(Progress("evaluate", before + progress.done, total, progress.note))


def _score(dressed: Worn, items: Sequence[Any], name: str, report: Report) -> Score:
    base = dressed.base

    def take() -> Score:
        with base.wearing(dressed.adapter), base.wearing_head(dressed.head):
            return score_items(base, items, name, report)

    digests = (adapter.digest if adapter else None for adapter in (dressed.adapter, dressed.head))
    found = _SCORES.get((base.digest, *digests, base.labels, tuple(items)), take)
    return replace(found, name=name, note=dressed.note)
