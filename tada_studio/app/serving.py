"""Serving until the person at the terminal has enough."""

import atexit
import logging
import os
import signal
import sys
import time

import gradio as gr

#: Seconds that open connections are waited for after Ctrl+C.
PATIENCE = 0.2


def serve(demo: gr.Blocks, ends: bool = False) -> None:
    """Block until Ctrl+C, then stop at once, whoever has a page open. ``ends``: and end this process, by SIGTERM too, which
    systemd and docker send: a container's first process would else go on as if nothing were."""
    if ends:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while demo.is_running:
            time.sleep(0.1)
    except KeyboardInterrupt:
        print("Stopping.", flush=True)
        stop(demo)
        if ends:
            _end()


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
