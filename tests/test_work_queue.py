"""Long work in turn: one at a time, round the visitors, with place and estimate, and Stop for what waits."""

import threading
import time

import pytest
import torch

from tada_studio.app import shared_machine, work_queue
from tada_studio.app.shared_machine import Hands
from tada_studio.app.work_queue import Ticket, WorkQueue, in_turn, waiting_words
from tada_studio.errors import InputError, Stopped
from tada_studio.progress import Progress, silent
from tada_studio.session import Session
from tada_studio.session.limits import Limits
from tada_studio.session.visitor import Visitor


class Line:
    """A queue whose head is held until ``go``; what waits notes the order in which it began."""

    def __init__(self):
        self.queue, self.order, self.threads = WorkQueue(), [], []
        self.go, self.held = threading.Event(), threading.Event()
        self._start("head", self._hold)
        assert self.held.wait(5)

    def _hold(self):
        self.held.set()
        assert self.go.wait(20)

    def ask(self, visitor, name):
        waits = threading.Event()
        self._start(visitor, lambda: self.order.append(name), waits)
        assert waits.wait(5)

    def _start(self, visitor, work, waits=None):
        def run():
            with self.queue.turn(visitor, lambda place, seconds: waits.set()):
                work()

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def finish(self):
        self.go.set()
        for thread in self.threads:
            thread.join(20)
        return self.order


def test_visitors_take_turns_however_much_one_asks_for():
    line = Line()
    for name in ("ann 1", "ann 2", "ann 3", "ann 4", "bob 1", "bob 2", "eve 1"):
        line.ask(name.split()[0], name)
    assert line.finish() == ["ann 1", "bob 1", "eve 1", "ann 2", "bob 2", "ann 3", "ann 4"]


def test_work_is_done_one_at_a_time():
    queue, inside, most = WorkQueue(), [], []

    def run(visitor):
        with queue.turn(visitor, lambda place, seconds: None):
            inside.append(visitor)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(visitor)

    threads = [threading.Thread(target=run, args=(str(i % 3),)) for i in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1] * 9


def test_whoever_waits_is_told_its_place_and_an_estimate_once_there_is_one():
    queue, told = WorkQueue(), []
    with queue.turn("first", lambda place, seconds: None):
        time.sleep(0.05)
    with queue.turn("ann", lambda place, seconds: None) as running:

        def waits(place, seconds):
            told.append((place, seconds))
            if len(told) == 1:
                running.step = Progress("evaluate", 1, 4)
            else:
                raise Stopped("enough")

        with pytest.raises(Stopped), queue.turn("bob", waits):
            pytest.fail("it was not its turn")
    assert [place for place, _ in told] == [1, 1]
    assert told[0][1] < 0.06, "what work usually took"
    assert told[1][1] > 0.3, "what runs took at least two looks for a quarter, and has three to go"
    assert "about" not in waiting_words(1, None)
    assert waiting_words(3, 200.0) == "Waiting: 3 pieces of other work go first, about 3 min…"


def test_what_failed_or_gave_up_makes_room():
    queue = WorkQueue()
    with pytest.raises(ZeroDivisionError), queue.turn("ann", lambda place, seconds: None):
        1 / 0  # noqa: B018
    with queue.turn("ann", lambda place, seconds: None):
        with pytest.raises(Stopped), queue.turn("bob", lambda place, seconds: stop()):
            pass
    with queue.turn("bob", lambda place, seconds: pytest.fail("nothing goes first")):
        pass


def stop():
    raise Stopped("given up")


def test_stop_removes_what_waits_too_and_nothing_else():
    line = Line()
    session, others = Session(), []
    queue = line.queue

    def wait_for(session, told):
        began = threading.Event()

        def run():
            try:
                in_turn(session, lambda progress: told.append("began"), queue)(lambda step: began.set())
            except Stopped as stopped:
                told.append(str(stopped))

        thread = threading.Thread(target=run)
        thread.start()
        assert began.wait(5)
        return thread

    mine: list[str] = []
    threads = [wait_for(session, mine), wait_for(session, mine)]
    other = wait_for(Session(), others)
    session.stop()
    for thread in threads:
        thread.join(5)
    assert mine == ["Stopped while it waited."] * 2 and others == []
    line.finish()
    other.join(5)
    assert others == ["began"]


def test_long_work_gives_way_between_its_parts_and_goes_on(monkeypatch):
    monkeypatch.setattr(work_queue, "SLICE", 0.0)
    queue, order, waits = WorkQueue(), [], threading.Event()

    def search(progress):
        progress(Progress("tune", 0, 2, rests=True))  # nobody waits yet
        bob.start()
        assert waits.wait(5)
        for part in (1, 2):
            order.append(f"part {part}")
            progress(Progress("tune", part, 2))  # an adapter is worn: nobody may come between
            assert len(order) == 2 * part - 1
            progress(Progress("tune", part, 2, rests=True))

    def short(progress):
        order.append("bob")

    bob = threading.Thread(target=in_turn(Session(), short, queue), args=(lambda step: waits.set(),))
    in_turn(Session(), search, queue)(silent)
    bob.join(5)
    assert order == ["part 1", "bob", "part 2"]


def test_work_that_gave_way_can_be_stopped_and_does_not_wait_for_its_owners_next(monkeypatch):
    monkeypatch.setattr(work_queue, "SLICE", 0.0)
    queue, session, told = WorkQueue(), Session(), []

    def search(progress):
        with queue._changed:  # bob comes, and his work does not end by itself
            queue._waiting.append(Ticket("bob", 99))
        progress(Progress("tune", 1, 2, rests=True))

    def waiting(step):
        told.append(step.step)
        if step.step == "waiting":
            session.stop()

    with pytest.raises(Stopped, match="while it waited"):
        in_turn(session, search, queue)(waiting)
    assert told[-1] == "waiting" and len(queue) == 1


def test_long_work_leaves_a_core_to_other_visitors():
    before, seen = torch.get_num_threads(), []
    try:
        torch.set_num_threads(3)
        for visitor in (Visitor("ann"), Visitor()):
            in_turn(Session(visitor), lambda progress: seen.append(torch.get_num_threads()), WorkQueue())(silent)
        assert seen == [2, 3] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_nobody_gives_way_to_their_own_next_job(monkeypatch):
    monkeypatch.setattr(work_queue, "SLICE", 0.0)
    queue = WorkQueue()
    with queue.turn("ann", lambda place, seconds: pytest.fail("nothing goes first")) as first:
        queue._waiting.append(Ticket("ann", 100))
        queue.give_way(first, lambda place, seconds: pytest.fail("it would wait for itself"))
        assert queue._running is first


def test_whoever_waits_for_long_is_told_now_and_then_and_not_all_the_time():
    queue, told = WorkQueue(), []
    waiting = threading.Thread(target=in_turn(Session(), lambda progress: None, queue), args=(told.append,))
    with queue.turn("other", lambda place, seconds: None):
        waiting.start()
        before = time.monotonic()
        while len(told) < 2 and time.monotonic() - before < 20:
            time.sleep(0.01)
        took = time.monotonic() - before
    waiting.join(5)
    assert 2 <= len(told) <= 1 + took and "goes first" in told[0].note


def test_nobody_may_fill_the_line():
    visitor, queue = Visitor("ann", Limits(jobs=2)), WorkQueue()
    sessions = [Session(visitor) for _ in range(3)]
    line = threading.Event()
    waiting = []

    def hold(progress):
        waiting.append(1)
        assert line.wait(20)

    threads = [threading.Thread(target=in_turn(session, hold, queue), args=(silent,)) for session in sessions[:2]]
    for thread in threads:
        thread.start()
    while len(queue) < 2:
        time.sleep(0.01)
    with pytest.raises(InputError, match="2 are a visitor's share"):
        in_turn(sessions[2], hold, queue)(silent)
    bob = threading.Thread(target=in_turn(Session(Visitor("bob", Limits(jobs=2))), hold, queue), args=(silent,))
    bob.start()
    line.set()
    for thread in (*threads, bob):
        thread.join(20)
    assert len(waiting) == 3 and len(queue) == 0


def step_beside(hands):
    """The seconds that long work is put off at one step."""
    before = time.monotonic()
    hands.go_first()
    return time.monotonic() - before


def test_a_step_of_long_work_waits_for_the_answer_to_a_stroke_and_not_for_ever(monkeypatch):
    hands, inside, go = Hands(), threading.Event(), threading.Event()

    def answer():
        with hands.answered():
            inside.set()
            assert go.wait(20)

    stroke = threading.Thread(target=answer)
    stroke.start()
    assert inside.wait(5)
    assert step_beside(hands) >= shared_machine.LENIENT  # it may go on though the answer is not there
    monkeypatch.setattr(shared_machine, "LENIENT", 20.0)
    threading.Timer(0.2, go.set).start()
    assert 0.1 < step_beside(hands) < 10  # it goes on as soon as the answer is there
    stroke.join(20)
    assert step_beside(hands) < 1


def test_long_work_does_not_wait_for_an_answer_that_is_long_itself(monkeypatch):
    monkeypatch.setattr(shared_machine, "LENIENT", 20.0)
    monkeypatch.setattr(shared_machine, "QUICK", 0.05)
    hands = Hands()
    with hands.answered():
        time.sleep(0.1)
        assert step_beside(hands) < 1


def test_every_step_of_long_work_makes_room(monkeypatch):
    asked = []
    monkeypatch.setattr(shared_machine.HANDS, "go_first", lambda: asked.append(1))
    session = Session()
    in_turn(session, lambda progress: [progress(Progress("evaluate", i, 3)) for i in range(3)], WorkQueue())(silent)
    assert len(asked) == 3
