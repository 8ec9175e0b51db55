"""Who stands beside the recipe in an evaluation: earlier runs' recipes, exported adapters, baselines with tuned weights."""

from collections.abc import Mapping, Sequence
from typing import Any

from tada_studio.base_model.model import Base
from tada_studio.core import gates as gating
from tada_studio.core.methods import METHODS
from tada_studio.errors import InputError
from tada_studio.evaluation import Score
from tada_studio.evaluation.runs import Run
from tada_studio.lora import Adapter, Pair
from tada_studio.pipeline.items import sample_validation
from tada_studio.pipeline.merge import merge
from tada_studio.pipeline.opening import read_adapter
from tada_studio.pipeline.scoring import Sides, score_sides
from tada_studio.progress import ProgressFn, silent
from tada_studio.recipe import Recipe
from tada_studio.sample_pairs import Sample

#: The base alone and both adapters as they came.
PARENTS = ("base", "task", "domain")
#: Baselines whose best weights are not 1 and 1: PEFT's TIES averages where others add.
TUNED = {"ties tuned": "ties", "dare_ties tuned": "dare_ties"}


def run_name(run: Run) -> str:
    """What the recipe of an earlier run is called among the variants."""
    return f"run {run.number}"


def others(
    names: Sequence[str],
    pair: Pair,
    base: Base,
    sample: Sample | None,
    runs: Sequence[Run],
    folders: Mapping[str, str],
    progress: ProgressFn = silent,
) -> dict[str, Adapter]:
    """The adapters among ``names`` that are neither parents nor methods, and those of ``folders``. Raises TadaError."""
    earlier = {run_name(run): run for run in runs if run_name(run) in names}
    found = {name: merge(pair, run.readings, run.recipe) for name, run in earlier.items()}
    for name, method in TUNED.items():
        if name in names:
            found[name] = _tuned(method, pair, base, sample, progress)
    return found | {name: read_adapter(ref, base=base) for name, ref in folders.items()}


def _tuned(method: str, pair: Pair, base: Base, sample: Sample | None, progress: ProgressFn) -> Adapter:
    """A baseline with the weights that do best on items that are not among those scored."""
    if sample is None or not sample.validation:
        raise InputError("Tuned baselines need validation items, which only some samples bring. Leave them out.")
    rank = max(pair.task.rank, pair.domain.rank)
    start = Recipe(method=method, rank=rank)
    best = tuned(base, pair, start, sample_validation(sample), progress=progress)
    return merge(pair, None, best)


#: Baselines that are a method with a knob turned; every other method's name stands for it with default knobs.
TURNED = {"average": Recipe(method="linear", strength=1.0), "sum": Recipe(method="linear", strength=2.0)}


def by_name(method: str) -> list[str]:
    """Everybody that can stand beside a recipe of this method by name alone, parents first and the method itself last."""
    same = {"linear", method}  # linear with default knobs is the sum
    return [*PARENTS, *TURNED, *(name for name in METHODS if name not in same), method]


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
    progress: ProgressFn = silent,
) -> Recipe:
    """The recipe with the strength that does best on validation items: by the mean accuracy over the sides, then by NLL.

    For a fair fight: PEFT's TIES averages where others add, so that its best weights are not 1 and 1.
    """
    recipes = {f"{recipe.method} at strength {size:g}": recipe.but(strength=size) for size in strengths}
    sides: Sides = {}
    adapters = {name: merge(pair, readings, one) for name, one in recipes.items()}
    score_sides(base, adapters, validation, sides, progress)
    return recipes[max(recipes, key=lambda name: _merit([scores[name] for scores in sides.values()]))]


def _merit(scores: Sequence[Score]) -> tuple[float, float]:
    """What the larger of is the better."""
    return sum(score.accuracy or 0.0 for score in scores), -sum(score.nll or 0.0 for score in scores)
