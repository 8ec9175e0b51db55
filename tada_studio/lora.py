"""Nouns: a LoRA module, an adapter made of them, a pair of adapters, and where each module sits in the base.

Knows nothing of files, models or screens. Tensors keep the dtype they were stored in; the verbs cast where they compute.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from tada_studio.errors import AdapterError, MismatchError

#: The two files of an adapter as PEFT saves it.
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class Address(NamedTuple):
    """Where a module sits: ``layer`` counts from 0 at the input, ``projection`` is the name people use (``v_proj``)."""

    layer: int
    projection: str

    def __str__(self) -> str:
        return f"layer {self.layer} {self.projection}"


@dataclass(frozen=True, eq=False)  # identity equality: == on tensors would be elementwise
class LoraModule:
    """The low-rank update that one adapter adds to one linear layer, ``scale * up @ down``.

    name:  dotted path inside the base model, e.g. "model.layers.3.self_attn.q_proj"
    up:    (d_out, r)  PEFT's lora_B
    down:  (r, d_in)   PEFT's lora_A
    scale: alpha / r, or alpha / sqrt(r) if the adapter was trained with rsLoRA
    """

    name: str
    up: Float[Tensor, "d_out r"]
    down: Float[Tensor, "r d_in"]
    scale: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def layer_size(self) -> tuple[int, int]:
        """(d_out, d_in) of the layer that the update belongs to."""
        return self.up.shape[0], self.down.shape[1]

    def delta(self) -> Float64[Tensor, "d_out d_in"]:
        """The dense update in float64. For checks: nothing in a merge needs it."""
        return self.scale * (self.up.double() @ self.down.double())


def _split(name: str) -> tuple[str, int, str]:
    """("model.layers", 3, "self_attn.q_proj") of "model.layers.3.self_attn.q_proj"."""
    parts = name.split(".")
    for i, part in enumerate(parts[:-1]):
        if part.isdecimal():
            return ".".join(parts[:i]), int(part), ".".join(parts[i + 1 :])
    raise AdapterError(
        f"{name}: lies outside the numbered layers of the base. Merging such modules (embeddings, heads) is not "
        "supported; train or export the adapter without it."
    )


def addresses(names: Iterable[str]) -> dict[str, Address]:
    """The address of every module, in order of depth, then in the order in which the projections first appear.

    A projection is called by the last part of its name; where that would call two kinds of module alike (BERT has
    attention.output.dense and output.dense) it gets as much of its path as tells them apart.
    """
    split = {name: _split(name) for name in names}
    kinds = list(dict.fromkeys((stack, tail) for stack, _, tail in split.values()))
    labels = dict(zip(kinds, _short_names(kinds), strict=True))
    found = {name: Address(layer, labels[stack, tail]) for name, (stack, layer, tail) in split.items()}
    order = {label: i for i, label in enumerate(sorted(labels.values(), key=_usual_place))}
    return dict(sorted(found.items(), key=lambda item: (item[1].layer, order[item[1].projection])))


#: The order in which a layer computes them, so that maps of different models read alike.
_USUAL_ORDER = (
    "q", "query", "q_lin", "k", "key", "k_lin", "v", "value", "v_lin", "qkv", "c_attn", "query_key_value",
    "o", "out", "out_lin", "attn.c_proj", "attention.output.dense", "gate", "up", "c_fc", "fc1", "lin1",
    "intermediate.dense", "down", "mlp.c_proj", "fc2", "lin2", "output.dense",
)  # fmt: skip


def _usual_place(label: str) -> tuple[int, str]:
    short = label if label in _USUAL_ORDER else label.removesuffix("_proj")
    return (_USUAL_ORDER.index(short) if short in _USUAL_ORDER else len(_USUAL_ORDER), label)


def _short_names(kinds: list[tuple[str, str]]) -> list[str]:
    """For each (stack, path inside a layer) its shortest end that no other ends in, or that whole path if no other has it."""

    def ends(stack: str, inside: str) -> list[str]:
        parts = [*stack.split("."), *inside.split(".")]
        return [".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]

    seen = Counter(end for kind in kinds for end in ends(*kind))
    paths = Counter(inside for _, inside in kinds)

    def tells_apart(end: str, inside: str) -> bool:
        return seen[end] == 1 or (end == inside and paths[inside] == 1)

    return [next((end for end in ends(*kind) if tells_apart(end, kind[1])), ".".join(kind)) for kind in kinds]


@dataclass(frozen=True, eq=False)
class Passport:
    """What an adapter's own files say about it: facts for a table, and remarks in plain sentences."""

    label: str
    facts: Mapping[str, Any]
    remarks: tuple[str, ...] = ()


@runtime_checkable  # the annotations are checked in tests
class Origin(Protocol):
    """What made an adapter; worked out only when it is written down."""

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, eq=False)
class Adapter:
    """All the LoRA modules of one adapter.

    label:   what people call it: a folder's name, a Hub id, or the method that made it
    modules: by dotted name
    base:    base_model_name_or_path of its config, or None
    source:  the folder that it was read from; None for one made in memory
    origin:  what made it (recipe, hashes, versions), if a merge did
    """

    label: str
    modules: Mapping[str, LoraModule]
    base: str | None = None
    task_type: str | None = None
    source: str | None = None
    passport: Passport | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if not self.modules:
            raise AdapterError(f"{self.label}: holds no LoRA module at all.")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the factors are stored in (the widest, if they differ)."""
        kinds = {tensor.dtype for module in self.modules.values() for tensor in (module.up, module.down)}
        return max(kinds, key=lambda dtype: (dtype.itemsize, str(dtype)))

    @property
    def rank(self) -> int:
        """The largest rank of any module."""
        return max(module.rank for module in self.modules.values())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content (names, scales, dtypes, shapes, numbers), however it was stored."""
        sha = hashlib.sha256()
        for name in sorted(self.modules):
            module = self.modules[name]
            sha.update(f"{name} {module.scale!r}".encode())
            for tensor in (module.up, module.down):
                sha.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                sha.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return sha.hexdigest()


@dataclass(frozen=True, eq=False)
class Pair:
    """A task adapter and a domain adapter of one base. Either may lack modules that the other has.

    problems: remarks about the two together that do not forbid the merge, in plain sentences
    """

    task: Adapter
    domain: Adapter
    problems: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for name in set(self.task.modules) & set(self.domain.modules):
            _check_same_layer(self.task.modules[name], self.domain.modules[name])

    @cached_property
    def addresses(self) -> dict[str, Address]:
        """Name -> address of every module that either adapter has, in order of depth."""
        return addresses(sorted({*self.task.modules, *self.domain.modules}))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.addresses)

    @property
    def passports(self) -> tuple[Passport | None, Passport | None]:
        return self.task.passport, self.domain.passport

    def both(self, name: str) -> tuple[LoraModule | None, LoraModule | None]:
        """(task's, domain's) module of that name; None where an adapter does not have it."""
        return self.task.modules.get(name), self.domain.modules.get(name)


def _check_same_layer(task: LoraModule, domain: LoraModule) -> None:
    if task.layer_size == domain.layer_size:
        return
    (t_out, t_in), (d_out, d_in) = task.layer_size, domain.layer_size
    raise MismatchError(
        f"{task.name}: the task adapter was trained on a {t_out}x{t_in} layer, the domain adapter on a {d_out}x{d_in} "
        "one. Both must share a base model; compare base_model_name_or_path in their adapter_config.json files."
    )
