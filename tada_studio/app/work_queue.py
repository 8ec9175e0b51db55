"""Long work: one piece at a time, and between visitors each in turn, however much one of them asks for.

with WORK_QUEUE.turn("ann", waits): ...      # blocks until it is ann's turn; waits(place, seconds) is called meanwhile
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from tada_studio.app import shared_machine
from tada_studio.errors import InputError, Stopped
from tada_studio.progress import Progress, ProgressFn
from tada_studio.session import Session

T = TypeVar("T")

#: The step of work that others' goes before.
WAITING = "waiting"
#: Seconds between two words to someone who waits: with many who do, more would keep the server from its work.
EVERY = 1.0
#: Seconds of long work after which it gives way, at its next pause.
SLICE = 2.0
#: Finished jobs that the estimates are made of.
REMEMBERED = 20
#: Shown to who waits, again and again: how many jobs go first, and in about how many seconds its own begins, or None.
Waits = Callable[[int, "float | None"], None]


@dataclass(eq=False)
class Ticket:
    """One piece of work. began: by the monotonic clock, None while it waits; spent: seconds before it last gave way; step: where
    it is."""

    visitor: str
    number: int
    began: float | None = None
    spent: float = 0.0
    step: Progress | None = field(default=None, repr=False)

    def remaining(self, usual: float | None, now: float) -> float | None:
        """Seconds to its end: by its own progress, or by what work usually takes."""
        elapsed = self.spent + (0.0 if self.began is None else now - self.began)
        if self.step is not None and self.step.total and self.step.done:
            return elapsed * (self.step.total - self.step.done) / self.step.done
        return None if usual is None else max(0.0, usual - elapsed)


class WorkQueue:
    """Work that fills the machine (or one of its GPUs), done by whoever asked for it, in a thread of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self._running: Ticket | None = None
        self._waiting: list[Ticket] = []
        self._served: dict[str, int] = {}  # visitor -> when it last had a turn, counted in turns
        self._took: list[float] = []

    def __len__(self) -> int:
        """Jobs, running and waiting."""
        with self._changed:
            return len(self._waiting) + (self._running is not None)

    @contextmanager
    def turn(self, visitor: str, waits: Waits, share: int | None = None) -> Iterator[Ticket]:
        """Block until all that goes first is done. ``waits`` may raise to give up; that leaves the line, too.

        share: how many jobs one visitor may have here, running and waiting. Raises InputError.
        """
        ticket = self._enter(visitor, share)
        try:
            while not self._may_begin(ticket):
                waits(*self.outlook(ticket))
            yield ticket
        finally:
            self._leave(ticket)

    def give_way(self, ticket: Ticket, waits: Waits) -> None:
        """Between two parts of long work: whoever waits goes first, if this part took its time; then block as ``turn`` does."""
        with self._changed:
            part = time.monotonic() - (ticket.began or 0.0)
            if part < SLICE or _in_turn([*self._waiting, ticket], self._served)[0] is ticket:
                return
            self._running, ticket.began, ticket.spent = None, None, ticket.spent + part
            self._waiting.append(ticket)
            self._changed.notify_all()
        while not self._may_begin(ticket):
            waits(*self.outlook(ticket))

    def outlook(self, ticket: Ticket) -> tuple[int, float | None]:
        """How many jobs go before this one, and the seconds that they take, if that is known."""
        with self._changed:
            usual = sum(self._took) / len(self._took) if self._took else None
            before = _in_turn(self._waiting, self._served)
            before = before[: before.index(ticket)] if ticket in before else []
            running, now = ([self._running] if self._running else []), time.monotonic()
            left = [one.remaining(usual, now) for one in running + before]
        known = [seconds for seconds in left if seconds is not None]
        return len(left), sum(known) if len(known) == len(left) else None

    def _enter(self, visitor: str, share: int | None) -> Ticket:
        with self._changed:
            mine = [one for one in (*self._waiting, self._running) if one is not None and one.visitor == visitor]
            if share is not None and len(mine) >= share:
                raise InputError(
                    f"You have {len(mine)} jobs running or waiting here, and {share} are a visitor's share. "
                    "Wait for one of them, or press Stop."
                )
            self._waiting.append(ticket := Ticket(visitor, next(self._numbers)))
            return ticket

    def _may_begin(self, ticket: Ticket) -> bool:
        """Whether it is this one's turn now, after at most ``EVERY`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_next(ticket), EVERY)
            if not self._is_next(ticket):
                return False
            self._waiting.remove(ticket)
            self._running, ticket.began = ticket, time.monotonic()
            self._served[ticket.visitor] = max([*self._served.values(), 0]) + 1
            return True

    def _is_next(self, ticket: Ticket) -> bool:
        return self._running is None and _in_turn(self._waiting, self._served)[0] is ticket

    def _leave(self, ticket: Ticket) -> None:
        with self._changed:
            if self._running is ticket:
                self._running = None
                took = ticket.spent + time.monotonic() - (ticket.began or 0.0)
                self._took = [*self._took, took][-REMEMBERED:]
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            here = {one.visitor for one in self._waiting} | {ticket.visitor}
            self._served = {visitor: number for visitor, number in self._served.items() if visitor in here}
            self._changed.notify_all()


def _in_turn(waiting: Sequence[Ticket], served: dict[str, int]) -> list[Ticket]:
    """Who goes when: the visitor whose last turn is longest ago goes first, a visitor's own work in the order it came."""
    left, last, order = list(waiting), dict(served), []
    while left:
        following = min(left, key=lambda one: (last.get(one.visitor, 0), one.number))
        left.remove(following)
        order.append(following)
        last[following.visitor] = max([*last.values(), 0]) + 1
    return order


#: Of this machine: models run on one device, and two at once would only share it.
WORK_QUEUE = WorkQueue()


def in_turn(
    session: Session, work: Callable[[ProgressFn], T], queue: WorkQueue = WORK_QUEUE
) -> Callable[[ProgressFn], T]:
    """``work`` that lets the work of others go first and says so. ``session.stop`` ends the waiting too."""
    visitor = session.visitor.name or str(id(session))

    def later(progress: ProgressFn) -> T:
        before, shown = session.stops, -EVERY

        def waits(place: int, seconds: float | None) -> None:
            nonlocal shown
            if session.stops != before:
                raise Stopped("Stopped while it waited.")
            if time.monotonic() - shown >= EVERY:
                shown = time.monotonic()
                progress(Progress(WAITING, 0, 0, waiting_words(place, seconds)))

        with queue.turn(visitor, waits, session.visitor.limits.jobs) as ticket:

            def noted(step: Progress) -> None:
                ticket.step = step
                progress(step)
                shared_machine.HANDS.go_first()
                if step.rests:
                    queue.give_way(ticket, waits)

            with shared_machine.room_for_others(bool(session.visitor.name)):
                return work(noted)

    return later


def waiting_words(place: int, seconds: float | None) -> str:
    """What the screen says to who waits."""
    first = "other work on this machine goes first" if place <= 1 else f"{place} pieces of other work go first"
    if seconds is None:
        return f"Waiting: {first}…"
    return f"Waiting: {first}, about {_duration(seconds)}…"


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
