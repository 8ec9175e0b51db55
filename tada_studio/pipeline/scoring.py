"""Base + variants + items -> scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tada_studio.base_model.answering import Answering
from tada_studio.base_model.model import Base
from tada_studio.evaluation import Attached, Score, attached
from tada_studio.evaluation import score as score_items
from tada_studio.evaluation.harness import TaskResult, read_task
from tada_studio.evaluation.harness import run as run_task
from tada_studio.lora import Adapter
from tada_studio.pipeline.cache import LruCache
from tada_studio.progress import Progress, ProgressFn, ignore, silent

Sides = Mapping[str, Mapping[str, Score]]  # a new one takes the place of the former; none is changed

_SCORES: LruCache[Score] = LruCache(256)


def evaluate(
    base: Answering, variants: Mapping[str, Adapter | None], items: Sequence[Any], progress: ProgressFn = silent
) -> dict[str, Score]:
    """A score for every variant (None: the base itself) on the same items, in the order given. Raises TadaError."""
    return dict(score_sides(base, variants, {"items": items}, progress)["items"])


def score_sides(
    base: Answering,
    variants: Mapping[str, Adapter | None],
    sides: Mapping[str, Sequence[Any]],
    progress: ProgressFn = silent,
    each: Callable[[Sides], None] = ignore,
) -> Sides:
    """Side -> variant -> score, of every variant on every side's items. Raises TadaError, and Stopped from ``progress``.

    each: receives what is scored so far after every score: a new mapping each time, which nobody changes afterwards.
    """
    total = sum(map(len, sides.values())) * len(variants)
    done = 0
    for adapter in filter(None, variants.values()):
        base.check_fits(adapter)
    scored: dict[str, dict[str, Score]] = {side: {} for side in sides}
    with_heads = {side: attached(base, variants, items) for side, items in sides.items()}
    for name in variants:
        with base.holding(variants[name]):
            for side, items in sides.items():
                progress(Progress("evaluate", done, total, f"{name}, {side}", rests=True))
                part = _shifted(progress, done, total)
                score = _score(with_heads[side][name], items, name, part)
                scored = {**scored, side: {**scored[side], name: score}}
                each({side: scores for side, scores in scored.items() if scores})
                done += len(items)
    progress(Progress("evaluate", done, total, "all variants scored"))
    return scored


def score_tasks(
    base: Base,
    variants: Mapping[str, Adapter | None],
    tasks: Sequence[str],
    limit: int | None = None,
    progress: ProgressFn = silent,
) -> dict[str, dict[str, TaskResult]]:
    """Task -> variant -> result of lm-evaluation-harness (the extra ``lm-eval``); tasks by name or as .yaml files. Raises
    InputError, MismatchError."""
    read = [read_task(task) for task in tasks]
    for attached_adapter in filter(None, variants.values()):
        base.check_fits(attached_adapter)
    found: dict[str, dict[str, TaskResult]] = {}
    for name, adapter in variants.items():
        for task in read:
            with base.with_adapter(adapter):
                result = run_task(base, task, limit, name, progress)
            found.setdefault(result.task, {})[name] = result
    return found


def _shifted(progress: ProgressFn, before: int, total: int) -> ProgressFn:
    return lambda step: progress(Progress("evaluate", before + step.done, total, step.note))


def _score(attached: Attached, items: Sequence[Any], name: str, progress: ProgressFn) -> Score:
    base = attached.base

    def take() -> Score:
        with base.with_adapter(attached.adapter), base.with_head(attached.head):
            return score_items(base, items, name, progress)

    digests = (adapter.digest if adapter else None for adapter in (attached.adapter, attached.head))
    found = _SCORES.get((base.digest, *digests, base.labels, tuple(items)), take)
    return replace(found, name=name, note=attached.note)
