"""Bad inputs in, one sentence out: within five seconds, without writing anywhere, in bounded memory."""

import signal
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # pico lies one folder up

from tada_studio.errors import TadaError

SECONDS, MEGABYTES = 5, 300


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """``refused(verb, *arguments)``: the sentence that the verb refuses with; anything else that happens fails the test."""
    outside = tmp_path / "outside"
    outside.mkdir()

    def call(verb: Callable[..., object], *arguments: object) -> str:
        before = _listing(tmp_path)
        with _AtMostFiveSeconds():
            says = _sentence(verb, *arguments)
        tracemalloc.start()  # which takes time of its own
        try:
            _sentence(verb, *arguments)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < MEGABYTES * 1e6
        assert _listing(tmp_path) == before, "something was written"
        assert says.endswith(".") and len(says) < 900 and all(c.isprintable() for c in says), says
        return says

    yield call


def _sentence(verb: Callable[..., object], *arguments: object) -> str:
    try:
        verb(*arguments)
    except TadaError as error:
        return str(error)
    pytest.fail(f"was taken: {arguments}")


def _listing(folder: Path) -> list[str]:
    """Every name under the folder, but for what lies in a target that an archive may be unpacked into."""
    return sorted(str(path) for path in folder.rglob("*") if "target" not in path.relative_to(folder).parts)


class Late(BaseException):
    """Not an Exception, least of all an OSError: nothing under test may take it for one of its own."""


class _AtMostFiveSeconds:
    """Of this process's own time, so that a busy machine fails nothing; and half a minute by the clock for what waits."""

    def __enter__(self) -> None:
        def late(*_: object) -> None:
            raise Late(f"took more than {SECONDS} s")

        self.before = signal.signal(signal.SIGALRM, late), signal.signal(signal.SIGPROF, late)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(6 * SECONDS)

    def __exit__(self, *_: object) -> None:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGALRM, self.before[0])
        signal.signal(signal.SIGPROF, self.before[1])
