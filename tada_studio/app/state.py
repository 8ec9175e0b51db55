"""What one browser tab holds: a session, and the little that only a screen has to remember."""

import time
from dataclasses import dataclass, field
from typing import Any

from tada_studio.core.gates import Readings
from tada_studio.evaluation.shapes import Columns
from tada_studio.lora import Pair
from tada_studio.pipeline import Rack
from tada_studio.pipeline.merge import Merge
from tada_studio.session import Opened, Session
from tada_studio.session.store import Autosave

#: Turns of one knob that follow each other within this many seconds are one drag of a slider, and one step to undo.
ONE_DRAG = 1.5


@dataclass(eq=False)  # identity equality: gradio hashes what it keeps between calls
class TabState:
    """One browser tab's work.

    visitor: whose tab it is; "" for the owner of this machine
    autosave: saves the session; None for one that lives in memory only
    ack:   number of the last stroke that was answered
    cell:  (layer, projection) indexes of the cell whose spectrum is shown
    differs_from: name of what the map's differences are from; None until they are looked at
    reference: that merge
    latest: the merge that the map showed last
    before: the one that it showed last of the pair that was open before
    pinned: cells that are compared with the one that is shown
    beside: what is in sight beside the map, "knobs" or "near"
    section: which section under the map is in sight
    depth_of: what is drawn over depth, "separation" or "asymmetry"
    sourced: the pair for which the page shows where probe inputs can come from
    suggested: the pair for which Try it has suggested a prompt
    message: what just happened, in words
    archive: the zip of the last export
    role: (pair, what a person says its adapters are to each other), against what was found
    rack: the adapters that were last compared with each other
    ticked: numbers of the runs that are marked to be compared
    linked: by knob, what a second control of it shows
    cells: what the page's list of cells offers; None before it was filled
    all_methods: whether Evaluate offers every method, or those that everybody knows
    shown_run: number of the run whose scores are shown; None: the latest
    planned: what each long task was last set to, for its estimate
    items: files of own items, of the domain and of the task
    columns: by file, which of its columns hold what, where a person said so
    against: the variant that the cards of Evaluate compare with
    compared: (name, pair, readings) of other readings drawn in the depth profile
    """

    session: Session = field(default_factory=Session)
    visitor: str = ""
    autosave: Autosave | None = None
    ack: int | None = None
    cell: tuple[int, int] = (0, 0)
    differs_from: str | None = None
    reference: Merge | None = None
    latest: Merge | None = None
    before: Merge | None = None
    pinned: tuple[tuple[int, int], ...] = ()
    beside: str = "knobs"
    section: str = "cell"
    depth_of: str = "separation"
    sourced: Opened | None = None
    suggested: Opened | None = None
    message: str = ""
    archive: str | None = None
    role: tuple[Pair, str] | None = None
    rack: Rack | None = None
    ticked: tuple[int, ...] = ()
    linked: dict[str, Any] = field(default_factory=dict)
    cells: list[tuple[str, str]] | None = None
    all_methods: bool = False
    shown_run: int | None = None
    planned: dict[str, tuple] = field(default_factory=dict)
    items: tuple[str | None, str | None] = (None, None)
    columns: dict[str, Columns] = field(default_factory=dict)
    against: str = "task"
    compared: tuple[str, Pair, Readings] | None = None
    _turned: tuple[str, float] = ("", 0.0)

    def turn(self, name: str, value: Any) -> None:
        """Set one knob; a drag through many values is one step to undo."""
        session, (before, when) = self.session, self._turned
        now = time.monotonic()
        with session.lock:
            same_drag = name == before and now - when < ONE_DRAG and session.can_undo
            if same_drag:
                session.undo()
            try:
                session.turn(**{name: value})
            except Exception:
                if same_drag:
                    session.redo()
                raise
        self._turned = (name, now)

    def acted(self, message: str) -> None:
        """Note what just happened; whatever is turned next is a step of its own."""
        self.message, self._turned = message, ("", 0.0)

    def leave(self) -> None:
        """The browser tab is closed: stop what runs for it, save, and hold nothing in memory or in temporary folders."""
        session = self.session
        session.stop()
        if self.autosave is not None:
            self.autosave.stop()
            self.session = Session()
        session.close()

    def awake(self) -> None:
        """A tab that was thought closed and had only lost its connection goes on. Raises TadaError if it cannot."""
        if self.autosave is not None and self.autosave.stopped:
            self.session, self.autosave = self.autosave.again()


def close(state: TabState | None) -> None:
    """What gradio calls an hour after a browser tab was closed."""
    if state is not None:
        state.leave()
