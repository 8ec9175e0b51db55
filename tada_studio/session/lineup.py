"""Who stands beside the recipe in an evaluation: earlier runs' recipes, exported adapters, baselines with tuned weights."""

from collections.abc import Mapping, Sequence

from tada_studio import studio
from tada_studio.base import Base
from tada_studio.errors import InputError
from tada_studio.lora import Adapter, Pair
from tada_studio.progress import Report, silent
from tada_studio.recipe import Recipe
from tada_studio.samples import Sample
from tada_studio.session.runs import Run

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
    report: Report = silent,
) -> dict[str, Adapter]:
    """The adapters among ``names`` that are neither parents nor methods, and those of ``folders``. Raises TadaError."""
    earlier = {run_name(run): run for run in runs if run_name(run) in names}
    found = {name: studio.merge(pair, run.readings, run.recipe) for name, run in earlier.items()}
    for name, method in TUNED.items():
        if name in names:
            found[name] = _tuned(method, pair, base, sample, report)
    return found | {name: studio.read_adapter(ref, base=base) for name, ref in folders.items()}


def _tuned(method: str, pair: Pair, base: Base, sample: Sample | None, report: Report) -> Adapter:
    """A baseline with the weights that do best on items that are not among those scored."""
    if sample is None or not sample.validation:
        raise InputError("Tuned baselines need validation items, which only some samples bring. Leave them out.")
    rank = max(pair.task.rank, pair.domain.rank)
    start = Recipe(method=method, rank=rank)
    best = studio.tuned(base, pair, start, studio.sample_validation(sample), report=report)
    return studio.merge(pair, None, best)
