"""Serving until the person at the terminal has enough."""

import atexit
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

#: Seconds that open connections are waited for after Ctrl+C.
PATIENCE = 0.2


@contextmanager
def serving(demo: gr.Blocks, ends: bool = False) -> Iterator[None]:
    """Inside, Ctrl+C stops the server at once, whoever has a page open. ``ends``: and ends this process, and so does SIGTERM, which
    systemd and docker send: a container's first process would else go on as if nothing were."""
    if ends:  # before the first page can be asked for: whoever reads "Running on" may send it
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        print("Stopping.", flush=True)
        stop(demo)
        if ends:
            _end()


def wait(demo: gr.Blocks) -> None:
    """Until the server is closed."""
    while demo.is_running:
        time.sleep(0.1)


def _end() -> None:
    """Exit by the same duties as always, and without the seconds in which Python takes torch and gradio apart."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def stop(demo: gr.Blocks) -> None:
    """Close the server without waiting for pages to let go of it: their streams never end by themselves."""
    server = demo.server
    if server is not None:
        server.config.timeout_graceful_shutdown = PATIENCE
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it counts the streams that it had to cut
    demo.close(verbose=False)
