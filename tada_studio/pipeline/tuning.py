"""The flow of auto-tune: a pair, a base and items -> a search of the knobs, judged on items that it never saw."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tada_studio.base_model.answering import Answering
from tada_studio.core.gates import Readings
from tada_studio.core.methods import METHODS, idle
from tada_studio.lora import Pair
from tada_studio.pipeline.merge import merge
from tada_studio.pipeline.variants import baselines
from tada_studio.progress import ProgressFn, ignore, silent
from tada_studio.recipe import Recipe
from tada_studio.tuning import Contest, Plan, Split, Tuning, halves, space
from tada_studio.tuning import search as run


def search(
    pair: Pair,
    base: Answering,
    readings: Readings | None,
    items: Split | Mapping[str, Sequence[Any]],
    *,
    start: Recipe | None = None,
    plan: Plan | None = None,
    storage: str | Path | None = None,
    search_rank: bool = False,
    looks: int = 1,
    progress: ProgressFn = silent,
    each: Callable[[Tuning], None] = ignore,
) -> Tuning:
    """Search the knobs on one part of the items and judge the find on the other, once. Raises TadaError.

    items: by side; cut into halves by seed if no ``Split`` is given. start: what is not searched (gates painted by hand too)
    stays as it is there. storage: a file, or a database URL, that several processes may share. looks: how often, with this
    verdict, the other part was looked at. each: receives every state of the search, the empty one first.
    """
    plan = plan or Plan()
    split = items if isinstance(items, Split) else halves(items, plan.seed)
    tuning = replace(_new_search(pair, readings, split, start, search_rank), looks=looks)
    each(tuning)
    for adapter in (pair.task, pair.domain):
        base.check_fits(adapter)
    digests = pair.task.digest, pair.domain.digest, base.lasting, getattr(readings, "digest", "none")
    contest = Contest(
        make=lambda recipe: merge(pair, readings, recipe),
        parents={"task": pair.task, "domain": pair.domain},
        baselines=baselines(tuning.start.rank),
        key=" ".join(digests),
    )
    for state in run(base, contest, tuning, plan, storage, progress):
        each(state)
        tuning = state
    return tuning


def _new_search(
    pair: Pair, readings: Readings | None, split: Split, start: Recipe | None = None, search_rank: bool = False
) -> Tuning:
    """A search that has not begun: which knobs are turned depends on the pair."""
    layers = Counter(tower for tower, _ in {(place.tower, place.layer) for place in pair.addresses.values()})
    most = max(pair.task.rank, pair.domain.rank)
    ranks = (max(1, most // 2), most, pair.task.rank + pair.domain.rank) if search_rank else ()
    start = start or Recipe()
    start = start if METHODS[start.method].reads_map else start.but(method="tada")
    nothing = idle(start.method, readings is not None, readings is not None and readings.moments is not None)
    return Tuning(split, start, space(max(layers.values()), nothing, ranks))
