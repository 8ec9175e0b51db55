"""How fast this machine works: seconds a unit of each kind of work, measured whenever some is done and kept between runs.

A base that was never run takes its rate from the one measured last, in proportion to the bytes of both: a pass reads every weight.
"""

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import NamedTuple

from tada_studio.base_model.files import cache_folder
from tada_studio.base_model.loading import tensor_sizes
from tada_studio.files import is_here, path_of

#: Bases remembered for each kind of work; beyond, the oldest go.
_MOST = 40
#: Shorter measurements say more about the clock than about the work.
_SHORTEST = 0.05


class Estimate(NamedTuple):
    """Seconds that work will take. exact: measured with this very base; else from another one, by size."""

    seconds: float
    exact: bool


class Rates:
    """path: where they are kept; None: in memory only. What cannot be read or written there is forgotten."""

    def __init__(self, path: Path | None) -> None:
        self.path, self._lock = path, threading.Lock()
        self._known: dict[str, dict[str, tuple[float, float]]] | None = None  # kind -> base -> bytes, seconds a unit

    def note(self, kind: str, base: str, units: int | float, seconds: int | float) -> None:
        """So many units of a kind of work took so long; half of the former rate stays, against chance."""
        if units <= 0 or seconds < _SHORTEST:
            return
        with self._lock:
            of_kind = self._all().setdefault(kind, {})
            rate, before = seconds / units, of_kind.pop(_key(base), None)
            of_kind[_key(base)] = _size(base), rate if before is None else (rate + before[1]) / 2
            self._known = {**self._all(), kind: dict(list(of_kind.items())[-_MOST:])}
            self._save()

    def estimate(self, kind: str, base: str, units: int | float) -> Estimate | None:
        """How long so many units will take; None where nothing like it was measured on this machine."""
        with self._lock:
            of_kind = self._all().get(kind, {})
        if (known := of_kind.get(_key(base))) is not None:
            return Estimate(units * known[1], True)
        size = _size(base)
        others = [(bytes_, rate) for bytes_, rate in of_kind.values() if bytes_ > 0]
        if not others or not size:
            return None
        bytes_, rate = others[-1]
        return Estimate(units * rate * size / bytes_, False)

    def _all(self) -> dict[str, dict[str, tuple[float, float]]]:
        if self._known is None:
            self._known = _read(self.path)
        return self._known

    def _save(self) -> None:
        if self.path is None:
            return
        unfinished = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(self._known), encoding="utf-8")
            unfinished.replace(self.path)
        except OSError:
            unfinished.unlink(missing_ok=True)


def _read(path: Path | None) -> dict[str, dict[str, tuple[float, float]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
        return {
            str(kind): {str(base): (float(size), float(rate)) for base, (size, rate) in of_kind.items()}
            for kind, of_kind in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):  # nothing yet, or not ours
        return {}


def _key(base: str) -> str:
    """A base's name may be a path that is nobody's business."""
    return hashlib.sha256(base.encode("utf-8", "replace")).hexdigest()[:12]


def _size(base: str) -> float:
    """Bytes of the weights of a base in a folder; 0 where it is none, or not here."""
    path = path_of(base) if base and is_here(base) else None
    return float(sum(tensor_sizes(path).values())) if path is not None and path.is_dir() else 0.0


#: Of this machine.
RATES = Rates(cache_folder().parent / "rates.json")
