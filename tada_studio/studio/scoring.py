"""Base + variants + items -> scores; the variants that a merge is measured beside."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tada_studio.base import Base
from tada_studio.core import gates as gating
from tada_studio.core.methods import METHODS
from tada_studio.errors import InputError
from tada_studio.evaluate import Score, Worn, read_items, worn
from tada_studio.evaluate import score as score_items
from tada_studio.evaluate.harness import TaskResult, read_task
from tada_studio.evaluate.harness import run as run_task
from tada_studio.inputs import Input, read_inputs
from tada_studio.lora import Adapter, Pair
from tada_studio.progress import Progress, Report, silent
from tada_studio.recipe import Recipe
from tada_studio.samples import Sample
from tada_studio.studio.kept import Kept
from tada_studio.studio.merging import merge

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


#: Baselines that are a method with a knob turned; every other method's name stands for it with default knobs.
TURNED = {"average": Recipe(method="linear", strength=1.0), "sum": Recipe(method="linear", strength=2.0)}


def variants(
    pair: Pair, merged: Adapter, recipe: Recipe, names: Sequence[str], others: Mapping[str, Adapter] | None = None
) -> dict[str, Adapter | None]:
    """Adapters by the names people use: base, task, domain, average, sum, a method with default knobs, all at the same rank; the
    recipe's own method stands for ``merged``. others: whatever else goes by a name: earlier recipes' merges, exported adapters.

    Raises InputError for a name that nobody knows.
    """
    plain: dict[str, Adapter | None] = {"base": None, "task": pair.task, "domain": pair.domain, **(others or {})}
    rank = max(module.rank for module in merged.modules.values())

    def one(name: str) -> Adapter | None:
        if name in plain:
            return plain[name]
        if name not in METHODS and name not in TURNED:
            known = ", ".join([*plain, *TURNED, *METHODS])
            raise InputError(f"{name}: no such variant. There are: {known}.")
        if name == recipe.method:
            return merged
        return merge(pair, None, TURNED[name].but(rank=rank) if name in TURNED else Recipe(method=name, rank=rank))

    return {name: one(name) for name in names}


#: Strengths that ``tuned`` tries: weights of .5 to 2 for each adapter.
STRENGTHS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)


def tuned(
    base: Base,
    pair: Pair,
    recipe: Recipe,
    validation: Mapping[str, Sequence[Any]],
    strengths: Sequence[float] = STRENGTHS,
    readings: gating.Readings | None = None,
    report: Report = silent,
) -> Recipe:
    """The recipe with the strength that does best on validation items: by the mean accuracy over the sides, then by NLL.

    For a fair fight: PEFT's TIES averages where others add, so that its best weights are not 1 and 1.
    """
    recipes = {f"{recipe.method} at strength {size:g}": recipe.but(strength=size) for size in strengths}
    sides: Sides = {}
    adapters = {name: merge(pair, readings, one) for name, one in recipes.items()}
    score_sides(base, adapters, validation, sides, report)
    return recipes[max(recipes, key=lambda name: _merit([scores[name] for scores in sides.values()]))]


def _merit(scores: Sequence[Score]) -> tuple[float, float]:
    """What the larger of is the better."""
    return sum(score.accuracy or 0.0 for score in scores), -sum(score.nll or 0.0 for score in scores)


def sample_inputs(sample: Sample) -> list[Input]:
    """The probe inputs of a sample."""
    return read_inputs(sample.probe)


def sample_items(sample: Sample) -> dict[str, list[Any]]:
    """The items of each side of a sample."""
    return {side: read_items(path) for side, path in sample.items.items()}


def sample_validation(sample: Sample) -> dict[str, list[Any]]:
    """The items of each side that a sample sets apart for choosing knobs. Raises InputError if it has none."""
    if not sample.validation:
        raise InputError(f"{sample.name}: has no validation items, and what is tuned on test items proves nothing.")
    return {side: read_items(path) for side, path in sample.validation.items()}
