"""Two ways to keep every core busy with small matrices: threads over modules, one torch thread in each.

Torch's own threads collapse on k x k work (up to 20 times slower on a shared machine), and results would depend on
their number; so inside these calls torch runs on one thread, and equal inputs give equal bytes on any machine load.

Whoever calls at the same time shares the cores, a slice each in turn: on a shared server nobody's stroke waits for somebody
else's long work.
"""

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
_WORKERS = os.cpu_count() or 1
#: Fewer small matrices than this are done sooner than they are handed to other threads.
_WORTH_SHARING = 8
#: Seconds after which a thread of the pool lets the next call in line go first.
_SLICE = 0.02
_OWN = threading.local()
_POOL: ThreadPoolExecutor
_CHANGED: "_Changed"


class _Changed:
    """Who runs torch on another number of threads now.

    The number belongs to each thread; one that comes new begins with what was set last, by whomever. So of a thread that was never
    in here, while others are, it is not known what it should go back to: to what the first of them had.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.usual = threading.Lock(), 0, 1

    def enter(self) -> int:
        """What the calling thread goes back to."""
        own, known, _OWN.known = torch.get_num_threads(), getattr(_OWN, "known", False), True
        with self.lock:
            if not self.inside:
                self.usual = own
            self.inside += 1
            return own if known else self.usual

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1


def _start() -> None:
    global _POOL, _CHANGED
    _POOL, _CHANGED = ThreadPoolExecutor(_WORKERS, thread_name_prefix="tada-core"), _Changed()


_start()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_start)  # a forked process has no threads: its pool would wait for ever


@contextmanager
def threads(count: Callable[[int], int]) -> Iterator[None]:
    """Torch on ``count(as many as it had)`` threads in this thread, until the block ends."""
    usual = _CHANGED.enter()
    torch.set_num_threads(count(usual))
    try:
        yield
    finally:
        torch.set_num_threads(usual)
        _CHANGED.leave()


def one_thread() -> AbstractContextManager[None]:
    """Torch on one thread, here and in the work of ``each`` and ``batched``, until the block ends."""
    return threads(lambda _: 1)


def each(work: Callable[[int], Result], count: int) -> list[Result]:
    """``[work(0), ..., work(count - 1)]``, spread over the machine's cores. ``work`` must not call back in here."""
    done: dict[int, Result] = {}
    todo = deque(range(count))

    def take_turns() -> None:
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
        until = time.monotonic() + _SLICE
        while todo:
            try:
                index = todo.popleft()
            except IndexError:  # another thread took the last one
                return
            done[index] = work(index)
            if time.monotonic() > until:
                return

    with one_thread():
        _work_off(take_turns, todo)
    return [done[index] for index in range(count)]


def _work_off(take_turns: Callable[[], None], todo: deque[int]) -> None:
    """Call it on all threads of the pool, each time at the end of the line, until nothing is left to do."""
    going: set[Future[None]] = {_POOL.submit(take_turns) for _ in range(min(len(todo), _WORKERS))}
    try:
        while going:
            ended, going = wait(going, return_when=FIRST_COMPLETED)
            for one in ended:
                one.result()
                if todo:
                    going.add(_POOL.submit(take_turns))
    finally:
        wait(going)  # after a failure: the others end with their slice


def batched(work: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    """``work(*tensors)`` on slices of the first axis, which must mean "one per module" in all inputs and outputs."""
    count = len(tensors[0])
    parts = 1 if count < _WORTH_SHARING else min(count, _WORKERS)
    with one_thread():  # the joining, too: torch's threads would take longer over it than the work did
        if parts <= 1:
            return work(*tensors)
        edges = [count * i // parts for i in range(parts + 1)]
        done = each(lambda i: work(*(tensor[edges[i] : edges[i + 1]] for tensor in tensors)), parts)
        return tuple(torch.cat(parts) for parts in zip(*done, strict=True))


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
