"""How this process shares the machine: answers to hands are not kept by long work, and memory that is free is given back."""

import ctypes
import gc
import sys
from contextlib import AbstractContextManager, suppress

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
