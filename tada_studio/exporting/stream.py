"""A safetensors file written as a stream: the header first, then every tensor as it comes, none of them held twice.

The bytes are those of safetensors' own ``save_file``: wider number formats first, then by name, a header padded to 8 bytes.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tada_studio.lora import bytes_of

#: Number formats by the name that safetensors gives them, narrowest first, as its own enumeration has them.
_FORMATS = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.float8_e5m2: "F8_E5M2", torch.float8_e4m3fn: "F8_E4M3",
    torch.int16: "I16", torch.uint16: "U16", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32",
    torch.uint32: "U32", torch.float32: "F32", torch.complex64: "C64", torch.float64: "F64", torch.int64: "I64",
    torch.uint64: "U64",
}  # fmt: skip
_ORDER = {dtype: i for i, dtype in enumerate(_FORMATS)}


class Outline(NamedTuple):
    """A tensor before it has numbers."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def in_order(outlines: Mapping[str, Outline]) -> list[str]:
    """The order in which tensors stand in the file."""
    return sorted(outlines, key=lambda name: (-_ORDER[outlines[name].dtype], name))


def write_stream(file: Path, outlines: Mapping[str, Outline], numbers: Iterator[tuple[str, Tensor]]) -> None:
    """Write the file. ``numbers`` gives every tensor of ``outlines``, in ``in_order``. Raises OSError, ValueError."""
    names = in_order(outlines)
    with file.open("wb") as out:
        out.write(_header(outlines, names))
        for name, (given, tensor) in zip(names, numbers, strict=True):
            if given != name or (tensor.dtype, tuple(tensor.shape)) != tuple(outlines[name]):
                raise ValueError(f"{given} came where {name} was to be written")
            out.write(bytes_of(tensor))


def _header(outlines: Mapping[str, Outline], names: list[str]) -> bytes:
    content: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name in names:
        dtype, shape = outlines[name]
        end = begin + outlines[name].size
        content[name] = {"dtype": _FORMATS[dtype], "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
