"""Two ways to keep every core busy with small matrices: threads over modules, one torch thread in each.

Torch's own threads collapse on k x k work (up to 20 times slower on a shared machine), and results would depend on
their number; so inside these calls torch runs on one thread, and equal inputs give equal bytes on any machine load.
"""

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
_WORKERS = os.cpu_count() or 1
#: Fewer small matrices than this are done sooner than they are handed to other threads.
_WORTH_SHARING = 8
_POOL: ThreadPoolExecutor
_TURN: threading.RLock  # the number of torch threads is a setting of the whole process


def _start() -> None:
    global _POOL, _TURN
    _POOL = ThreadPoolExecutor(_WORKERS, thread_name_prefix="tada-core")
    _TURN = threading.RLock()


_start()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_start)  # a forked process has no threads: its pool would wait for ever


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, here and in the work of ``each`` and ``batched``, until the block ends."""
    with _TURN:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def each(work: Callable[[int], Result], count: int) -> list[Result]:
    """``[work(0), ..., work(count - 1)]``, spread over the machine's cores. ``work`` must not call back in here."""
    done: dict[int, Result] = {}
    todo = deque(range(count))

    def take_turns(_: int) -> None:
        torch.set_num_threads(1)  # OpenMP's number belongs to each thread
        while todo:
            try:
                index = todo.popleft()
            except IndexError:  # another thread took the last one
                return
            done[index] = work(index)

    with one_thread():
        list(_POOL.map(take_turns, range(min(count, _WORKERS))))  # one call a thread, not one an index: those cost more
    return [done[index] for index in range(count)]


def batched(work: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    """``work(*tensors)`` on slices of the first axis, which must mean "one per module" in all inputs and outputs."""
    count = len(tensors[0])
    parts = 1 if count < _WORTH_SHARING else min(count, _WORKERS)
    if parts <= 1:
        with one_thread():
            return work(*tensors)
    edges = [count * i // parts for i in range(parts + 1)]
    done = each(lambda i: work(*(tensor[edges[i] : edges[i + 1]] for tensor in tensors)), parts)
    return tuple(torch.cat(parts) for parts in zip(*done, strict=True))


_OWN = threading.local()


def scratch(use: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Memory of the calling thread with anything in it, good until its next call for the same use.

    Fresh memory for every module would cost more than the arithmetic on it: the system clears each page first.
    """
    key, size = f"{use} {dtype}", math.prod(shape)
    kept = getattr(_OWN, key, None)
    if kept is None or kept.numel() < size:
        kept = torch.empty(size, dtype=dtype)
        setattr(_OWN, key, kept)
    return kept[:size].view(*shape)
