"""Merges of merges: which trained adapters an adapter goes back to, and how much of each it holds."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tada_studio.files import shown
from tada_studio.lora import RECIPE, Adapter, Pair

#: So many ancestors of one adapter are named, and files larger than this are no recipe.json of ours.
MOST, LARGEST = 64, 1 << 22


class Parent(NamedTuple):
    """An adapter that a merge goes back to. weight: its mean weight over the modules, multiplied along the way."""

    label: str
    content_sha256: str
    weight: float


def parents_of(adapter: Adapter) -> tuple[Parent, ...]:
    """What a merged adapter was made of, by its origin or the recipe.json beside it; () for one that was trained."""
    content = adapter.origin.to_dict() if adapter.origin is not None else _beside(adapter)
    inputs = content.get("inputs") if isinstance(content, Mapping) else None
    rows = inputs.get("parents") if isinstance(inputs, Mapping) else None
    return tuple(_read(rows[:MOST])) if isinstance(rows, list) else ()


def parents_of_merge(pair: Pair, weights: tuple[float, float]) -> tuple[Parent, ...]:
    """All that a merge of a pair goes back to: each side itself, or, where it is a merge, that one's parents."""
    found: list[Parent] = []
    for adapter, weight in zip((pair.task, pair.domain), weights, strict=True):
        above = parents_of(adapter)
        found += [one._replace(weight=one.weight * weight) for one in above] or [
            Parent(adapter.label, adapter.digest, weight)
        ]
    return tuple(found)


def named(adapter: Adapter) -> str:
    """The adapter's label; of a merge, with what it was made of: "mix (task x 1, minerals x 0.8)"."""
    above = parents_of(adapter)
    inside = ", ".join(f"{one.label} x {one.weight:.2g}" for one in above)
    return f"{adapter.label} ({inside})" if above else adapter.label


def _beside(adapter: Adapter) -> Any:
    """What the recipe.json in the adapter's folder says; {} without one that can be read."""
    if adapter.source is None:
        return {}
    file = Path(adapter.source) / RECIPE
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.stat().st_size <= LARGEST else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _read(rows: Iterable[Any]) -> Iterable[Parent]:
    """The rows that are parents; whoever wrote the file may have written anything."""
    for row in rows:
        try:
            label, digest, weight = str(row["label"]), str(row["content_sha256"]), float(row["weight"])
        except (KeyError, TypeError, ValueError):
            continue
        if weight == weight and abs(weight) < 1e6:
            yield Parent(shown(label, 80), shown(digest, 64), weight)
