"""Adapters of MLX-LM, read exactly.

They compute ``y + scale * (x @ lora_a) @ lora_b``: each factor is PEFT's, transposed, and scale is alpha / r.

Nothing is copied or rewritten: keys get PEFT's names, and each entry says that its numbers lie the other way round.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tada_studio.errors import AdapterError
from tada_studio.files import shown
from tada_studio.read.files import Entry

#: The last weights of a training, and those of its steps.
NAMES = re.compile(r"(\d+_)?adapters\.safetensors")
_KEY = re.compile(r"(?P<module>.+)\.lora_(?P<side>[ab])")
_HOW = "Merge its weights into the base with mlx_lm.fuse, or train a LoRA"


def weights(folder: Path) -> Path | None:
    """The weights that MLX-LM wrote into a folder: the last ones, or those of a single step. Raises AdapterError."""
    if (last := folder / "adapters.safetensors").is_file():
        return last
    steps = sorted(file for file in folder.glob("*_adapters.safetensors") if NAMES.fullmatch(file.name))
    if len(steps) > 1:
        names = shown(", ".join(file.name for file in steps), 200)
        raise AdapterError(
            f"{folder}: holds the weights of {len(steps)} steps of MLX-LM ({names}). Leave the one that is meant."
        )
    return steps[0] if steps else None


def as_peft(
    config: Mapping[str, Any], entries: Mapping[str, Entry], where: str
) -> tuple[dict[str, Any], dict[str, Entry]]:
    """(config, entries) as PEFT would have written them. Raises AdapterError for what is no LoRA of one scale."""
    kind, parameters = config.get("fine_tune_type", "lora"), config.get("lora_parameters")
    if kind != "lora" or not isinstance(parameters, Mapping):
        raise AdapterError(f"{where}: is an MLX-LM adapter of type {shown(kind, 40)!r}; only its LoRA is read. {_HOW}.")
    scale = parameters.get("scale", 20.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
        raise AdapterError(
            f"{where}: MLX-LM's scale = {shown(scale, 40)!r} is no number. Correct it in adapter_config.json."
        )
    turned: dict[str, Entry] = {}
    for key, entry in entries.items():
        match = _KEY.fullmatch(key)
        if match is None or len(entry.shape) != 2:
            raise AdapterError(
                f"{where}: MLX-LM's {shown(key)!r} of shape {entry.shape} is no factor of a linear layer. {_HOW}."
            )
        side = match["side"].upper()
        turned[f"base_model.model.{match['module']}.lora_{side}.weight"] = replace(
            entry, shape=entry.shape[::-1], turned=True
        )
    ranks = {entry.shape[0] for key, entry in turned.items() if ".lora_A." in key} or {1}
    if len(ranks) > 1:
        raise AdapterError(
            f"{where}: MLX-LM's modules have ranks from {min(ranks)} to {max(ranks)}; one is read. {_HOW}."
        )
    rank = ranks.pop()
    base = config.get("model")
    return {
        "peft_type": "LORA", "r": rank, "lora_alpha": scale * rank, "task_type": "CAUSAL_LM", "written_by": "MLX-LM",
        "base_model_name_or_path": base if isinstance(base, str) else None,
    }, turned  # fmt: skip
