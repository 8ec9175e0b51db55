"""LoRA of Flux.1 and HunyuanVideo under the names of their first code, brought to those that diffusers has, exactly.

What is one layer there (img_attn.qkv, linear1) is several in diffusers: they share lora_A, and each takes its own rows of lora_B.
Flux.2 calls some layers alike and cuts them otherwise; what has not the proportions of Flux.1 is refused.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from tada_studio.errors import AdapterError
from tada_studio.files import shown
from tada_studio.read.files import FORMATS, Entry


class _Layer(NamedTuple):
    """diffusers' layers that one of the first code is, with the outputs of each and the inputs, in widths of the model."""

    parts: tuple[str, ...]
    outputs: tuple[int, ...] = ()
    inputs: int = 0


_IMAGE, _TEXT = ("attn.to_q", "attn.to_k", "attn.to_v"), ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
_DOUBLE = {
    "img_attn_qkv": _Layer(_IMAGE, (1, 1, 1), 1), "txt_attn_qkv": _Layer(_TEXT, (1, 1, 1), 1),
    "img_attn_proj": _Layer(("attn.to_out.0",), (1,), 1), "txt_attn_proj": _Layer(("attn.to_add_out",), (1,), 1),
    "img_mlp_0": _Layer(("ff.net.0.proj",), (4,), 1), "txt_mlp_0": _Layer(("ff_context.net.0.proj",), (4,), 1),
    "img_mlp_2": _Layer(("ff.net.2",), (1,), 4), "txt_mlp_2": _Layer(("ff_context.net.2",), (1,), 4),
    "img_mod_lin": _Layer(("norm1.linear",), (6,), 1), "txt_mod_lin": _Layer(("norm1_context.linear",), (6,), 1),
}  # fmt: skip
_SINGLE = {
    "linear1": _Layer((*_IMAGE, "proj_mlp"), (1, 1, 1, 4), 1), "linear2": _Layer(("proj_out",), (1,), 5),
    "modulation_lin": _Layer(("norm.linear",), (3,), 1), "processor_qkv_lora": _Layer(_IMAGE, (1, 1, 1), 1),
    "processor_proj_lora": _Layer(("proj_out",), (1,), 5),
}  # fmt: skip
#: HunyuanVideo's own names.
_DOUBLE |= {
    f"{side}_{there}": _DOUBLE[f"{side}_{here}"]
    for side in ("img", "txt")
    for there, here in (("mlp_fc1", "mlp_0"), ("mlp_fc2", "mlp_2"), ("mod_linear", "mod_lin"))
}
_SINGLE["modulation_linear"] = _SINGLE["modulation_lin"]
#: XLabs calls its factors after attention processors.
_DOUBLE |= {
    f"processor_{kind}_lora{number}": _DOUBLE[f"{side}_attn_{kind}"]
    for kind in ("qkv", "proj")
    for number, side in ((1, "img"), (2, "txt"))
}
_EMBEDDERS = {"time_in": "timestep_embedder", "vector_in": "text_embedder", "guidance_in": "guidance_embedder"}
#: Of final_layer.adaLN_modulation diffusers has the halves the other way round: that one is not read.
_OUTSIDE = {"img_in": "x_embedder", "txt_in": "context_embedder", "final_layer_linear": "proj_out"} | {
    f"{there}_{end}_layer": f"time_text_embed.{here}.linear_{number}"
    for there, here in _EMBEDDERS.items()
    for number, end in ((1, "in"), (2, "out"))
}
_BLOCK = re.compile(r"(double|single)_blocks_(\d{1,4})_(\w+)")
_BEFORE = re.compile(r"(?:base_model\.model\.)?(?:diffusion_model\.|transformer\.)?")
_WAY_OUT = "Load the file into diffusers and save it with save_lora_weights, then give that file"


def is_of(keys: Iterable[str]) -> bool:
    """Whether a file's layers have names of that first code, by its keys."""
    return any(re.search(r"(?:double|single)_blocks[._]\d", key) for key in keys)


def taken_apart(name: str, held: Mapping[str, Entry], where: str) -> Mapping[str, Mapping[str, Entry]]:
    """diffusers' layer -> its tensors, by the end of their key, of those that a layer of the first code has.

    Raises AdapterError for a name that it has not, or a layer without the proportions of Flux.1.
    """
    layer = _layer(name, where)
    if not layer.outputs:
        return dict.fromkeys(layer.parts, held)
    _check_proportions(name, layer, held, where)
    found: dict[str, dict[str, Entry]] = {}
    for i, part in enumerate(layer.parts):
        of = sum(layer.outputs)
        found[part] = {
            end: entry if end == "lora_A.weight" else _rows(entry, sum(layer.outputs[:i]), layer.outputs[i], of)
            for end, entry in held.items()
        }
    return found


def _layer(name: str, where: str) -> _Layer:
    """What a layer of the first code is in diffusers; its name may have dots or underscores."""
    flat = name[_BEFORE.match(name).end() :].replace(".", "_")  # type: ignore[union-attr]
    if flat in _OUTSIDE:
        return _Layer((f"transformer.{_OUTSIDE[flat]}",))
    match = _BLOCK.fullmatch(flat)
    known = (_DOUBLE if match[1] == "double" else _SINGLE).get(match[3]) if match else None
    if match is None or known is None:
        raise AdapterError(
            f"{where}: {shown(name)!r} lies beside layers called as in Flux.1's first code, and is none that is known there. "
            f"{_WAY_OUT}."
        )
    start = f"transformer.{'single_' if match[1] == 'single' else ''}transformer_blocks.{int(match[2])}"
    return known._replace(parts=tuple(f"{start}.{part}" for part in known.parts))


def _check_proportions(name: str, layer: _Layer, held: Mapping[str, Entry], where: str) -> None:
    down, up = (held[end].shape if end in held else () for end in ("lora_A.weight", "lora_B.weight"))
    outputs = sum(layer.outputs)
    if len(down) != 2 or len(up) != 2:
        return  # incomplete, or no factors of a linear layer: whoever builds the manifest says so, of its first part
    if up[0] % outputs or up[0] * layer.inputs != down[1] * outputs:
        raise AdapterError(
            f"{where}: {shown(name)!r} has {up[0]} outputs and {down[1]} inputs; in Flux.1 they are as {outputs} to "
            f"{layer.inputs}. It is a layer of another model (Flux.2), whose names are not read. {_WAY_OUT}."
        )


def _rows(entry: Entry, first: int, count: int, of: int) -> Entry:
    """Rows of a tensor, counted in parts of all its rows; they lie one after the other in the file."""
    if not entry.shape or entry.shape[0] % of:
        return entry
    size, width = entry.shape[0] // of, math.prod(entry.shape[1:]) * FORMATS[entry.kind]
    return replace(entry, shape=(count * size, *entry.shape[1:]), begin=entry.begin + first * size * width)
