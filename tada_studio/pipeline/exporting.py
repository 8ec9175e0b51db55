"""Merge -> PEFT folder with card, recipe.json and certificate; to the Hub; checked again later."""

from pathlib import Path

from tada_studio.base_model.model import Base
from tada_studio.exporting import push as pushing
from tada_studio.exporting import verify as verifying
from tada_studio.exporting.card import card_facts, front_matter
from tada_studio.exporting.certificate import Certificate
from tada_studio.exporting.folder import export as write_and_certify
from tada_studio.lora import Adapter
from tada_studio.pipeline.origin import MergeOrigin
from tada_studio.pipeline.scoring import Sides
from tada_studio.progress import ProgressFn, silent
from tada_studio.read import check_unchanged
from tada_studio.report import model_card


def export(
    merged: Adapter,
    out: str | Path,
    base: Base | None = None,
    progress: ProgressFn = silent,
    measured: Sides | None = None,
) -> Certificate:
    """Write a merged adapter as a PEFT folder with card, recipe.json and certificate.json, read back and certified.

    Raises ExportError, and leaves nothing half-written, if it cannot be written or if the certificate does not hold; and
    AdapterError if a file that the merge was read from has been written over since.
    """

    def guard() -> None:
        check_unchanged(*_parents(merged).values())

    guard()
    card = _card(merged, measured or {}, base)
    return write_and_certify(merged, out, base, card=card, guard=guard, progress=progress)


def _parents(merged: Adapter) -> dict[str, Adapter]:
    pair = merged.origin.pair if isinstance(merged.origin, MergeOrigin) else None
    return {"task": pair.task, "domain": pair.domain} if pair else {}


def _card(merged: Adapter, measured: Sides, base: Base | None) -> str:
    facts = card_facts(merged, _parents(merged), base)
    body = model_card(merged, merged.origin.to_dict() if merged.origin else {}, measured, facts)
    return f"{front_matter(facts)}\n{body}"


def push(folder: str | Path, repo_id: str, private: bool = True, token: str | None = None) -> str:
    """Upload an exported folder to the Hub; see ``exporting.push``. Raises ExportError."""
    return pushing.push(folder, repo_id, private, token)


def verify(folder: str | Path, base: Base | None = None, again: Adapter | None = None) -> tuple[list[str], Certificate]:
    """Re-check an exported folder: (what is wrong, a fresh certificate).

    again: the merge, made anew from its parents by the folder's recipe.json, whose bytes must be the folder's
    Raises ExportError if it has no certificate, AdapterError or ExportError if it cannot be loaded at all.
    """
    return verifying.verify(folder, base, again)
