"""Everybody that can stand beside a recipe in an evaluation: the one list of their names, and the one function that makes them.

parents    the base alone, both adapters as they came
methods    each of ``METHODS`` with default knobs; the recipe's own method is the recipe itself
turned     a method with a knob turned that goes by a name of its own: the average, the sum, the sum at other sizes
tuned      baselines with the weights that do best on validation items
runs       the recipes of earlier evaluations
adapters   whatever else was read: exported adapters, adapters of others
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tada_studio.base_model.answering import Answering
from tada_studio.core import gates as gating
from tada_studio.core.methods import METHODS
from tada_studio.errors import InputError
from tada_studio.evaluation import Score
from tada_studio.evaluation.runs import Run
from tada_studio.lora import Adapter, Pair
from tada_studio.pipeline.merge import Merge, merge
from tada_studio.pipeline.origin import MergeOrigin
from tada_studio.pipeline.scoring import Sides, score_sides
from tada_studio.progress import ProgressFn, silent
from tada_studio.recipe import Recipe

# -- who there is ----------------------------------------------------------------------------------------------------

#: The base alone and both adapters as they came.
PARENTS = ("base", "task", "domain")
#: Baselines that are a method with a knob turned; every other method's name stands for it with default knobs.
TURNED = {"average": Recipe(method="linear", strength=0.5), "sum": Recipe(method="linear")}
#: Sums of other sizes, which auto-tune's find must beat too; they go by these names everywhere, and stand in no list by themselves.
RESIZED = {"sum x 0.75": Recipe(method="linear", strength=0.75), "sum x 1.25": Recipe(method="linear", strength=1.25)}
#: Baselines whose best weights are not 1 and 1: PEFT's TIES averages where others add.
TUNED = {"ties tuned": "ties", "dare_ties tuned": "dare_ties"}
#: Who is scored unless somebody chooses: the others take longer, or are only asked for by people who know them.
USUAL = (*PARENTS, "sum", "tada")
#: With default knobs these are the sum.
_SUMS = ("linear", "svd")


def by_name(method: str) -> list[str]:
    """Everybody that can stand beside a recipe of this method by name alone, parents first and the method itself last."""
    same = {"linear", method}
    return [*PARENTS, *TURNED, *(name for name in METHODS if name not in same), method]


def variant_words(name: str, method: str = "") -> str:
    """A variant by the words that the knobs use: the sum is ``linear`` at strength 1. method: of the recipe on screen."""
    if name == method:
        return f"{name} (this recipe)"
    turned = {**TURNED, **RESIZED}.get(name)
    if turned is not None:
        return f"{name} ({turned.method}, strength {turned.strength:g})"
    return f"{name} adapter" if name in PARENTS and name != "base" else name


def run_name(run: Run) -> str:
    """What the recipe of an earlier run is called among the variants."""
    return f"run {run.number}"


def baselines(rank: int | None) -> dict[str, Recipe]:
    """What auto-tune's find must beat: sums of several sizes, and every method that neither probe nor hand shapes."""
    plain = {name: Recipe(method=name) for name, one in METHODS.items() if not one.reads_map and name not in _SUMS}
    return {name: recipe.but(rank=rank) for name, recipe in {**TURNED, **RESIZED, **plain}.items()}


@dataclass(frozen=True, eq=False)
class Beside:
    """What those are made of that no name alone can make.

    validation: items by side for tuned baselines, none of them among those that are scored
    runs:       earlier evaluations, whose recipes take part as "run 2"
    adapters:   by the names they are to have
    score:      what scores tuned baselines on the validation items
    """

    validation: Mapping[str, Sequence[Any]] | None = None
    runs: Sequence[Run] = ()
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    score: Callable[..., Sides] = score_sides


# -- how they are made -----------------------------------------------------------------------------------------------


def variants(
    view: Merge,
    names: Sequence[str],
    base: Answering | None = None,
    beside: Beside | None = None,
    progress: ProgressFn = silent,
) -> dict[str, Adapter | None]:
    """Adapters by name, in the order given; None is the base alone. Merges are made at the rank of ``view``, and the recipe's own
    method stands for ``view`` itself. base: needed for tuned baselines only. Raises InputError for a name that nobody knows."""
    beside = beside or Beside()
    return {name: _variant(name, view, base, beside, progress) for name in names}


def _variant(name: str, view: Merge, base: Answering | None, beside: Beside, progress: ProgressFn) -> Adapter | None:
    pair, recipe = view.pair, view.recipe
    plain: dict[str, Adapter | None] = {"base": None, "task": pair.task, "domain": pair.domain, **beside.adapters}
    earlier = {run_name(run): run for run in beside.runs}
    if name in plain:
        return plain[name]
    if name == recipe.method:
        return view.adapter
    if name in earlier:
        return merge(pair, earlier[name].readings, earlier[name].recipe)
    rank = max(module.rank for module in view.adapter.modules.values())
    if name in TUNED:
        return _tuned(Recipe(method=TUNED[name], rank=rank), view, base, beside, progress)
    if name not in METHODS and name not in {**TURNED, **RESIZED}:
        there = ", ".join([*plain, *TURNED, *METHODS, *TUNED, *earlier])
        raise InputError(f"{name}: no such variant. There are: {there}.")
    start = {**TURNED, **RESIZED}.get(name) or Recipe(method=name)
    return merge(pair, view.readings, start.but(rank=rank))


def _tuned(start: Recipe, view: Merge, base: Answering | None, beside: Beside, progress: ProgressFn) -> Adapter:
    if base is None or not beside.validation:
        raise InputError(
            "Tuned baselines need validation items that are not among those scored, and a base. Leave them out."
        )
    recipe = tuned(base, view.pair, start, beside.validation, progress=progress, score=beside.score)
    return merge(view.pair, None, recipe)


def recipes_of(adapters: Mapping[str, Adapter | None], view: Merge) -> dict[str, Recipe]:
    """The recipe of each variant that a merge of this very pair made."""
    found = {}
    for name, adapter in adapters.items():
        origin = adapter.origin if adapter is not None else None
        if isinstance(origin, MergeOrigin) and origin.pair is view.pair and name not in PARENTS:
            found[name] = view.recipe if adapter is view.adapter else origin.recipe
    return found


def weights_sentences(adapters: Mapping[str, Adapter | None]) -> list[str]:
    """With which weights the tuned baselines among these did best."""
    there = {name: adapter.origin for name, adapter in adapters.items() if adapter is not None and name in TUNED}
    return [
        f"{name}: weights {origin.recipe.strength:g} did best on the validation items."
        for name, origin in there.items()
        if isinstance(origin, MergeOrigin)
    ]


#: Strengths that ``tuned`` tries: weights of .5 to 2 for each adapter.
STRENGTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def tuned(
    base: Answering,
    pair: Pair,
    recipe: Recipe,
    validation: Mapping[str, Sequence[Any]],
    strengths: Sequence[float] = STRENGTHS,
    readings: gating.Readings | None = None,
    progress: ProgressFn = silent,
    score: Callable[..., Sides] = score_sides,
) -> Recipe:
    """The recipe with the strength that does best on validation items: by the mean accuracy over the sides, then by NLL.

    For a fair fight: PEFT's TIES averages where others add, so that its best weights are not 1 and 1.
    """
    recipes = {f"{recipe.method} at strength {size:g}": recipe.but(strength=size) for size in strengths}
    adapters = {name: merge(pair, readings, one) for name, one in recipes.items()}
    sides = score(base, adapters, validation, progress=progress)
    return recipes[max(recipes, key=lambda name: _merit([scores[name] for scores in sides.values()]))]


def _merit(scores: Sequence[Score]) -> tuple[float, float]:
    """What the larger of is the better."""
    return sum(score.accuracy or 0.0 for score in scores), -sum(score.nll or 0.0 for score in scores)
