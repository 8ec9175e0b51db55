"""Where a merge came from: what recipe.json says."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tada_studio.core import gates as gating
from tada_studio.core.merge import whose_heads
from tada_studio.core.methods import METHODS, called, idle, ignored, unread_lines
from tada_studio.core.mix import Mix, Moments, Outside
from tada_studio.files import sha256
from tada_studio.lora import CONFIG, WEIGHTS, Adapter, Pair
from tada_studio.pipeline.ancestry import parents_of_merge
from tada_studio.recipe import FORMAT, FORMAT_1, OLD_WEIGHTS, Recipe, knobs


def logged(merged: Adapter, log: Sequence[str]) -> Adapter:
    """The merge with the steps that led to its recipe: recipe.json keeps them, the weights do not depend on them."""
    origin = merged.origin
    return replace(merged, origin=replace(origin, log=tuple(log))) if isinstance(origin, MergeOrigin) else merged


def calibrated_by(merged: Adapter, auto: Mapping[str, Any] | None) -> Adapter:
    """The merge with what auto chose and what from (``Calibration.to_dict``): recipe.json keeps it, for who asks why."""
    origin = merged.origin
    return replace(merged, origin=replace(origin, auto=auto)) if isinstance(origin, MergeOrigin) else merged


@dataclass(frozen=True, eq=False)
class MergeOrigin:
    """What a merge came from; ``to_dict`` is recipe.json.

    log:     what was done to the recipe, in order, if a hand made it
    auto:    what the self-calibration chose, and from which inputs
    weights: the mean weight of the task's and of the domain's modules; None if nothing was merged yet
    gates, how: the map, and weights and drops, as they were computed for it: the card shows them
    """

    pair: Pair
    readings: gating.Readings | None
    recipe: Recipe
    log: tuple[str, ...] = ()
    auto: Mapping[str, Any] | None = None
    weights: tuple[float, float] | None = None
    gates: gating.Gates | None = None
    how: Mix | Outside | None = None

    def to_dict(self) -> dict[str, Any]:
        heads = whose_heads(self.pair, self.recipe)
        return {
            "format": FORMAT,
            "recipe": self.recipe.to_dict(),
            "counted": self._counted(),
            **({"log": list(self.log)} if self.log else {}),
            **({"auto": dict(self.auto)} if self.auto else {}),
            **({"heads": heads} if heads else {}),
            "inputs": {
                "task": _input(self.pair.task),
                "domain": _input(self.pair.domain),
                **({} if self.weights is None else {"parents": self._parents(self.weights)}),
                **({"same_base": True} if self.pair.same_base else {}),
                "readings": getattr(self.readings, "digest", None),
                "readings_about": dict(self.readings.about) if self.readings is not None else None,
            },
            "versions": {"tada-studio": own_version(), "torch": torch.__version__},
        }

    def _parents(self, weights: tuple[float, float]) -> list[dict[str, Any]]:
        return [one._asdict() for one in parents_of_merge(self.pair, weights)]

    def _counted(self) -> dict[str, Any]:
        """What of the recipe shaped the merge: the method as it came out, and the knobs that it uses."""
        probed = self.readings is not None
        on_task = getattr(self.readings, "on_task", None)
        moments = Moments(
            domain=self.readings.moment if self.readings is not None else None,
            task=None if on_task is None else on_task.moment,
        )
        separable = moments.both is not None
        unused = idle(self.recipe.method, probed, separable)
        used = [name for name in knobs() if name not in unused and name not in ("method", "seed")]
        used += ["seed"] if "seed" in METHODS[self.recipe.method].uses else []
        return {
            "as": called(self.recipe, moments),
            "knobs": used,
            "ignored": [
                *ignored(self.recipe, probed, separable=separable),
                *(f"overrides: {line}" for line in unread_lines(self.recipe.method, self.recipe.overrides, separable)),
            ],
        }


def _input(adapter: Adapter) -> dict[str, Any]:
    source = Path(adapter.source or "")
    files = [source] if source.is_file() else [source / name for name in (CONFIG, WEIGHTS)] if adapter.source else []
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
    """What in a recipe.json belongs to other inputs than these: then the bytes will differ. And how an old one is read."""
    inputs, found = content.get("inputs") or {}, [OLD_WEIGHTS] if content.get("format") == FORMAT_1 else []
    for role, adapter in (("task", pair.task), ("domain", pair.domain)):
        wanted = (inputs.get(role) or {}).get("content_sha256")
        if wanted and wanted != adapter.digest:
            found.append(f"The recipe was made for another {role} adapter than {adapter.label}.")
    if inputs.get("readings") not in _digests(readings):
        found.append("The recipe was made with other probe readings than these (or with none).")
    return found


def _digests(readings: gating.Readings | None) -> set[str | None]:
    """The digest of these readings, and that of their domain inputs alone: what version 0.1 wrote down."""
    if readings is None:
        return {None}
    return {getattr(part, "digest", None) for part in (readings, replace(readings, on_task=None))}
