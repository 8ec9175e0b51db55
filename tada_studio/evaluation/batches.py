"""How many tokens go through a model at once: a size that suits the device, halved whenever memory runs out.

What was found stays for the rest of the process, so that every variant is scored on the same batches. Numbers do not depend
on it beyond rounding.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from tada_studio.errors import BaseError
from tada_studio.progress import Progress, ProgressFn

T = TypeVar("T")

#: Tokens in one batch, padding included, by the kind of device. On a CPU small batches are two to three times as fast as
#: large ones; a GPU wants to be full, and says when it is. An engine makes its own batches of what is under way at once.
ROOM = {"cpu": 512, "mps": 4096, "cuda": 32768, "engine": 16384}


def packed(rows: Sequence[T], length: Callable[[T], int], tokens: int) -> list[list[T]]:
    """Rows, longest first, in batches of at most ``tokens`` with padding; a row that is longer goes alone."""
    batches: list[list[T]] = []
    for row in sorted(rows, key=lambda row: -length(row)):
        if batches and (len(batches[-1]) + 1) * length(batches[-1][0]) <= tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def in_batches(
    rows: Sequence[T],
    length: Callable[[T], int],
    on: str,
    work: Callable[[list[T]], None],
    progress: ProgressFn,
    name: str,
    pack: Callable[[Sequence[T], int], list[list[T]]] | None = None,
) -> None:
    """``work`` on all rows, batch by batch. Raises BaseError if a single row does not fit into memory.

    on: a kind of device, or "engine"
    pack: (rows, tokens) -> batches of at most so many tokens; None: longest first, each with its padding
    """
    pack = pack or (lambda rows, tokens: packed(rows, length, tokens))
    waiting, done, says = pack(rows, room(on)), 0, ""
    while waiting:
        progress(Progress("evaluate", done, len(rows), name + says))
        batch = waiting[0]
        try:
            work(batch)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_memory(error):
                raise
            if len(batch) == 1:
                raise BaseError(
                    f"{name}: memory ran out on a single item of {length(batch[0])} tokens. Give shorter items, or use the CPU."
                ) from error
            ROOM[on] = max(1, min(room(on), sum(map(length, batch))) // 2)
            says = f"; memory ran out, now at most {room(on)} tokens at once"
            waiting = pack([row for later in waiting for row in later], room(on))
            continue
        done += len(batch)
        waiting.pop(0)
    progress(Progress("evaluate", len(rows), len(rows), name + says))


def room(on: str) -> int:
    """Tokens that one batch may hold on this kind of device, or at an engine."""
    return ROOM.get(on, ROOM["cpu"])


def _is_memory(error: Exception) -> bool:
    """Out of memory, as a GPU says it or as the allocator of a CPU does."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
