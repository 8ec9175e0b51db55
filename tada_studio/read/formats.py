"""Adapters in a single file that no adapter_config.json explains: kohya's, diffusers' and llama.cpp's, known by their tensors.

Each becomes what PEFT would have written: a config, entries under PEFT's keys, and the scale of every module. No number is
copied or changed here; an entry says where its numbers lie, and in which order.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tada_studio.errors import AdapterError
from tada_studio.files import shown
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.read.files import FORMATS, Entry, read_header

#: (module as the file calls it, rank) -> (alpha, scale)
Scale = Callable[[str, int], tuple[float, float]]


class Foreign(NamedTuple):
    """A file of another program as PEFT would have written it."""

    config: Mapping[str, Any]
    entries: Mapping[str, Entry]
    scale: Scale


#: The parts of a pipeline of diffusers that are adapted, by the first part of a name there.
TOWERS = r"(?:unet|transformer(?:_2)?|text_encoder(?:_[23])?|prior|diffusion_model)"
#: Names of layers of such a pipeline, and of no text model whose body is called transformer.
OF_PIPELINE = re.compile(rf"{TOWERS}\.(?!h\.|layers?\.|encoder\.)|text_encoder(?:_[23])?\.")
_KOHYA = re.compile(r"lora_(?:unet|te\d?|prior_unet|prior_te|transformer)_|lycoris_\w+\.")
_DIFFUSERS = re.compile(
    r"(?:unet|text_encoder(?:_[23])?|prior|diffusion_model)\..*lora"
    r"|transformer(?:_2)?\.(?:transformer_blocks|single_transformer_blocks|.*\b(?:to_q|to_out|attn1)\b).*lora"
    r"|(?:down_blocks|mid_block|up_blocks)\..*\.processor\..*lora"
    r"|(?:base_model\.model\.)?(?:double|single)_blocks\.\d+\..*lora"
)
GGUF = ".gguf"


def kind_of(names: Iterable[str]) -> str | None:
    """Whose file it is, by its tensors' names: "kohya", "diffusers" or None."""
    names = list(names)
    if any(_KOHYA.match(name) for name in names):
        return "kohya"
    return "diffusers" if any(_DIFFUSERS.match(name) for name in names) else None


def single_file(place: Path) -> Path | None:
    """The one file that a place is, or a folder holds, in one of these formats; None where PEFT's two files are to be looked for.

    Raises AdapterError for a folder with several.
    """
    try:
        if place.is_file():
            return place if _is_foreign(place) else None
    except OSError:  # no system has so long a name
        return None
    if not place.is_dir() or (place / CONFIG).exists() or (place / WEIGHTS).exists():
        return None
    found = [file for file in sorted(place.iterdir()) if _is_foreign(file)]
    if len(found) > 1:
        raise AdapterError(
            f"{place}: holds {len(found)} LoRA files ({shown(', '.join(file.name for file in found), 200)}). Give the one that is "
            "meant."
        )
    return found[0] if found else None


def _is_foreign(file: Path) -> bool:
    if not file.is_file():  # a pipe would never be read to its end
        return False
    if file.suffix.lower() == GGUF:
        return True
    if file.suffix.lower() != ".safetensors":
        return False
    try:
        return kind_of(read_header(file)) is not None
    except AdapterError:
        return False


def by_key(layers: Iterable[Mapping[str, Mapping[str, Entry]]], where: str) -> dict[str, Entry]:
    """Tensors by their whole key, that stand under their layer and the end of it. Raises AdapterError if one is there twice."""
    found: dict[str, Entry] = {}
    for named in layers:
        for name, held in named.items():
            for end, entry in held.items():
                if found.setdefault(f"{name}.{end}", entry) is not entry:
                    raise AdapterError(f"{where}: holds {end.partition('.')[0]} of {name} twice. Save it again.")
    return found


_SCALARS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32,
}  # fmt: skip


def numbers(file: Path, entries: Mapping[str, Entry]) -> dict[str, float]:
    """The value of every tensor of one number. Raises AdapterError."""
    found = {}
    with file.open("rb") as opened:
        for key, entry in entries.items():
            if entry.kind not in _SCALARS or any(n != 1 for n in entry.shape):
                raise AdapterError(
                    f"{file}: {shown(key)} is {entry.kind} of shape {entry.shape}; an alpha is one number. Save it again."
                )
            opened.seek(entry.begin)
            content = bytearray(opened.read(FORMATS[entry.kind]))
            found[key] = float(torch.frombuffer(content, dtype=_SCALARS[entry.kind]))
    if wrong := next((key for key, value in found.items() if not abs(value) < 1e6), None):  # NaN fails too
        raise AdapterError(f"{file}: {shown(wrong)} is {found[wrong]}, no number of ordinary size. Save it again.")
    return found


def scale_by(alphas: Mapping[str, float]) -> Scale:
    """alpha / rank with each module's own alpha; one without has alpha = rank, as kohya, diffusers and llama.cpp have it."""

    def scale(name: str, rank: int) -> tuple[float, float]:
        alpha = alphas.get(name, float(rank))
        return alpha, alpha / rank

    return scale
