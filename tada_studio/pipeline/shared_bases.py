"""Base models that all sessions of this process share: each is loaded once, and the one unused for longest goes first.

Nothing writes to a base: adapters are attached to it by hooks, and only while the one piece of work runs whose turn it is.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from tada_studio.base_model.model import Base
from tada_studio.errors import BaseError
from tada_studio.files import path_of


@dataclass(eq=False)
class _Kept:
    base: Base
    size: int
    used: float


class SharedBases:
    """room: bytes that all of them may take together. The one used last stays, whatever its size: work needs it."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self.unlock()

    def unlock(self) -> None:
        """New locks: one that another thread held when this process was forked would never be let go here."""
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def get(self, key: Hashable, load: Callable[[], Base]) -> Base:
        """The base of this key; loaded by one at a time, and once for all who ask for it meanwhile."""
        if (base := self.peek(key)) is not None:
            return base
        with self._loading:
            if (base := self.peek(key)) is not None:
                return base
            self._make_room()  # before it is loaded: two large ones at once may be too much
            base = load()
            with self._lock:
                self._kept[key] = _Kept(base, size_of(base), time.monotonic())
            self._make_room()
            return base

    def peek(self, key: Hashable) -> Base | None:
        """The base of this key if it is there; that counts as a use of it."""
        with self._lock:
            if (kept := self._kept.get(key)) is None:
                return None
            self._kept.move_to_end(key)
            kept.used = time.monotonic()
            return kept.base

    def drop_idle(self, seconds: float) -> None:
        """Let go of what nobody asked for in so many seconds."""
        with self._lock:
            for key in [key for key, kept in self._kept.items() if time.monotonic() - kept.used > seconds]:
                del self._kept[key]

    def _make_room(self) -> None:
        with self._lock:
            while len(self._kept) > 1 and sum(kept.size for kept in self._kept.values()) > self.room:
                self._kept.popitem(last=False)


def size_of(base: Base) -> int:
    """Bytes of a base's weights, without those that lie on the disk."""
    tensors = [*base.model.parameters(), *base.model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if not tensor.is_meta)


def default_room() -> int:
    """Half of this machine's memory; 8 GB where it is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 8 * 10**9


def base_key(ref: str, device: str, dtype: str) -> Hashable:
    """Tells bases apart, and whether a folder's files are still the same."""
    path = path_of(ref, BaseError)
    files = sorted(path.glob("*")) if path.is_dir() else [path] if path.is_file() else []
    stamps = [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file()]
    return ref, device, dtype, tuple(stamps)


BASES = SharedBases(default_room())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=BASES.unlock)
