"""The browser app. Gradio lives in here and nowhere else.

build()  makes the app, for a server of one's own or for a Space
launch() makes it and serves it on this machine
"""

import os
from pathlib import Path
from typing import Any

# before gradio and huggingface_hub are imported: they read these once. The first would look for a newer version on the
# network, the second would tell the Hub that it is used.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

from tada_studio.app.page import Start, page
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.theme import CSS, theme
from tada_studio.sample_pairs import DEFAULT

#: Runs before gradio's page asks for anything.
_HEAD = f"<script>{(Path(__file__).parent / 'widgets' / 'answers.js').read_text(encoding='utf-8')}</script>"


def build(
    sample: str | None = DEFAULT,
    task: str | None = None,
    domain: str | None = None,
    base: str | None = None,
    root: str | Path | None = None,
) -> gr.Blocks:
    """The app; every browser tab starts with the sample, or the pair if one is given. ``root`` confines typed paths."""
    return page(Start(sample, task, domain, base, AllowedPaths.here(root)))


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
    **more: Any,
) -> tuple[Any, str, str | None]:
    """Serve the app (``build(...)`` if none is given) on this machine only, unless ``host`` says otherwise.

    ``more`` goes to gradio's own launch; returns what that returns: (FastAPI app, local URL, share URL).
    """
    demo = demo if demo is not None else build(sample, task, domain, base, root)
    settings: dict[str, Any] = {
        "theme": theme(), "css_paths": [CSS], "head": _HEAD, "footer_links": ["api", "settings"], "run_history": False,
        "ssr_mode": False, "pwa": False, "enable_monitoring": False, "share": False, "max_file_size": "2gb",
    }  # fmt: skip
    return demo.launch(server_name=host, server_port=port, inbrowser=open_browser, **{**settings, **more})
