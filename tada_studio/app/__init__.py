"""The browser app. Gradio lives in here and nowhere else.

build()  makes the app, for a server of one's own or for a Space
launch() makes it and serves it on this machine
"""

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

# before gradio and huggingface_hub are imported: they read these once. The first would look for a newer version on the
# network, the second would tell the Hub that it is used.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from tada_studio.app.quick_import import without_interfaces

with without_interfaces():
    import gradio as gr
from starlette.middleware import Middleware

from tada_studio.app import page_states, shared_machine, unchanged
from tada_studio.app.guard import LOOPBACK, HostGuard, check_exposure
from tada_studio.app.mcp_tools import offer_tools
from tada_studio.app.page import VISITORS, Start, page
from tada_studio.app.page_cache import PageCache
from tada_studio.app.paths import AllowedPaths, on_space
from tada_studio.app.serving import serving, wait
from tada_studio.app.theme import CSS, theme
from tada_studio.app.visitors import VisitorGate, Visitors
from tada_studio.errors import InputError
from tada_studio.sample_pairs import DEFAULT
from tada_studio.session.limits import PUBLIC
from tada_studio.session.visitor import HERE, Runs

_WIDGETS = Path(__file__).parent / "widgets"
#: Scripts that run before gradio's page asks for anything. And the widgets' style sheets: a component's own would be set anew, and
#: the page laid out, at each of its updates.
_HEAD = "".join(
    f"<{tag}>{(_WIDGETS / name).read_text(encoding='utf-8')}</{tag}>"
    for tag, names in {
        "script": ("answers.js", "drops.js", "links.js", "lists.js"),
        "style": ("gate_map.css", "plot_panel.css"),
    }.items()
    for name in names
)
#: Requests that are worked on at once. Work that waits for its turn holds one, so there must be many.
THREADS = 160


def build(
    sample: str | None = DEFAULT,
    task: str | None = None,
    domain: str | None = None,
    base: str | None = None,
    root: str | Path | None = None,
    public: bool = False,
    runs: Runs = HERE,
) -> gr.Blocks:
    """The app; every browser tab starts with the sample, or the pair if one is given. ``root`` confines typed paths; ``public``
    is for a server that strangers use, as every Space is. ``runs``: where bases run.
    """
    return page(Start(sample, task, domain, base, AllowedPaths.here(root, public), runs))


def launch(
    demo: gr.Blocks | None = None,
    *,
    sample: str | None = DEFAULT,
    task: str | None = None,
    domain: str | None = None,
    base: str | None = None,
    host: str | None = None,
    port: int | None = None,
    open_browser: bool = False,
    root: str | Path | None = None,
    public: bool = False,
    auth: Any = None,
    ends: bool = False,
    mcp: bool = False,
    runs: Runs = HERE,
    **more: Any,
) -> tuple[Any, str, str | None]:
    """Serve the app (``build(...)`` if none is given) on this machine only, unless ``host`` says otherwise.

    public: strangers may come; auth: [(name, password), ...] or gradio's callable. Without one of the two no other machine is
    let in. runs: where bases run. ends: Ctrl+C and SIGTERM end this process. mcp: the API's endpoints are tools for agents, too.
    ``more`` goes to gradio's own launch. Returns what that returns, (FastAPI app, local URL, share URL), after Ctrl+C unless
    ``prevent_thread_lock`` is set. Raises InputError for a server that would be open unawares and for a port that is taken.
    """
    public, host = _open_to(demo, host, public, auth, bool(more.get("share")))
    if mcp:
        offer_tools(bool(auth))
    demo = demo if demo is not None else build(sample, task, domain, base, root, public, runs)
    blocks = not more.pop("prevent_thread_lock", False) and not hasattr(sys, "ps1")
    shared_machine.prepare()
    with serving(demo, ends) if blocks else nullcontext():
        settings = {**_settings(demo, host, public, bool(auth), mcp), **more}
        _listen(demo, server_name=host, server_port=port, inbrowser=open_browser, auth=auth, **settings)
        page_states.install(demo)
        unchanged.install(demo)
        if ends:
            shared_machine.settle()
        if blocks:
            wait(demo)
    return demo.app, demo.local_url, demo.share_url


def _open_to(demo: gr.Blocks | None, host: str | None, public: bool, auth: Any, share: bool) -> tuple[bool, str]:
    """Whether strangers may come, and the address that is listened at. Raises InputError for a server that is open unawares."""
    if demo is not None and demo in VISITORS:
        public = VISITORS[demo].apart  # it was built for strangers or it was not
    public, host = public or on_space(), host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    check_exposure(host, public, auth, share)
    return public, host


def _listen(demo: gr.Blocks, **settings: Any) -> None:
    """Raises InputError for a port that something else listens at."""
    try:
        demo.launch(prevent_thread_lock=True, **settings)
    except OSError as error:
        if "empty port" not in str(error):
            raise
        port = settings["server_port"]
        busy = "No port from 7860 on is free" if port is None else f"Port {port}: something else listens there"
        raise InputError(f"{busy}. Give another one with --port, or close what listens there.") from error


def _settings(demo: gr.Blocks, host: str, public: bool, auth: bool, mcp: bool) -> dict[str, Any]:
    """What gradio's launch is given, unless whoever launches says otherwise."""
    return {
        "theme": theme(), "css_paths": [CSS], "head": _HEAD, "footer_links": ["api", "settings"], "run_history": False,
        "ssr_mode": False, "pwa": False, "enable_monitoring": False, "share": False, "mcp_server": mcp,
        "max_file_size": PUBLIC.upload if public else "2gb",
        "max_threads": THREADS, "app_kwargs": {"middleware": _middleware(demo, host, auth)},
    }  # fmt: skip


def _middleware(demo: gr.Blocks, host: str, auth: bool) -> list[Middleware]:
    """Where visitors are kept apart or sign in, the server may be reached by any name that a proxy gives it."""
    visitors = VISITORS.get(demo) or Visitors()
    own = [name for name in os.environ.get("SPACE_HOST", "").split(",") if name]
    guard = Middleware(HostGuard, hosts=None if visitors.apart or auth else {*LOOPBACK, host}, own=own)
    gates = [guard, Middleware(VisitorGate, visitors=visitors)] if visitors.apart else [guard]
    return gates if auth else [*gates, Middleware(PageCache)]
