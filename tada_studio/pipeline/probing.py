"""Base + inputs -> readings."""

from collections.abc import Sequence

import torch

from tada_studio.base_model.images import ImageFile
from tada_studio.base_model.inputs import Input, choose
from tada_studio.base_model.model import Base
from tada_studio.errors import BaseError, InputError
from tada_studio.lora import Pair
from tada_studio.pipeline.cache import LruCache
from tada_studio.probing import Readings
from tada_studio.probing import probe as take_readings
from tada_studio.progress import ProgressFn, silent

_READINGS: LruCache[Readings] = LruCache(8)


def probe(pair: Pair, base: Base, inputs: Sequence[Input], n: int = 32, progress: ProgressFn = silent) -> Readings:
    """Readings of both adapters from one pass of ``n`` of the inputs through the base. Raises InputError, MismatchError."""
    if not inputs:
        raise InputError("No probe inputs. Give about 32 domain questions or sentences, or images.")
    if {isinstance(one, ImageFile) for one in inputs} != {base.kind == "image"}:
        given = "text" if base.kind == "image" else "images"
        raise InputError(
            f"The base {base.name} reads {base.kind}, and these probe inputs are {given}. Give the kind it reads."
        )
    for adapter in (pair.task, pair.domain):
        base.check_fits(adapter)
    chosen = choose(inputs, n)
    about = {"base": base.name, "base_digest": base.digest, "torch": torch.__version__}

    def take() -> Readings:
        try:
            return take_readings(pair, base.model, base.tokenizer, chosen, about=about, progress=progress)
        except torch.OutOfMemoryError as error:
            raise BaseError(
                f"{base.ref}: memory ran out while probing. Probe shorter inputs, or on the CPU."
            ) from error

    return _READINGS.get((pair.task.digest, pair.domain.digest, base.digest, tuple(chosen)), take)
