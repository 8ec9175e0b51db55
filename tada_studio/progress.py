"""How long work tells where it is. A station calls ``report``; whoever asked may raise Stopped from it to end the work."""

from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """``done`` of ``total`` pieces of ``step``; ``note`` says what is being done, for a person."""

    step: str
    done: int
    total: int
    note: str = ""


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """The report of someone who does not want to know."""
