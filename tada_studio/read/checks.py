"""What config and headers must agree on before an adapter is believed: each check passes silently or raises one sentence."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tada_studio.errors import AdapterError
from tada_studio.files import shown
from tada_studio.read.config import heads_named, pattern_of
from tada_studio.read.files import Entry
from tada_studio.read.keys import Part

if TYPE_CHECKING:
    from tada_studio.read.manifest import Factors

_WRAPPED = re.compile(r"\.(?:modules_to_save|original_module)\b")
_EXPERTS = re.compile(r"(^|[._])experts?([._]|$)", re.IGNORECASE)
#: Modules that hold the vocabulary, at the start or the end of a language model.
VOCABULARY = ("embed_tokens", "lm_head", "wte", "word_embeddings", "embed_out", "embed_in", "tok_embeddings", "shared")


def check_experts(entries: Mapping[str, Entry], where: str) -> None:
    """Factors with a third axis that is no convolution's kernel: one matrix for each expert of a layer, stacked."""
    for key, entry in entries.items():
        if "lora_" not in key or len(entry.shape) < 3 or not (_EXPERTS.search(key) or _is_stacked(key, entries)):
            continue
        raise AdapterError(
            f"{where}: {shown(key)} of shape {entry.shape} stacks the factors of {entry.shape[0]} experts of a layer in one "
            "tensor, a form that PEFT does not load. Save each expert's factors apart, or train on the attention's linear layers."
        )


def _is_stacked(key: str, entries: Mapping[str, Entry]) -> bool:
    """Whether a factor of three axes meets a partner whose last axis is no kernel of 1, as lora_B of a convolution has."""
    partner = entries.get(key.replace("lora_A", "lora_B")) if "lora_A" in key else None
    return (
        partner is not None
        and len(partner.shape) == 3
        and partner.shape[2] != 1
        and partner.shape[0] == entries[key].shape[0]
    )


def check_head_is_not_adapted(parts: Iterable[Part], config: Mapping[str, Any], where: str) -> None:
    """A module is updated or kept whole; a file with both is one that PEFT itself cannot load."""
    parts, heads = list(parts), heads_named(config)
    wrapped = [part.module for part in parts if part.role != "whole" and _WRAPPED.search(part.module)]
    kept = {p.module.rpartition(".")[0] for p in parts if p.role == "whole" and ".base_layer." not in p.module}
    both = [p.module for p in parts if p.role in "AB" and p.module in kept and p.module.endswith(heads)]
    for name in (*wrapped, *both):
        plain = _WRAPPED.split(name)[0]
        raise AdapterError(
            f"{where}: {shown(plain)} is both updated (target_modules) and kept whole (modules_to_save, "
            "which PEFT adds for classifiers); PEFT cannot load such a file. Train it with exclude_modules naming the head."
        )


def check_ranks(factors: "Iterable[Factors]", config: Mapping[str, Any], where: str) -> None:
    """Every module has the rank that its config gives it: else alpha / r is one number by the config and another by the tensors.

    PEFT builds its layers by the config and does not load other ranks.
    """
    rank_of = _rank_of(config, where)
    for module in factors:
        wanted = rank_of(module.written) if rank_of else None
        if wanted is not None and module.rank != wanted:
            raise AdapterError(
                f"{where}: {module.written} has rank {module.rank} by its tensors and {wanted} by the config, so alpha / r is "
                f"{module.alpha / module.rank:g} or {module.alpha / wanted:g}; PEFT does not load it. Set r (or rank_pattern) in "
                "the config to what it was trained with."
            )


def _rank_of(config: Mapping[str, Any], where: str) -> Callable[[str], int] | None:
    """Module name -> rank by rank_pattern, else r, as PEFT resolves it; None where a pattern is no plain name, or r is missing."""
    if "r" not in config:
        return None
    try:
        patterns = [(pattern_of(key, where), rank) for key, rank in (config.get("rank_pattern") or {}).items()]
    except AdapterError:  # a pattern that could hang is not tried; PEFT's own loading is the check then
        return None
    return lambda name: next((rank for matches, rank in patterns if matches(name)), config["r"])


def check_tying(
    factors: "Iterable[Factors]", whole: Mapping[str, object], config: Mapping[str, Any], where: str
) -> None:
    """ensure_weight_tying means something only where the vocabulary's weights were trained."""
    names = [*(module.name for module in factors), *(name.rpartition(".")[0] for name in whole)]
    if config.get("ensure_weight_tying") and any(name.rpartition(".")[2] in VOCABULARY for name in names):
        raise AdapterError(
            f"{where}: ensure_weight_tying is set: it ties its trained embeddings to the head, as other loaders do not. Train "
            "without it, or without the embeddings."
        )
