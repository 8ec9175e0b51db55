"""Temporary files of this process, all in one folder: deleted when it ends, and by the next start if it was killed.

The folder holds a lock for as long as its process lives, so that a start tells the living from the dead.
"""

import atexit
import contextlib
import os
import shutil
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import IO

PREFIX = "tada-studio-run-"
_LOCK = ".lock"
#: Seconds that a folder without a lock is left alone: it may have been made a moment ago.
YOUNG = 60.0


@lru_cache
def root() -> Path:
    """The folder of this process, made when first needed. What dead processes of the same user left is deleted first."""
    sweep(Path(tempfile.gettempdir()))
    made = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = (made / _LOCK).open("wb")
    lock_file(lock)
    atexit.register(_delete, made, lock, os.getpid())
    return made


def _delete(made: Path, lock: IO[bytes], owner: int) -> None:
    if os.getpid() == owner:  # a forked child ends, too, and nothing of this is its own
        shutil.rmtree(made, ignore_errors=True)
        lock.close()


def sweep(place: Path, young: float = YOUNG) -> int:
    """Delete the folders in ``place`` whose process is dead. Returns how many."""
    swept = 0
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_dir() and not folder.is_symlink() and _is_abandoned(folder, young):
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
    return swept


def _is_abandoned(folder: Path, young: float) -> bool:
    about = folder.lstat()
    mine = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    if not mine or time.time() - about.st_mtime < young:
        return False
    if not (folder / _LOCK).exists():
        return True  # its process died before it could lock it
    with (folder / _LOCK).open("rb+") as lock:
        return lock_file(lock)


def lock_file(file: IO[bytes], shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file; the system unlocks it when the process ends. False: another process holds it, or it cannot be locked.

    Where there is no such lock (Windows) it always succeeds.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
