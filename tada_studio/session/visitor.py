"""Whose a session is, what that person may use, and where what is temporary of theirs lies."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tada_studio.base_model.placement import ONE_DEVICE, Placement
from tada_studio.session.limits import OWN, Limits


@dataclass(frozen=True)
class Runs:
    """Where bases run. Whoever starts the program says so: no visitor, no file and no request can name a server.

    place:  of bases in this process
    engine: address of a server that scores and answers in their place, if there is one; folder: see ``pipeline.open_engine``
    """

    place: Placement = ONE_DEVICE
    engine: str | None = None
    folder: str | None = None


#: One device of this machine.
HERE = Runs()


@dataclass(frozen=True, eq=False)
class Visitor:
    """name:    "" for the owner of this machine, who has everything to themselves; else what tells visitors apart
    folder:  holds all temporary files of this visitor; None: the system's temporary folder
    uploads: bytes that lie in uploads of theirs
    runs:    where bases run for them
    """

    name: str = ""
    limits: Limits = OWN
    folder: Path | None = None
    uploads: Callable[[], int] = lambda: 0
    runs: Runs = HERE

    def used(self) -> int:
        """Bytes that this visitor's files take."""
        return self.uploads() + (size_of(self.folder) if self.folder is not None else 0)

    def check_room(self, more: int = 0) -> None:
        """Raises InputError if the files here, with ``more`` bytes, go over the visitor's share."""
        if self.limits.disk is not None:
            self.limits.check_disk(self.used() + more)


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):  # unlike rglob it goes on where a folder vanishes
        for name in names:
            with suppress(OSError):
                total += os.lstat(f"{place}/{name}").st_size
    return total


#: Who sits at this machine.
OWNER = Visitor()
