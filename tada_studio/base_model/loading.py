"""How far a base is on its way into memory, in bytes. Whoever waits may end it between two tensors by raising from ``progress``."""

import json
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tada_studio.progress import LOAD, Progress, ProgressFn

#: Held while a model is built. transformers and PEFT change torch's own classes meanwhile, for all threads of the process: a base
#: that is loaded beside PEFT's low_cpu_mem_usage fails, and two of those leave the classes changed for good.
BUILDING = threading.RLock()
#: What transformers calls its bar over the tensors of a model.
_BAR = "Loading weights"


@contextmanager
def loading(folder: Path, progress: ProgressFn) -> Iterator[None]:
    """While the block runs, transformers' bar over the weights of a folder is ``progress``. One at a time: the bar is global."""
    with BUILDING, _bar_as(folder, progress):
        yield


@contextmanager
def _bar_as(folder: Path, progress: ProgressFn) -> Iterator[None]:
    from transformers.utils import logging

    set_hook = getattr(logging, "set_tqdm_hook", None)
    if set_hook is None:  # the first of transformers 5: it loads, and says nothing on its way
        yield
        return
    sizes = tensor_sizes(folder)

    def bar(factory: Callable[..., Any], args: tuple[Any, ...], how: dict[str, Any]) -> Any:
        if how.get("desc") != _BAR or not args or not sizes:
            return factory(*args, **how)
        return _counted(args[0], sizes, f"loading {folder.name}", progress)

    set_hook(bar)
    try:
        yield
    finally:
        set_hook(None)


def tensor_sizes(folder: Path) -> dict[str, int]:
    """Bytes of every tensor in a folder's safetensors files, by their headers; {} where one cannot be read."""
    found: dict[str, int] = {}
    try:
        for file in sorted(folder.glob("*.safetensors")):
            with file.open("rb") as content:
                (length,) = struct.unpack("<Q", content.read(8))
                header = json.loads(content.read(min(length, 100_000_000)))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            found |= {name: entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return {}  # whoever loads it says what is wrong
    return found


def _counted(tensors: Iterable[Any], sizes: dict[str, int], what: str, progress: ProgressFn) -> Iterator[Any]:
    """Each (name, tensor) with the bytes that went before it. A name that the files do not have counts as the usual tensor: a model
    may call its weights otherwise than its files do."""
    total, usual, done = sum(sizes.values()), sum(sizes.values()) // len(sizes), 0
    for name, mapping in tensors:
        progress(in_bytes(what, done, total))
        yield name, mapping
        done = min(total, done + sizes.get(name, usual))
    progress(in_bytes(what, total, total))


def in_bytes(what: str, done: int, total: int) -> Progress:
    """So many bytes of a base."""
    return Progress(LOAD, done, total, f"{what}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")
