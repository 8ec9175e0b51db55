"""Gradio's event queue, made fair: strokes wait only for the same page's strokes, and nobody can fill it for everybody.

Gradio's own has one line for each ``concurrency_id``, first come first served, and one size for all: with fifty visitors a stroke
waits for forty-nine others', and one who asks for much leaves no room.
"""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from gradio.queueing import Event, EventQueue, Queue

#: Events of this ``concurrency_id`` are done one after the other for each page, whatever other pages do.
EDIT_LANE = "edit"
#: Events that wait here at once, all visitors together: what memory allows.
MOST = 4096


class FairQueue(Queue):
    """share: events that one visitor may have here, running and waiting; visitor_of: whose an event is, by its request and the
    page that sent it.
    """

    def __init__(self, like: Queue, share: int, visitor_of: Callable[[Any, str], str]) -> None:
        super().__init__(
            live_updates=like.live_updates, concurrency_count=like.max_thread_count, update_intervals=like.update_intervals,
            max_size=MOST, blocks=like.blocks, default_concurrency_limit=like.default_concurrency_limit,
        )  # fmt: skip
        self.share, self.visitor_of = share, visitor_of

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
            if event := self._next(queue, [event for event in running if event.concurrency_id == name]):
                queue.queue.remove(event)
                return [event], False, name
        return None

    def _next(self, queue: EventQueue, running: list[Event]) -> Event | None:
        """Of this line: in the lane of strokes the first whose page has none under way, else the first of whoever has least."""
        if queue.concurrency_id == EDIT_LANE:
            busy = {event.session_hash for event in running}
            return next((event for event in queue.queue if event.session_hash not in busy), None)
        if not queue.queue or (
            queue.concurrency_limit is not None and queue.current_concurrency >= queue.concurrency_limit
        ):
            return None
        has = Counter(self._visitor(event) for event in running)
        return min(queue.queue, key=lambda event: has[self._visitor(event)])

    def _visitor(self, event: Event) -> str:
        return self.visitor_of(event.request, event.session_hash)
