"""LoRA files of diffusers: one for a whole pipeline, whose names start with the part of it (``unet.``, ``text_encoder.`` ...).

The newest hold PEFT's keys and the configs as the file's metadata; older ones call the factors ``lora.down`` and ``lora.up``, or
name them after attention processors. Without an alpha, alpha is the rank. Files of Flux.1's own code, of ComfyUI and of XLabs
have its first names, with dots (``flux.py``).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tada_studio.errors import AdapterError
from tada_studio.files import shown
from tada_studio.read import flux
from tada_studio.read.config import judge, scale_of
from tada_studio.read.files import Entry, read_metadata
from tada_studio.read.formats import TOWERS, Foreign, Scale, by_key, numbers, scale_by

METADATA = "lora_adapter_metadata"
_TOWER = re.compile(rf"({TOWERS})\.(.+)")
_FACTOR = re.compile(
    r"(?P<module>.+)\.(?:lora_(?P<role>[AB])(?:\.(?!weight|bias)\w+)?"
    r"|(?:lora\.|lora_linear_layer\.|lora_)(?P<side>down|up))\.(?P<what>weight|bias)"
)
#: Names after attention processors: of a UNet (attn1.processor.to_q_lora.down) and of a text encoder (self_attn.to_q_lora.down).
_PROCESSOR = re.compile(
    r"(?P<owner>.+?)(?P<mark>\.processor)?\.to_(?P<which>q|k|v|out)_lora\.(?P<side>down|up)\.weight"
)
#: Names after the attention processors of XLabs, for Flux.1.
_XLABS = re.compile(
    r"(?P<module>.*(?:double|single)_blocks\.\d+\.processor\.(?:qkv|proj)_lora[12]?)\.(?P<side>down|up)\.weight"
)
_WAY_OUT = "Save it again with diffusers' save_lora_weights, or through PEFT's save_pretrained"


def as_peft(file: Path, entries: Mapping[str, Entry]) -> Foreign:
    """The file as PEFT would have written it, each name with its part of the pipeline. Raises AdapterError."""
    layers: dict[str, dict[str, Entry]] = {}
    alphas: dict[str, Entry] = {}
    for key, entry in entries.items():
        layer, _, last = key.rpartition(".")
        if last == "alpha":
            alphas[_in_processor(layer)] = entry
        else:
            layer, role, what = _factor(key, str(file))
            if layers.setdefault(layer, {}).setdefault(f"lora_{role}.{what}", entry) is not entry:
                raise AdapterError(f"{file}: holds lora_{role} of {layer} twice. Save it again.")
    first_code = flux.is_of(entries)
    named = {layer: _named(layer, layers.get(layer, {}), first_code, str(file)) for layer in {**layers, **alphas}}
    scales = {name: alphas[layer] for layer, ours in named.items() if layer in alphas for name in ours}
    config: dict[str, Any] = {"peft_type": "LORA", "written_by": "diffusers", "base_model_name_or_path": None}
    plain = scale_by(numbers(file, scales))
    return Foreign(config, by_key(named.values(), str(file)), plain if scales else _scale(plain, file))


def _named(layer: str, held: Mapping[str, Entry], first_code: bool, where: str) -> Mapping[str, Mapping[str, Entry]]:
    """diffusers' layer with its part of the pipeline -> its tensors, of those that a layer of the file has."""
    if first_code and not layer.startswith("text_encoder"):
        return flux.taken_apart(layer, held, where)
    return {layer if _TOWER.fullmatch(layer) else f"unet.{layer}": held}  # the oldest files are of the UNet alone


def _factor(name: str, where: str) -> tuple[str, str, str]:
    """(module, "A" or "B", "weight" or "bias") of a tensor's name. Raises AdapterError."""
    if match := _XLABS.fullmatch(name):
        return match["module"], "A" if match["side"] == "down" else "B", "weight"
    if match := _PROCESSOR.fullmatch(name):
        owner, which = match["owner"], match["which"]
        end = f"to_{which}" if which != "out" else "to_out.0"
        if match["mark"] is None and "self_attn" in owner:
            end = f"{which}_proj"
        return f"{owner}.{end}", "A" if match["side"] == "down" else "B", "weight"
    match = _FACTOR.fullmatch(name)
    if match is None or (match["what"] == "bias" and (match["role"] or "B") != "B"):
        what = (
            "a magnitude of DoRA, which rescales the base's own weights"
            if "magnitude" in name or "dora_scale" in name
            else "no factor of a LoRA as diffusers saves it"
        )
        raise AdapterError(f"{where}: holds {shown(name)!r}, {what}, and none is read. {_WAY_OUT}.")
    role = match["role"] or ("A" if match["side"] == "down" else "B")
    return match["module"], role, match["what"]


def _in_processor(module: str) -> str:
    return re.sub(
        r"\.processor\.to_(q|k|v)_lora$", r".to_\1", re.sub(r"\.processor\.to_out_lora$", ".to_out.0", module)
    )


def _scale(plain: Scale, file: Path) -> Scale:
    """The scales that the file's own metadata gives, part by part as PEFT's configs; ``plain`` where it gives none."""
    content = read_metadata(file).get(METADATA)
    if content is None:
        return plain
    try:
        flat = json.loads(content)
        if not isinstance(flat, dict):
            raise ValueError(f"it holds a {type(flat).__name__}")
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{file}: its {METADATA} cannot be read ({shown(error)}). {_WAY_OUT}.") from error
    towers: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        if match := _TOWER.fullmatch(key):
            towers.setdefault(match[1], {})[match[2]] = value
    scales = {}
    for tower, config in towers.items():
        where = f"{file}: {METADATA}, {tower}"
        judge({"peft_type": "LORA", **config}, where)
        scales[tower] = scale_of(config, where)

    def scale(name: str, rank: int) -> tuple[float, float]:
        tower, _, inside = name.partition(".")
        return scales[tower](inside, rank) if tower in scales else plain(name, rank)

    return scale
