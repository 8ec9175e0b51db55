"""ZeroGPU: a Space of Hugging Face that has no GPU of its own and is lent one for a call at a time.

What is decorated with ``spaces.GPU`` runs in a process that is forked for it, and there the GPU is real. Everywhere else in
such a Space torch only pretends to have one, for one thread, so everything else stays on the CPU.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_ZERO = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
_PARENT = os.getpid()

if _ZERO:  # only there: it patches torch and gradio
    import spaces


def lends() -> bool:
    """Whether a GPU would be lent to this process: on a ZeroGPU Space, outside of a call that has one."""
    return _ZERO and os.getpid() == _PARENT


def has_gpu() -> bool:
    """Whether this is a process that a GPU was lent to."""
    return _ZERO and os.getpid() != _PARENT


def on_space_gpu(seconds: Callable[..., float]) -> Callable[[F], F]:
    """Decorates what runs on a lent GPU; elsewhere it changes nothing.

    seconds: how long that may take, from the same arguments; what a visitor has left of a day is compared with it
    """
    if not _ZERO:
        return lambda work: work
    return spaces.GPU(duration=lambda *args: max(1, round(seconds(*args))))


def refusal(error: Exception) -> str | None:
    """Why no GPU was lent, in the Space's words; None for every other error."""
    raised = any(kind.__module__ == "gradio.exceptions" for kind in type(error).__mro__)
    title = str(getattr(error, "title", ""))
    if not (_ZERO and raised and title.startswith("ZeroGPU")):
        return None
    says = str(getattr(error, "message", error)).strip()
    if title == "ZeroGPU worker error":
        return "it was taken back before the work was done" if says == "GPU task aborted" else None
    return says.rstrip(".")
