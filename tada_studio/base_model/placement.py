"""Where a base's weights lie and in how many bits: the knobs of bases that are not small, defined once for every door.

This file imports no torch: the command line reads its flags from here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tada_studio.errors import BaseError


def _knob(default: Any, says: str, options: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"says": says, "options": options})


def processes() -> int:
    """How many processes of this machine do the same work together, as torchrun says; 1 without it. Raises BaseError."""
    if not {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys():
        return 1
    count, here = os.environ["WORLD_SIZE"], os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"])
    if count != here:
        raise BaseError(
            f"torchrun starts {count} processes on several machines. A base is shared by those of one (--nnodes 1)."
        )
    return int(count)


def process() -> int:
    """Which of them this one is, from 0 on."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a base goes, and in which numbers. Equal placements of equal files give equal readings, beyond rounding.

    device_map may also be accelerate's own mapping of module names to devices, from Python.
    """

    device: str = _knob("auto", "auto, cpu, cuda or mps")
    dtype: str = _knob("auto", "number format of the base", ("auto", "float32", "bfloat16"))
    device_map: str | Mapping[str, Any] | None = _knob(
        None, "auto: spread a base that one device cannot hold over all GPUs, the CPU and the disk", ("auto",)
    )
    quantize: str | None = _knob(
        None, "round the base's weights with bitsandbytes (pip install bitsandbytes)", ("4bit", "8bit")
    )

    def __post_init__(self) -> None:
        if isinstance(self.device_map, str) and self.device_map != "auto":
            raise BaseError(f"device_map = {self.device_map!r}: give auto, or a mapping of module names to devices.")
        if self.quantize not in (None, "4bit", "8bit"):
            raise BaseError(f"quantize = {self.quantize!r}: give 4bit or 8bit.")
        if self.device_map is not None and self.device != "auto":
            raise BaseError(
                f"device = {self.device} and a device map were given, and a map names the devices itself. Give one of the two."
            )

    @property
    def usual(self) -> bool:
        """Whether the base goes to one device as its files have it."""
        return self.device_map is None and self.quantize is None and not self.shared

    @property
    def shared(self) -> bool:
        """Whether the processes that torchrun started share the base; where a device is named each has all of it."""
        return processes() > 1 and self.device == "auto"

    @property
    def key(self) -> tuple[str, ...]:
        """Tells placements apart."""
        return tuple(str(getattr(self, spec.name)) for spec in fields(self))


ONE_DEVICE = Placement()
