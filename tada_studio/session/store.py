"""Where sessions are kept: one folder for each browser tab, saved by itself, and one for each project with a name.

    <home>/sessions/<id>/      the id is made by the browser tab; who knows it may go on with that session
    <home>/projects/<name>/

    <home>/visitors/<digest>/  the same once more for each person who signed in
    <home>/.lock               held together by all servers that use the folder

Old sessions are thrown away by age and number, projects never; and only by a server that has the folder to itself, because it does
not know which sessions another one has open.
"""

import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, NamedTuple

from tada_studio.errors import InputError, TadaError
from tada_studio.files import own_path, user_folder
from tada_studio.scratch import lock_file
from tada_studio.session.files import INDEX, Allowed, read, read_index, sweep_unfinished, write
from tada_studio.session.schema import About
from tada_studio.session.session import Session
from tada_studio.session.visitor import OWNER, Visitor

#: A change is on disk at most this many seconds after it was made.
DELAY = 0.5
#: Sessions that nobody went on with are kept for this many days, and at most so many of them.
DAYS, MOST = 30, 60
_ID = re.compile(r"[a-z0-9]{16,64}")
_NAME = re.compile(r"[\w][\w .,()+-]{0,59}")
_LOG = logging.getLogger(__name__)


def home() -> Path:
    """TADA_STUDIO_STATE, or the user's state folder; on a Space, which forgets everything anyway, a temporary one."""
    if (given := own_path("TADA_STUDIO_STATE")) is not None:
        return given
    if os.environ.get("SPACE_ID"):
        return Path(tempfile.gettempdir()) / "tada-studio-state"
    return user_folder("state")


class Saved(NamedTuple):
    """One saved session in a list. key: what to open or delete it by; when: ISO 8601 in UTC."""

    key: str
    name: str
    title: str
    edits: int
    runs: int
    when: str


#: A session, and a sentence for each part of it that had to be left out.
Found = tuple[Session, list[str]]


class SessionStore:
    """All saved sessions of one person: of this machine's user, or of one visitor.

    shared: strangers use this server together: nothing is kept for long, so there are no lists and no projects
    """

    def __init__(self, place: Path, shared: bool = False, visitor: Visitor = OWNER) -> None:
        self.place, self.shared, self.visitor = place, shared, visitor
        self.lock = threading.Lock()
        self.live: dict[str, Autosave] = {}
        self._presence = Presence(place)
        self.used = time.monotonic()

    # -- one browser tab -------------------------------------------------------------------------------------------

    def keep(self, session: Session, tab: str, resumed: bool = False) -> "Autosave":
        """Save this session from now on, whenever it changes; ``resumed``: it is what the tab's folder holds already.

        Whoever kept this tab's session before stops doing so. Raises InputError for what is no tab's id.
        """
        folder = self._session(tab)
        self._stop(tab)
        with self.lock:
            self.live[tab] = autosave = Autosave(session, folder, self, resumed)
        self._presence.enter()
        return autosave

    def resume(self, tab: str, allowed: Allowed = lambda ref: None) -> Found | None:
        """The session that a browser tab had; None if it had none. Raises TadaError, and then the tab has none any more."""
        folder = self._session(tab)
        self._stop(tab)
        if not (folder / INDEX).exists():
            return None
        try:
            return read(folder, allowed, self.visitor)
        except TadaError:
            self.set_aside(folder)
            raise

    def copy(self, tab: str, allowed: Allowed = lambda ref: None) -> Found | None:
        """The session of a tab that goes on with it; None if it has none. Raises TadaError."""
        folder = self._session(tab)
        if autosave := self.live.get(tab):
            autosave.save()
        return read(folder, allowed, self.visitor) if (folder / INDEX).exists() else None

    def _stop(self, tab: str) -> None:
        if autosave := self.live.get(tab):
            autosave.stop()

    def set_aside(self, folder: Path) -> None:
        """Give a session's folder another id: it is nobody's now, and stays in the list for a while."""
        if folder.exists():
            folder.rename(self._session(secrets.token_hex(16)))

    def _session(self, tab: str) -> Path:
        if not isinstance(tab, str) or not _ID.fullmatch(tab):
            raise InputError("This browser tab has no session of its own. Reload the page.")
        return self.place / "sessions" / tab

    def close(self) -> None:
        """Save every session that is open, a last time."""
        for autosave in list(self.live.values()):
            autosave.stop()

    # -- projects --------------------------------------------------------------------------------------------------

    def projects(self) -> list[Saved]:
        """All projects, by name."""
        return sorted(self._listed("projects"), key=lambda saved: saved.name.casefold())

    def recent(self, most: int = 8) -> list[Saved]:
        """Sessions of closed browser tabs in which something was done, latest first."""
        done = [saved for saved in self._listed("sessions") if saved.edits or saved.runs]
        there = [saved for saved in done if saved.key.split("/")[1] not in self.live]
        return sorted(there, key=lambda saved: saved.when, reverse=True)[:most]

    def _listed(self, kind: str) -> list[Saved]:
        if self.shared:
            return []
        found = (_saved(kind, folder) for folder in (self.place / kind).glob("*") if (folder / INDEX).exists())
        return [saved for saved in found if saved is not None]

    def save_as(self, session: Session, name: str) -> None:
        """Save a session as a project; its own project is replaced. Raises InputError for a name that cannot be taken."""
        self._refuse_strangers()
        name = " ".join(name.split())
        if not _NAME.fullmatch(name) or name.endswith("."):
            raise InputError(f"Project name {name!r}: use up to 60 letters, digits, blanks and . , ( ) + - _")
        folder = self.place / "projects" / name
        if folder.exists() and session.project != name:
            raise InputError(f"There is a project {name!r} already. Choose another name, or open or delete that one.")
        before, session.project = session.project, name
        try:
            state = session.state
            if state is None:
                raise InputError("Nothing is open yet, so there is nothing to save. Open two adapters first.")
            write(state, folder)
        except (OSError, TadaError) as error:
            session.project = before
            raise error if isinstance(error, TadaError) else InputError(f"Not saved: {error}.") from error
        session.on_change()

    def open(self, key: str, allowed: Allowed = lambda ref: None) -> Found:
        """A copy of what was saved, to go on with. Raises TadaError."""
        self._refuse_strangers()
        return read(self._folder(key), allowed, self.visitor)

    def delete(self, key: str) -> str:
        """Make a project a session of nobody, which is thrown away in time; says so. Raises InputError."""
        self._refuse_strangers()
        folder = self._folder(key)
        if key.split("/")[0] != "projects":
            raise InputError("Earlier sessions are thrown away by themselves.")
        (self.place / "sessions").mkdir(parents=True, exist_ok=True)
        self.set_aside(folder)
        return f"Project “{folder.name}” is deleted. For {DAYS} days it is among the earlier sessions."

    def _folder(self, key: str) -> Path:
        kind, _, name = key.partition("/")
        if kind == "sessions" and name not in self.live:
            return self._session(name)
        if kind == "projects" and _NAME.fullmatch(name):
            return self.place / "projects" / name
        raise InputError("Choose a project or an earlier session from the list.")

    def _refuse_strangers(self) -> None:
        if self.shared:
            raise InputError("This is a public server: it keeps no projects. Download recipe and readings instead.")

    # --------------------------------------------------------------------------------------------------------------

    def prune(self) -> None:
        """Throw away old sessions of nobody, unless another server uses this folder too."""
        with self._presence.alone() as alone:
            if alone:
                self._prune()

    def _prune(self) -> None:
        minutes = self.visitor.limits.kept_minutes
        too_old = time.time() - (DAYS * 24 * 3600 if minutes is None else 60 * minutes)
        there = [folder for folder in (self.place / "sessions").glob("*") if folder.name not in self.live]
        by_age = sorted(there, key=_changed, reverse=True)
        for i, folder in enumerate(by_age):
            if i >= MOST or _changed(folder) < too_old:
                shutil.rmtree(folder, ignore_errors=True)
        for folder in (*there, *(self.place / "projects").glob("*")):
            sweep_unfinished(folder)


class Presence:
    """A lock on a state folder that all servers which use it hold together."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._file: IO[bytes] | None = None

    def enter(self) -> None:
        """Say that this server uses the folder. Where no file can be written nothing is kept, and nothing has to be locked."""
        if self._file is not None:
            return
        try:
            self.place.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = (self.place / ".lock").open("ab")
        except OSError:
            return
        lock_file(self._file, shared=True, wait=True)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other server uses the folder; and while the block runs, none begins to."""
        self.enter()
        try:
            yield self._file is not None and lock_file(self._file)
        finally:
            if self._file is not None:
                lock_file(self._file, shared=True, wait=True)


class Stores:
    """The store of each visitor, by name; the owner's is the state folder itself, strangers' are temporary."""

    def __init__(self, place: Path, visitor: Callable[[str], Visitor] = lambda name: OWNER) -> None:
        self._home, self._visitor = place, visitor
        self._stores: dict[str, SessionStore] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> SessionStore:
        """The store of the visitor of this name."""
        with self._lock:
            if name not in self._stores:
                visitor = self._visitor(name)
                self._stores[name] = SessionStore(self._place(visitor), visitor.folder is not None, visitor)
            self._stores[name].used = time.monotonic()
            return self._stores[name]

    def _place(self, visitor: Visitor) -> Path:
        if visitor.folder is not None:
            return visitor.folder
        digest = sha256(visitor.name.encode()).hexdigest()[:32]
        return self._home / "visitors" / digest if visitor.name else self._home

    def close(self) -> None:
        """Save every session that is open, a last time."""
        for store in list(self._stores.values()):
            store.close()

    def sweep(self) -> None:
        """Throw away what is old, and all of a stranger who is gone and has left it for as long as it is kept."""
        for name, store in list(self._stores.items()):
            store.prune()
            minutes, folder = store.visitor.limits.kept_minutes, store.visitor.folder
            if minutes is None or folder is None or time.monotonic() - store.used < 60 * minutes:
                continue
            with self._lock:
                if not store.live:
                    shutil.rmtree(folder, ignore_errors=True)
                    del self._stores[name]


def _changed(folder: Path) -> float:
    try:
        return (folder / INDEX).stat().st_mtime
    except OSError:
        return 0.0


def _saved(kind: str, folder: Path) -> Saved | None:
    """None for what no list can show: it is damaged, or of another version."""
    try:
        content = read_index(folder)
        about = About.model_validate(content["about"])
        name = folder.name if kind == "projects" else ""
        return Saved(
            f"{kind}/{folder.name}", name, about.title, about.edits, about.runs, str(content["saved"])
        )  # fmt: skip
    except (TadaError, KeyError, TypeError, ValueError):
        return None


class Autosave:
    """Saves one session to its folder, soon after each change, from a thread of its own.

    stopped: nothing is saved any more: the tab is closed, or its session went on elsewhere
    problem: why the last attempt failed, in words; "" if it did not
    """

    def __init__(self, session: Session, folder: Path, store: SessionStore, resumed: bool) -> None:
        self.session, self.folder, self.store = session, folder, store
        self.stopped, self.problem = False, ""
        self._saved = session.state if resumed else None
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()
        session.on_change = self.changed

    def changed(self) -> None:
        """Save within ``DELAY`` seconds, unless that is already on its way."""
        if self._timer is None and not self.stopped:
            self._timer = threading.Timer(DELAY, self.save)
            self._timer.daemon = True
            self._timer.start()

    def save(self) -> None:
        """Save now."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None  # before the state is looked at: what changes from here on is saved next time
            if self.stopped:
                return
            try:
                self._write()
                self.problem = ""
            except Exception as error:  # a full disk must not end the work
                _LOG.exception("a session could not be saved")
                self.problem = f"This session could not be saved ({error})."

    def again(self) -> tuple[Session, "Autosave"]:
        """The session and a new autosave, for a tab that had only lost its connection. Raises TadaError."""
        tab = self.folder.name
        if tab in self.store.live:
            raise InputError("This session goes on in another tab or window. Reload this page to work here too.")
        if (found := self.store.resume(tab)) is None:
            raise InputError("This page was away for too long. Reload it to start anew.")
        return found[0], self.store.keep(found[0], tab, resumed=True)

    def _write(self) -> None:
        state, before = self.session.state, self._saved
        if state is None:
            return
        if before is not None and before.opened is not state.opened and (before.undo or before.runs):
            self.store.set_aside(self.folder)  # another pair was opened: the work on the last one is not lost
        opened = write(state, self.folder)
        if opened != state.opened:
            with self.session.lock:
                if self.session.opened is state.opened:
                    self.session.opened = opened
            state = state._replace(opened=opened)
        self._saved = state

    def stop(self) -> None:
        """Save a last time."""
        with self._lock:
            self.save()
            self.stopped = True
        self.session.on_change = lambda: None
        self.session = Session()  # nothing of a closed tab stays in memory
        with self.store.lock:
            if self.store.live.get(self.folder.name) is self:
                del self.store.live[self.folder.name]
