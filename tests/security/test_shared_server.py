"""What a server of many saves itself: pages made once, states without copies, no tables of events; and who sees what of it."""

import asyncio
import gzip
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.queueing import Event, EventQueue
from pico import pico_adapter, pico_base

sys.path.insert(0, str(Path(__file__).parent))  # the helper that speaks as a browser does

from server import Page

from tada_studio import app
from tada_studio.app import page_states, shared_machine, unchanged
from tada_studio.app.fair_queue import OTHERS, FairQueue
from tada_studio.app.page_cache import MOST


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    base = pico_base(folder / "base")
    for seed, name in enumerate(("task", "domain"), start=1):
        pico_adapter(folder / name, base, seed=seed)
    demo = app.build(task=str(folder / "task"), domain=str(folder / "domain"), public=True)
    app.launch(demo, prevent_thread_lock=True, quiet=True)
    yield demo
    demo.close(verbose=False)


def test_the_page_is_made_once_and_each_visitor_gets_a_cookie_of_their_own(server, monkeypatch):
    def get(accepts="identity", host=f"127.0.0.1:{server.server_port}", query=""):
        return Page(server).request("GET", f"/{query}", headers={"Accept-Encoding": accepts, "Host": host})

    first = get()
    monkeypatch.setattr(type(server), "config", property(lambda self: pytest.fail("made a second time")), raising=False)
    status, headers, body = get("gzip, br")
    assert status == first[0] == 200 and headers["content-encoding"] == "gzip" and len(body) < len(first[2]) / 4
    assert gzip.decompress(body) == first[2] == get()[2]
    cookies = {answer["set-cookie"].split(";")[0] for answer in (first[1], headers)}
    assert len(cookies) == 2, "nobody gets another's"
    monkeypatch.undo()
    named = get(host="studio.example")[2]
    assert b"http://studio.example" in named and b"studio.example" not in get()[2], (
        "a page knows the name it was asked by"
    )
    for number in range(MOST + 3):
        assert f"name{number}.example".encode() in get(host=f"name{number}.example")[2]
    assert get(query="?deep_link=x")[0] == 200


def test_a_server_with_sign_in_keeps_no_page(server):
    middleware = [one.cls.__name__ for one in app._middleware(server, "0.0.0.0", auth=True)]
    assert "PageCache" not in middleware and "PageCache" in str(app._middleware(server, "127.0.0.1", auth=False))


def test_of_a_page_only_its_state_is_kept_and_only_for_a_while(server):
    states = page_states.of(server)
    page = Page(server).load()
    let_go = page.heartbeat()
    assert page.stroke([[0, 0]], 1.0)[1]["success"]
    kept = states.session_data[page.session]
    assert kept.config_values == {}, "gradio would keep a megabyte of settings here"
    state = next(iter(kept.state_data.values()))
    assert state.session.pair is not None
    states.drop_closed(0.0)
    assert page.session in states.session_data, "it is open"
    let_go()
    end = time.monotonic() + 20
    while not kept.is_closed and time.monotonic() < end:
        time.sleep(0.05)
    states.drop_closed(3600.0)
    assert page.session in states.session_data, "it may only have lost its connection"
    states.time_last_used[page.session] = datetime.now() - timedelta(hours=2)
    states.drop_closed(3600.0)
    assert page.session not in states.session_data and page.session not in states.time_last_used
    assert state.session.pair is None


def test_no_table_is_made_of_events(server):
    page = Page(server).load()
    for number in range(3):
        page.stroke([[0, 0]], 0.5, number)
    assert len(server._queue.event_analytics) <= 1
    assert server._queue.compute_analytics_summary([{"function": "x"}]) == {"functions": {}}


def test_whoever_has_many_pages_open_does_not_keep_the_others_waiting(server):
    queue = FairQueue(server._queue, 48, lambda request, page: request)

    def event(visitor, page, lane):
        return Event(page, SimpleNamespace(concurrency_id=lane), visitor, None)

    def order(lane, waiting, running=()):
        line, running = EventQueue(lane, None), list(running)
        line.queue = [event(*one, lane) for one in waiting]
        while (found := queue._next(line, running)) is not None:
            line.queue.remove(found)
            running.append(found)
        return [f"{one.request}{one.session_hash}" for one in running]

    many = [("greedy", str(page)) for page in range(9)]
    assert order("edit", [*many, ("ann", "x"), ("ann", "x")]) == ["greedy0", "annx", "greedy1"]
    assert order("7", [*many, ("ann", "x")]) == ["greedy0", "annx", *(f"greedy{page}" for page in range(1, OTHERS))]
    busy = [event("greedy", str(page), "8") for page in range(OTHERS)]
    assert order("7", [*many, ("ann", "x")], busy)[OTHERS:] == ["annx"], "of all lines together"
    assert order("edit", [("greedy", "0")], busy)[OTHERS:] == ["greedy0"], "strokes do not wait for pictures"
    assert len(order("api-work", many, [event("greedy", "0", "work")] * 9)) == 18, "long work waits for its turn anyway"


def test_long_work_makes_room_for_strokes_and_not_for_long_work(server, monkeypatch):
    made = []

    @contextmanager
    def answered():
        made.append(1)
        yield

    monkeypatch.setattr(shared_machine.HANDS, "answered", answered)
    page = Page(server).load()
    before = len(made)
    assert before, "a page that opens is answered, too"
    page.stroke([[0, 0]], 0.5, 1)
    assert len(made) == before + 1
    status, answer = page.click("build")
    assert status == 200 and list(page.news(answer["event_id"]))[-1]["success"]
    assert len(made) == before + 1


def test_of_what_an_answer_leaves_as_it_is_nothing_is_made():
    asked, outputs = [], [gr.HTML(render=False) for _ in range(4)]

    async def postprocess(block_fn, predictions, state):
        asked.append((block_fn.outputs, predictions))
        return ["made"] * len(block_fn.outputs)

    def answer(predictions, outputs=outputs):
        function = SimpleNamespace(outputs=outputs)
        with ThreadPoolExecutor(1) as away:  # from the browser's event loop, where one is at work in this thread
            found = away.submit(asyncio.run, unchanged.sparing(postprocess)(function, predictions, None)).result()
        assert function.outputs is outputs
        return found

    skip = gr.skip()
    assert answer({outputs[1]: "a", outputs[3]: gr.update(visible=False)}) == [skip, "made", skip, "made"]
    assert asked.pop() == ([outputs[1], outputs[3]], ["a", gr.update(visible=False)])
    assert answer({outputs[2]: "a"}) == [skip, skip, "made", skip]
    assert asked.pop() == ([outputs[2]], "a"), "gradio makes a list of one value itself"
    assert answer(skip) == answer({outputs[0]: skip}) == [skip] * 4 and asked == []
    assert answer(["a", "b", "c", "d"]) == ["made"] * 4 and answer({"a": 1}, outputs[:1]) == ["made"]
    assert answer({"plain": "dict"}) == ["made"] * 4, "whatever gradio says of it"
