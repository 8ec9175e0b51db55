"""How long work reports where it is. A station calls ``progress``; whoever asked may raise Stopped from it to end the work."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Progress(NamedTuple):
    """``done`` of ``total`` parts of ``step``; ``note`` says what is being done, for a person.

    rests: between two parts: nothing is held, no adapter is worn by the base, and other work may go first
    """

    step: str
    done: int
    total: int
    note: str = ""
    rests: bool = False


ProgressFn = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """The report of someone who does not want to know."""


def ignore(result: object) -> None:
    """Where results go as they come in, for someone who waits for the end."""


def stream(work: Callable[[ProgressFn], T]) -> Iterator[Progress | T]:
    """Each Progress of ``work(progress)`` as it comes, then its result; raises what it raised.

    The work runs in a thread of its own. If the reader goes away, the next report ends it.
    """
    events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    gone = threading.Event()

    def forward(progress: Progress) -> None:
        if gone.is_set():
            raise GeneratorExit
        events.put(("progress", progress))

    def run() -> None:
        try:
            events.put(("result", work(forward)))
        except BaseException as error:
            events.put(("error", error))

    threading.Thread(target=run, daemon=True, name="tada-work").start()
    try:
        while True:
            kind, value = events.get()
            if kind == "error":
                raise value
            yield value
            if kind == "result":
                return
    finally:
        gone.set()
