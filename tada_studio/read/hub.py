"""Adapters from the Hugging Face Hub; what its client raises, in words."""

import importlib
import importlib.util
import re
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tada_studio.errors import AdapterError, TadaError
from tada_studio.lora import CONFIG, LABELS, RECIPE, WEIGHTS
from tada_studio.read import look_at
from tada_studio.read.config import judge
from tada_studio.read.files import INDEX, MAX_CONFIG, header_length, parse_header, parse_json
from tada_studio.read.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w./-]+)?")
#: Seconds without an answer after which a look is given up.
_PATIENCE = 20


def is_hub_id(ref: str) -> bool:
    """Whether this can be a Hub id (owner/name, or owner/name@revision) and is no folder here."""
    return bool(_HUB_ID.fullmatch(ref)) and not Path(ref).exists()


def fetch_adapter(ref: str) -> Path:
    """The local folder of an adapter on the Hub, downloaded or from the cache. Raises AdapterError."""
    from huggingface_hub import snapshot_download

    name, _, revision = ref.partition("@")
    wanted = [CONFIG, WEIGHTS, INDEX, LABELS, RECIPE, "adapter_model-*.safetensors"]
    with in_words(ref):
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=wanted))


def look(ref: str) -> Manifest:
    """What an adapter on the Hub holds: its config and the weights' header are fetched, and not one tensor. Raises AdapterError."""
    from huggingface_hub import constants, hf_hub_url

    name, _, revision = ref.partition("@")
    if constants.HF_HUB_OFFLINE:
        raise AdapterError(
            f"{ref}: cannot be looked at offline (HF_HUB_OFFLINE is set). Give the folder of a downloaded copy."
        )
    with in_words(ref):
        content, _, commit = _part(hf_hub_url(name, CONFIG, revision=revision or None), 0, MAX_CONFIG)
        config = parse_json(content, f"{ref}: {CONFIG}")
        judge(config, f"{ref}: {CONFIG}")
        weights = hf_hub_url(name, WEIGHTS, revision=commit or revision or None)
        start, size, _ = _part(weights, 0, 8)
        length = header_length(start, size, f"{ref}: {WEIGHTS}")
        header, _, _ = _part(weights, 8, length)
        return look_at(ref, config, parse_header(header, size, f"{ref}: {WEIGHTS}"), size, commit)


def _part(url: str, first: int, length: int) -> tuple[bytes, int, str | None]:
    """(bytes ``first`` to ``first + length``, size of the whole file, commit); never reads more, whatever the server sends."""
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = {**build_hf_headers(), "Range": f"bytes={first}-{first + length - 1}"}
    with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=_PATIENCE) as answer:
        hf_raise_for_status(answer)
        commit = next(
            (a.headers["X-Repo-Commit"] for a in (*answer.history, answer) if "X-Repo-Commit" in a.headers), None
        )
        whole = answer.status_code != 206  # a server that ignores the range starts at 0
        content = _at_most(answer.iter_bytes, length + (first if whole else 0))
        message = answer.headers.get("Content-Length" if whole else "Content-Range", "").rpartition("/")[2]
    return content[first if whole else 0 :], int(message) if message.isdecimal() else len(content), commit


def _at_most(stream: Callable[[], Any], length: int) -> bytes:
    content = bytearray()
    for block in stream():
        content += block[: length - len(content)]
        if len(content) >= length:
            break
    return bytes(content)


# -- to the Hub ----------------------------------------------------------------------------------------------------


@contextmanager
def in_words(
    ref: str, done: str = "fetched from", kind: type[TadaError] = AdapterError, secret: str | None = None
) -> "Iterator[None]":
    """Turn what the Hub's client raises into one sentence, without the token."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    known: tuple[type[Exception], ...] = (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError, *_of_the_line())
    try:
        yield
    except known as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        reason = reason.replace(secret, "***") if secret else reason
        instead = (
            "or give the folder of a downloaded copy" if kind is AdapterError else "and a token that may write there"
        )
        raise kind(
            f"{ref}: could not be {done} the Hub ({reason}). Check the name and the connection, {instead}."
        ) from (None if secret else error)


def _of_the_line() -> tuple[type[Exception], ...]:
    """What a lost connection raises: the Hub's client speaks through httpx, or since its version 2.4 through httpx2."""
    installed = (name for name in ("httpx", "httpx2") if importlib.util.find_spec(name))
    return tuple(importlib.import_module(name).HTTPError for name in installed)
