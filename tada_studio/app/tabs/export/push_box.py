"""From the Export tab to the Hub: as the visitor who signed in on a Space, or with this machine's own login or a pasted token."""

import importlib.util
import os

import gradio as gr

from tada_studio import pipeline
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import ONCE, Named, listen, words
from tada_studio.errors import ExportError


def on_push(
    state: TabState, repo: str | None, private: bool, pasted: str | None, signed: gr.OAuthToken | None = None
) -> Named:
    """Push what was built last; the token box is emptied."""
    session = state.session
    if session.exported is None:
        raise ExportError("Nothing was built yet. Build and certify first; then the folder can be pushed.")
    if session.stale(session.exported):
        raise ExportError(
            "What was built is of an earlier recipe or another pair. Build and certify again; then it can be pushed."
        )
    token = signed.token if signed is not None else (pasted or "").strip() or None
    address = pipeline.push(session.exported.folder, (repo or "").strip(), private, token)
    done = html.note(f"Pushed to {address} ({'private' if private else 'public'}).", "good")
    return {"message": done, "token": ""}


def on_push_as_visitor(state: TabState, repo: str | None, private: bool, signed: gr.OAuthToken | None) -> Named:
    """The same on a public server, whose own login is nobody's to use."""
    if signed is None:
        raise ExportError("Nobody is signed in. Sign in with Hugging Face first; the push is made in your name.")
    return {"message": on_push(state, repo, private, None, signed)["message"]}


def can_sign_in() -> bool:
    """Whether this server lets visitors sign in: a Space with ``hf_oauth`` in its README, and gradio's own extra for it."""
    return bool(os.environ.get("OAUTH_CLIENT_ID")) and all(map(importlib.util.find_spec, ("authlib", "itsdangerous")))


def push_box(state: gr.State, paths: AllowedPaths) -> gr.Button:
    """Builds and wires the box; gives the button, which is open only while what was built is what is on screen."""
    with gr.Accordion("Push to the Hugging Face Hub", open=False, elem_id="push-box"):
        words(
            html.caption(
                "Uploads the certified files as a model repository. Nothing is sent before you press the button."
            )
        )
        repo = gr.Textbox(label="Repository", placeholder="your-name/minerals-merged", elem_id="push-repo")
        private = gr.Checkbox(True, label="Private", elem_id="push-private")
        token = None
        if paths.hosted and can_sign_in():
            gr.LoginButton(size="sm")
        elif paths.hosted:
            words(html.note("Nobody can sign in on this server; download the zip and push it from your own machine."))
        else:
            token = gr.Textbox(
                label="Access token (may stay empty)", type="password", elem_id="push-token",
                info="Kept nowhere. Empty: as whom this machine is logged in (hf auth login, or HF_TOKEN).",
            )  # fmt: skip
        button = gr.Button("Push", interactive=False, elem_id="push")
        message = words(elem_id="push-message")
    if token is None:
        listen(button.click, on_push_as_visitor, [state, repo, private], {"message": message}, **ONCE)
    else:
        at = {"message": message, "token": token}
        listen(button.click, _without_visitor, [state, repo, private, token], at, **ONCE)
    return button


def _without_visitor(state: TabState, repo: str | None, private: bool, pasted: str | None) -> Named:
    return on_push(state, repo, private, pasted)
