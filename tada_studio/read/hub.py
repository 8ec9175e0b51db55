"""Adapters from the Hugging Face Hub; what its client raises, in words."""

import importlib
import importlib.util
import re
from collections.abc import Callable, Collection
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tada_studio.errors import AdapterError, TadaError
from tada_studio.files import is_here, shown
from tada_studio.lora import CONFIG, LABELS, RECIPE, WEIGHTS
from tada_studio.read import look as look_here
from tada_studio.read import look_at
from tada_studio.read.config import judge
from tada_studio.read.files import INDEX, MAX_CONFIG, header_length, may_be_weights, parse_header, parse_json
from tada_studio.read.formats import GGUF
from tada_studio.read.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w./-]+)?")
#: How diffusers calls its LoRA file.
OF_DIFFUSERS = "pytorch_lora_weights.safetensors"
#: Seconds without an answer after which a look is given up.
_PATIENCE = 20


def is_hub_id(ref: str) -> bool:
    """Whether this can be a Hub id (owner/name, or owner/name@revision) and is no folder here."""
    return bool(_HUB_ID.fullmatch(ref)) and not is_here(ref)


def fetch_adapter(ref: str) -> Path:
    """The local folder of an adapter on the Hub, downloaded or from the cache: PEFT's files, or the one file of another program.

    Raises AdapterError.
    """
    from huggingface_hub import snapshot_download

    name, _, revision = ref.partition("@")
    wanted = [CONFIG, WEIGHTS, INDEX, LABELS, RECIPE, "adapter_model-*.safetensors"]
    files = _listed(ref)
    if files and CONFIG not in files:
        wanted = [_single(ref, files)]
    with in_words(ref):
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=wanted))


def _single(ref: str, files: Collection[str]) -> str:
    """The file of a repository without PEFT's config that holds its LoRA. Raises AdapterError for none or several."""
    found = [name for name in files if name.endswith((".safetensors", GGUF)) and "/" not in name]
    named = [name for name in found if name == OF_DIFFUSERS]
    if len(chosen := named or found) == 1:
        return chosen[0]
    what = f"{len(found)} files of weights ({shown(', '.join(found), 200)})" if found else "no adapter"
    raise AdapterError(
        f"{ref}: holds {what} and no {CONFIG} of PEFT. Download the LoRA file that is meant, and give its path."
    )


def _listed(ref: str) -> tuple[str, ...]:
    """The names of a repository's files; none where the Hub does not answer, which fetching then says."""
    from huggingface_hub import HfApi, constants

    name, _, revision = ref.partition("@")
    if constants.HF_HUB_OFFLINE:
        return ()
    try:
        with in_words(ref):
            found = HfApi().model_info(name, revision=revision or None, timeout=_PATIENCE).siblings or []
            return tuple(sorted(file.rfilename for file in found))
    except AdapterError:
        return ()


def beside(ref: str) -> tuple[str, ...]:
    """Files of weights that lie beside PEFT's on the Hub, and are not fetched with them."""
    return _beside(_listed(ref))


def _beside(files: Collection[str]) -> tuple[str, ...]:
    return tuple(shown(name, 80) for name in files if CONFIG in files and "/" not in name and may_be_weights(name))


def look(ref: str) -> Manifest:
    """What an adapter on the Hub holds: its config and the weights' header are fetched, and not one tensor. Raises AdapterError."""
    from huggingface_hub import constants, hf_hub_url

    name, _, revision = ref.partition("@")
    if constants.HF_HUB_OFFLINE:
        raise AdapterError(
            f"{ref}: cannot be looked at offline (HF_HUB_OFFLINE is set). Give the folder of a downloaded copy."
        )
    if (files := _listed(ref)) and CONFIG not in files:
        return look_here(fetch_adapter(ref))  # another program's file says its scales in its tensors
    with in_words(ref):
        content, _, commit = _part(hf_hub_url(name, CONFIG, revision=revision or None), 0, MAX_CONFIG)
        config = parse_json(content, f"{ref}: {CONFIG}")
        judge(config, f"{ref}: {CONFIG}")
        weights = hf_hub_url(name, WEIGHTS, revision=commit or revision or None)
        start, size, _ = _part(weights, 0, 8)
        length = header_length(start, size, f"{ref}: {WEIGHTS}")
        header, _, _ = _part(weights, 8, length)
        entries = parse_header(header, size, f"{ref}: {WEIGHTS}")
        return look_at(ref, config, entries, size, commit, _beside(files))


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
    ref: str,
    done: str = "fetched from",
    kind: type[TadaError] = AdapterError,
    secret: str | None = None,
    instead: str = "or give the folder of a downloaded copy",
) -> "Iterator[None]":
    """Turn what the Hub's client raises into one sentence, without the token. instead: what else would work."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    known: tuple[type[Exception], ...] = (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError, *_of_the_line())
    try:
        yield
    except known as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        reason = reason.replace(secret, "***") if secret else reason
        raise kind(
            f"{ref}: could not be {done} the Hub ({reason}). Check the name and the connection, {instead}."
        ) from (None if secret else error)


def _of_the_line() -> tuple[type[Exception], ...]:
    """What a lost connection raises: the Hub's client speaks through httpx, or since its version 2.4 through httpx2."""
    installed = (name for name in ("httpx", "httpx2") if importlib.util.find_spec(name))
    return tuple(importlib.import_module(name).HTTPError for name in installed)
