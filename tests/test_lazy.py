"""What is computed once is computed once for each object, and nobody waits for somebody else's."""

import copy
import threading
from pathlib import Path

import pytest

import tada_studio
from tada_studio import pipeline
from tada_studio.lazy import lazy
from tada_studio.pipeline import merge as merging
from tada_studio.recipe import Recipe

PATIENCE = 20.0


class Slow:
    """Counts how often its value was computed; may wait for somebody before it is."""

    def __init__(self, before=lambda: None):
        self.before, self.times = before, 0

    @lazy
    def value(self):
        """What it is worth."""
        self.before()
        self.times += 1
        return object()


def in_threads(*work):
    """What each of them gave, all at once."""
    found = {}
    threads = [threading.Thread(target=lambda i=i, one=one: found.update({i: one()})) for i, one in enumerate(work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    return [found.get(i) for i in range(len(work))]


def test_a_value_is_computed_once_however_many_ask_at_once():
    ready = threading.Barrier(4)
    one = Slow(lambda: threading.Event().wait(0.05))

    def ask():
        ready.wait()
        return one.value

    first, *others = in_threads(*[ask] * 4)
    assert one.times == 1 and all(other is first for other in others) and first is not None
    assert one.value is first and set(vars(one)) == {"before", "times", "value"}  # no lock stays behind
    assert copy.deepcopy(Slow()).value is not None and Slow.value.__doc__ == "What it is worth."


def test_one_objects_value_does_not_wait_for_anothers():
    other_done = threading.Event()
    first = Slow(lambda: other_done.wait(PATIENCE) or pytest.fail("the other one waited"))
    second = Slow(other_done.set)
    assert None not in in_threads(lambda: first.value, lambda: second.value)


def test_a_failure_is_told_to_each_who_asks_and_is_tried_again():
    one = Slow(lambda: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            _ = one.value
    one.before = lambda: None
    assert one.value is one.value and one.times == 1


def test_a_visitors_merge_does_not_wait_for_anothers(pico, monkeypatch):
    """Through the whole chain that the screen asks: each merge's computation ends only once the other's has begun."""
    together, make = threading.Barrier(2), merging.recompressed

    def slow(*given):
        together.wait(PATIENCE)
        return make(*given)

    monkeypatch.setattr(merging, "recompressed", slow)
    merges = [pipeline.Merge(pipeline.read_pair(pico.task, pico.domain), None, Recipe(rank=rank)) for rank in (2, 3)]
    found = in_threads(*(lambda one=one: one.merged.rank for one in merges))
    assert found == [2, 3]


def test_the_package_has_one_way_to_compute_once():
    root = Path(tada_studio.__file__).parent
    users = [path.name for path in root.rglob("*.py") if "cached_property" in path.read_text(encoding="utf-8")]
    assert users == ["lazy.py"]
