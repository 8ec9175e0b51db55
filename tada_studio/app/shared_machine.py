"""How this process shares the machine: answers to hands are not kept by long work, and memory that is free is given back."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

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


@contextmanager
def room_for_others(there_are: bool) -> Iterator[None]:
    """Where more people than one use this server, long work leaves them a core.

    It does not run at a lower priority: whoever waits for Python's lock would wait behind it.
    """
    before = torch.get_num_threads()
    if there_are:
        torch.set_num_threads(max(1, before - 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)
