"""A merge in other programs' formats, beside PEFT's two files: a LoRA of llama.cpp (GGUF), a LoRA file of diffusers.

Each is written from the merge's own numbers, read back by the reader that takes such files of strangers, and compared.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tada_studio.base_model.model import Base
from tada_studio.base_model.skeleton import config_of, heads_of
from tada_studio.errors import ExportError
from tada_studio.files import shown
from tada_studio.lora import Adapter, LoraModule
from tada_studio.read import Heads, read_adapter
from tada_studio.read.formats import OF_PIPELINE
from tada_studio.read.gguf_lora import REORDERED, layer_names, reordered

#: Format -> the file that it is written to.
FILES = {"gguf": "adapter_model.gguf", "diffusers": "pytorch_lora_weights.safetensors"}
_CALLED = {"gguf": "llama.cpp's LoRA", "diffusers": "diffusers' LoRA file"}
#: transformers' model_type -> llama.cpp's architecture, of those whose layers it calls one to one.
_ARCHITECTURES = {
    "llama": "llama", "mistral": "llama", "smollm3": "smollm3", "arcee": "arcee", "granite": "granite", "olmo": "olmo",
    "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "gemma2": "gemma2", "gemma3_text": "gemma3", "olmo2": "olmo2",
    "cohere2": "cohere2",
}  # fmt: skip
#: How layers of a pipeline's parts start where an adapter was trained on one part alone.
_PARTS = (
    (re.compile(r"(down_blocks|mid_block|up_blocks|conv_in|conv_out|time_embedding|add_embedding)\b"), "unet."),
    (re.compile(r"(transformer_blocks|single_transformer_blocks)\b"), "transformer."),
)


@dataclass(frozen=True)
class FormatCheck:
    """What was found when a file in another format was read back: how many modules, and which are not the merge."""

    format: str
    modules: int
    wrong: tuple[str, ...] = ()
    rounded: bool = False

    def says(self, file: str) -> str:
        if self.wrong:
            lost = f"{len(self.wrong)} of {self.modules} modules, such as {self.wrong[0]}"
            return f"{file} ({_CALLED[self.format]}) is not the merge in {lost}."
        how = "after rounding to float32" if self.rounded else "number for number"
        return f"{file} ({_CALLED[self.format]}), read back, holds all {self.modules} modules {how}."


def check_formats(formats: Collection[str]) -> tuple[str, ...]:
    """The formats once each. Raises ExportError for one that nothing here writes."""
    if unknown := next((one for one in formats if one not in FILES), None):
        raise ExportError(f"{shown(unknown, 40)}: is no format that is written. Give {' or '.join(FILES)}.")
    return tuple(dict.fromkeys(formats))


def write_format(adapter: Adapter, folder: Path, name: str, base: Base | None = None) -> None:
    """Write one of ``FILES`` into a folder. base: whose config says what llama.cpp calls its layers; or the adapter names one.

    Raises ExportError for what the format cannot hold.
    """
    _check_plain(adapter, name)
    try:
        (_write_gguf if name == "gguf" else _write_diffusers)(adapter, folder / FILES[name], base)
    except OSError as error:
        raise ExportError(
            f"{folder}: could not be written ({error}). Is there space, and may you write there?"
        ) from error


def _check_plain(adapter: Adapter, name: str) -> None:
    if adapter.whole:
        kept = ", ".join(adapter.heads) or next(iter(adapter.whole))
        raise ExportError(f"{kept}: is kept whole, which {_CALLED[name]} cannot hold. Export the PEFT folder alone.")
    for module in adapter.outlines.values():
        if module.kind == "embedding" or (name == "gguf" and (module.kind != "linear" or module.bias is not None)):
            what = "a bias of lora_B" if module.bias is not None else f"the update of a layer of kind {module.kind}"
            raise ExportError(f"{module.name}: {what} is not held by {_CALLED[name]}. Export the PEFT folder alone.")


# -- llama.cpp -----------------------------------------------------------------------------------------------------


def _write_gguf(adapter: Adapter, file: Path, base: Base | None) -> None:
    """As convert_lora_to_gguf.py would, with the numbers of heads beside, which tell how rows were reordered."""
    import gguf

    architecture, heads = _architecture(adapter, base)
    names = {ours: there for there, ours in layer_names(architecture, str(file)).items()}
    if lost := next((name for name in adapter.outlines if name not in names), None):
        raise ExportError(
            f"{lost}: has no name in llama.cpp's {architecture} architecture. Export the PEFT folder alone."
        )
    writer = gguf.GGUFWriter(str(file), architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(adapter.rank))
    writer.add_head_count(heads.query)
    writer.add_head_count_kv(heads.key)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", adapter.base or "") and not Path(adapter.base or "").exists():
        writer.add_base_model_count(1)
        writer.add_base_model_repo_url(0, f"https://huggingface.co/{adapter.base}")
    for name in adapter.modules:
        for key, tensor in _gguf_tensors(names[name], adapter.modules[name], architecture, heads):
            writer.add_tensor(key, tensor.float().cpu().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _architecture(adapter: Adapter, base: Base | None) -> tuple[str, Heads]:
    at_hand = base if base is not None else adapter.base
    config = base.model.config if base is not None else config_of(adapter.base) if adapter.base else None
    kind = getattr(config, "model_type", None)
    heads = heads_of(at_hand) if at_hand else None
    if kind is None or heads is None:
        raise ExportError(
            f"{adapter.base or 'The base'}: its config is not at hand, which says what llama.cpp calls its layers. Give the base "
            "too (--base)."
        )
    if kind not in _ARCHITECTURES:
        raise ExportError(
            f"{adapter.base or 'The base'}: is of type {shown(kind, 40)}; llama.cpp's LoRA is written for "
            f"{', '.join(sorted(_ARCHITECTURES))}. Use llama.cpp's convert_lora_to_gguf.py on the PEFT folder."
        )
    return _ARCHITECTURES[kind], heads


def _gguf_tensors(name: str, module: LoraModule, architecture: str, heads: Heads) -> Iterable[tuple[str, Tensor]]:
    order = {"q_proj": heads.query, "k_proj": heads.key}.get(module.name.rpartition(".")[2], 0)
    up = reordered(module.up, order) if order and architecture in REORDERED else module.up
    yield f"{name}.weight.lora_a", module.down
    yield f"{name}.weight.lora_b", up


# -- diffusers -----------------------------------------------------------------------------------------------------


def _write_diffusers(adapter: Adapter, file: Path, base: Base | None) -> None:
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name in adapter.modules:
        module, there = adapter.modules[name], _in_pipeline(name)
        ones = (1,) * len(module.kernel)
        tensors[f"{there}.lora_A.weight"] = module.down.reshape(module.rank, -1, *module.kernel).contiguous()
        tensors[f"{there}.lora_B.weight"] = module.up.reshape(*module.up.shape, *ones).contiguous()
        if module.bias is not None:
            tensors[f"{there}.lora_B.bias"] = module.bias.contiguous()
    save_file(tensors, file, metadata={"format": "pt"})


def _in_pipeline(name: str) -> str:
    """A layer's name with the part of the pipeline that it belongs to. Raises ExportError."""
    if OF_PIPELINE.match(name):
        return name
    part = next((part for start, part in _PARTS if start.match(name)), None)
    if part is None:
        raise ExportError(
            f"{name}: is no layer of a pipeline of diffusers (unet, transformer, text_encoder). Export the PEFT folder alone."
        )
    return f"{part}{name}"


# -- read back -----------------------------------------------------------------------------------------------------


def read_back(adapter: Adapter, folder: Path) -> Mapping[str, FormatCheck]:
    """Every file in another format that a folder holds, by name, against the adapter. Raises AdapterError for one that is none."""
    return {file: _compared(adapter, folder / file, name) for name, file in FILES.items() if (folder / file).is_file()}


def _compared(adapter: Adapter, file: Path, name: str) -> FormatCheck:
    found = read_adapter(file)
    wrong = [
        module.name
        for module in (adapter.modules[name] for name in adapter.modules)
        if not _same(module, found.modules.get(module.name if name == "gguf" else _in_pipeline(module.name)))
    ]
    extra = [f"{len(found.modules)} modules"] if len(found.modules) != len(adapter.outlines) else []
    return FormatCheck(name, len(adapter.outlines), (*wrong, *extra), name == "gguf" and adapter.dtype == torch.float64)


def _same(ours: LoraModule, theirs: LoraModule | None) -> bool:
    if theirs is None or theirs.scale != ours.scale:
        return False
    pairs: list[tuple[Any, Any]] = [(ours.up, theirs.up), (ours.down, theirs.down)]
    if (ours.bias is None) != (theirs.bias is None):
        return False
    if ours.bias is not None:
        pairs.append((ours.bias, theirs.bias))
    return all(a.shape == b.shape and torch.equal(a.to(b.dtype), b) for a, b in pairs)
