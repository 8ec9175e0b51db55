"""The files that evaluation items come in: what a line of a .jsonl holds says which kind it is."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tada_studio.base_model.images import in_folder_of
from tada_studio.errors import InputError
from tada_studio.evaluation.answers import read_answer
from tada_studio.evaluation.choice import Item, read_choice  # noqa: F401 - Item too is looked for here
from tada_studio.evaluation.labels import LabelItem, all_named, read_folders, read_image, read_text
from tada_studio.evaluation.passages import read_passage


class Kind(NamedTuple):
    """A kind of item: the key that only its lines have, how such a line is read, and what one looks like.

    read: (a line's value, where it stands, the file it is in, beside which its paths start) -> item; raises InputError
    """

    key: str
    read: Callable[[Mapping[str, Any], str, Path], Any]
    example: str


#: The first kind whose key a line has is that line's kind.
KINDS = (
    Kind("choices", read_choice, '{"question": "...", "choices": ["...", "..."], "answer": 0}'),
    Kind("image", read_image, '{"image": "photo.png", "label": "cat"}'),
    Kind("label", read_text, '{"text": "...", "label": "good"}'),
    Kind("answer", read_answer, '{"question": "...", "answer": "a few words"}'),
    Kind("text", read_passage, '{"text": "..."}'),
)


def read_items(path: str | Path) -> list[Any]:
    """Items of one kind from .jsonl, such as ``{"question": str, "choices": [str, ...], "answer": int}`` on each line; or images
    in a folder for each label, or a zip of either.

    Raises InputError.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() == ".zip":
        return in_folder_of(path, _in_folder)
    try:
        rows = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}). Give a .jsonl file of items.") from error
    items = [_item(row, f"{path}, line {i}", path) for i, row in enumerate(rows, 1) if row.strip()]
    if not items:
        raise InputError(f"{path}: holds no item. Each line is one, such as {KINDS[0].example}.")
    if len({type(item) for item in items}) > 1:
        raise InputError(f"{path}: holds items of several kinds. Give a file for each: they are scored differently.")
    return all_named(items) if isinstance(items[0], LabelItem) else items


def _in_folder(folder: Path) -> list[Any]:
    """Of a folder with one .jsonl the items that it lists, else the images by label; zips often hold one folder of all."""
    inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "__MACOSX"))]
    items_files = [path for path in inside if path.suffix.lower() == ".jsonl"]
    if len(items_files) == 1:
        return read_items(items_files[0])
    if (
        len(inside) == 1
        and inside[0].is_dir()
        and any(p.is_dir() or p.suffix.lower() == ".jsonl" for p in inside[0].iterdir())
    ):
        return _in_folder(inside[0])
    return all_named(read_folders(folder))


def _item(row: str, where: str, items_file: Path) -> Any:
    try:
        value = json.loads(row)
    except (ValueError, RecursionError):
        value = None
    kind = next((kind for kind in KINDS if isinstance(value, dict) and kind.key in value), None)
    if kind is None:
        raise InputError(f"{where}: expected {' or '.join(kind.example for kind in KINDS)}.")
    return kind.read(value, where, items_file)


AnyItem = TypeVar("AnyItem")


def choose(items: Sequence[AnyItem], limit: int | None, seed: int = 0) -> list[AnyItem]:
    """At most ``limit`` items, drawn by seed (files are often sorted by subject), in their order in the file."""
    if limit is not None and limit < 1:
        raise InputError(f"limit = {limit}: at least one item is needed.")
    if limit is None or len(items) <= limit:
        return list(items)
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), limit))]
