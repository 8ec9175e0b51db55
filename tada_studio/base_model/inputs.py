"""Probe inputs as people bring them: lines of text, or images. All inputs of a probe are of one kind."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from tada_studio.base_model.images import ImageFile, image_beside, image_file, image_files, in_folder_of, is_image
from tada_studio.errors import InputError
from tada_studio.files import path_of

Input = str | ImageFile
T = TypeVar("T")


def read_inputs(path: str | Path) -> list[Input]:
    """Probe inputs from .txt (one a line), .jsonl (``text``, ``question`` or ``image`` on each line), a folder or a zip of
    images, or an image. Raises InputError."""
    path = path_of(path)
    if path.is_dir() or path.suffix.lower() == ".zip":
        return in_folder_of(path, _images)
    return [image_file(path)] if is_image(path) else _lines(path)


def generic_inputs() -> list[Input]:
    """Neutral lines that ship with the package: what a probe shows of them is the adapters' doing, not the domain's."""
    return read_inputs(Path(__file__).parent / "generic_probe.txt")


def _images(folder: Path) -> list[Input]:
    images: list[Input] = list(image_files(folder))
    if not images:
        raise InputError(
            f"{folder}: holds no image. Give a folder of PNG, JPEG, WebP, BMP or GIF files, or a .txt of lines."
        )
    return images


def _lines(path: Path) -> list[Input]:
    try:
        rows = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}). Give a .txt or .jsonl file, or a folder or zip of images."
        ) from error
    as_json = path.suffix.lower() in (".jsonl", ".json")
    found = [
        _from_json(row, f"{path}, line {i}", path) if as_json else row for i, row in enumerate(rows, 1) if row.strip()
    ]
    if not found:
        raise InputError(f"{path}: holds no probe input. Write one input a line, about 32 of them.")
    if len({type(one) for one in found}) > 1:
        raise InputError(f"{path}: holds texts and images. A base reads one of them; give a file for it alone.")
    return found


def _from_json(row: str, where: str, path: Path) -> Input:
    try:
        value = json.loads(row)
        if "image" in value:
            return image_beside(path, value["image"], where)
        text = value.get("text", value.get("question"))
    except (ValueError, AttributeError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise InputError(
            f'{where}: expected {{"text": "..."}}, {{"question": "..."}} or {{"image": "..."}}, found {row[:80]!r}.'
        )
    return text


def choose(inputs: Sequence[T], n: int, seed: int = 0) -> list[T]:
    """``n`` of the inputs, drawn by seed and kept in order; all of them if there are no more."""
    if n < 1:
        raise InputError(f"n = {n}: at least one probe input is needed, 32 are usual.")
    picked = range(len(inputs)) if len(inputs) <= n else sorted(random.Random(seed).sample(range(len(inputs)), n))
    return [inputs[i] for i in picked]
