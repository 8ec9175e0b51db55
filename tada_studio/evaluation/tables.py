"""Files of items as rows: JSON lines, CSV, TSV, and Parquet where pyarrow is there; and which of the rows are no items, and why."""

import csv
import importlib.util
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tada_studio.errors import InputError
from tada_studio.evaluation.shapes import Columns, Row, by_columns, shape_of

#: Endings of the files that hold a table.
TABLES = (".csv", ".tsv", ".parquet")
#: A cell of a table may be as long as a passage with its choices.
csv.field_size_limit(10_000_000)


class Line(NamedTuple):
    """A row of a file: where it stands, for messages, and what it holds; None where that could not be read."""

    where: str
    row: Row | None


class Refused(NamedTuple):
    """A row that is no item."""

    where: str
    why: str


def lines(path: Path) -> Iterator[Line]:
    """Every row of a file, in order. Raises InputError for a file that cannot be read."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from (Line(f"row {i}", row) for i, row in enumerate(_parquet(path), 1))
        return
    text = _text(path)
    if suffix in (".csv", ".tsv"):
        yield from _table(text, "\t" if suffix == ".tsv" else None)
        return
    for i, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield Line(f"line {i}", _object(line))


def turned(row: Row, columns: Columns | None = None) -> Row:
    """A row as one of our own lines: by the columns that a person named, or by its published shape. Raises InputError."""
    if columns is not None:
        return by_columns(row, columns)
    shape = shape_of(row)
    return row if shape is None else shape.turn(row)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}). Give items as .jsonl, .csv or .tsv in UTF-8.") from error


def _object(line: str) -> Row | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _table(text: str, delimiter: str | None) -> Iterator[Line]:
    first = text.split("\n", 1)[0]
    delimiter = delimiter or max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        head = next(rows, [])
        if _is_mmlu(head):  # published without names for its columns
            yield Line("line 1", dict(zip(_MMLU, head, strict=True)))
            head = _MMLU
        names = [name.strip() for name in head]
        for row in rows:
            if any(cell.strip() for cell in row):
                yield Line(f"line {rows.line_num}", dict(zip(names, row, strict=False)))
    except csv.Error as error:
        raise InputError(f"line {rows.line_num}: is no line of a table ({error}).") from error


_MMLU = ["question", "A", "B", "C", "D", "answer"]


def _is_mmlu(head: list[str]) -> bool:
    return len(head) == len(_MMLU) and head[-1].strip() in tuple("ABCD") and head[0].strip().casefold() != "question"


def _parquet(path: Path) -> list[dict[str, Any]]:
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"{path}: is Parquet, which needs pyarrow (pip install pyarrow). Or give .jsonl or .csv.")
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    except Exception as error:  # pyarrow raises anything from OSError to ArrowInvalid
        raise InputError(f"{path}: cannot be read as Parquet ({type(error).__name__}).") from error
    return rows
