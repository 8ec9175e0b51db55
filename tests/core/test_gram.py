"""Gram matrices of thin factors: exact, symmetric, the same on any number of threads, and they leave numpy's threads alone."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tada_studio.core.gram import gram, one_blas_thread


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(7, 3), (1, 1), (3, 7), (4096, 32), (2, 576, 16), (0, 3), (3, 0), (2, 3, 0)])
@pytest.mark.parametrize("turned", [False, True], ids=["columns", "rows of the transposed"])
def test_it_is_the_product_with_oneself(shape, turned):
    columns = draw(*shape)
    columns = columns.mT.contiguous().mT if turned else columns
    found, wanted = gram(columns), columns.mT @ columns
    assert found.shape == wanted.shape and found.dtype == torch.float64
    assert torch.allclose(found, wanted, rtol=1e-14, atol=1e-13 * shape[-2])
    assert torch.equal(found, found.mT)


def test_what_is_no_number_stays_none():
    columns = draw(5, 3)
    columns[1, 1] = float("nan")
    assert torch.equal(gram(columns).isnan(), torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]]).bool())


WITH_THREADS = """
import hashlib, threading
import torch
from threadpoolctl import ThreadpoolController
from tada_studio.core.gram import gram, one_blas_thread

def threads():
    return [library["num_threads"] for library in ThreadpoolController().info() if library["user_api"] == "blas"]

def inside(work):
    with one_blas_thread():
        return work()

def elsewhere(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread

usual, entered, leave = threads(), threading.Event(), threading.Event()
elsewhere(lambda: inside(lambda: None)).join()  # a thread that came first, and is gone
other = elsewhere(lambda: inside(lambda: (entered.set(), leave.wait(20))))
assert entered.wait(20)
seen = [usual, inside(threads), threads()]
leave.set()
other.join()
seen.append(threads())
try:
    inside(lambda: 1 / 0)
except ZeroDivisionError:
    seen.append(threads())
print(seen)
draw = torch.Generator().manual_seed(0)
for shape in ((4096, 32), (11008, 128), (3, 576, 16)):
    columns = torch.randn(shape, generator=draw, dtype=torch.float64)
    print(hashlib.sha256(gram(columns).numpy().tobytes()).hexdigest())
"""


def run_with_threads(count):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count)}
    done = subprocess.run(
        [sys.executable, "-c", WITH_THREADS], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    seen, *digests = done.stdout.splitlines()
    return json.loads(seen), digests


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: numpy has one thread anyway")
def test_numpy_is_on_one_thread_until_the_last_one_leaves_and_its_bytes_are_the_same_on_two():
    (usual, both_inside, one_inside, after, after_failure), digests = run_with_threads(2)
    assert set(usual) == {2} and set(both_inside) == set(one_inside) == {1}
    assert after == after_failure == usual
    assert digests == run_with_threads(1)[1]


def test_a_forked_process_does_not_wait_for_the_threads_of_its_parent():
    with one_blas_thread():
        pass
    child = os.fork()
    if not child:
        with one_blas_thread():
            os._exit(0)
    assert waited(child) == 0


def waited(child):
    """A child's exit code; it is killed if it does not end."""
    for _ in range(200):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
