"""From errors to messages on the screen: what a person can fix is said in words, and no stack trace is ever shown."""

import contextlib
import functools
import html
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any, no_type_check

import gradio as gr

from tada_studio.app.state import TabState
from tada_studio.errors import Stopped, TadaError

_LOG = logging.getLogger(__name__)


def user_errors(handler: Callable) -> Callable:
    """``handler`` (a function or a generator function) with its errors said in the browser.

    The first argument of every handler is what belongs to the browser tab; it is None for a call that did not come
    from a page, or from a page that has just been opened.
    """

    @functools.wraps(handler)
    def call(*args: Any) -> Any:
        with speaking():
            _check(args)
            return handler(*args)

    @functools.wraps(handler)
    @no_type_check  # the type checker of the tests would wrap it, and gradio not see a generator function any more
    def stream(*args: Any) -> Iterator[Any]:
        with speaking():
            _check(args)
            yield from handler(*args)

    return stream if is_generator(handler) else call


def is_generator(handler: Callable) -> bool:
    """Whether it is a generator function under whatever was wrapped around it."""
    inner: Any = handler
    while isinstance(inner, functools.partial) or hasattr(inner, "__wrapped__"):
        inner = inner.func if isinstance(inner, functools.partial) else inner.__wrapped__
    return inspect.isgeneratorfunction(inner)


def _check(args: tuple) -> None:
    if not args or args[0] is None:
        raise gr.Error("This page has lost its session. Reload it to start a new one.", print_exception=False)
    if isinstance(args[0], TabState):
        args[0].awake()


@contextlib.contextmanager
def speaking() -> Iterator[None]:
    """Whatever is raised inside comes out as a gr.Error that may be shown to anybody."""
    try:
        yield
    except Stopped:
        raise  # whoever can be stopped says so in place
    except TadaError as error:
        # gr.Error renders HTML, and the names in the message come from other people's files
        raise gr.Error(html.escape(str(error)), visible=not error.in_place, print_exception=False) from error
    except gr.Error:
        raise
    except Exception as bug:
        _LOG.exception("a handler failed")
        raise gr.Error(
            "Something in TaDA Studio itself went wrong; what is open is intact. Its terminal shows the details.",
            print_exception=False,
        ) from bug
