"""The page: its tabs in the order of the pipeline, and what they share. A tab knows no other tab."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gradio as gr

from tada_studio.app.api import add_endpoints
from tada_studio.app.browser_tabs import TAB_ID, Visits
from tada_studio.app.paths import Places
from tada_studio.app.sidebar import sidebar
from tada_studio.app.state import Desk, close
from tada_studio.app.tabs.evaluate.tab import evaluate_tab
from tada_studio.app.tabs.export.tab import export_tab
from tada_studio.app.tabs.help import help_tab
from tada_studio.app.tabs.inspect.tab import inspect_tab
from tada_studio.app.tabs.open.tab import open_tab
from tada_studio.app.tabs.try_it import try_tab
from tada_studio.app.tabs.tune import tune_tab
from tada_studio.app.widgets.messages import speaking, spoken
from tada_studio.app.widgets.panel import READ, Part, skip_early
from tada_studio.app.widgets.plot_panel import served
from tada_studio.errors import TadaError
from tada_studio.session.store import Shelf, home

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
    places: Places = field(default_factory=Places)

    def desk(self) -> Desk:
        """A new desk; if the start cannot be opened it is empty and says why."""
        desk = Desk()
        try:
            if self.task and self.domain:
                desk.session.open(self.task, self.domain, self.base)
            elif self.sample:
                desk.session.open_sample(self.sample)
        except TadaError as error:
            desk.acted(str(error))
        return desk

    def allowed(self, ref: str) -> str:
        """Raises InputError for what may not be opened here, unless it is what this app was started with."""
        return ref if ref in (self.task, self.domain, self.base) else self.places.checked(ref, "The last session")


def page(start: Start) -> gr.Blocks:
    """The whole app, not yet served."""
    gr.set_static_paths(served())
    with gr.Blocks(
        title="TaDA Studio", fill_width=True, analytics_enabled=False, delete_cache=(3600, 24 * 3600)
    ) as demo:
        # made in demo.load below: a class as the default of a gr.State would become a public endpoint
        desk = gr.State(None, delete_callback=close)
        visits = Visits(start.desk, start.allowed, Shelf(home(), shared=start.places.hosted))
        parts = [sidebar(desk, visits)]
        tabs = []
        first = "inspect" if start.sample or start.task else "open"
        with gr.Tabs(selected=first, elem_id="tabs", overflow_behavior="wrap"):
            for name, build in {
                "open": partial(open_tab, desk, start.places),
                "inspect": partial(inspect_tab, desk),
                "evaluate": partial(evaluate_tab, desk, start.places),
                "tune": partial(tune_tab, desk),
                "try": partial(try_tab, desk),
                "export": partial(export_tab, desk, start.places),
                "help": partial(help_tab, desk),
            }.items():
                with gr.Tab(_LABELS.get(name, name.capitalize()), id=name, elem_id=f"tab-{name}") as tab:
                    parts.append(build())
                tabs.append(tab)
        _wire(demo, desk, parts, tabs, visits)
        add_endpoints(start.places)
    return demo.queue(max_size=64, default_concurrency_limit=4)


def _wire(demo: gr.Blocks, desk: gr.State, parts: Sequence[Part], tabs: Sequence[gr.Tab], visits: Visits) -> None:
    everything = [component for part in parts for component in part.components]

    def show_all(desk: Desk) -> list[Any]:
        return [update for part in parts for update in part.show(desk)]

    def begin(tab: str, origin: str, request: gr.Request) -> list[Any]:
        with speaking():
            desk = visits.begin(str(request.session_hash), tab, origin)
            return [desk, *show_all(desk)]

    def leave(request: gr.Request) -> None:
        visits.leave(str(request.session_hash))

    # where the browser's answer goes on its way to Python; a gr.State would not take it
    told = [gr.Textbox(visible=False), gr.Textbox(visible=False)]
    demo.load(begin, told, [desk, *everything], js=TAB_ID, **READ)
    demo.unload(leave)
    demo.load(None, None, None, js=_FOLD_SIDEBAR, api_visibility="private")
    for part in parts:
        for change in part.changes:
            change.success(spoken(show_all), desk, everything, **READ)
        for event in part.news:
            event.then(skip_early(spoken(parts[0].show), len(parts[0].components)), desk, parts[0].components, **READ)
    always, *by_tab = parts
    for tab, part in zip(tabs, by_tab, strict=True):
        # a tab shows what happened on the others; the map looks after itself
        fresh = [always] if tab is tabs[1] else [always, part]
        outputs = [component for part in fresh for component in part.components]
        tab.select(skip_early(spoken(partial(_show, fresh)), len(outputs)), desk, outputs, **READ)


def _show(parts: Sequence[Part], desk: Desk) -> list[Any]:
    return [update for part in parts for update in part.show(desk)]
