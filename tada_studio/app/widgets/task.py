"""Long work on the screen: progress that is shown without haste, and files that were uploaded for it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tada_studio.errors import Stopped, TadaError
from tada_studio.progress import Progress, ProgressFn, stream
from tada_studio.session import Session

T = TypeVar("T")

#: Seconds between two updates of a progress bar; more often only keeps the browser busy.
EVERY = 0.12
#: Work that fills the machine is done one piece after the other, whoever asks for it.
_TURN = threading.Lock()


def steps(work: Callable[[ProgressFn], T]) -> Iterator[Progress | T]:
    """``stream`` with the progress thinned out; the result always comes."""
    shown = 0.0
    for step in stream(work):
        now = time.monotonic()
        if not isinstance(step, Progress) or now - shown >= EVERY:
            shown = now
            yield step


def in_turn(session: Session, work: Callable[[ProgressFn], T]) -> Callable[[ProgressFn], T]:
    """``work`` that lets the work of other tabs and panels go first and says so. ``session.stop`` ends the waiting too."""

    def later(progress: ProgressFn) -> T:
        before = session.stops
        while not _TURN.acquire(timeout=EVERY):
            if session.stops != before:
                raise Stopped("Stopped before it began.")
            progress(Progress("waiting", 0, 0, "Waiting: other work on this machine goes first…"))
        try:
            return work(progress)
        finally:
            _TURN.release()

    return later


def uploaded(path: str, read: Callable[[str], T]) -> T:
    """``read(path)``, with errors that call the file by its own name instead of the place it was uploaded to."""
    try:
        return read(path)
    except TadaError as error:
        raise type(error)(str(error).replace(path, Path(path).name)) from error
