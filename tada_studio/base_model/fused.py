"""Fused projections beside split ones: an adapter of the one brought to a base that has the other, exactly.

``W_qkv`` of a base is its q, k and v, row by row; so an update of it is one of each with the rows of B that are theirs and the same
A, and updates of the three are one of rank r_q + r_k + r_v whose B stands in blocks. Which rows are whose is the layout:

contiguous  all of q, then k, then v (Phi-3, GPT-2, MPT; gate before up)
by group    the heads of q that share a key, that key's, its value's, and so on (Megatron, GPT-NeoX, BLOOM, Falcon)

It is taken from the class of the base where that is the fused one, and from names that only ever had one layout where it is the
split one. Where neither tells, nothing is changed, and the name is refused like any that the base does not have.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from tada_studio.base_model.family import text_part
from tada_studio.lora import Adapter, LoraModule

#: Fused name -> the names of its parts, in their order.
PARTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "qkv_proj": (("q_proj", "k_proj", "v_proj"),),
    "Wqkv": (("q_proj", "k_proj", "v_proj"), ("query", "key", "value")),
    "linear_qkv": (("q_proj", "k_proj", "v_proj"),),
    "query_key_value": (("q_proj", "k_proj", "v_proj"), ("query", "key", "value")),
    "c_attn": (("q_proj", "k_proj", "v_proj"),),
    "qkv": (("q_proj", "k_proj", "v_proj"), ("q", "k", "v"), ("query", "key", "value")),
    "gate_up_proj": (("gate_proj", "up_proj"),),
    "linear_fc1": (("gate_proj", "up_proj"),),
}  # fmt: skip
#: Names whose layout was the same wherever they were used, for a base that has the parts.
_ALWAYS_CONTIGUOUS, _ALWAYS_GROUPED = ("qkv_proj", "Wqkv", "gate_up_proj", "linear_fc1"), ("linear_qkv",)
#: Bases that have a fused layer themselves, by model_type.
_CONTIGUOUS = ("phi3", "phi4_multimodal", "gpt2", "mpt", "modernbert", "qwen2_vl", "qwen2_5_vl")
_GROUPED = ("gpt_neox", "gpt_neox_japanese", "bloom", "falcon")
#: Megatron's names -> those of a Llama-like class of transformers. Its fused attention is always by group.
_MEGATRON = (
    (r"^(?:module\.|model\.)*(?:language_model\.encoder|decoder)\.layers\.(\d+)\.self_attention\.(?:linear_qkv|query_key_value)$",
     r"model.layers.\1.self_attn.linear_qkv"),
    (r"^(?:module\.|model\.)*(?:language_model\.encoder|decoder)\.layers\.(\d+)\.self_attention\.(?:linear_proj|dense)$",
     r"model.layers.\1.self_attn.o_proj"),
    (r"^(?:module\.|model\.)*(?:language_model\.encoder|decoder)\.layers\.(\d+)\.mlp\.(?:linear_fc1|dense_h_to_4h)$",
     r"model.layers.\1.mlp.linear_fc1"),
    (r"^(?:module\.|model\.)*(?:language_model\.encoder|decoder)\.layers\.(\d+)\.mlp\.(?:linear_fc2|dense_4h_to_h)$",
     r"model.layers.\1.mlp.down_proj"),
)  # fmt: skip


@runtime_checkable  # the annotations are checked in tests
class Class(Protocol):
    """A base's real class, as far as it is asked here."""

    @property
    def model(self) -> Any: ...

    def place(self, name: str, tensor: str = ...) -> str | None: ...

    def size(self, name: str) -> tuple[int, int] | None: ...


class Moved(NamedTuple):
    """An adapter under names that the base has, and an example (old name, new names); None where nothing had to be changed."""

    adapter: Adapter
    example: tuple[str, str] | None = None


def refitted(adapter: Adapter, kind: Class) -> Moved:
    """The adapter with fused layers split, or split ones fused, where the class has only the other and the layout is known."""
    modules: dict[str, LoraModule] = {}
    changed: list[tuple[str, str]] = []
    waiting: dict[str, dict[int, LoraModule]] = {}  # fused layer of the class -> part -> update
    for name, module in adapter.modules.items():
        known = _renamed(name, kind)
        if kind.place(known) is not None or module.kind != "linear" or _has_whole(adapter, name):
            modules[known if known != name and kind.place(name) is None else name] = _named(module, known, name, kind)
            changed += [(name, known)] if known != name and kind.place(name) is None else []
        elif (parts := _split(known, module, kind)) is not None:
            modules |= {one.name: one for one in parts}
            changed.append((name, " and ".join(one.name.rpartition(".")[2] for one in parts)))
        elif (whole := _fused_home(known, module, kind)) is not None:
            waiting.setdefault(whole[0], {})[whole[1]] = module
            changed.append((name, whole[0]))
        else:
            modules[name] = module
    modules |= {fused: _fused(fused, parts, kind) for fused, parts in waiting.items()}
    return Moved(replace(adapter, modules=modules), changed[0]) if changed else Moved(adapter)


def _renamed(name: str, kind: Class) -> str:
    """Megatron's name as a class of transformers calls it."""
    if kind.place(name) is not None:
        return name
    return next((re.sub(old, new, name) for old, new in _MEGATRON if re.match(old, name)), name)


def _named(module: LoraModule, known: str, name: str, kind: Class) -> LoraModule:
    return replace(module, name=known) if known != name and kind.place(name) is None else module


def _has_whole(adapter: Adapter, name: str) -> bool:
    """Whether a tensor of that layer was trained whole: it cannot be split with the update."""
    return any(tensor.startswith(f"{name}.") for tensor in adapter.whole)


# -- fused into parts --------------------------------------------------------------------------------------------------


def _split(name: str, module: LoraModule, kind: Class) -> list[LoraModule] | None:
    """The updates of the parts that the class has in place of a fused layer; None if it has none, or the layout is unknown."""
    parent, _, last = name.rpartition(".")
    for labels in PARTS.get(last, ()):
        places = [kind.place(f"{parent}.{label}") for label in labels]
        sizes = [kind.size(place) if place else None for place in places]
        known = [size for size in sizes if size is not None]
        if len(known) < len(labels) or sum(size[0] for size in known) != module.up.shape[0]:
            continue
        rows = _rows([size[0] for size in known], _layout_of_name(last), kind)
        if rows is not None:
            return [
                replace(module, name=place or "", up=module.up[of].contiguous(), bias=_part(module.bias, of))
                for place, of in zip(places, rows, strict=True)
            ]
    return None


def _part(bias: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if bias is None else bias[rows].contiguous()


def _layout_of_name(last: str) -> str | None:
    return "contiguous" if last in _ALWAYS_CONTIGUOUS else "by group" if last in _ALWAYS_GROUPED else None


def _rows(sizes: Sequence[int], layout: str | None, kind: Class) -> list[Tensor] | None:
    """Which rows of the fused layer belong to each part; None if that is not known."""
    if layout == "contiguous":
        return list(torch.arange(sum(sizes)).split(list(sizes)))
    heads = _heads(kind)
    if layout != "by group" or heads is None or len(sizes) != 3:
        return None
    groups, head = heads[1], sizes[0] // heads[0]
    if [heads[0] * head, groups * head, groups * head] != list(sizes) or heads[0] % groups:
        return None
    each = heads[0] // groups
    rows = torch.arange(sum(sizes)).reshape(groups, each + 2, head)
    return [rows[:, :each].flatten(), rows[:, each].flatten(), rows[:, each + 1].flatten()]


def _heads(kind: Class) -> tuple[int, int] | None:
    """(heads of q, heads of k and v) by the base's config."""
    config = text_part(kind.model.config)
    heads = getattr(config, "num_attention_heads", None) or getattr(config, "n_head", None)
    if not isinstance(heads, int) or heads < 1:
        return None
    groups = getattr(config, "num_key_value_heads", None) or heads
    if getattr(config, "model_type", "") == "falcon":
        new, single = getattr(config, "new_decoder_architecture", False), getattr(config, "multi_query", False)
        groups = config.num_kv_heads if new else 1 if single else heads
    return heads, groups


# -- parts into fused --------------------------------------------------------------------------------------------------


def _fused_home(name: str, module: LoraModule, kind: Class) -> tuple[str, int] | None:
    """(the class's fused layer that an update is a part of, which part); None if there is none or its layout is unknown."""
    parent, _, last = name.rpartition(".")
    for fused, ways in PARTS.items():
        for labels in (labels for labels in ways if last in labels):
            place = kind.place(f"{parent}.{fused}")
            if place is None or (sizes := _sizes(place, labels, kind)) is None:
                continue
            part = labels.index(last)
            if sizes[part] == module.up.shape[0] and _layout_of_class(place, sizes, kind) is not None:
                return place, part
    return None


def _sizes(place: str, labels: Sequence[str], kind: Class) -> list[int] | None:
    """How many rows of a fused layer each part has, by the base's config."""
    size, heads = kind.size(place), _heads(kind)
    if size is None:
        return None
    if len(labels) == 2:
        return [size[0] // 2] * 2
    if heads is None or size[0] % (heads[0] + 2 * heads[1]):
        return None
    head = size[0] // (heads[0] + 2 * heads[1])
    return [heads[0] * head, heads[1] * head, heads[1] * head]


def _layout_of_class(place: str, sizes: Sequence[int], kind: Class) -> list[Tensor] | None:
    of = getattr(kind.model.config, "model_type", "")
    layout = "contiguous" if of in _CONTIGUOUS else "by group" if of in _GROUPED else None
    return _rows(sizes, layout, kind)


def _fused(name: str, parts: Mapping[int, LoraModule], kind: Class) -> LoraModule:
    """One update of the fused layer that is those of its parts: their A stacked, their B in the rows that are theirs."""
    labels = next(labels for labels in PARTS[name.rpartition(".")[2]])
    sizes = _sizes(name, labels, kind)
    assert sizes is not None
    rows = _layout_of_class(name, sizes, kind)
    assert rows is not None
    some = [parts[part] for part in sorted(parts)]
    scale = some[0].scale
    ups = [_scaled(one.up, one.scale / scale) for one in some]
    up = torch.zeros(sum(sizes), sum(one.rank for one in some), dtype=_widest(ups))
    start = 0
    for part, block in zip(sorted(parts), ups, strict=True):
        up[rows[part], start : start + block.shape[1]] = block.to(up.dtype)
        start += block.shape[1]
    biases = {part: one.bias for part, one in parts.items() if one.bias is not None}
    bias = torch.zeros(sum(sizes), dtype=up.dtype) if biases else None
    for part, own in biases.items():
        assert bias is not None
        bias[rows[part]] = _scaled(own, parts[part].scale / scale).to(up.dtype)
    down = torch.cat([one.down.to(_widest(one.down for one in some)) for one in some])
    return LoraModule(name, up, down, scale, bias=bias)


def _scaled(tensor: Tensor, by: float) -> Tensor:
    return tensor if by == 1 else tensor.float() * by


def _widest(tensors: Iterable[Tensor]) -> torch.dtype:
    kinds: Callable[[torch.dtype], tuple[int, str]] = lambda dtype: (dtype.itemsize, str(dtype))  # noqa: E731
    return max((tensor.dtype for tensor in tensors), key=kinds)
