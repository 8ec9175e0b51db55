"""How long a button will keep somebody waiting, shown before it is pressed, from what this machine was measured to do."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tada_studio.progress import LOAD, Progress
from tada_studio.session import Session
from tada_studio.session.rates import RATES, Estimate

_NONE: Mapping[str, int | float] = MappingProxyType({})
#: Where nothing was measured yet nothing is promised.
UNKNOWN = "How long this takes is known here once it was done for the first time."


@dataclass(frozen=True)
class Pace:
    """What is measured of a job: units of a kind of work, in the steps of that name.

    units: all that the steps of this name do together, from their first to their last
    by_note: count only time between two steps with the same note: what comes out of a cache makes no steps of its own
    """

    kind: str
    step: str
    units: int | float
    by_note: bool = True


@dataclass
class Stopwatch:
    """Looks at the steps of one job, and keeps what it saw of its pace and of the base on its way into memory."""

    pace: Pace
    base: str
    _units: float = 0.0
    _seconds: float = 0.0
    _last: tuple[Progress, float] | None = field(default=None, repr=False)
    _loads: list[float] = field(default_factory=list, repr=False)

    def saw(self, step: Progress) -> None:
        now = time.monotonic()
        if step.step == LOAD:
            self._loads.append(now)
        if step.step == self.pace.step and self._last is not None and step.total:
            before, when = self._last
            same = before.step == step.step and (before.note == step.note or not self.pace.by_note)
            if same and step.done > before.done:
                self._units += self.pace.units * (step.done - before.done) / step.total
                self._seconds += now - when
        self._last = step, now

    def keep(self) -> None:
        """At the end of the job, however it ended."""
        RATES.note(self.pace.kind, self.base, self._units, self._seconds)
        if len(self._loads) > 1:
            RATES.note(LOAD, self.base, 1, self._loads[-1] - self._loads[0])


def base_of(session: Session) -> str:
    """What rates of the session's base go by."""
    return session.base.ref if session.base is not None else session.base_ref or ""


def estimated(
    session: Session, kind: str, units: int | float, what: str, like: str = "", also: Mapping[str, int | float] = _NONE
) -> str:
    """About how long ``what`` (so many units of a kind of work) will take with the session's base; "" without one.

    like: a kind whose units take about as long, for as long as this one was never measured
    also: other things of the same kind, and their units
    """
    base = base_of(session)
    if not base or not units:
        return ""
    found = RATES.estimate(kind, base, units)
    if found is None and like and (alike := RATES.estimate(like, base, units)) is not None:
        found = alike._replace(exact=False)
    if found is None:
        return UNKNOWN
    load = RATES.estimate(LOAD, base, 1) if session.base is None else None
    more = f", after about {duration(load.seconds)} to load the base" if load is not None and load.seconds > 1.5 else ""
    others = [f"{duration(found.seconds * n / units)} for {other}" for other, n in also.items() if n]
    return f"{', '.join([f'{_start(found)} for {what}', *others])}{more}."


def _start(found: Estimate) -> str:
    return (
        f"About {duration(found.seconds)}"
        if found.exact
        else f"Roughly {duration(found.seconds)} (judged by other work)"
    )


def duration(seconds: int | float) -> str:
    """In words, no finer than anybody can know."""
    if seconds < 1.5:
        return "a second"
    if seconds < 90:
        return f"{round(seconds) if seconds < 20 else 5 * round(seconds / 5)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
