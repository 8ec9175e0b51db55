"""Scores and the items they belong to on disk: safetensors and .jsonl, never pickle. What is read equals what was written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from pydantic import AliasChoices, ConfigDict, Field, NonNegativeInt, TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tada_studio.errors import InputError
from tada_studio.evaluation.scores import Rates, Score
from tada_studio.evaluation.shown import Shown
from tada_studio.schema import Saved, first_problem

FORMAT = "tada-studio scores 1"


class SavedScore(Saved):
    """What is no tensor of one score. Fields that an earlier version did not have are as they start."""

    name: str
    nll: float | None = None
    low: float | None = None
    high: float | None = None
    cut: NonNegativeInt = 0
    replies: tuple[str, ...] | None = Field(
        None, validation_alias=AliasChoices("replies", "said")
    )  # "said" in version 0.1
    rates: tuple[float | None, float | None, float | None] | None = None
    kind: str = "choice"
    note: str = ""


class SavedItem(Saved):
    """An item as people read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    right: str
    choices: tuple[str, ...]
    image: str | None


#: Side -> the scores of its variants, as JSON in the header of a file of scores.
_SIDES: TypeAdapter[dict[str, list[SavedScore]]] = TypeAdapter(dict[str, list[SavedScore]])


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
            side: {row.name: _score(row, s, v, tensors) for v, row in enumerate(rows)}
            for s, (side, rows) in enumerate(_SIDES.validate_python(json.loads(about["sides"])).items())
        }
    except (OSError, ValueError, KeyError, RecursionError, SafetensorError) as error:
        raise InputError(f"{path.name[:80]}: holds no scores that could be read ({first_problem(error)}).") from error


def _tensors(score: Score) -> dict[str, Tensor]:
    return {spec.name: value for spec in fields(Score) if isinstance(value := getattr(score, spec.name), Tensor)}


def _plain(score: Score) -> dict[str, Any]:
    """The fields that are no tensors, and are not None."""
    values = {spec.name: getattr(score, spec.name) for spec in fields(Score)}
    return {name: value for name, value in values.items() if value is not None and not isinstance(value, Tensor)}


#: The tensors of a score: how many dimensions, and whether they are yes or no.
_KINDS = {"loglik": (2, False), "correct": (1, True), "gold": (1, False), "normed": (1, True), "free": (1, True)}


def _score(row: SavedScore, side: int, variant: int, tensors: Mapping[str, Tensor]) -> Score:
    """Tensors of a later version are passed over. Raises ValueError where they are not of one score."""
    there = {name: tensor for name in _KINDS if (tensor := tensors.get(f"{side}/{variant}/{name}")) is not None}
    for name, tensor in there.items():
        if (tensor.ndim, tensor.dtype == torch.bool) != _KINDS[name]:
            raise ValueError(f"{name} of {row.name} is {tensor.dtype} of shape {tuple(tensor.shape)}")
    if not {"correct", "gold"} & there.keys():
        raise ValueError(f"{row.name} knows neither what was right nor how likely it was")
    if len(set(map(len, there.values()))) != 1:
        raise ValueError(f"{row.name} has a different number of items in different places")
    rates = None if row.rates is None else Rates(*row.rates)
    return Score(**{**row.model_dump(), "loglik": None, "correct": None, **there, "rates": rates})


def save_items(items: Sequence[Shown], path: Path) -> None:
    """One item a line."""
    rows = (json.dumps(item._asdict(), ensure_ascii=False) for item in items)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def load_items(path: Path) -> tuple[Shown, ...]:
    """What ``save_items`` wrote. Raises InputError for anything else."""
    try:
        rows = path.read_text(encoding="utf-8").split("\n")
        return tuple(_shown(SavedItem.model_validate(json.loads(row))) for row in rows if row)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path.name[:80]}: holds no items that could be read ({first_problem(error)}).") from error


def _shown(item: SavedItem) -> Shown:
    return Shown(item.prompt, item.right, item.choices, item.image)


def scores_schema() -> dict[str, Any]:
    """The JSON schema of what a file of scores holds beside its tensors, under "sides" in its header."""
    return _SIDES.json_schema()


def item_schema() -> dict[str, Any]:
    """The JSON schema of a line of a session's items."""
    return SavedItem.model_json_schema()
