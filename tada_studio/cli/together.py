"""One command in several processes at once (torchrun): each holds a slice of the base, so that all do the same work, and the first
one prints and writes."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from tada_studio.base_model.placement import process, processes
from tada_studio.errors import InputError

#: Commands that do the same in every process, whatever its clock says and whoever asks.
TOGETHER = ("probe", "merge", "evaluate")


@contextmanager
def together(options: argparse.Namespace) -> Iterator[None]:
    """While the block runs, only the first process prints, and the files of the others go nowhere. Raises TadaError."""
    if processes() == 1:
        yield
        return
    if options.command not in TOGETHER:
        raise InputError(
            f"{options.command} does not run under torchrun; {', '.join(TOGETHER)} do. Probe so, and give --readings here."
        )
    with ExitStack() as aside:
        if process():
            nowhere = aside.enter_context(Path(os.devnull).open("w"))
            aside.enter_context(redirect_stdout(nowhere))
            aside.enter_context(redirect_stderr(nowhere))
            if getattr(options, "out", None):
                folder = aside.enter_context(tempfile.TemporaryDirectory(prefix="tada-"))
                options.out = str(Path(folder) / Path(options.out).name)
        yield
    _part()


def _part() -> None:
    """The processes leave each other, so that none is taken for lost."""
    if "torch" in sys.modules:
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
