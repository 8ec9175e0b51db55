"""Adapters from the Hugging Face Hub. The only file through which adapters come over the network."""

import re
from pathlib import Path

from tada_studio.errors import AdapterError
from tada_studio.lora import CONFIG, WEIGHTS

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w./-]+)?")


def is_hub_id(ref: str) -> bool:
    """Whether this can be a Hub id (owner/name, or owner/name@revision) and is no folder here."""
    return bool(_HUB_ID.fullmatch(ref)) and not Path(ref).exists()


def fetch_adapter(ref: str) -> Path:
    """The local folder of an adapter on the Hub, downloaded or from the cache. Raises AdapterError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name, _, revision = ref.partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise AdapterError(
            f"{ref}: could not be fetched from the Hub ({reason}). Check the name and the connection, "
            "or give the folder of a downloaded copy."
        ) from error
