"""One person's work: what is open, what was turned, what was measured; and how all of it is kept. Free of gradio."""

from tada_studio.evaluation.runs import Run
from tada_studio.session.session import Session
from tada_studio.session.state import Exported, Opened, State
from tada_studio.session.workspace import RESET

__all__ = ["RESET", "Exported", "Opened", "Run", "Session", "State"]
