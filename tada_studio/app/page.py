"""The page: its tabs in the order of the pipeline, and what they share. A tab knows no other tab."""

import os
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import gradio as gr

from tada_studio import scratch
from tada_studio.app import page_states, shared_machine
from tada_studio.app.api import add_endpoints
from tada_studio.app.browser_tabs import TAB_ID, BrowserTabs
from tada_studio.app.fair_queue import FairQueue
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.sidebar import sidebar, top_line
from tada_studio.app.state import TabState, close
from tada_studio.app.tabs.evaluate.tab import evaluate_tab
from tada_studio.app.tabs.export.tab import export_tab
from tada_studio.app.tabs.help import help_tab
from tada_studio.app.tabs.inspect.tab import inspect_tab
from tada_studio.app.tabs.open.tab import open_tab
from tada_studio.app.tabs.try_it import try_tab
from tada_studio.app.tabs.tune import tune_tab
from tada_studio.app.visitors import Visitors
from tada_studio.app.widgets.messages import speaking, user_errors
from tada_studio.app.widgets.panel import EDIT, READ, Panel, Updates, all_updates, listen_early, together
from tada_studio.app.widgets.plot_panel import served
from tada_studio.errors import TadaError
from tada_studio.exporting import place
from tada_studio.pipeline import BASES
from tada_studio.session import Session
from tada_studio.session.limits import OWN, PUBLIC, Limits
from tada_studio.session.store import Stores, home
from tada_studio.session.visitor import HERE, OWNER, Runs, Visitor

#: On a phone the sidebar would lie over the whole page.
_FOLD_SIDEBAR = "() => { if (innerWidth < 768) document.querySelector('#side .toggle-button')?.click(); }"

#: The visitors of each app, for the server that lets them in.
VISITORS: "weakref.WeakKeyDictionary[gr.Blocks, Visitors]" = weakref.WeakKeyDictionary()
#: Seconds between two looks for what may be thrown away.
_SWEEP = 60.0
#: Seconds after which a base that nobody used leaves the memory.
_IDLE = 900.0

#: Tabs that are called otherwise than in the code.
_LABELS = {"try": "Try it", "tune": "Auto-tune"}


@dataclass(frozen=True)
class Start:
    """What every new browser tab finds open: a sample, or a pair (and perhaps its base), or nothing."""

    sample: str | None = None
    task: str | None = None
    domain: str | None = None
    base: str | None = None
    paths: AllowedPaths = field(default_factory=AllowedPaths)
    runs: Runs = HERE

    @property
    def limits(self) -> Limits:
        """What each visitor may use."""
        return PUBLIC if self.paths.hosted else OWN

    def state(self, visitor: Visitor = OWNER) -> TabState:
        """What a new tab finds; if the start cannot be opened it is empty and says why."""
        state = TabState(Session(visitor))
        try:
            if self.task and self.domain:
                state.session.open(self.task, self.domain, self.base)
            elif self.sample:
                state.session.open_sample(self.sample)
        except TadaError as error:
            state.acted(str(error))
        return state

    def allowed(self, ref: str) -> str:
        """Raises InputError for what may not be opened here, unless it is what this app was started with."""
        return ref if ref in (self.task, self.domain, self.base) else self.paths.checked(ref, "The last session")


def page(start: Start) -> gr.Blocks:
    """The whole app, not yet served."""
    gr.set_static_paths(served())
    if not start.paths.hosted:
        with suppress(OSError):  # a folder that cannot be listed
            place.sweep(start.paths.base)  # what killed exports left where the screen exports to
    # uploads and downloads, too, lie where the next start finds them if this process is killed
    os.environ.setdefault("GRADIO_TEMP_DIR", str(scratch.root() / "gradio"))
    kept = start.limits.kept_minutes or 24 * 60
    with gr.Blocks(
        title="TaDA Studio", fill_width=True, analytics_enabled=False, delete_cache=(min(3600, 5 * kept), 60 * kept)
    ) as demo:
        # made in demo.load below: a class as the default of a gr.State would become a public endpoint
        state = gr.State(None, delete_callback=close)
        visitors = VISITORS[demo] = Visitors(start.limits, apart=start.paths.hosted, runs=start.runs)
        stores = Stores(home(), visitors.visitor)
        weakref.finalize(demo, stores.close)  # at the latest when this process ends
        browser_tabs = BrowserTabs(start.state, start.allowed, stores)
        always = together({"side": sidebar(state, browser_tabs, start.limits), "top": top_line()})
        tabs: dict[str, tuple[gr.Tab, Panel]] = {}
        first = "inspect" if start.sample or start.task else "open"
        with gr.Tabs(selected=first, elem_id="tabs", overflow_behavior="wrap"):
            for name, build in {
                "open": partial(open_tab, state, start.paths, start.limits),
                "inspect": partial(inspect_tab, state),
                "evaluate": partial(evaluate_tab, state, start.paths),
                "tune": partial(tune_tab, state),
                "try": partial(try_tab, state),
                "export": partial(export_tab, state, start.paths),
                "help": partial(help_tab, state),
            }.items():
                with gr.Tab(_LABELS.get(name, name.capitalize()), id=name, elem_id=f"tab-{name}") as tab:
                    panel = build()
                tabs[name] = tab, panel
        _wire(demo, state, always, tabs, browser_tabs)
        add_endpoints(start.paths, visitors)
    demo._queue = FairQueue(demo._queue, start.limits.calls, visitors.name)
    sweep_now_and_then(stores, demo, 60 * min(60.0, kept), min(_SWEEP, 6 * kept))
    return demo


def sweep_now_and_then(stores: Stores, demo: gr.Blocks, kept: float, every: float) -> None:
    """From a thread of its own, for as long as the stores are in use. kept: seconds that a closed page is remembered."""
    there, app = weakref.ref(stores), weakref.ref(demo)

    def run() -> None:
        while (stores := there()) is not None:
            stores.sweep()
            BASES.drop_idle(_IDLE)
            if (pages := page_states.of(app())) is not None:
                pages.drop_closed(kept)
            del stores, pages
            time.sleep(every)
            shared_machine.give_back()  # not at the start, where the first page waits for this

    threading.Thread(target=run, daemon=True, name="tada-sweep").start()


def _wire(
    demo: gr.Blocks, state: gr.State, always: Panel, tabs: dict[str, tuple[gr.Tab, Panel]], browser_tabs: BrowserTabs
) -> None:
    panels = [always, *(panel for _, panel in tabs.values())]
    everything = [component for panel in panels for component in panel.components]

    def show_all(state: TabState) -> Updates:
        return all_updates(panels, state)

    def begin(tab: str, origin: str, request: gr.Request) -> Updates:
        with speaking():
            visitor = VISITORS[demo].name(request)
            opened = browser_tabs.begin(str(request.session_hash), tab, origin, visitor)
            return {state: opened, **show_all(opened)}

    def leave(request: gr.Request) -> None:
        browser_tabs.leave(str(request.session_hash))

    # where the browser's answer goes on its way to Python; a gr.State would not take it
    from_browser = [gr.Textbox(visible=False), gr.Textbox(visible=False)]
    demo.load(begin, from_browser, [state, *everything], js=TAB_ID, **READ)
    demo.unload(leave)
    demo.load(None, None, None, js=_FOLD_SIDEBAR, api_visibility="private")
    for panel in panels:
        for change in panel.changes:
            # in one line with the strokes: beside them it could show what was there before one, after that one's answer
            change.success(user_errors(show_all), state, everything, **EDIT)
        for event in panel.news:
            listen_early(event.then, always.show, [state], always.at, **READ)
    for name, (tab, panel) in tabs.items():
        # a tab shows what happened on the others; the map looks after itself
        shown = together({"always": always} if name == "inspect" else {"always": always, "tab": panel})
        listen_early(tab.select, shown.show, [state], shown.at, **READ)
