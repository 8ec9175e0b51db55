"""How this process shares the machine: answers to hands are not kept by long work, and memory that is free is given back."""

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from tada_studio.core.parallel import threads

#: Seconds after which a thread that computes in Python lets another one go on. Python's own .005 adds up: an answer passes between
#: threads some thirty times.
SWITCH = 0.0005
_ARENAS, _M_ARENA_MAX = 4, -8


def prepare() -> None:
    """Before a server starts."""
    sys.setswitchinterval(SWITCH)
    with suppress(AttributeError, OSError):  # glibc: each of many threads would keep a heap of its own
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def settle() -> None:
    """In a process that only serves: what is there before the first page stays, so that no collection looks through it again. Each
    took a fifth of a second, and everybody waited for it."""
    gc.freeze()
    gc.enable()


def give_back() -> None:
    """Memory that nothing uses goes back to the system."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def room_for_others(there_are: bool) -> AbstractContextManager[None]:
    """Where more people than one use this server, long work leaves them a core.

    It does not run at a lower priority: whoever waits for Python's lock would wait behind it.
    """
    return threads(lambda usual: max(1, usual - there_are))


#: Seconds that one step of long work is put off at most, however many answers are asked for; and seconds after which an answer
#: (an upload, a file from the Hub) is no quick one that work should make room for.
LENIENT, QUICK = 0.25, 1.0


class Hands:
    """Answers to hands that are being made now: to strokes, to pages that open. Long work makes room for them.

    Both compute in Python, and Python runs one thread at a time: an answer of 30 ms would take as often as long beside work.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._began: list[float] = []

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Around the making of one answer."""
        began = time.monotonic()
        with self._changed:
            self._began.append(began)
        try:
            yield
        finally:
            with self._changed:
                self._began.remove(began)
                self._changed.notify_all()

    def go_first(self) -> None:
        """Called by long work between two steps: wait while there are such answers, though not for ever."""
        with self._changed:
            self._changed.wait_for(self._none, LENIENT)

    def _none(self) -> bool:
        return all(time.monotonic() - began > QUICK for began in self._began)


#: Of this process.
HANDS = Hands()
