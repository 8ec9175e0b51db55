"""Files: digests, JSON, zips of strangers whose every entry was judged before anything is written, folders of one's own.

Nothing in an archive is repaired: what looks wrong is refused. Sizes are bounded first.
"""

import functools
import hashlib
import json
import logging
import math
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import platformdirs

from tada_studio.errors import AdapterError, InputError, TadaError
from tada_studio.progress import ignore

MOST_FILES, MOST_BYTES, MOST_RATIO = 64, 2_000_000_000, 100
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")

#: Where version 0.1 kept state and what can be made again, on every system: variable, and folder of the user's home.
_FORMER = {"state": ("XDG_STATE_HOME", ".local/state"), "cache": ("XDG_CACHE_HOME", ".cache")}
_LOG = logging.getLogger(__name__)


def user_folder(kind: Literal["state", "cache"]) -> Path:
    """Where this user's state, or what can be made again, is kept: the system's place for it, or where version 0.1 put it if it
    did. Without a home that can be written to (``docker run --user``), a temporary folder, and a line in the log."""
    variable, below = _FORMER[kind]
    find = {"state": platformdirs.user_state_path, "cache": platformdirs.user_cache_path}[kind]
    try:
        former = Path(os.environ.get(variable) or Path.home() / below) / "tada-studio"
        found = former if former.is_dir() else find("tada-studio", appauthor=False)
    except (RuntimeError, KeyError):  # there is no home folder
        return _temporary(kind)
    return found if found.is_absolute() and _writable(found) else _temporary(kind)


def _writable(folder: Path) -> bool:
    there = next((parent for parent in (folder, *folder.parents) if parent.exists()), folder)
    return os.access(there, os.W_OK | os.X_OK)


@functools.cache
def _temporary(kind: str) -> Path:
    """A private folder that lasts as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix=f"tada-studio-{kind}-"))
    _LOG.warning(
        "There is no home folder that can be written to, so the %s lies in %s and is lost with it. Set TADA_STUDIO_%s to keep it.",
        kind, folder, kind.upper(),
    )  # fmt: skip
    return folder


def own_path(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it names none. Raises InputError for a home that is not there."""
    if not (given := os.environ.get(variable)):
        return None
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise InputError(f"{variable} = {given}: there is no home folder here. Give a full path.") from error


def path_of(given: str | Path, fails: type[TadaError] = InputError) -> Path:
    """The path that somebody gave, ~ expanded. Raises ``fails`` for what can be none: too long, an unknown ~user's, unreachable."""
    try:
        path = Path(given).expanduser()
        if "\0" in str(given):
            raise ValueError("it holds a NUL")
        path.exists()
    except RuntimeError as error:
        raise fails(f"{given}: there is no home folder of that name. Give a full path.") from error
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise fails(f"{given}: this path cannot be used ({why}). Give the path of a file or folder.") from error
    return path


def is_here(given: str | Path) -> bool:
    """Whether a file or folder of that name is on this machine; of what can be no path there is none."""
    try:
        return path_of(given).exists()
    except InputError:
        return False


def sha256(path: str | Path, read: Callable[[int], None] = ignore) -> str:
    """Hex SHA-256 of a file, as sha256sum prints it. read: receives the bytes read so far, again and again."""
    sha = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
            read(file.tell())
    return sha.hexdigest()


def plain_json(content: Any, **options: Any) -> str:
    """Content as JSON that every parser takes: NaN and infinity, which JSON does not have, become null."""
    return json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, **options)


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list | tuple) else content


def shown(text: object, most: int = 120) -> str:
    """Somebody else's text as one short printable line: no control characters, nothing that redraws a terminal."""
    line = "".join(c if c.isprintable() else "?" for c in str(text))
    return line if len(line) <= most else line[: most - 3] + "..."


@contextmanager
def packed(
    archive: Path, most: int, refusal: type[TadaError] = AdapterError, what: str = "the adapter's folder"
) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """A zip with the files in it, at most ``most``, after every entry was found harmless. Raises ``refusal``.

    what: what should have been zipped, for the messages
    """
    try:
        with zipfile.ZipFile(archive) as content:
            yield content, _harmless(content, archive, most, refusal, what)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise refusal(f"{archive}: cannot be unpacked ({shown(error)}). Zip {what} again.") from error


def _harmless(
    content: zipfile.ZipFile, archive: Path, most: int, refusal: type[TadaError], what: str
) -> list[zipfile.ZipInfo]:
    entries = content.infolist()
    if len(entries) > most:
        raise refusal(f"{archive}: holds {len(entries):,} files; {most:,} are the most. Zip only {what}.")
    for entry in entries:
        if problem := _problem(entry):
            raise refusal(f"{archive}: {shown(entry.orig_filename)!r} {problem}. Zip only {what}, without a password.")
    files = [entry for entry in entries if not entry.is_dir()]
    if sum(entry.file_size for entry in files) > MOST_BYTES:
        raise refusal(f"{archive}: unfolds to more than {MOST_BYTES / 1e9:g} GB. Zip only {what}.")
    lowered = [entry.filename.lower() for entry in files]
    if len(set(lowered)) < len(lowered):
        raise refusal(f"{archive}: holds two files of one name. Zip {what} again.")
    return files


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry is not written, if there is a reason."""
    name = entry.orig_filename  # as written: zipfile itself cuts at NUL and turns the system's separator round
    path = PurePosixPath(name)
    mode = entry.external_attr >> 16
    problems = (
        (path.is_absolute() or re.match(r"[A-Za-z]:", name), "has an absolute name"),
        (".." in path.parts, "leads out of its folder"),
        ("\\" in name or any(not c.isprintable() for c in name) or len(name) > 255, "has a name that is no file's"),
        (mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and stat.S_IFMT(mode), "is a link or a device"),
        (entry.flag_bits & 0x1, "is encrypted"),
        (path.suffix.lower() in _ARCHIVES, "is an archive in the archive"),
        (
            entry.file_size > MOST_BYTES or entry.file_size > MOST_RATIO * max(entry.compress_size, 1000),
            "is far larger than what is packed",
        ),
    )
    return next((says for holds, says in problems if holds), None)


def write_entry(content: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path) -> None:
    """Write one entry. zipfile stops at the size that was checked above, and its checksum tells a size that lied."""
    with content.open(entry) as packed, to.open("xb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
