"""What the loaders that people serve adapters with make of a PEFT folder: a tick each, or the field that they trip over.

Judged from the config and the headers alone, by what their public code reads: vLLM's ``lora/peft_helper.py``, llama.cpp's
``convert_lora_to_gguf.py``, LoRAX's ``adapters/lora.py``. The last two read neither rank_pattern nor alpha_pattern.
Only PEFT is ever run here, so a tick for another says no more than "by its rules".
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tada_studio.addresses import addresses
from tada_studio.errors import AdapterError
from tada_studio.files import path_of, shown
from tada_studio.read.formats import OF_PIPELINE
from tada_studio.read.manifest import Manifest, manifest_of

#: What vLLM can be set to make room for (--max-lora-rank), up to the most; it starts with room for the second.
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
VLLM_DEFAULT_RANK, VLLM_MOST_RANK = 16, VLLM_RANKS[-1]


@dataclass(frozen=True)
class Tick:
    """Whether a loader reads a folder as it is meant; ``field`` is what it trips over, "" if nothing."""

    loader: str
    works: bool
    field: str
    says: str


def portability(folder: str | Path) -> tuple[Tick, ...]:
    """A tick for PEFT, vLLM, llama.cpp and LoRAX. Raises AdapterError for a folder that is no adapter at all."""
    manifest = manifest_of(path_of(folder, AdapterError))
    return tuple(_tick(loader, rules(manifest)) for loader, rules in _LOADERS.items())


Trips = Iterable[tuple[str, str]]


def _tick(loader: str, trips: Trips) -> Tick:
    found = list(trips)
    notes = [says for field, says in found if not field]
    bad = [(field, says) for field, says in found if field]
    if bad:
        return Tick(
            loader,
            False,
            bad[0][0],
            f"{loader}: no, for {', '.join(dict.fromkeys(field for field, _ in bad))}: {bad[0][1]}.",
        )
    how = "" if loader == "PEFT" else ", by its rules (not run here)"
    return Tick(loader, True, "", f"{loader}: yes{how}{''.join(f'; {note}' for note in notes)}.")


def _for_peft(manifest: Manifest) -> Trips:
    """PEFT builds its layers from the config: a rank that only the tensors know does not load."""
    patterns = manifest.config.get("rank_pattern") or {}
    odd = next((m for m in manifest.modules.values() if m.rank != manifest.config.get("r", 8)), None)
    if odd is not None and not patterns:
        yield "r", f"{odd.written} has rank {odd.rank}, which the config does not say"


#: Classifiers' heads that vLLM takes whole from modules_to_save, by the last part of their names.
_VLLM_HEADS = ("score", "classifier")


def _for_vllm(manifest: Manifest) -> Trips:
    """It resolves both patterns and takes classifiers' heads whole since its releases of autumn 2026."""
    yield from _plain(manifest, heads=_VLLM_HEADS)
    newer = [name for name in ("rank_pattern", "alpha_pattern") if manifest.config.get(name)]
    newer += ["modules_to_save"] if manifest.heads else []
    if newer:
        yield "", f"releases before autumn 2026 do not take {' and '.join(newer)}"
    rank = max(module.rank for module in manifest.modules.values())
    if rank > VLLM_MOST_RANK:
        yield "r", f"rank {rank} is more than {VLLM_MOST_RANK}, the most it takes"
    elif rank > VLLM_DEFAULT_RANK:
        yield "", f"start it with --max-lora-rank {next(n for n in VLLM_RANKS if n >= rank)}"


#: Bases whose head is their embeddings, by a piece of their names.
_TIED = re.compile(
    r"gemma|gpt-?2|bloom|smollm|opt-\d|command-r|c4ai|llama-3\.2-[13]b|qwen2(\.5)?-(0\.5|1\.5|3)b|qwen3-(0\.6|1\.7|4)b|tiny-aya|falcon3-1b"
)


def _for_llama_cpp(manifest: Manifest) -> Trips:
    """Its converter stores one alpha and divides it by each tensor's own rank."""
    if manifest.config.get("use_rslora"):
        yield "use_rslora", "it is not read, and alpha / r would be used instead of alpha / sqrt(r)"
    if len({module.alpha for module in manifest.modules.values()} | {float(manifest.config.get("lora_alpha", 8))}) > 1:
        yield "alpha_pattern", "it is not read, and every module gets the one lora_alpha"
    yield from _plain(manifest)
    if head := next((m.written for m in manifest.modules.values() if m.name.rpartition(".")[2] == "lm_head"), None):
        if _TIED.search((manifest.base or "").lower()):
            yield "lm_head", f"{manifest.base} ties its embeddings, and then {head} is skipped"
        else:
            yield "", f"{head} is skipped if the base ties its embeddings (tie_word_embeddings)"


def _for_lorax(manifest: Manifest) -> Trips:
    """It looks its own layers up by their full key, stacks a projection over all layers, and says nothing of what is left."""
    yield from _one_scale(manifest, root=bool(manifest.config.get("use_rslora")))
    yield from _plain(manifest)
    odd = next(
        (m for m in manifest.modules.values() if m.keys["A"] != f"base_model.model.{m.written}.lora_A.weight"), None
    )
    if odd is not None and odd.layer[0] == "linear":
        yield "tensor names", f"{shown(odd.keys['A'])} is not the name that it looks for, and is left out"
    places = addresses(manifest.modules)
    depth = 1 + max(place.layer for place in places.values())
    for tower, projection in dict.fromkeys((place.tower, place.projection) for place in places.values()):
        ours = [name for name, place in places.items() if (place.tower, place.projection) == (tower, projection)]
        if len(ours) < depth:
            yield (
                "layers",
                f"{projection} is in {len(ours)} of {depth} layers, and it leaves out what is not in every layer of the base",
            )
            return
        if len({manifest.modules[name].rank for name in ours}) > 1:
            yield "rank_pattern", f"{projection} has several ranks, which it cannot stack"
    yield "", f"the base must have no more than these {depth} layers"


def _one_scale(manifest: Manifest, root: bool) -> Trips:
    """Loaders that work one scale out of r and lora_alpha, and give it to every module."""
    rank, alpha = manifest.config.get("r", 8), manifest.config.get("lora_alpha", 8)
    scale = alpha / (math.sqrt(rank) if root else rank)
    odd = [m for m in manifest.modules.values() if not math.isclose(m.scale, scale, rel_tol=1e-9)]
    if odd:
        field = "rank_pattern" if any(m.rank != rank for m in odd) else "alpha_pattern"
        yield field, f"it is not read: {odd[0].written} would get scale {scale:g} instead of {odd[0].scale:g}"


def _plain(manifest: Manifest, heads: tuple[str, ...] = ()) -> Trips:
    """What only PEFT itself reads; ``heads``: the ends of the names of modules that may be kept whole all the same."""
    kinds = {module.layer[0] for module in manifest.modules.values()}
    if name := next((m.written for m in manifest.modules.values() if OF_PIPELINE.match(m.written)), None):
        yield "target_modules", f"{shown(name, 80)} is a layer of a diffusers pipeline, which it does not serve"
    if manifest.dora:
        yield "use_dora", "the magnitudes of DoRA are not taken"
    if whole := [head for head in manifest.heads if head.rpartition(".")[2] not in heads]:
        yield "modules_to_save", f"whole modules ({', '.join(whole)}) are not taken"
    if any(
        name.endswith(".bias") and not name.startswith(tuple(f"{h}." for h in manifest.heads))
        for name in manifest.whole
    ):
        yield "bias", "trained biases of the base are not taken"
    if any("bias" in module.keys for module in manifest.modules.values()):
        yield "lora_bias", "a bias of lora_B is not taken"
    if kinds - {"linear"}:
        yield "target_modules", f"updates of {' and '.join(sorted(kinds - {'linear'}))} layers are not taken"


_LOADERS: dict[str, Callable[[Manifest], Trips]] = {
    "PEFT": _for_peft,
    "vLLM": _for_vllm,
    "llama.cpp": _for_llama_cpp,
    "LoRAX": _for_lorax,
}
