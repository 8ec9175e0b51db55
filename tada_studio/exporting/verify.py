"""An exported folder against all that its certificate claims: nothing is believed that can be computed again."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tada_studio.base_model.model import Base
from tada_studio.errors import ExportError
from tada_studio.exporting.certificate import (
    CARD,
    CERTIFICATE,
    RECIPE,
    Certificate,
    added_files,
    changed_files,
    read_certificate,
    tampered,
)
from tada_studio.exporting.certify import certify
from tada_studio.exporting.folder import write_adapter
from tada_studio.files import path_of, sha256
from tada_studio.lora import CONFIG, WEIGHTS, Adapter
from tada_studio.read import read_adapter

#: What every export has beside its certificate.
_ALWAYS = (CONFIG, WEIGHTS, RECIPE, CARD)


def verify(folder: str | Path, base: Base | None = None, again: Adapter | None = None) -> tuple[list[str], Certificate]:
    """(what is wrong, in sentences; a fresh certificate).

    base: whose digest must be the certified one; again: the merge, made anew from its parents, whose bytes must be the folder's
    Raises ExportError if there is no certificate, and AdapterError or ExportError for a folder that cannot be loaded at all.
    """
    folder = path_of(folder, ExportError)
    claimed = read_certificate(folder)
    wrong = [*_files(folder, claimed), *_inputs(folder, claimed), *_base(claimed, base)]
    found = certify(read_adapter(folder), folder, base)
    wrong += _findings(claimed, found)
    if again is not None:
        wrong += _other_bytes(again, folder, base)
    return wrong, found


def _files(folder: Path, claimed: Mapping[str, Any]) -> list[str]:
    outputs = claimed["outputs"]
    missing = [name for name in _ALWAYS if name not in outputs]
    return [
        *filter(None, [tampered(folder)]),
        *(f"{name} is not among the certified files." for name in missing),
        *(f"{name} is not the file that was certified." for name in changed_files(folder, outputs)),
        *(f"{name} was not there when the folder was certified." for name in added_files(folder, outputs)),
        *(["Its own certificate says that it failed."] if claimed["verdict"] != "pass" else []),
    ]


def _inputs(folder: Path, claimed: Mapping[str, Any]) -> list[str]:
    """What the merge came from is said twice, in the certificate and in the recipe, and completely."""
    try:
        recipe = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return [f"{RECIPE} cannot be read."]
    inputs, written = claimed.get("inputs"), recipe.get("inputs", {}) if isinstance(recipe, dict) else None
    if inputs != written:
        return [f"{CERTIFICATE} and {RECIPE} name different inputs."]
    lacking = [role for role in ("task", "domain") if not _named(inputs, role)] if inputs else []
    return [f"The {role} adapter that went in is not named by its SHA-256." for role in lacking]


def _named(inputs: Any, role: str) -> bool:
    about = inputs.get(role) if isinstance(inputs, dict) else None
    digest = about.get("content_sha256") if isinstance(about, dict) else None
    return isinstance(digest, str) and len(digest) == 64


def _base(claimed: Mapping[str, Any], base: Base | None) -> list[str]:
    about = claimed.get("base")
    if base is None or about is None or about.get("digest") == base.digest:
        return []
    return [
        f"The base is not the one that was certified: {about.get('name')} had another content, or ran in another number format."
    ]


def _findings(claimed: Mapping[str, Any], found: Certificate) -> list[str]:
    """What the certificate says that it found, against what is found now."""
    wrong = [] if found.holds else ["What PEFT reads back is not what the files hold."]
    if set(claimed["modules"]) != set(found.modules):
        wrong.append("The certificate speaks of other modules than the folder holds.")
    if claimed["rank"] != found.rank:
        wrong.append(f"The certificate says rank {claimed['rank']}, the folder has {found.rank}.")
    if set(claimed.get("heads", {})) != set(found.heads):
        wrong.append("The certificate speaks of other whole modules than the folder holds.")
    return wrong


def _other_bytes(again: Adapter, folder: Path, base: Base | None) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="tada-studio-verify-") as other:
        write_adapter(again, other, base)
        same = sha256(Path(other) / WEIGHTS) == sha256(folder / WEIGHTS)
        configs = [json.loads((Path(where) / CONFIG).read_text(encoding="utf-8")) for where in (other, folder)]
    for config in configs:
        config.pop("target_modules", None)  # shorter with a base at hand; the certificate has looked at what they mean
    return [
        *([] if same else [f"{WEIGHTS} is not the merge of these two adapters by {RECIPE}: its bytes are others."]),
        *([] if configs[0] == configs[1] else [f"{CONFIG} is not that of the merge of these two adapters."]),
    ]
