"""Base + inputs -> readings."""

from collections.abc import Sequence
from dataclasses import replace

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


def probe(
    pair: Pair,
    base: Base,
    inputs: Sequence[Input],
    n: int = 32,
    progress: ProgressFn = silent,
    task_inputs: Sequence[Input] | None = None,
) -> Readings:
    """Readings of both adapters from one pass of ``n`` of the domain inputs through the base, and one of as many task inputs.

    task_inputs: prompts of the task as they come in use, without answers; None: only domain inputs are read, and the adapters
    cannot be separated. Raises InputError, MismatchError.
    """
    for adapter in (pair.task, pair.domain):
        base.check_fits(adapter)
    chosen = _chosen(base, inputs, n, "domain")
    if task_inputs is None:
        return _taken(pair, base, chosen, progress)
    others = _chosen(base, task_inputs, n, "task")
    equal = len(set(chosen) & set(others))
    if equal == len(set(others)):
        raise InputError(
            "The task inputs are the domain inputs. Give prompts of the task as they come in use: what the two adapters meet "
            "must differ, or nothing tells them apart."
        )
    on_task = _taken(pair, base, others, progress)
    found = _taken(pair, base, chosen, progress)
    about = {"task_inputs": on_task.about["inputs"], "equal_inputs": f"{equal} of {len(others)}"}
    return replace(found, on_task=on_task, about={**found.about, **about})


def _chosen(base: Base, inputs: Sequence[Input], n: int, side: str) -> list[Input]:
    """``n`` of the inputs, of the kind that the base reads."""
    kind = "probe" if side == "domain" else "task"
    if not inputs:
        raise InputError(f"No {kind} inputs. Give about 32 {side} questions or sentences, or images.")
    if {isinstance(one, ImageFile) for one in inputs} != {base.kind == "image"}:
        given = "text" if base.kind == "image" else "images"
        raise InputError(
            f"The base {base.name} reads {base.kind}, and these {kind} inputs are {given}. Give the kind it reads."
        )
    return choose(inputs, n)


def _taken(pair: Pair, base: Base, chosen: Sequence[Input], progress: ProgressFn) -> Readings:
    """One pass of the base over all of the inputs, remembered."""
    about = {"base": base.name, "base_digest": base.digest, "torch": torch.__version__}

    def take() -> Readings:
        try:
            return take_readings(
                pair, base.model, base.tokenizer, chosen, family=base.family, about=about, progress=progress
            )
        except torch.OutOfMemoryError as error:
            raise BaseError(
                f"{base.ref}: memory ran out while probing. Probe shorter inputs, or on the CPU."
            ) from error

    return _READINGS.get((pair.task.digest, pair.domain.digest, base.digest, tuple(chosen)), take)
