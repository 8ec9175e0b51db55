"""A folder that is there whole or not at all, whatever stops the process: written beside its place, flushed, then exchanged.

What killed runs left behind is recognised by the process in its name, and goes when that is dead and an hour has passed.
"""

import ctypes
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tada_studio.errors import ExportError
from tada_studio.exporting.certificate import CERTIFICATE
from tada_studio.files import path_of

#: Seconds after which what a dead process left is nobody's.
LEFT_ALONE = 3600
_LEFT = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d{1,10})\.[a-z0-9_]{8}\.(?P<kind>part|old)")
_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE of linux/fs.h, AT_FDCWD of fcntl.h


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place if all goes well, and is gone if not. Raises ExportError."""
    _may_replace(path_of(target, ExportError))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        prefix = f".{target.name[:100]}.{os.getpid()}."
        unfinished = Path(tempfile.mkdtemp(prefix=prefix, suffix=".part", dir=target.parent))
    except OSError as error:
        raise ExportError(
            f"{target}: cannot be made ({error.strerror}). Give a folder that you may write to."
        ) from error
    try:
        yield unfinished
        unfinished.chmod(0o755)
        flush(unfinished)
        _take_place(unfinished, target)
    except OSError as error:
        raise ExportError(
            f"{target}: could not be written ({error.strerror or error}). Nothing was left behind."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _may_replace(target: Path) -> None:
    if target.is_dir() and (not any(target.iterdir()) or (target / CERTIFICATE).is_file()):
        return
    if target.exists():
        raise ExportError(f"{target}: exists and was not written by TaDA Studio. Give a new name, or empty it first.")


def flush(folder: Path) -> None:
    """Everything in a folder onto the disk: after a power cut it is all there, or the rename never was."""
    for path in (*folder.iterdir(), folder):
        flush_one(path)


def _take_place(unfinished: Path, target: Path) -> None:
    """One rename that leaves the old folder or the new; what was there before goes only after it."""
    if not target.exists():
        unfinished.rename(target)
    elif not _exchanged(unfinished, target):
        old = unfinished.with_suffix(".old")
        target.rename(old)
        unfinished.rename(target)  # killed between the two: ``sweep`` puts the old one back
        shutil.rmtree(old)
    with suppress(OSError):  # not every file system flushes a folder
        flush_one(target.parent)


def flush_one(path: Path) -> None:
    """A file, or the names in a folder, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether two paths were exchanged in one step, as Linux can."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    if ctypes.get_errno() in (errno.ENOSYS, errno.EINVAL):  # this kernel or this file system cannot
        return False
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def sweep(folder: Path, now: float | None = None) -> list[Path]:
    """Remove what dead processes left in a folder more than an hour ago, and put back a folder that lost its place.

    Only folders by our pattern of names that belong to this user. Returns them.
    """
    found = []
    for path in folder.iterdir():
        match = _LEFT.fullmatch(path.name)
        if match is None or path.is_symlink() or not path.is_dir() or not _nobodys(path, int(match["pid"]), now):
            continue
        place = folder / match["name"]
        with suppress(OSError):
            if match["kind"] == "old" and not place.exists():
                path.rename(place)
            else:
                shutil.rmtree(path)
            found.append(path)
    return found


def _nobodys(path: Path, pid: int, now: float | None) -> bool:
    try:
        about = path.stat()
    except OSError:
        return False
    mine = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    return mine and (now or time.time()) - about.st_mtime > LEFT_ALONE and not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's process, or no number of one
        return True
    return True
