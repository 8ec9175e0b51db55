"""What gradio keeps for each page that was ever loaded: here the page's state and no more, and only for a while after it closed.

Gradio's own keeps a copy of every component's whole configuration for each page, figures included, for links to a page's state,
which this app does not have; and it forgets none of ten thousand pages. Making such a copy takes a tenth of a second.
"""

from copy import copy
from datetime import datetime
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder


class _PageState(SessionState):
    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.config_values: dict[int, Any] = {}
        self.state_data: dict[int, Any] = {}
        self._state_ttl: dict[int, Any] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600

    def __setitem__(self, key: int, value: Any) -> None:
        block = self.blocks_config.blocks.get(key)
        if isinstance(block, gr.State):
            self._state_ttl[key] = block.time_to_live, datetime.now()
            self.state_data[key] = value
        else:
            self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        """Nobody asks for it."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Nobody asks for it."""


class PageStates(StateHolder):
    """The states of all pages of one server."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = _PageState(self.blocks)
        return super().__getitem__(session_id)

    def drop_closed(self, seconds: float) -> None:
        """Forget pages that were closed and not seen since. Until then one that had only lost its connection can go on."""
        now = datetime.now()
        with self.lock:
            old = [
                page
                for page, state in list(self.session_data.items())
                if state.is_closed and (now - self.time_last_used.get(page, now)).total_seconds() > seconds
            ]
        for page in old:
            self.delete_state(page)  # calls what cleans up after its gr.State
            with self.lock:
                self.session_data.pop(page, None)
                self.time_last_used.pop(page, None)


def install(demo: gr.Blocks) -> PageStates:
    """Use it in a server that was just started."""
    holder = PageStates()
    holder.set_blocks(demo)
    demo.app.state_holder = holder
    return holder


def of(demo: gr.Blocks | None) -> PageStates | None:
    """What the server of this app uses; None before it was started by ``launch``."""
    holder = getattr(demo, "state_holder", None)
    return holder if isinstance(holder, PageStates) else None
