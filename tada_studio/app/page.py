"""The page: its tabs in the order of the pipeline, and what they share. A tab knows no other tab."""

import weakref
from dataclasses import dataclass, field
from functools import partial

import gradio as gr

from tada_studio.app.api import add_endpoints
from tada_studio.app.browser_tabs import TAB_ID, BrowserTabs
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.sidebar import sidebar
from tada_studio.app.state import TabState, close
from tada_studio.app.tabs.evaluate.tab import evaluate_tab
from tada_studio.app.tabs.export.tab import export_tab
from tada_studio.app.tabs.help import help_tab
from tada_studio.app.tabs.inspect.tab import inspect_tab
from tada_studio.app.tabs.open.tab import open_tab
from tada_studio.app.tabs.try_it import try_tab
from tada_studio.app.tabs.tune import tune_tab
from tada_studio.app.widgets.messages import speaking, user_errors
from tada_studio.app.widgets.panel import READ, Panel, Updates, all_updates, listen_early, together
from tada_studio.app.widgets.plot_panel import served
from tada_studio.errors import TadaError
from tada_studio.session.store import SessionStore, home

#: On a phone the sidebar would lie over the whole page.
_FOLD_SIDEBAR = "() => { if (innerWidth < 768) document.querySelector('#side .toggle-button')?.click(); }"

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

    def state(self) -> TabState:
        """A new state; if the start cannot be opened it is empty and says why."""
        state = TabState()
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
    with gr.Blocks(
        title="TaDA Studio", fill_width=True, analytics_enabled=False, delete_cache=(3600, 24 * 3600)
    ) as demo:
        # made in demo.load below: a class as the default of a gr.State would become a public endpoint
        state = gr.State(None, delete_callback=close)
        store = SessionStore(home(), shared=start.paths.hosted)
        weakref.finalize(demo, store.close)  # at the latest when this process ends
        browser_tabs = BrowserTabs(start.state, start.allowed, store)
        always = sidebar(state, browser_tabs)
        tabs: dict[str, tuple[gr.Tab, Panel]] = {}
        first = "inspect" if start.sample or start.task else "open"
        with gr.Tabs(selected=first, elem_id="tabs", overflow_behavior="wrap"):
            for name, build in {
                "open": partial(open_tab, state, start.paths),
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
        add_endpoints(start.paths)
    return demo.queue(max_size=64, default_concurrency_limit=4)


def _wire(
    demo: gr.Blocks, state: gr.State, always: Panel, tabs: dict[str, tuple[gr.Tab, Panel]], browser_tabs: BrowserTabs
) -> None:
    panels = [always, *(panel for _, panel in tabs.values())]
    everything = [component for panel in panels for component in panel.components]

    def show_all(state: TabState) -> Updates:
        return all_updates(panels, state)

    def begin(tab: str, origin: str, request: gr.Request) -> Updates:
        with speaking():
            opened = browser_tabs.begin(str(request.session_hash), tab, origin)
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
            change.success(user_errors(show_all), state, everything, **READ)
        for event in panel.news:
            listen_early(event.then, always.show, [state], always.at, **READ)
    for name, (tab, panel) in tabs.items():
        # a tab shows what happened on the others; the map looks after itself
        shown = together({"always": always} if name == "inspect" else {"always": always, "tab": panel})
        listen_early(tab.select, shown.show, [state], shown.at, **READ)
