"""Merge -> PEFT folder with card, recipe.json and certificate; to the Hub; checked again later."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from tada_studio.base_model.model import Base
from tada_studio.core.mix import Mix
from tada_studio.exporting import push as pushing
from tada_studio.exporting import signing
from tada_studio.exporting import verify as verifying
from tada_studio.exporting.card import Result, card_facts, front_matter
from tada_studio.exporting.certificate import Certificate
from tada_studio.exporting.folder import export as write_and_certify
from tada_studio.exporting.pictures import pictures
from tada_studio.exporting.signing import Signature
from tada_studio.lora import Adapter
from tada_studio.pipeline.analysis import analysis
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
    formats: Collection[str] = (),
) -> Certificate:
    """Write a merged adapter as a PEFT folder with card, recipe.json and certificate.json, read back and certified.

    formats: "gguf" (a LoRA of llama.cpp), "diffusers" (its LoRA file), written beside and read back too.
    Raises ExportError, and leaves nothing half-written, if it cannot be written or if the certificate does not hold; and
    AdapterError if a file that the merge was read from has been written over since.
    """

    def guard() -> None:
        check_unchanged(*_parents(merged).values())

    guard()
    shown, dropped = _shown(merged)
    card = _card(merged, measured or {}, base, formats, (tuple(shown), dropped))
    return write_and_certify(
        merged, out, base, card=card, guard=guard, progress=progress, formats=formats, pictures=shown
    )


def _parents(merged: Adapter) -> dict[str, Adapter]:
    pair = merged.origin.pair if isinstance(merged.origin, MergeOrigin) else None
    return {"task": pair.task, "domain": pair.domain} if pair else {}


def _shown(merged: Adapter) -> tuple[Mapping[str, bytes], str]:
    """(pictures of the gates, where they say anything; what was dropped, in a sentence). Nothing of an adapter that is no merge."""
    origin = merged.origin
    if not isinstance(origin, MergeOrigin) or origin.gates is None:
        return {}, ""
    dropped, gates = _dropped(origin), origin.gates
    if bool((gates.values.nan_to_num(0.5) == 0.5).all()):  # one grey says nothing
        return {}, dropped
    rows = [f"{tower} {layer}".strip() for tower, layer in zip(gates.towers, gates.layers, strict=True)]
    return pictures(rows, gates.projections, gates.values), dropped


def _dropped(origin: MergeOrigin) -> str:
    if not isinstance(origin.how, Mix) or origin.how.drops is None:
        return ""
    lost, energy = origin.how.drops.lost_by_cell, analysis(origin.pair).space.squared_norms
    gone = (lost * energy).sum(0) / energy.sum(0).clamp_min(1e-300)
    if not (cells := int((lost > 0).any(1).sum())):
        return "Nothing was dropped as conflict."
    return (
        f"Dropped where the two oppose each other, in {cells} of {len(lost)} modules: {gone[0]:.1%} of the task's energy and "
        f"{gone[1]:.1%} of the domain's."
    )


def _card(
    merged: Adapter, measured: Sides, base: Base | None, formats: Collection[str], shown: tuple[tuple[str, ...], str]
) -> str:
    known = card_facts(merged, _parents(merged), base)
    facts = replace(known, formats=tuple(formats), results=_results(measured), pictures=shown[0], dropped=shown[1])
    body = model_card(merged, merged.origin.to_dict() if merged.origin else {}, measured, facts)
    return f"{front_matter(facts)}\n{body}"


def _results(measured: Sides) -> tuple[Result, ...]:
    """What was measured of the variant that is exported, the last one, on every side."""
    found = []
    for side, scores in measured.items():
        score = list(scores.values())[-1]
        if score.estimate is not None:
            share, low, high = score.estimate
            found.append(Result(side, "accuracy", share, f"95 % interval {low:.3f} to {high:.3f}, {score.n} items"))
        elif score.perplexity is not None:
            found.append(Result(side, "perplexity", score.perplexity, f"{score.n} texts"))
    return tuple(found)


def push(folder: str | Path, repo_id: str, private: bool = True, token: str | None = None) -> str:
    """Upload an exported folder to the Hub; see ``exporting.push``. Raises ExportError."""
    return pushing.push(folder, repo_id, private, token)


def verify(folder: str | Path, base: Base | None = None, again: Adapter | None = None) -> tuple[list[str], Certificate]:
    """Re-check an exported folder: (what is wrong, a fresh certificate).

    again: the merge, made anew from its parents by the folder's recipe.json, whose bytes must be the folder's
    Raises ExportError if it has no certificate, AdapterError or ExportError if it cannot be loaded at all.
    """
    return verifying.verify(folder, base, again)


def check_key(key: str | Path) -> None:
    """Whether a PEM file holds a private key that can sign. Raises InputError."""
    signing.check_key(key)


def sign(folder: str | Path, key: str | Path) -> Signature:
    """Sign all files of an exported folder with the private key in a PEM file: model.sig, beside them (extra ``sign``; no network).

    Raises InputError for what is no key, ExportError for a folder that is not as it was certified.
    """
    return signing.sign(folder, key)


def signature(folder: str | Path, public_key: str | Path | None = None) -> Signature:
    """Whether a folder is signed; with a public key in a PEM file: whether by it, and whether every file is as it was then."""
    return signing.signature(folder, public_key)
