"""What a tab hands to the page, and how events are queued."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from tada_studio.app.state import TabState

#: Reading what is there: at once, for everybody. Never queue=False, which loses toasts and all but the first yield.
#: Progress is shown on nothing, [], and not only hidden: gradio's page would copy every component's properties, all figures
#: among them, four times a call.
READ: dict[str, Any] = {
    "show_progress": "hidden", "show_progress_on": [], "api_visibility": "private", "concurrency_limit": None,
}  # fmt: skip
#: Changing the recipe: strictly one after the other, or fast strokes would overtake each other.
EDIT: dict[str, Any] = {**READ, "concurrency_id": "edit", "concurrency_limit": 1, "trigger_mode": "multiple"}
#: The same for a slider: of what piles up while it moves only the last position counts.
DRAG: dict[str, Any] = {**EDIT, "trigger_mode": "always_last"}
#: What takes a moment, for a few people at a time; asked for again meanwhile it is not done twice.
ONCE: dict[str, Any] = {**READ, "concurrency_limit": 4, "trigger_mode": "once"}
#: Work that fills the machine: ``long_task.in_turn`` does one piece after the other, and so many may stand in line and say so.
WORK: dict[str, Any] = {**ONCE, "concurrency_id": "work", "concurrency_limit": 12}


def words(value: str = "", elem_id: str | None = None) -> gr.HTML:
    """A place for one of the ``pieces``, free of gradio's own styling of tables and lists."""
    return gr.HTML(value, apply_default_css=False, elem_id=elem_id, elem_classes="words")


def skip_early(show: Callable[..., Any], count: int) -> Callable[..., Any]:
    """``show`` for events that can fire before the page has its desk: then nothing changes."""

    def quietly(state: TabState | None, *values: Any) -> Any:
        return [gr.skip()] * count if state is None else show(state, *values)

    return quietly


class Panel(NamedTuple):
    """One part of the page.

    components, show: ``show(desk)`` gives an update for each of the components
    changes: events after which every part has to be shown anew, because what is open or the recipe is another one
    news:    events after which the sidebar alone has something new to tell
    """

    components: list[Block]
    show: Callable[[TabState], list[Any]]
    changes: tuple[Dependency, ...] = ()
    news: tuple[Dependency, ...] = ()
