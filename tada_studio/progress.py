"""How long work reports where it is. A station calls ``progress``; whoever asked may raise Stopped from it to end the work."""

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Progress(NamedTuple):
    """``done`` of ``total`` parts of ``step``; ``note`` says what is being done, for a person.

    rests: between two parts: nothing is held, no adapter is attached to the base, and other work may go first
    """

    step: str
    done: int
    total: int
    note: str = ""
    rests: bool = False


#: The step of a base on its way into memory; its parts are bytes, and its note says how many.
LOAD = "load base"
#: Seconds after which work that was asked to stop and has not yet come to a place where it can is left to end by itself.
PATIENCE = 0.6

ProgressFn = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """The report of someone who does not want to know."""


def ignore(result: object) -> None:
    """Where results go as they come in, for someone who waits for the end."""


def never() -> None:
    """Of who waits for the end, however long it takes."""


def stream(work: Callable[[ProgressFn], T], gives_up: Callable[[], Exception | None] = never) -> Iterator[Progress | T]:
    """Each Progress of ``work(progress)`` as it comes, then its result; raises what it raised.

    The work runs in a thread of its own. If the reader goes away, the next report ends it. One who ``gives_up`` (an error) goes
    with it after ``PATIENCE`` seconds: a pass through a large model may report nothing for longer than anybody waits.
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

    context = contextvars.copy_context()  # of the request: a Space lends its GPU to the visitor who asked
    threading.Thread(target=context.run, args=(run,), daemon=True, name="tada-work").start()
    try:
        while True:
            kind, value = _next(events, gives_up)
            if kind == "error":
                raise value
            yield value
            if kind == "result":
                return
    finally:
        gone.set()


def _next(events: "queue.SimpleQueue[tuple[str, Any]]", gives_up: Callable[[], Exception | None]) -> tuple[str, Any]:
    """What comes next; raises what somebody gave up with if nothing has come since."""
    since: float | None = None
    while True:
        try:
            return events.get(timeout=PATIENCE / 3)
        except queue.Empty:
            error, now = gives_up(), time.monotonic()
            since = None if error is None else since or now
            if error is not None and since is not None and now - since >= PATIENCE:
                raise error from None
