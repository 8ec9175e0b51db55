"""From the Export tab to the Hub: as the visitor who signed in on a Space, or with this machine's own login or a pasted token."""

import importlib.util
import os
from typing import Any

import gradio as gr

from tada_studio import pipeline
from tada_studio.app.paths import Places
from tada_studio.app.state import Desk
from tada_studio.app.widgets import html
from tada_studio.app.widgets.messages import spoken
from tada_studio.app.widgets.panel import ONCE, words
from tada_studio.errors import ExportError


def on_push(
    desk: Desk, repo: str | None, private: bool, pasted: str | None, signed: gr.OAuthToken | None = None
) -> list[Any]:
    """Push what was built last; updates (note, token box, which is emptied whatever happens to the rest)."""
    if not desk.exported:
        raise ExportError("Nothing was built yet. Build and certify first; then the folder can be pushed.")
    token = signed.token if signed is not None else (pasted or "").strip() or None
    address = pipeline.push(desk.exported, (repo or "").strip(), private, token)
    return [html.note(f"Pushed to {address} ({'private' if private else 'public'}).", "good"), ""]


def on_push_as_visitor(desk: Desk, repo: str | None, private: bool, signed: gr.OAuthToken | None) -> list[Any]:
    """The same on a public server, whose own login is nobody's to use."""
    if signed is None:
        raise ExportError("Nobody is signed in. Sign in with Hugging Face first; the push is made in your name.")
    return on_push(desk, repo, private, None, signed)[:1]


def can_sign_in() -> bool:
    """Whether this server lets visitors sign in: a Space with ``hf_oauth`` in its README, and gradio's own extra for it."""
    return bool(os.environ.get("OAUTH_CLIENT_ID")) and all(map(importlib.util.find_spec, ("authlib", "itsdangerous")))


def push_box(desk: gr.State, places: Places) -> None:
    """Builds and wires the box."""
    with gr.Accordion("Push to the Hugging Face Hub", open=False, elem_id="push-box"):
        words(
            html.caption(
                "Uploads the certified files as a model repository. Nothing is sent before you press the button."
            )
        )
        repo = gr.Textbox(label="Repository", placeholder="your-name/minerals-merged", elem_id="push-repo")
        private = gr.Checkbox(True, label="Private", elem_id="push-private")
        token = None
        if places.hosted and can_sign_in():
            gr.LoginButton(size="sm")
        elif places.hosted:
            words(html.note("Nobody can sign in on this server; download the zip and push it from your own machine."))
        else:
            token = gr.Textbox(
                label="Access token (may stay empty)", type="password", elem_id="push-token",
                info="Kept nowhere. Empty: as whom this machine is logged in (hf auth login, or HF_TOKEN).",
            )  # fmt: skip
        button = gr.Button("Push", elem_id="push")
        said = words(elem_id="push-said")
    if token is None:
        button.click(spoken(on_push_as_visitor), [desk, repo, private], [said], **ONCE)
    else:
        button.click(spoken(_without_visitor), [desk, repo, private, token], [said, token], **ONCE)


def _without_visitor(desk: Desk, repo: str | None, private: bool, pasted: str | None) -> list[Any]:
    return on_push(desk, repo, private, pasted)
