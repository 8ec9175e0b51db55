"""LoRA files of llama.cpp (GGUF), read exactly.

llama.cpp scales by alpha / rank (alpha 0 or none: 1) and calls tensors ``blk.3.attn_q.weight.lora_a``; gguf's own table says which
layer of transformers that is. Of Llama and its kin the rows of q_proj and k_proj are stored in another order (see ``reordered``),
which can be undone only with the base's numbers of heads.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Shaped
from torch import Tensor

from tada_studio.errors import AdapterError
from tada_studio.files import shown
from tada_studio.read.files import Entry
from tada_studio.read.formats import Foreign

#: Architectures of llama.cpp whose linear layers it stores as they are.
PLAIN = frozenset(("qwen2", "qwen3", "gemma", "gemma2", "gemma3", "olmo2", "cohere2"))
#: Those whose q_proj and k_proj it reorders: LlamaModel of its conversion and its heirs, and Olmo.
REORDERED = frozenset(("llama", "smollm3", "arcee", "granite", "olmo"))
_INSIDE = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
_OUTSIDE = ("lm_head",)
_KEY = re.compile(r"(?P<tensor>.+)\.weight\.lora_(?P<side>[ab])")
_MOST_LAYERS = 1000
#: How llama.cpp calls number formats whose numbers can be taken as they lie.
_FORMATS = {"F32": "F32", "F16": "F16", "BF16": "BF16", "F64": "F64"}


class Heads(NamedTuple):
    """How many heads a base's attention has, for queries and for keys."""

    query: int
    key: int


class Header(NamedTuple):
    """What a GGUF file says about its adapter, and its tensors."""

    architecture: str
    alpha: float
    base: str | None
    heads: Heads | None
    tensors: Mapping[str, Entry]


def as_peft(file: Path, heads: Heads | None = None) -> Foreign:
    """The file as PEFT would have written it. heads: the base's; a file that names its own needs none.

    Without them, entries of reordered layers say so by ``heads`` = -1, and their numbers cannot be read. Raises AdapterError.
    """
    header = read(file)
    names = layer_names(header.architecture, str(file))
    heads = header.heads or heads
    found = {}
    for key, entry in header.tensors.items():
        match = _KEY.fullmatch(key)
        module = names.get(match["tensor"]) if match else None
        if match is None or module is None:
            raise AdapterError(
                f"{file}: holds {shown(key)!r}, which is no factor of a linear layer of {header.architecture} that can be mapped "
                "back to transformers' names. Give the PEFT folder that it was converted from."
            )
        which = module.rpartition(".")[2] if header.architecture in REORDERED and match["side"] == "b" else ""
        order = (
            {"q_proj": heads.query, "k_proj": heads.key}.get(which, 0) if heads else -(which in ("q_proj", "k_proj"))
        )
        if order > 0 and (len(entry.shape) != 2 or entry.shape[0] % (2 * order)):
            raise AdapterError(
                f"{file}: {shown(key)} of shape {entry.shape} does not belong to {order} heads. Give the base of its training."
            )
        found[f"base_model.model.{module}.lora_{match['side'].upper()}.weight"] = replace(entry, heads=order)
    config = {
        "peft_type": "LORA", "written_by": "llama.cpp", "task_type": "CAUSAL_LM", "base_model_name_or_path": header.base,
    }  # fmt: skip

    def scale(_: str, rank: int) -> tuple[float, float]:
        alpha = header.alpha or float(rank)
        return alpha, alpha / rank

    return Foreign(config, found, scale)


def layer_names(architecture: str, where: str) -> dict[str, str]:
    """llama.cpp's name of a tensor -> transformers' name of its layer, by gguf's own table. Raises AdapterError."""
    import gguf

    if architecture not in PLAIN | REORDERED:
        raise AdapterError(
            f"{where}: is of llama.cpp's architecture {shown(architecture, 40)!r}, whose layers are not mapped back here; those of "
            f"{', '.join(sorted(PLAIN | REORDERED))} are. Give the PEFT folder that it was converted from."
        )
    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    table = gguf.get_tensor_name_map(arch, _MOST_LAYERS)
    inside = (f"model.layers.{i}.{name}" for i in range(_MOST_LAYERS) for name in _INSIDE)
    return {there: ours for ours in (*inside, *_OUTSIDE) if (there := table.get_name(ours)) is not None}


def reordered(rows: Shaped[Tensor, "d_out r"], heads: int, back: bool = False) -> Shaped[Tensor, "d_out r"]:
    """The rows of q_proj or k_proj in llama.cpp's order: within each head the two halves interleaved; back: into transformers'.

    ``LlamaModel.permute`` of llama.cpp's conversion, whose rotary embedding turns neighbours and not halves.
    """
    d_out, width = rows.shape
    shape = (heads, d_out // heads // 2, 2, width) if back else (heads, 2, d_out // heads // 2, width)
    return rows.reshape(shape).transpose(1, 2).reshape(d_out, width)


def read(file: Path) -> Header:
    """The header of a GGUF file. Raises AdapterError for one that is no LoRA, or has numbers that are not as they were."""
    import gguf

    try:
        reader = gguf.GGUFReader(str(file))
        size = file.stat().st_size
        fields = {name: _value(reader, name) for name in _WANTED if name in reader.fields}
        architecture = str(fields.get("general.architecture", ""))
        about = [_value(reader, f"{architecture}.attention.head_count{end}") for end in ("", "_kv")]
        tensors = {tensor.name: _entry(tensor, file.name, size) for tensor in reader.tensors}
    except AdapterError:
        raise
    except Exception as error:  # gguf raises whatever numpy raises for bytes that make no sense
        raise AdapterError(f"{file}: is not readable as GGUF ({shown(error)}). Download or save it again.") from error
    if fields.get("general.type") != "adapter" or fields.get("adapter.type", "lora") != "lora":
        raise AdapterError(
            f"{file}: is a GGUF file of type {shown(fields.get('general.type', 'model'), 40)!r}, no LoRA. Give a LoRA, a model as "
            "the base."
        )
    if "adapter.alora.invocation_tokens" in reader.fields:
        raise AdapterError(f"{file}: is an activated LoRA, which depends on the input; no single LoRA can hold it.")
    alpha = float(fields.get("adapter.lora.alpha", 0))
    if not abs(alpha) < 1e6:
        raise AdapterError(f"{file}: its adapter.lora.alpha is {alpha}, no number of ordinary size. Save it again.")
    heads = Heads(*about) if all(isinstance(n, int) and n > 0 for n in about) else None
    return Header(architecture, alpha, _base(fields), heads, tensors)


_WANTED = (
    "general.type", "general.architecture", "adapter.type", "adapter.lora.alpha", "general.base_model.0.repo_url",
)  # fmt: skip


def _value(reader: Any, name: str) -> Any:
    field = reader.get_field(name)
    return None if field is None else field.contents()


def _base(fields: Mapping[str, Any]) -> str | None:
    """The Hub id of the base, where the file gives its address there."""
    match = re.fullmatch(
        r"https?://huggingface\.co/([\w.-]+/[\w.-]+)/?", str(fields.get("general.base_model.0.repo_url", ""))
    )
    return match[1] if match else None


def _entry(tensor: Any, file: str, size: int) -> Entry:
    kind, begin = tensor.tensor_type.name, int(tensor.data_offset)
    if kind not in _FORMATS:
        raise AdapterError(
            f"{file}: {shown(tensor.name)} is stored as {kind}, in which numbers were rounded. Convert it anew with --outtype f32."
        )
    if begin + int(tensor.n_bytes) > size:
        raise ValueError(f"it is cut short at {shown(tensor.name)}")
    return Entry(_FORMATS[kind], tuple(int(n) for n in reversed(tensor.shape)), file, begin)
