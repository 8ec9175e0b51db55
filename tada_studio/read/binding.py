"""A merge is made of what was read, not of what lies there later: contents in memory, or a file that is still the same.

A memory-mapped file shows whatever is written over it in place, and one that is cut short kills the whole process (SIGBUS).
So files of usual size are copied, and of larger ones it is asked, before each use that takes long, whether they are as they were.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tada_studio.errors import AdapterError
from tada_studio.files import shown
from tada_studio.lora import Adapter, FileStamp

#: Bytes of a file that is copied into memory; a larger one stays where it is.
IN_MEMORY = 256_000_000


def stamps(files: Iterable[Path]) -> tuple[FileStamp, ...]:
    """What tells whether files are still the same, without reading them."""
    return tuple(_stamp(file) for file in files)


def _stamp(file: Path) -> FileStamp:
    found = file.stat()
    return FileStamp(str(file.resolve()), found.st_mtime_ns, found.st_size, found.st_ino)


def content_of(file: Path) -> Tensor:
    """The bytes of a file that safetensors itself accepts: it alone knows of overlaps and gaps between tensors.

    Its ``get_tensor``, a call for each tensor, takes longer than all else about reading; one buffer serves them all.
    """
    try:
        size = file.stat().st_size
        if file.suffix.lower() != ".gguf":  # whose bounds its header was held to
            with safe_open(file, framework="pt"):
                size = file.stat().st_size
        if size > IN_MEMORY:
            return torch.from_file(str(file), shared=False, size=size, dtype=torch.uint8)
        content = torch.empty(size, dtype=torch.uint8)
        with file.open("rb") as opened:
            if opened.readinto(content.numpy().data) != size:
                raise OSError("it became shorter while it was read")
        return content
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise AdapterError(
            f"{file}: cannot be read as safetensors ({shown(error)}). Download or save it again."
        ) from error


def check_unchanged(*adapters: Adapter) -> None:
    """Raise AdapterError if a file was written over since it was opened. One that is gone, or moved, stays as it was read."""
    for adapter in adapters:
        for stamp in adapter.files:
            try:
                now = _stamp(Path(stamp.path))
            except OSError:
                continue
            if now != stamp:
                raise AdapterError(
                    f"{stamp.path}: was changed after {adapter.label} was opened. Open the pair again to merge what is there."
                )
