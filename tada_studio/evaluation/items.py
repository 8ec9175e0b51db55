"""The files that evaluation items come in: what a line of a .jsonl holds says which kind it is."""

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
from tada_studio.evaluation.shapes import Columns, Row, shape_of
from tada_studio.evaluation.tables import TABLES, Refused, lines, turned
from tada_studio.files import path_of


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


#: Rows that are shown as they stand in the file.
_SHOWN = 3


class Read(NamedTuple):
    """A file of items as far as it could be read.

    shape: what its rows look like, in words; columns, rows: the names and the first rows as they stand in the file
    """

    items: list[Any]
    refused: list[Refused]
    shape: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


def read_items(path: str | Path, columns: Columns | None = None) -> list[Any]:
    """Items of one kind from .jsonl, such as ``{"question": str, "choices": [str, ...], "answer": int}`` on each line, .csv, .tsv
    or .parquet, in this or a published shape (``shapes``); or images in a folder for each label, or a zip of any of these.

    Raises InputError, also for the first row that is no item; ``read_table`` goes on.
    """
    found = read_table(path, columns)
    if found.refused:
        first = found.refused[0]
        raise InputError(f"{path}, {first.where}: {first.why}")
    return found.items


def read_table(path: str | Path, columns: Columns | None = None) -> Read:
    """The items of a file, and the rows that are none with the reason. columns: which hold what; None: by the names that they have.

    Raises InputError for a file that cannot be read or holds no item at all.
    """
    path = path_of(path)
    if path.is_dir() or path.suffix.lower() == ".zip":
        return Read(in_folder_of(path, _in_folder), [])
    items: list[Any] = []
    refused: list[Refused] = []
    rows: list[Row] = []
    for where, row in lines(path):
        rows += [row] if row is not None and len(rows) < _SHOWN else []
        try:
            items.append(_item(row, path, columns))
        except InputError as error:
            refused.append(Refused(where, str(error)))
    if not items and not refused:
        raise InputError(f"{path}: holds no item. Each line is one, such as {KINDS[0].example}.")
    if len({type(item) for item in items}) > 1:
        raise InputError(f"{path}: holds items of several kinds. Give a file for each: they are scored differently.")
    named = all_named(items) if items and isinstance(items[0], LabelItem) else items
    names = dict.fromkeys(name for row in rows for name in row)
    shape = shape_of(rows[0]) if rows and columns is None else None
    return Read(named, refused, shape.name if shape else "", tuple(map(str, names)), tuple(rows))


def _in_folder(folder: Path) -> list[Any]:
    """Of a folder with one .jsonl the items that it lists, else the images by label; zips often hold one folder of all."""
    inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "__MACOSX"))]
    items_files = [path for path in inside if path.suffix.lower() in (".jsonl", *TABLES)]
    if len(items_files) == 1:
        return read_items(items_files[0])
    if (
        len(inside) == 1
        and inside[0].is_dir()
        and any(p.is_dir() or p.suffix.lower() in (".jsonl", *TABLES) for p in inside[0].iterdir())
    ):
        return _in_folder(inside[0])
    return all_named(read_folders(folder))


def _item(row: Row | None, items_file: Path, columns: Columns | None) -> Any:
    value = None if row is None else turned(row, columns)
    kind = next((kind for kind in KINDS if value is not None and kind.key in value), None)
    if kind is None or value is None:
        raise InputError(f"expected {' or '.join(kind.example for kind in KINDS)}.")
    try:
        return kind.read(value, "", items_file)
    except InputError as error:
        raise InputError(str(error).removeprefix(": ")) from None


AnyItem = TypeVar("AnyItem")


def choose(items: Sequence[AnyItem], limit: int | None, seed: int = 0) -> list[AnyItem]:
    """At most ``limit`` items, drawn by seed (files are often sorted by subject), in their order in the file."""
    if limit is not None and limit < 1:
        raise InputError(f"limit = {limit}: at least one item is needed.")
    if limit is None or len(items) <= limit:
        return list(items)
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), limit))]
