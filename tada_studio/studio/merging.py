"""Readings + recipe -> gates -> merge, and where a merge came from: what recipe.json says."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tada_studio.certify import sha256
from tada_studio.core import gates as gating
from tada_studio.core.gates import Gates
from tada_studio.core.merge import (
    Merged,
    expand,
    head_labels,
    merge_whole,
    mixed,
    output_dtype,
    recompressed,
    whose_heads,
)
from tada_studio.core.merge import merge_core as mix_and_recompress
from tada_studio.core.mix import Mix, Outside
from tada_studio.lora import CONFIG, WEIGHTS, Adapter, Pair
from tada_studio.recipe import FORMAT, Recipe
from tada_studio.studio.opening import analysis
from tada_studio.studio.probing import unprobed


def gates(readings: gating.Readings, recipe: Recipe | None = None) -> Gates:
    """The gate map of a recipe; ``values`` is (layers, projections), NaN where no module is. Raises RecipeError."""
    return gating.gates(readings, recipe)


def mix(pair: Pair, gate_map: Gates, recipe: Recipe, readings: gating.Readings | None = None) -> Mix | Outside:
    """How a recipe mixes the two: weights and drops. Raises RecipeError."""
    return mixed(analysis(pair), gate_map, recipe, None if readings is None else readings.moment)


def merge_mix(pair: Pair, how: Mix | Outside, recipe: Recipe, before: Merged | None = None) -> Merged:
    """The merge in core space of a mix. ``before``: an earlier merge of this pair; only what changed since is done again."""
    return recompressed(analysis(pair), how, recipe, before)


def merge_core(pair: Pair, gate_map: Gates, recipe: Recipe, readings: gating.Readings | None = None) -> Merged:
    """The merge in core space: spectra, drops, energies. Raises RecipeError."""
    return merge_mix(pair, mix(pair, gate_map, recipe, readings), recipe)


def merge(pair: Pair, readings: gating.Readings | None = None, recipe: Recipe | None = None) -> Adapter:
    """The merged adapter: one rank everywhere, scale 1, rounded to the recipe's number format.

    readings None: weights-only, every computed gate is .5. Raises MismatchError for readings of another pair, RecipeError.
    """
    recipe = recipe or Recipe()
    if readings is not None:
        readings.belongs_to(pair)
    known = analysis(pair)
    gate_map = gates(readings if readings is not None else unprobed(pair), recipe)
    core = mix_and_recompress(known, gate_map, recipe, None if readings is None else readings.moment)
    return Adapter(
        label=f"{recipe.method} of {pair.task.label} and {pair.domain.label}",
        modules=expand(known, core, output_dtype(pair, recipe)),
        base=pair.task.base or pair.domain.base,
        task_type=pair.task.task_type or pair.domain.task_type,
        whole=merge_whole(pair, recipe),
        heads=tuple(whose_heads(pair, recipe)),
        labels=head_labels(pair, recipe),
        origin=MergeOrigin(pair, readings, recipe),
    )


def logged(merged: Adapter, log: Sequence[str]) -> Adapter:
    """The merge with the steps that led to its recipe: recipe.json keeps them, the weights do not depend on them."""
    origin = merged.origin
    return replace(merged, origin=replace(origin, log=tuple(log))) if isinstance(origin, MergeOrigin) else merged


@dataclass(frozen=True, eq=False)
class MergeOrigin:
    """What a merge came from; ``to_dict`` is recipe.json. log: what was done to the recipe, in order, if a hand made it."""

    pair: Pair
    readings: gating.Readings | None
    recipe: Recipe
    log: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        heads = whose_heads(self.pair, self.recipe)
        return {
            "format": FORMAT,
            "recipe": self.recipe.to_dict(),
            **({"log": list(self.log)} if self.log else {}),
            **({"heads": heads} if heads else {}),
            "inputs": {
                "task": _input(self.pair.task),
                "domain": _input(self.pair.domain),
                "readings": getattr(self.readings, "digest", None),
                "readings_about": dict(self.readings.about) if self.readings is not None else None,
            },
            "versions": {"tada-studio": own_version(), "torch": torch.__version__},
        }


def _input(adapter: Adapter) -> dict[str, Any]:
    files = [Path(adapter.source) / name for name in (CONFIG, WEIGHTS)] if adapter.source else []
    return {
        "label": adapter.label,
        "content_sha256": adapter.digest,
        "files_sha256": {file.name: sha256(file) for file in files if file.is_file()},
        **({"stands_for": asdict(adapter.stands_for)} if adapter.stands_for else {}),
    }


def own_version() -> str:
    """This package's version; a checkout that was never installed (a Space) has none."""
    try:
        return version("tada-studio")
    except PackageNotFoundError:
        return "checkout"


def remarks_on_recipe(content: Mapping[str, Any], pair: Pair, readings: gating.Readings | None) -> list[str]:
    """What in a recipe.json belongs to other inputs than these: then the bytes will differ."""
    inputs, found = content.get("inputs") or {}, []
    for role, adapter in (("task", pair.task), ("domain", pair.domain)):
        wanted = (inputs.get(role) or {}).get("content_sha256")
        if wanted and wanted != adapter.digest:
            found.append(f"The recipe was made for another {role} adapter than {adapter.label}.")
    if inputs.get("readings") != getattr(readings, "digest", None):
        found.append("The recipe was made with other probe readings than these (or with none).")
    return found
