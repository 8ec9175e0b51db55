"""Without Python's collections of garbage for a while: what is imported stays, and while so much is made all of it is looked
through again and again.

Where a process does one command and ends, what was made meanwhile is never looked through: that is what saves time, a sixth of a
merge's. In anybody else's process it waits for the next collection, since things of theirs may be among it.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


class _Process:
    does_one_command = False


def one_command() -> None:
    """This process does one command, and ends."""
    _Process.does_one_command = True


@contextmanager
def uncollected() -> Iterator[None]:
    """While the block runs nothing is collected, unless somebody else says so. Work on tensors does not belong in it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _Process.does_one_command:
            gc.freeze()
        if was:
            gc.enable()
