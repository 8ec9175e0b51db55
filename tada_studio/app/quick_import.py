"""gradio's import without what it does there for those who develop components: of each of some sixty it parses the file and renders
an interface of its events to write beside it, which takes nearly half of the import.
"""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: gradio's function that does that. A component of which no file is known it leaves alone.
_WRITES = "create_or_modify_pyi"


@contextmanager
def without_interfaces() -> Iterator[None]:
    """While the block runs, that function finds no file; everybody else does."""
    find = inspect.getfile

    def getfile(thing: Any) -> str:
        if sys._getframe(1).f_code.co_name == _WRITES:
            raise OSError("nobody edits it here")
        return find(thing)

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        yield
    finally:
        if inspect.getfile is getfile:  # else torch came in between, which looks there itself as well
            inspect.getfile = find
