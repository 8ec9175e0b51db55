"""Gram matrices of thin factors, in float64, at half the arithmetic.

numpy's matmul sees that both operands are one matrix and calls the symmetric product of its BLAS (dsyrk): a third
to two thirds of the time that torch's product takes on the same core, and symmetric to the last bit.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from jaxtyping import Float64
from torch import Tensor, from_numpy

_LIMIT: "_Limit"


def gram(columns: Float64[Tensor, "*n d r"]) -> Float64[Tensor, "*n r r"]:
    """``columns^T columns``. Call it inside ``one_blas_thread``: callers that each start threads of numpy's wait for each other."""
    numbers = columns.numpy()
    return from_numpy(numbers.swapaxes(-2, -1) @ numbers)


class _Limit:
    """How many are inside, and what they go back to: the number of numpy's threads belongs to the whole process.

    threadpoolctl obeys the first thread that ever sets the number, and no other until it ends; so one thread does it for all.
    """

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0
        self.setter = ThreadPoolExecutor(1, thread_name_prefix="tada-blas")
        self.usual: Any = None

    def enter(self) -> None:
        with self.lock:
            if not self.inside:
                self.usual = self.setter.submit(_limited).result()
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.setter.submit(self.usual.restore_original_limits).result()


def _limited() -> Any:
    return _blas().limit(limits=1)


@cache
def _blas() -> Any:
    """The BLAS libraries of this process; to look for them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def _start() -> None:
    global _LIMIT
    _LIMIT = _Limit()


_start()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_start)  # a forked process has no threads: it would wait for the setter for ever


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """numpy's matrix products on one thread, in the whole process, until the last of those who are inside leaves."""
    limit = _LIMIT
    limit.enter()
    try:
        yield
    finally:
        limit.leave()
