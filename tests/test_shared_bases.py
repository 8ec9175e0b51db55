"""Sessions share one base; memory has a ceiling, and the base unused for longest goes first."""

import gc
import threading
import time

import pytest

from tada_studio import pipeline
from tada_studio.pipeline.shared_bases import SharedBases, base_key, size_of
from tada_studio.session import Session


@pytest.fixture(scope="module")
def load(pico):
    return lambda: pipeline.load_base(str(pico.base), device="cpu")


def test_all_sessions_of_a_base_have_the_same_one(pico):
    sessions = [Session() for _ in range(3)]
    for session in sessions:
        session.open(str(pico.task), str(pico.domain), str(pico.base))
    assert len({id(session.load_base()) for session in sessions}) == 1


def test_it_is_loaded_once_for_all_who_ask_at_once(load):
    shared, loads = SharedBases(10**9), []

    def slowly():
        loads.append(1)
        time.sleep(0.05)
        return load()

    threads = [threading.Thread(target=shared.get, args=("a", slowly)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert loads == [1]


def test_the_one_unused_for_longest_goes_first_and_the_last_stays(load):
    one = size_of(load())
    shared = SharedBases(2 * one + 1)
    first = shared.get("a", load)
    shared.get("b", load)
    assert shared.get("a", load) is first, "used again"
    shared.get("c", load)
    assert shared.peek("b") is None and shared.peek("a") is first and shared.peek("c") is not None
    small = SharedBases(0)
    assert small.get("a", load) is small.peek("a")


def test_what_nobody_uses_any_more_leaves_memory(pico, load):
    session = Session()
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    session.load_base()
    assert session.base is not None
    pipeline.BASES.drop_idle(-1.0)
    gc.collect()
    assert session.base is None, "a session alone does not hold it"
    assert session.load_base() is session.base


def test_a_base_whose_files_changed_is_another(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    before = base_key(str(tmp_path), "auto", "auto")
    (tmp_path / "config.json").write_text("{ }")
    assert base_key(str(tmp_path), "auto", "auto") != before
    assert base_key("owner/name", "auto", "auto") == ("owner/name", "auto", "auto", ())
