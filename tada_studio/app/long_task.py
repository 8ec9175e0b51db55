"""Long work on the screen: progress that is shown without haste, and files that were uploaded for it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tada_studio import studio
from tada_studio.errors import TadaError
from tada_studio.progress import Progress, Report

T = TypeVar("T")

#: Seconds between two updates of a progress bar; more often only keeps the browser busy.
EVERY = 0.12


def steps(work: Callable[[Report], T]) -> Iterator[Progress | T]:
    """``studio.stream`` with the progress thinned out; the result always comes."""
    shown = 0.0
    for step in studio.stream(work):
        now = time.monotonic()
        if not isinstance(step, Progress) or now - shown >= EVERY:
            shown = now
            yield step


def uploaded(path: str, read: Callable[[str], T]) -> T:
    """``read(path)``, with errors that call the file by its own name instead of the place it was uploaded to."""
    try:
        return read(path)
    except TadaError as error:
        raise type(error)(str(error).replace(path, Path(path).name)) from error
