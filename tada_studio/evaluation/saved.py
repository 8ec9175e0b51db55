"""Scores and the items they belong to on disk: safetensors and .jsonl, never pickle. What is read equals what was written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tada_studio.errors import InputError
from tada_studio.evaluation.scores import Rates, Score
from tada_studio.evaluation.shown import Shown

FORMAT = "tada-studio scores 1"


def save_scores(sides: Mapping[str, Mapping[str, Score]], path: Path) -> None:
    """One .safetensors file: the tensors by their place, everything else as JSON in its header."""
    tensors, plain = {}, {}
    for s, (side, scores) in enumerate(sides.items()):
        plain[side] = [_plain(score) for score in scores.values()]
        for v, score in enumerate(scores.values()):
            # clones: equal items on two sides are scored once, and safetensors refuses tensors that share their memory
            tensors.update({f"{s}/{v}/{name}": tensor.contiguous().clone() for name, tensor in _tensors(score).items()})
    save_file(tensors, path, metadata={"format": FORMAT, "sides": json.dumps(plain)})


def load_scores(path: Path) -> dict[str, dict[str, Score]]:
    """What ``save_scores`` wrote. Raises InputError for anything else."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise ValueError(f"its format is {about.get('format')!r}, not {FORMAT!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        return {
            side: {row["name"]: _score(row, s, v, tensors) for v, row in enumerate(rows)}
            for s, (side, rows) in enumerate(json.loads(about["sides"]).items())
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise InputError(f"{path.name}: holds no scores that could be read ({error}).") from error


def _tensors(score: Score) -> dict[str, Tensor]:
    return {spec.name: value for spec in fields(Score) if isinstance(value := getattr(score, spec.name), Tensor)}


def _plain(score: Score) -> dict[str, Any]:
    """The fields that are no tensors, and are not None."""
    values = {spec.name: getattr(score, spec.name) for spec in fields(Score)}
    return {name: value for name, value in values.items() if value is not None and not isinstance(value, Tensor)}


def _score(row: Mapping[str, Any], side: int, variant: int, tensors: Mapping[str, Tensor]) -> Score:
    """Fields of a later version are left out, those of an earlier one are None."""
    start = f"{side}/{variant}/"
    found = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    known = {spec.name: None if spec.default is MISSING else spec.default for spec in fields(Score)}
    values = {name: value for name, value in {**known, **row, **found}.items() if name in known}
    values["rates"] = None if values["rates"] is None else Rates(*values["rates"])
    replies = row.get("replies", row.get("said"))  # version 0.1 called them so
    values["replies"] = None if replies is None else tuple(replies)
    score = Score(**values)
    if len({len(tensor) for tensor in _tensors(score).values()} | {score.n}) != 1:
        raise ValueError(f"{score.name} has a different number of items in different places")
    return score


def save_items(items: Sequence[Shown], path: Path) -> None:
    """One item a line."""
    rows = (json.dumps(item._asdict(), ensure_ascii=False) for item in items)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def load_items(path: Path) -> tuple[Shown, ...]:
    """What ``save_items`` wrote. Raises InputError for anything else."""
    try:
        return tuple(_shown(**json.loads(row)) for row in path.read_text(encoding="utf-8").split("\n") if row)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path.name}: holds no items that could be read ({error}).") from error


def _shown(prompt: Any, right: Any, choices: Any, image: Any) -> Shown:
    return Shown(str(prompt), str(right), tuple(map(str, choices)), None if image is None else str(image))
