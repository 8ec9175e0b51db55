"""Gradio's event queue, made fair: strokes wait only for the same page's strokes, and nobody can fill it for everybody.

Gradio's own has one line for each ``concurrency_id``, first come first served, and one size for all: with fifty visitors a stroke
waits for forty-nine others', and one who asks for much leaves no room.
"""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from gradio.queueing import Event, EventQueue, Queue

from tada_studio.app.shared_machine import HANDS

#: Events of this ``concurrency_id`` are done one after the other for each page, whatever other pages do.
EDIT_LANE = "edit"
#: Events of one function that are worked on at once, unless it says otherwise.
EACH = 4
#: Events that wait here at once, all visitors together: what memory allows.
MOST = 4096
#: Long work, which mostly waits for its turn and holds up nobody meanwhile.
WORK_LANE, API_WORK_LANE = "work", "api-work"
#: Events of one visitor that are worked on at once: strokes, and all else but long work. Whoever has many pages open has no more.
STROKES, OTHERS = 2, 6
#: Seconds between two looks for an event. Gradio's thousandth of a second takes a twentieth of a core from a server that rests.
_LOOK = 0.004


class FairQueue(Queue):
    """share: events that one visitor may have here, running and waiting; visitor_of: whose an event is, by its request and the
    page that sent it.
    """

    def __init__(self, like: Queue, share: int, visitor_of: Callable[[Any, str], str]) -> None:
        super().__init__(
            live_updates=like.live_updates, concurrency_count=like.max_thread_count, update_intervals=like.update_intervals,
            max_size=MOST, blocks=like.blocks, default_concurrency_limit=EACH,
        )  # fmt: skip
        self.share, self.visitor_of = share, visitor_of
        self.sleep_when_free = _LOOK
        self.ANALYTICS_MAX_EVENTS = 1  # nobody looks at them here

    def compute_analytics_summary(self, records: Any) -> Any:
        """None: gradio would make a table of the last ten thousand events after each of them."""
        return self.cached_event_analytics_summary

    async def process_events(self, events: list[Event], *how: Any) -> None:
        """Make the answer; long work that is done meanwhile makes room for it, unless it is long work itself."""
        with nullcontext() if _kind(events[0].concurrency_id) == WORK_LANE else HANDS.answered():
            await super().process_events(events, *how)

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        """An event comes in. One too many of the same visitor is refused, with gradio's "queue is full" for that visitor."""
        visitor = self.visitor_of(request, body.session_hash or "")
        held = sum(self._visitor(event) == visitor for event in self.event_ids_to_events.values())
        if held >= self.share:
            return False, f"You have {held} requests here already. Wait for one of them.", "queue_full"
        return await super().push(body, request, username)

    def create_event_queue_for_fn(self, block_fn: Any) -> None:
        super().create_event_queue_for_fn(block_fn)
        if block_fn.concurrency_id == EDIT_LANE:
            self.event_queue_per_concurrency_id[EDIT_LANE].concurrency_limit = None  # each page has a lane of its own

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """The next event to work on: a stroke if there is one, else of a line chosen at random, as gradio does."""
        running = [event for job in self.active_jobs if job is not None for event in job]
        names = list(self.event_queue_per_concurrency_id)
        random.shuffle(names)
        for name in sorted(names, key=lambda name: name != EDIT_LANE):
            queue = self.event_queue_per_concurrency_id[name]
            if event := self._next(queue, running):
                queue.queue.remove(event)
                return [event], False, name
        return None

    def _next(self, queue: EventQueue, running: list[Event]) -> Event | None:
        """Of this line the first of whoever has least under way, and not too much; of strokes, of pages that have none."""
        if not queue.queue or (
            queue.concurrency_limit is not None and queue.current_concurrency >= queue.concurrency_limit
        ):
            return None
        kind = _kind(queue.concurrency_id)
        alike = [event for event in running if _kind(event.concurrency_id) == kind]
        has = Counter(self._visitor(event) for event in alike)
        busy = {event.session_hash for event in alike} if kind == EDIT_LANE else set()
        most = {EDIT_LANE: STROKES, WORK_LANE: MOST}.get(kind, OTHERS)
        may = (event for event in queue.queue if event.session_hash not in busy and has[self._visitor(event)] < most)
        return min(may, key=lambda event: has[self._visitor(event)], default=None)

    def _visitor(self, event: Event) -> str:
        return self.visitor_of(event.request, event.session_hash)


def _kind(lane: str) -> str:
    """Strokes, long work, or all else together."""
    return {EDIT_LANE: EDIT_LANE, WORK_LANE: WORK_LANE, API_WORK_LANE: WORK_LANE}.get(lane, "")
