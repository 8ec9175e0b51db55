"""Nouns: a LoRA module, an adapter made of them, a pair of adapters.

Knows nothing of files, models or screens. Tensors keep the dtype they were stored in; the verbs cast where they compute.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from tada_studio.addresses import Address, addresses
from tada_studio.errors import AdapterError, MismatchError
from tada_studio.lazy import lazy
from tada_studio.markup import Shown

#: The two files of an adapter as PEFT saves it.
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
#: Beside them, in folders of this package: the names of a classifier's labels, which PEFT keeps nowhere.
LABELS = "labels.json"
#: And, of a merge, what it was made of.
RECIPE = "recipe.json"


@dataclass(frozen=True, eq=False)  # identity equality: == on tensors would be elementwise
class LoraModule:
    """The low-rank update that one adapter adds to one linear layer, ``scale * up @ down``.

    name:   dotted path inside the base model, e.g. "model.layers.3.self_attn.q_proj"
    up:     (d_out, r)  PEFT's lora_B
    down:   (r, d_in)   PEFT's lora_A
    scale:  alpha / r, or alpha / sqrt(r) if the adapter was trained with rsLoRA
    kind:   "linear", "embedding" (d_in counts the tokens) or "conv" (d_in counts input channels times kernel)
    kernel: of a convolution, e.g. (3, 3); () for the others
    bias:   (d_out,) added to the layer's output, also times ``scale`` (PEFT's lora_bias); None without one
    """

    name: str
    up: Float[Tensor, "d_out r"]
    down: Float[Tensor, "r d_in"]
    scale: float
    kind: str = "linear"
    kernel: tuple[int, ...] = ()
    bias: Float[Tensor, " d_out"] | None = None

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


@dataclass(frozen=True, eq=False)
class Passport:
    """What an adapter's own files say about it: facts for a table, and remarks in plain sentences.

    refused: why its numbers forbid any merge (NaN, infinity), in a sentence; None for all others
    """

    label: str
    facts: Mapping[str, Any]
    remarks: tuple[str, ...] = ()
    refused: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether two adapters fit together: reasons forbid the merge, notes do not; each a plain sentence."""

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return not self.reasons

    @property
    def word(self) -> str:
        return "does not fit" if self.reasons else "fits with notes" if self.notes else "fits"


@runtime_checkable  # the annotations are checked in tests
class Origin(Protocol):
    """What made an adapter; worked out only when it is written down."""

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Replacement:
    """How an adapter that is no LoRA became one: DoRA, whose exact update depends on the base and is of full rank, or another
    type of PEFT.

    base:   whose weights were used
    rank:   that was asked for; None: every module its own
    lost:   relative Frobenius error of all updates together; worst: of the worst module, and its name
    digest: SHA-256 of all that went in: the adapter as stored, the base's weights, the rank
    kind:   what it was
    """

    base: str
    rank: int | None
    lost: float
    worst: float
    worst_module: str
    digest: str
    kind: str = "DoRA"

    def __str__(self) -> str:
        rank = "of its own rank" if self.rank is None else f"of rank {self.rank}"
        return (
            f"{self.kind}, replaced by its best LoRA {rank} on {self.base}: residual {self.lost:.1%} overall, "
            f"{self.worst:.1%} in the worst module ({self.worst_module})"
        )


class FileStamp(NamedTuple):
    """What a file was when it was read."""

    path: str
    mtime_ns: int
    size: int
    inode: int


@dataclass(frozen=True, eq=False, repr=False)
class Adapter(Shown):
    """All the LoRA modules of one adapter.

    label:   what people call it: a folder's name, a Hub id, or the method that made it
    modules: by dotted name
    base:    base_model_name_or_path of its config, or None
    source:  the folder that it was read from; None for one made in memory
    origin:  what made it (recipe, hashes, versions), if a merge did
    whole:   tensors that were trained whole beside the LoRA (heads, biases), by name; they replace the base's own
    heads:   the modules that those tensors belong to (PEFT's modules_to_save), by full name
    labels:  what the rows of a classifier's head are called, if anyone wrote it down (labels.json)
    stands_for: what the modules replace, if they are not the adapter itself
    revision: of the base, as its config names it
    files:   what the files that it was read from were then
    """

    label: str
    modules: Mapping[str, LoraModule]
    base: str | None = None
    task_type: str | None = None
    source: str | None = None
    passport: Passport | None = None
    origin: Origin | None = None
    whole: Mapping[str, Tensor] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    stands_for: Replacement | None = None
    revision: str | None = None
    files: tuple[FileStamp, ...] = ()

    def __post_init__(self) -> None:
        if not self.modules:
            raise AdapterError(f"{self.label}: holds no LoRA module at all.")

    def _facts(self) -> dict[str, object]:
        return {"label": self.label, "modules": len(self.modules), "rank": self.rank, "base": self.base}

    def _rows(self) -> Iterable[tuple[str, object]]:
        known = None if self.passport is None else self.passport.facts
        return [("label", self.label), *(known or self._facts()).items()]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the factors are stored in (the widest, if they differ)."""
        kinds = {tensor.dtype for module in self.outlines.values() for tensor in (module.up, module.down)}
        return max(kinds, key=lambda dtype: (dtype.itemsize, str(dtype)))

    @property
    def rank(self) -> int:
        """The largest rank of any module."""
        return max(module.rank for module in self.outlines.values())

    @property
    def outlines(self) -> Mapping[str, LoraModule]:
        """The modules where only shapes, ranks and formats are asked for.

        Of a large merge, whose numbers are made when they are asked for, these have none.
        """
        return getattr(self.modules, "outlines", self.modules)

    @lazy
    def head_tensors(self) -> dict[str, Tensor]:
        """The tensors of its heads, by name."""
        starts = tuple(f"{head}." for head in self.heads)
        return {name: tensor for name, tensor in self.whole.items() if name.startswith(starts)}

    def is_base_of(self, other: "Adapter") -> bool:
        """Whether the other's config names this adapter as its base: it was trained on top."""
        return names_adapter(other.base, self.label, self.source)

    @property
    def bare(self) -> "Adapter":
        """The adapter without its heads: it leaves the base's own in place."""
        whole = {name: tensor for name, tensor in self.whole.items() if name not in self.head_tensors}
        return replace(self, whole=whole, heads=(), labels=())

    @lazy
    def digest(self) -> str:
        """SHA-256 of the content (names, scales, dtypes, shapes, numbers), however it was stored.

        Of a stand-in all that it was made from counts instead: another machine's last bits make no other adapter of it.
        """
        sha = hashlib.sha256(self.stands_for.digest.encode() if self.stands_for else b"")
        for name in sorted(self.modules) if self.stands_for is None else ():
            module = self.modules[name]
            kind = "" if module.kind == "linear" else f" {module.kind} {module.kernel}"
            sha.update(f"{name} {module.scale!r}{kind}".encode())
            for tensor in (module.up, module.down, *(() if module.bias is None else (module.bias,))):
                add_tensor(sha, tensor)
        for name in sorted(self.whole):
            sha.update(name.encode())
            add_tensor(sha, self.whole[name])
        return sha.hexdigest()


def names_adapter(base: str | None, label: str, source: str | None) -> bool:
    """Whether a base's name is that of an adapter: its label, its folder, or the last part of either."""
    if not base:
        return False
    names = [name.rstrip("/\\") for name in (label, source) if name]
    last = {name.replace("\\", "/").rpartition("/")[2] for name in names}
    return base.rstrip("/\\") in names or base.rstrip("/\\").replace("\\", "/").rpartition("/")[2] in last


def add_tensor(sha: Any, tensor: Tensor) -> None:
    """Feed a tensor's number format, shape and bytes to a hash."""
    sha.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    sha.update(bytes_of(tensor))


def bytes_of(tensor: Tensor) -> memoryview:
    """Its numbers as they lie in memory; copied only where they lie on a device or in another order."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


@dataclass(frozen=True, eq=False, repr=False)
class Pair(Shown):
    """A task adapter and a domain adapter of one base. Either may lack modules that the other has.

    problems: remarks about the two together that do not forbid the merge, in plain sentences
    same_base: whether somebody had to vouch that their bases, named differently, are one model
    """

    task: Adapter
    domain: Adapter
    problems: tuple[str, ...] = field(default=())
    same_base: bool = False

    def __post_init__(self) -> None:
        for name in set(self.task.modules) & set(self.domain.modules):
            _check_same_layer(self.task.modules[name], self.domain.modules[name])

    def _facts(self) -> dict[str, object]:
        shared = sum(None not in self.both(name) for name in self.names)
        ranks = {"ranks": (self.task.rank, self.domain.rank), "problems": len(self.problems)}
        return {
            "task": self.task.label,
            "domain": self.domain.label,
            "modules": len(self.names),
            "shared": shared,
            **ranks,
        }

    @lazy
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
    ours, theirs = (task.kind, task.kernel, *task.layer_size), (domain.kind, domain.kernel, *domain.layer_size)
    if ours != theirs:
        raise MismatchError(layers_differ(task.name, ours, theirs))


#: (kind, kernel, d_out, d_in) of the layer that a module updates.
Layer = tuple[str, tuple[int, ...], int, int]


def layers_differ(name: str, task: Layer, domain: Layer) -> str:
    """The sentence for two modules of one name that were trained on different layers."""
    return (
        f"{name}: the task adapter was trained on a {_layer_text(task)} layer, the domain adapter on a {_layer_text(domain)} "
        "one. Both must share a base model; compare base_model_name_or_path in their adapter_config.json files."
    )


def _layer_text(layer: Layer) -> str:
    kind, kernel, d_out, d_in = layer
    size = f"{d_out}x{d_in}"
    return (
        size if kind == "linear" else f"{size} {kind}" + (f" (kernel {'x'.join(map(str, kernel))})" if kernel else "")
    )
