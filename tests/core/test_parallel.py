"""Cores are shared by all who compute at once, and everybody gets back the number of threads that they had."""

import threading
import time

import pytest
import torch

from tada_studio.core.parallel import each, one_thread, threads

PATIENCE = 20.0


@pytest.fixture
def three():
    """A process whose threads usually have three."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def in_thread(work):
    """What ``work`` gave in a thread that comes new."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join(2 * PATIENCE)
    return found[0]


def test_who_computes_on_one_thread_does_not_wait_for_others_who_do(three):
    together = threading.Barrier(2)

    def inside():
        with one_thread():
            together.wait(PATIENCE)
            return torch.get_num_threads()

    other = threading.Thread(target=inside)
    other.start()
    assert inside() == 1 and torch.get_num_threads() == three
    other.join(PATIENCE)


@pytest.mark.parametrize("first", ["old", "new"])
def test_each_thread_and_those_to_come_get_the_usual_number_back(three, first):
    """A thread that comes while another computes begins with one, and must not go back to that."""
    inside, over = threading.Event(), threading.Event()

    def new():
        with one_thread():
            inside.set()
            assert first == "new" or over.wait(PATIENCE)
        return torch.get_num_threads()

    with one_thread(), threads(lambda usual: usual):
        found = []
        other = threading.Thread(target=lambda: found.append(new()))
        other.start()
        assert inside.wait(PATIENCE)
        if first == "new":
            other.join(PATIENCE)
    over.set()
    other.join(PATIENCE)
    assert found == [three] and torch.get_num_threads() == three
    assert in_thread(torch.get_num_threads) == three


def test_long_work_lets_others_in_between_its_parts():
    done, over = [], threading.Event()

    def part(i):
        over.wait(0.005)
        done.append(i)
        return i

    long = threading.Thread(target=lambda: each(part, 4000))
    long.start()
    while len(done) < 10:
        time.sleep(0.001)
    assert each(lambda i: 2 * i, 5) == [0, 2, 4, 6, 8]
    assert len(done) < 2000
    over.set()
    long.join(PATIENCE)
    assert sorted(done) == list(range(4000))


def test_a_part_that_fails_ends_all_and_leaves_nothing_running():
    begun = []

    def part(i):
        begun.append(i)
        time.sleep(0.001)
        if i == 30:
            raise ValueError("the thirtieth")

    with pytest.raises(ValueError, match="the thirtieth"):
        each(part, 5000)
    count = len(begun)
    assert count < 2000 and each(lambda i: i, 3) == [0, 1, 2] and len(begun) == count
