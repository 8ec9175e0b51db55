"""Long work on the screen: a button that begins it, one that stops it, a bar, and one of four outcomes.

done     it came to its end
stopped  a person stopped it, what was finished stays
failed   an error ended it on its way
refused  it did not begin: something that it needs is missing
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.estimate import Pace, Stopwatch, base_of
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.panel import READ, WORK, Named, listen, words
from tada_studio.app.work_queue import WAITING
from tada_studio.app.work_queue import in_turn as in_turn
from tada_studio.errors import InputError, Stopped, TadaError
from tada_studio.progress import Progress, ProgressFn, never, stream
from tada_studio.session import Session

T = TypeVar("T")

#: What is said of work that could not end at once.
LEFT = "Stopped. What is being computed at this moment ends by itself; what was there before is kept."
#: Seconds between two updates of a progress bar; more often only keeps the browser busy.
EVERY = 0.12


def _nothing() -> Named:
    return {}


@dataclass(frozen=True)
class Job:
    """A piece of long work that may begin.

    work:    does it, calling ``progress``
    show:    what the screen shows of it so far, by name
    mark:    changes when ``show`` has something new: a chart is not drawn anew at every step
    first:   what is shown when it begins;  held: what stays so while it runs
    done, stopped, failed: what the bar says at the end, of the result or of what ended it
    says:    what the bar says of a step
    pace:    what of it is measured, for the estimate before the next one
    """

    work: Callable[[ProgressFn], Any]
    show: Callable[[], Named] = _nothing
    mark: Callable[[], Any] = _nothing
    first: Named = field(default_factory=dict)
    held: Named = field(default_factory=dict)
    done: Callable[[Any], str] = lambda result: "Done."
    stopped: Callable[[Stopped], str] = str
    failed: Callable[[Exception], str] = str
    says: Callable[[Progress], str] = html.progress_words
    pace: Pace | None = None


#: Looks at what a person asked for and gives the job. Raises TadaError if it cannot begin.
Prepare = Callable[..., Job]


@dataclass(frozen=True)
class LongTask:
    """The controls of one kind of long work.

    starts: the buttons that begin it, by name;  stop, bar: where it is stopped, and says how far it is
    """

    starts: Mapping[str, gr.Button]
    stop: gr.Button
    bar: gr.HTML

    @property
    def at(self) -> dict[str, Block]:
        return {**self.starts, "stop": self.stop, "bar": self.bar}

    def begins(
        self, state: gr.State, start: str, prepare: Prepare, inputs: list[Any], at: Mapping[str, Block]
    ) -> Dependency:
        """The button named ``start`` begins what ``prepare(state, *inputs)`` gives; ``at``: what the job shows."""
        handler = running(prepare, tuple(self.starts))
        return listen(self.starts[start].click, handler, [state, *inputs], {**self.at, **at}, **WORK)

    def can_stop(self, state: gr.State) -> None:
        """Wire the stop button, once for all that begins here."""
        self.stop.click(user_errors(ask_to_stop), state, None, **READ)


def stop_button(elem_id: str) -> gr.Button:
    """Call inside a layout."""
    return gr.Button("Stop", variant="stop", interactive=False, elem_id=elem_id, elem_classes="act", min_width=90)


def bar(text: str, elem_id: str) -> gr.HTML:
    """An empty bar. Call inside a layout."""
    return words(html.progress_bar(None, text), elem_id=elem_id)


def ask_to_stop(state: TabState) -> None:
    """Whatever runs for this browser tab is asked to stop; what is finished stays."""
    state.session.stop()


def running(prepare: Prepare, starts: tuple[str, ...]) -> Callable[..., Iterator[Named]]:
    """A handler that carries out the job, in its turn, and says where it is and how it ended."""

    def handler(state: TabState, *values: Any) -> Iterator[Named]:
        try:
            job = prepare(state, *values)
        except TadaError as refused:
            yield {"bar": html.ended_bar("refused", str(refused))}
            raise
        try:
            yield {**job.first, **_running("Starting…", starts), **job.held}
            result = yield from _steps(state.session, job, starts)
            yield {**_ended("done", job.done(result), starts), **job.show()}
        except Stopped as stopped:
            yield {**_ended("stopped", job.stopped(stopped), starts), **job.show()}
        except Exception as error:
            message = job.failed(error) if isinstance(error, TadaError) else "It ended in an error."
            yield {**_ended("failed", message, starts), **job.show()}
            raise

    return handler


def _steps(session: Session, job: Job, starts: tuple[str, ...]) -> Generator[Named, None, Any]:
    """An update for each step of the work; returns its result."""
    mark, result = job.mark(), cast(Any, None)
    before, watch = session.stops, Stopwatch(job.pace, base_of(session)) if job.pace is not None else None
    latest = Progress("", 0, 0)

    def gives_up() -> Stopped | None:
        if session.stops == before:
            return None
        return Stopped("Stopped while it waited." if latest.step == WAITING else LEFT)

    for step in _watched(steps(in_turn(session, job.work), gives_up), watch):
        if isinstance(step, Progress):
            now, latest = job.mark(), step
            shown, mark = (job.show() if now != mark else {}), now
            yield {**shown, **_running(step, starts, job.says(step)), **job.held}
        else:
            result = step
    return result


def _watched(found: Iterator[Progress | T], watch: Stopwatch | None) -> Iterator[Progress | T]:
    """The same steps; what was seen of their pace is kept at the end, also if that is an error."""
    try:
        for step in found:
            if watch is not None and isinstance(step, Progress):
                watch.saw(step)
            yield step
    finally:
        if watch is not None:
            watch.keep()


def _running(at: Progress | str, starts: tuple[str, ...], text: str = "") -> Named:
    made = html.progress_bar(None, at) if isinstance(at, str) else html.progress_bar(at, text)
    return {**{name: gr.update(interactive=False) for name in starts}, "stop": gr.update(interactive=True), "bar": made}


def _ended(outcome: str, text: str, starts: tuple[str, ...]) -> Named:
    free = {name: gr.update(interactive=True) for name in starts}
    return {**free, "stop": gr.update(interactive=False), "bar": html.ended_bar(outcome, text)}


def steps(work: Callable[[ProgressFn], T], gives_up: Callable[[], Exception | None] = never) -> Iterator[Progress | T]:
    """``stream`` with the progress thinned out; the result always comes."""
    shown = 0.0
    for step in stream(work, gives_up):
        now = time.monotonic()
        if not isinstance(step, Progress) or now - shown >= EVERY:
            shown = now
            yield step


def uploaded(path: str, read: Callable[[str], T]) -> T:
    """``read(path)``, with errors that call the file by its own name instead of the place it was uploaded to."""
    try:
        return read(path)
    except TadaError as error:
        raise type(error)(str(error).replace(path, Path(path).name)) from error


def whole(value: Any, what: str) -> int:
    """A number that a person typed. Raises InputError."""
    try:
        return int(value or 0)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{what} must be a whole number.") from None
