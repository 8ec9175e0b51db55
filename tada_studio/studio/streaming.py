"""Long work in a thread of its own, its progress as it comes."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tada_studio.progress import Progress, Report

T = TypeVar("T")


def stream(work: Callable[[Report], T]) -> Iterator[Progress | T]:
    """Each Progress of ``work(report)`` as it comes, then its result; raises what it raised.

    The work runs in a thread of its own. If the reader goes away, the next report ends it.
    """
    told: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    gone = threading.Event()

    def tell(progress: Progress) -> None:
        if gone.is_set():
            raise GeneratorExit
        told.put(("progress", progress))

    def run() -> None:
        try:
            told.put(("result", work(tell)))
        except BaseException as error:
            told.put(("error", error))

    threading.Thread(target=run, daemon=True, name="tada-work").start()
    try:
        while True:
            kind, value = told.get()
            if kind == "error":
                raise value
            yield value
            if kind == "result":
                return
    finally:
        gone.set()
