"""Browser tabs come, are reloaded, are duplicated and go: each finds the session that is its own."""

from collections.abc import Callable

from tada_studio.app.state import TabState
from tada_studio.errors import TadaError
from tada_studio.session.store import Allowed, Found, SessionStore, Stores
from tada_studio.session.visitor import Visitor

#: The tab's id lives in its sessionStorage: a reload keeps it, another tab has none, a duplicated tab gets a copy of it. The
#: lock is held while the page lives, so a page that cannot have it within a moment is such a copy: it takes an id of its own
#: and says whose copy it is. Browsers have locks on https and on this machine; elsewhere the last page that came has the id.
TAB_ID = """async () => {
  const key = 'tada-studio-session';
  const fresh = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, '0')).join('');
  const hold = (id, wait) => !navigator.locks ? true : new Promise((tell) => {
    const soon = new AbortController();
    if (wait) setTimeout(() => soon.abort(), wait);
    navigator.locks.request(key + ' ' + id, { signal: soon.signal }, () => { tell(true); return new Promise(() => {}); })
      .catch(() => tell(false));
  });
  // the page before a reload gives its lock back soon, but on a busy machine not at once
  const patience = performance.getEntriesByType('navigation')[0]?.type === 'reload' ? 5000 : 1000;
  let id = fresh(), origin = '';
  try {
    const known = sessionStorage.getItem(key);
    if (known && await hold(known, patience)) return [known, ''];
    origin = known || '';
    await hold(id, 0);
    sessionStorage.setItem(key, id);
  } catch (refused) { console.warn('this page keeps no session:', refused); }
  return [id, origin];
}"""


class BrowserTabs:
    """All pages that are open now. ``page`` is gradio's name for one page load, ``tab`` the browser tab's own id.

    new: what a visitor's tab finds that has no session yet; allowed: raises TadaError for what may not be opened here
    """

    def __init__(self, new: Callable[[Visitor], TabState], allowed: Allowed, stores: Stores) -> None:
        self.new, self.allowed, self.stores = new, allowed, stores
        self.states: dict[str, TabState] = {}

    def store(self, state: TabState) -> SessionStore:
        """Where the sessions of this tab's visitor are kept."""
        return self.stores.of(state.visitor)

    def begin(self, page: str, tab: str, origin: str = "", visitor: str = "") -> TabState:
        """The state of a page that was just loaded: as the tab left it, or a copy of the ``origin`` tab's, or a new one."""
        store = self.stores.of(visitor)
        store.prune()
        self._make_room(store.visitor)
        state = self.states[page] = self._state(store, tab, origin)
        state.visitor = visitor
        return state

    def _make_room(self, visitor: Visitor) -> None:
        """A visitor's tabs that were opened first are put away when there are too many; each goes on when it is used again."""
        most = visitor.limits.sessions
        mine = [page for page, state in list(self.states.items()) if state.visitor == visitor.name]
        for page in mine[: len(mine) + 1 - most] if most is not None and len(mine) >= most else []:
            self.leave(page)

    def _state(self, store: SessionStore, tab: str, origin: str) -> TabState:
        message = ""
        try:
            if found := store.resume(tab, self.allowed):
                return _kept(store, _resumed(found, "Your session is back as you left it."), tab, resumed=True)
            if origin and (found := store.copy(origin, self.allowed)):
                return _kept(store, _resumed(found, "This tab is a copy of the other one and goes its own way."), tab)
        except TadaError as error:
            message = f"The last session cannot go on. {error}"
        state = self.new(store.visitor)
        state.acted(message or state.message)
        return _kept(store, state, tab)

    def go_on_with(self, state: TabState, key: str) -> str:
        """Make a saved session this tab's; says what came back. What was there before stays in the list of sessions."""
        store = self.store(state)
        session, remarks = store.open(key, self.allowed)
        before, autosave = state.session, state.autosave
        before.stop()
        if autosave is not None:
            worth = before.can_undo or before.runs
            autosave.stop()
            if worth:
                store.set_aside(autosave.folder)
            state.autosave = store.keep(session, autosave.folder.name)
        state.session = session
        before.close()
        session.on_change()
        name = f"Project “{session.project}”" if session.project else "The earlier session"
        return " ".join([f"{name} is open.", *remarks])

    def leave(self, page: str) -> None:
        """The page is closed or was reloaded."""
        if state := self.states.pop(page, None):
            state.leave()


def _kept(store: SessionStore, state: TabState, tab: str, resumed: bool = False) -> TabState:
    try:
        state.autosave = store.keep(state.session, tab, resumed)
    except TadaError:
        state.autosave = None  # not a browser: a script that came without an id
    return state


def _resumed(found: Found, message: str) -> TabState:
    session, remarks = found
    state = TabState(session)
    state.acted(" ".join([message, *remarks]))
    return state
