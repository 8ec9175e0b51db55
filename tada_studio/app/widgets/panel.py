"""What a tab hands to the page, and how events are wired: a handler answers with updates by name, never with a counted list."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, no_type_check

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from tada_studio.app.fair_queue import EDIT_LANE, WORK_LANE
from tada_studio.app.state import TabState
from tada_studio.app.widgets.messages import is_generator, user_errors

#: Reading what is there: at once, for everybody. Never queue=False, which loses toasts and all but the first yield.
#: Progress is shown on nothing, [], and not only hidden: gradio's page would copy every component's properties, all figures
#: among them, four times a call.
READ: dict[str, Any] = {
    "show_progress": "hidden", "show_progress_on": [], "api_visibility": "private", "concurrency_limit": None,
}  # fmt: skip
#: Changing the recipe: strictly one after the other on each page, or fast strokes would overtake each other.
EDIT: dict[str, Any] = {**READ, "concurrency_id": EDIT_LANE, "trigger_mode": "multiple"}
#: The same for a slider: of what piles up while it moves only the last position counts.
DRAG: dict[str, Any] = {**EDIT, "trigger_mode": "always_last"}
#: What takes a moment, for a few people at a time; asked for again meanwhile it is not done twice.
ONCE: dict[str, Any] = {**READ, "concurrency_limit": 4, "trigger_mode": "once"}
#: Work that fills the machine: ``in_turn`` does one job after the other; all may stand in line, and see their place.
WORK: dict[str, Any] = {**ONCE, "concurrency_id": WORK_LANE, "concurrency_limit": None}

#: What a handler answers: a value or a ``gr.update`` by the name that its panel gave to a component. What is left out stays
#: as it is.
Named = dict[str, Any]
#: The same by component, as gradio takes it.
Updates = dict[Block, Any]


def words(value: str = "", elem_id: str | None = None) -> gr.HTML:
    """A place for the HTML of ``widgets.html``, free of gradio's own styling of tables and lists."""
    return gr.HTML(value, apply_default_css=False, elem_id=elem_id, elem_classes="words")


@dataclass(frozen=True)
class Panel:
    """One part of the page.

    at:      its components by name
    show:    ``show(state)`` gives updates that make them show the state
    changes: events after which every part has to be shown anew, because what is open or the recipe is another one
    news:    events after which the sidebar alone has something new to tell
    """

    at: Mapping[str, Block]
    show: Callable[[TabState], Named]
    changes: tuple[Dependency, ...] = ()
    news: tuple[Dependency, ...] = ()

    @property
    def components(self) -> list[Block]:
        return list(self.at.values())

    def updates(self, state: TabState) -> Updates:
        return placed(self.at, self.show(state))


def together(panels: Mapping[str, Panel]) -> Panel:
    """Several panels as one, whose names are "panel.name"."""

    def show(state: TabState) -> Named:
        return {f"{key}.{name}": update for key, panel in panels.items() for name, update in panel.show(state).items()}

    at = {f"{key}.{name}": component for key, panel in panels.items() for name, component in panel.at.items()}
    changes = tuple(change for panel in panels.values() for change in panel.changes)
    return Panel(at, show, changes, tuple(news for panel in panels.values() for news in panel.news))


def all_updates(panels: Mapping[str, Panel] | list[Panel], state: TabState) -> Updates:
    """What all of them show, by component."""
    many = panels.values() if isinstance(panels, Mapping) else panels
    return {component: update for panel in many for component, update in panel.updates(state).items()}


def placed(at: Mapping[str, Block], news: Named) -> Updates:
    """Updates by component. A name that the panel does not have is a mistake in the code, and raises KeyError."""
    return {at[name]: update for name, update in news.items()}


def answer(updates: Updates | None) -> Any:
    """As gradio takes it: an empty dict would be taken for a value."""
    return updates or gr.skip()


def answering(handler: Callable[..., Any], at: Mapping[str, Block]) -> Callable[..., Any]:
    """``handler``, a function or a generator function that answers by name, as gradio calls it."""

    @functools.wraps(handler)
    def call(*args: Any) -> Any:
        return answer(placed(at, handler(*args) or {}))

    @functools.wraps(handler)
    @no_type_check  # the type checker of the tests would wrap it, and gradio not see a generator function any more
    def stream(*args: Any) -> Iterator[Any]:
        for news in handler(*args):
            yield answer(placed(at, news))

    return stream if is_generator(handler) else call


def listen(
    event: Callable[..., Dependency],
    handler: Callable[..., Any],
    inputs: list[Any],
    at: Mapping[str, Block],
    **how: Any,
) -> Dependency:
    """Call ``handler(*inputs)`` at the event; its answer goes to the components by their names, its errors to the person."""
    return event(user_errors(answering(handler, at)), inputs, list(at.values()), **how)


def listen_early(
    event: Callable[..., Dependency],
    handler: Callable[..., Any],
    inputs: list[Any],
    at: Mapping[str, Block],
    **how: Any,
) -> Dependency:
    """The same for events that can fire before the page has its state: then nothing changes."""

    def quietly(state: TabState | None, *values: Any) -> Any:
        return {} if state is None else wrapped(state, *values)

    wrapped = user_errors(handler)
    return event(answering(quietly, at), inputs, list(at.values()), **how)
