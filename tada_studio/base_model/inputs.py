"""Probe inputs as people bring them: lines of text, or images. All inputs of a probe are of one kind."""

import csv
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from tada_studio.base_model.images import ImageFile, image_beside, image_file, image_files, in_folder_of, is_image
from tada_studio.errors import InputError
from tada_studio.files import path_of

Input = str | ImageFile
T = TypeVar("T")
#: Columns of a table that hold an input, as items' files call what is asked; the first one there.
_COLUMNS = ("text", "question", "prompt", "input")


def read_inputs(path: str | Path) -> list[Input]:
    """Probe inputs from .txt (one a line), .jsonl (``text``, ``question`` or ``image`` on each line), .csv or .tsv (a column of
    that name), a folder or a zip of images, or an image. Raises InputError."""
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
            f"{path}: cannot be read ({error}). Give a .txt, .jsonl or .csv file, or a folder or zip of images."
        ) from error
    found = list(_inputs_in(rows, path))
    if not found:
        raise InputError(f"{path}: holds no probe input. Write one input a line, about 32 of them.")
    if len({type(one) for one in found}) > 1:
        raise InputError(f"{path}: holds texts and images. A base reads one of them; give a file for it alone.")
    return found


def _inputs_in(rows: list[str], path: Path) -> Iterator[Input]:
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        yield from _from_table(rows, path)
        return
    for i, row in enumerate(rows, 1):
        if row.strip():
            yield _from_json(row, f"{path}, line {i}", path) if kind in (".jsonl", ".json") else row


def _from_table(rows: list[str], path: Path) -> Iterator[str]:
    """What is asked in each row; answers and choices are left alone, since a probe must not see them."""
    delimiter = max(",;\t", key=rows[0].count) if rows else ","
    table = csv.DictReader([f"{row}\n" for row in rows], delimiter=delimiter)
    names = {str(name).strip().casefold(): name for name in table.fieldnames or []}
    column = next((names[name] for name in _COLUMNS if name in names), None)
    if column is None:
        raise InputError(
            f"{path}: has no column named {', '.join(_COLUMNS[:-1])} or {_COLUMNS[-1]}, only {', '.join(names) or 'nothing'}. "
            "Name the column that holds the inputs so."
        )
    try:
        yield from (row[column] for row in table if (row[column] or "").strip())
    except csv.Error as error:
        raise InputError(f"{path}, line {table.line_num}: is no line of a table ({error}).") from error


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
