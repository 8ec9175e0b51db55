"""An adapter as its config and headers describe it: every module with its shape, rank and scale, before any tensor is read."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tada_studio.errors import AdapterError
from tada_studio.files import shown
from tada_studio.lora import CONFIG, WEIGHTS, Layer
from tada_studio.read import diffusers, gguf_lora, kohya, mlx
from tada_studio.read.checks import check_experts, check_head_is_not_adapted, check_ranks, check_tying
from tada_studio.read.config import heads_implied, heads_named, judge, scale_of, text
from tada_studio.read.files import (
    EMPTY,
    FLOATS,
    Entry,
    check_folder,
    inside_folder,
    read_header,
    read_json,
    weight_files,
    weights_beside,
)
from tada_studio.read.formats import GGUF, Scale, kind_of, single_file
from tada_studio.read.gguf_lora import Heads
from tada_studio.read.keys import Part, canonical, family, part_of

#: More than any adapter has; beyond, a file is made to be large.
_MOST_TENSORS, _MOST_RANK = 200_000, 16_384


@dataclass(frozen=True)
class Factors:
    """One LoRA module as a header declares it.

    name:  of the module, as transformers 5 calls it; written: as the file calls it
    keys:  role -> name of the tensor: "A", "B", with lora_bias "bias", with DoRA "magnitude"
    layer: (kind, kernel, d_out, d_in) of the layer it updates
    """

    name: str
    written: str
    keys: Mapping[str, str]
    layer: Layer
    rank: int
    alpha: float
    scale: float
    format: str


@dataclass(frozen=True, eq=False)
class Manifest:
    """All that the files say without a tensor: modules by name, tensors that were trained whole, and where each key lies.

    whole:   name -> (key in the file, entry); heads: full names of the modules to save that those belong to
    entries: key -> entry of every tensor; revision: the commit on the Hub, if it came from there
    beside:  files of the folder that hold trained weights which are not the adapter's
    """

    label: str
    config: Mapping[str, Any]
    modules: Mapping[str, Factors]
    whole: Mapping[str, tuple[str, Entry]]
    heads: tuple[str, ...]
    entries: Mapping[str, Entry]
    size: int
    ignored: tuple[str, ...] = ()
    revision: str | None = None
    beside: tuple[str, ...] = ()

    @property
    def base(self) -> str | None:
        return text(self.config.get("base_model_name_or_path"))

    @property
    def revision_of_base(self) -> str | None:
        return text(self.config.get("revision"))

    @property
    def task_type(self) -> str | None:
        return text(self.config.get("task_type"))

    @property
    def dora(self) -> bool:
        """Whether it is a DoRA adapter, by its tensors: a LoRA can only stand in for it, with the base at hand."""
        return any("magnitude" in module.keys for module in self.modules.values())


def manifest_of(folder: Path, allow_pickle: bool = False, heads: Heads | None = None) -> Manifest:
    """The manifest of a folder or file, from its config and headers alone. heads: the base's, for a file of llama.cpp.

    Raises AdapterError.
    """
    if (single := single_file(folder)) is not None:
        beside = weights_beside(folder) if folder.is_dir() else ()
        return replace(_of_single(single, heads), beside=tuple(name for name in beside if name != single.name))
    files = files_of(folder, allow_pickle)
    config = read_json(folder / CONFIG)
    if mlx.NAMES.fullmatch(files[0].name):
        config, entries = mlx.as_peft(config, read_header(files[0]), str(files[0]))
    else:
        judge(config, str(folder / CONFIG))  # before the weights: what a config rules out needs no header
        entries = _together({file: read_header(file) for file in files})
    size = sum(file.stat().st_size for file in files)
    return replace(
        build(shown(folder.name or folder), config, entries, str(files[0]), size), beside=weights_beside(folder)
    )


def _of_single(file: Path, heads: Heads | None) -> Manifest:
    """The manifest of a file that no config explains; its name is what people know it by."""
    if file.suffix.lower() == GGUF:
        found = gguf_lora.as_peft(file, heads)
    else:
        entries = read_header(file)
        read = {"kohya": kohya.as_peft, "diffusers": diffusers.as_peft}[kind_of(entries) or ""]
        found = read(file, {key: replace(entry, file=file.name) for key, entry in entries.items()})
    size = file.stat().st_size
    return build(shown(file.stem), found.config, found.entries, str(file), size, scale=found.scale)


def files_of(folder: Path, allow_pickle: bool = False) -> list[Path]:
    """The weight files of an adapter: a folder's, as PEFT or as MLX-LM wrote it, or one of another format. Raises AdapterError."""
    if (single := single_file(folder)) is not None:
        return [single]
    check_folder(folder)
    if (folder / CONFIG).is_file() and not (folder / WEIGHTS).exists():
        config = read_json(folder / CONFIG)
        if "peft_type" not in config and {"fine_tune_type", "lora_parameters"} & set(config):
            file = mlx.weights(folder)
            if file is not None and (inside := inside_folder(folder, file.name)):
                return [inside]
    return weight_files(folder, allow_pickle)


def _together(headers: Mapping[Path, dict[str, Entry]]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for file, entries in headers.items():
        if twice := found.keys() & entries.keys():
            raise AdapterError(
                f"{file}: holds {shown(min(twice))!r}, which another shard holds too. Save the adapter again."
            )
        found |= entries
    return found


def build(
    label: str,
    config: Mapping[str, Any],
    entries: Mapping[str, Entry],
    where: str,
    size: int,
    revision: str | None = None,
    scale: Scale | None = None,
) -> Manifest:
    """The manifest that a judged config and the tensors' entries make; ``where`` names the weights in errors.

    scale: of every module, where no config gives it. Raises AdapterError.
    """
    if len(entries) > _MOST_TENSORS:
        raise AdapterError(f"{where}: declares {len(entries):,} tensors; a LoRA has a few thousand at most.")
    if not entries:
        raise AdapterError(f"{where}: {EMPTY[0].lower()}{EMPTY[1:]}")
    check_experts(entries, where)
    parts = {key: part for key in entries if (part := part_of(key, where)) is not None}
    _check_one_adapter(parts.values(), where)
    check_head_is_not_adapted(parts.values(), config, where)
    factors = _factors(parts, config, entries, where, scale or scale_of(config, where))
    check_ranks(factors.values(), config, where)
    whole = _whole(parts, config, entries, where)
    check_tying(factors.values(), whole, config, where)
    return Manifest(
        label=label,
        config=config,
        modules=factors,
        whole=whole,
        heads=_heads(whole, config, where),
        entries=entries,
        size=size,
        ignored=tuple(
            sorted(
                set(entries) - {k for f in factors.values() for k in f.keys.values()} - {k for k, _ in whole.values()}
            )
        ),
        revision=revision,
    )


def _check_one_adapter(parts: Iterable[Part], where: str) -> None:
    names = {part.adapter for part in parts if part.role != "whole"}
    if len(names) > 1:
        raise AdapterError(
            f"{where}: holds two adapters at once ({', '.join(sorted(shown(n) for n in names))}). Save each alone."
        )


# -- modules -------------------------------------------------------------------------------------------------------


def _factors(
    parts: Mapping[str, Part], config: Mapping[str, Any], entries: Mapping[str, Entry], where: str, scale: Scale
) -> dict[str, Factors]:
    grouped: dict[str, dict[str, str]] = {}
    kinds: dict[str, str] = {}
    for key, part in parts.items():
        if part.role == "whole":
            continue
        if grouped.setdefault(part.module, {}).setdefault(part.role, key) != key:
            raise AdapterError(
                f"{where}: holds lora_{part.role} of {part.module} twice. Save the adapter again with PEFT."
            )
        if part.role in "AB" and kinds.setdefault(part.module, part.kind) != part.kind:
            raise AdapterError(f"{where}: {part.module} has factors of a linear layer and of an embedding at once.")
    if not any({"A", "B"} & set(keys) for keys in grouped.values()):
        raise AdapterError(f"{where}: holds no lora_A / lora_B tensors at all. Give the weights of a LoRA adapter.")
    base = text(config.get("base_model_name_or_path"))
    found: dict[str, Factors] = {}
    for written, keys in grouped.items():
        name = canonical(written, family(written, base))
        if name in found:
            raise AdapterError(
                f"{where}: {written} and {found[name].written} are two names of one module. Save the adapter again."
            )
        layer, rank, kind = _layer(written, kinds.get(written, "linear"), keys, entries, where)
        found[name] = Factors(name, written, keys, layer, rank, *scale(written, rank), kind)
    _check_biases(found, config, where)
    _check_magnitudes(found, config, entries, where)
    return found


def _layer(
    name: str, kind: str, keys: Mapping[str, str], entries: Mapping[str, Entry], where: str
) -> tuple[Layer, int, str]:
    """((kind, kernel, d_out, d_in), rank, number format) by the shapes of the factors, whatever the config says."""
    if not {"A", "B"} <= set(keys):
        raise AdapterError(
            f"{where}: {name} has lora_{min(keys)} but not its partner; the file is incomplete. Save it again."
        )
    (kind_a, a), (kind_b, b) = ((entries[keys[role]].kind, entries[keys[role]].shape) for role in ("A", "B"))
    if 0 in (*a, *b):
        raise AdapterError(
            f"{where}: {name} has factors without numbers, {a} and {b}: saved while its weights were spread over several devices "
            "(ZeRO-3). Gather them when saving."
        )
    for role, number, shape in (("A", kind_a, a), ("B", kind_b, b)):
        if number not in FLOATS or not 2 <= len(shape) <= 5:
            raise AdapterError(f"{where}: {keys[role]} is {number} of shape {shape}; LoRA factors are float matrices.")
    rank, kernel = a[0], a[2:]
    if b[1] != rank or b[2:] != (1,) * len(kernel) or (kernel and kind == "embedding"):
        grouped = " A grouped convolution cannot be merged." if kernel and rank % b[1] == 0 else ""
        raise AdapterError(
            f"{where}: {name} has lora_A of rank {rank} {a} and lora_B of rank {b[1]} {b}; they must be equal.{grouped}"
        )
    if rank > _MOST_RANK:
        raise AdapterError(
            f"{where}: {name} has rank {rank:,}; no LoRA has more than {_MOST_RANK:,}. Give the adapter, not full weights."
        )
    if "bias" in keys and entries[keys["bias"]].shape != (b[0],):
        raise AdapterError(
            f"{where}: {name} has a lora_B bias of shape {entries[keys['bias']].shape}, expected ({b[0]},)."
        )
    width = 1
    for n in a[1:]:
        width *= n
    return ("conv" if kernel else kind, tuple(kernel), b[0], width), rank, max((kind_a, kind_b), key=FLOATS[::-1].index)


def _check_biases(modules: Mapping[str, Factors], config: Mapping[str, Any], where: str) -> None:
    if config.get("lora_bias") and not any("bias" in module.keys for module in modules.values()):
        raise AdapterError(
            f"{where}: lora_bias is set, but the file has no bias of lora_B; it is incomplete. Save it again."
        )


def _check_magnitudes(
    modules: Mapping[str, Factors], config: Mapping[str, Any], entries: Mapping[str, Entry], where: str
) -> None:
    """DoRA has one magnitude for every row of every module, or the file is no DoRA adapter."""
    if not config.get("use_dora") and not any("magnitude" in module.keys for module in modules.values()):
        return
    for name, module in modules.items():
        found = entries.get(module.keys.get("magnitude", ""))
        if found is None:
            raise AdapterError(
                f"{where}: is DoRA (use_dora), but {name} has no lora_magnitude_vector; it is incomplete. Save it again."
            )
        if found.kind not in FLOATS or math.prod(found.shape) != module.layer[2]:
            raise AdapterError(
                f"{where}: {name} has {found.kind} magnitudes of shape {found.shape}, expected {module.layer[2]} numbers."
            )
        if "bias" in module.keys:
            raise AdapterError(
                f"{where}: is DoRA and has biases of lora_B (lora_bias), which PEFT never trains together. Train without."
            )


# -- tensors that were trained whole -------------------------------------------------------------------------------


def _whole(
    parts: Mapping[str, Part], config: Mapping[str, Any], entries: Mapping[str, Entry], where: str
) -> dict[str, tuple[str, Entry]]:
    named, base = heads_named(config), text(config.get("base_model_name_or_path"))
    of = next((known for part in parts.values() if (known := family(part.module, base))), None)
    targets = {part.module for part in parts.values() if part.role != "whole"}
    found: dict[str, tuple[str, Entry]] = {}
    for key, part in parts.items():
        if part.role == "whole":
            _check_known(key, part.module, named, targets, where)
            name = canonical(part.module, of)
            if name in found and ".modules_to_save." in key:
                continue  # bias="all" saves a head's bias under its wrapper's name too
            found[name] = (key, entries[key])
    return found


def _check_known(key: str, name: str, named: tuple[str, ...], targets: set[str], where: str) -> None:
    if _head_of(name, named) or name.endswith(".bias"):
        return
    owner, _, rest = name.partition(".base_layer.")
    if rest and owner in targets:
        return  # PEFT's copy of an embedding that is targeted
    what = "a tensor that is no part of a LoRA update and that modules_to_save does not name"
    if name.rpartition(".")[0].rpartition(".")[2] in ("embed_tokens", "lm_head", "wte", "word_embeddings", "embed_out"):
        what = "the whole vocabulary's weights, no part of a LoRA update, saved because the vocabulary was resized"
    raise AdapterError(f"{where}: holds {shown(key)!r}, {what}. Train or save the adapter without it.")


def _head_of(name: str, named: tuple[str, ...]) -> str | None:
    """The full name of the module that modules_to_save names and this tensor belongs to.

    PEFT's rule is the plain end of the name: "classifier" also names DistilBERT's pre_classifier.
    """
    path = name.split(".")
    owners = (".".join(path[: i + 1]) for i in range(len(path) - 1))
    return next((owner for owner in owners if owner.endswith(named)), None)


def _heads(whole: Mapping[str, object], config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    named = heads_named(config)
    found = tuple(dict.fromkeys(head for name in whole if (head := _head_of(name, named))))
    listed = [name for name in heads_named(config) if name not in heads_implied(config)]
    if listed and not found:
        raise AdapterError(
            f"{where}: modules_to_save names {shown(listed)}, but the file holds no such weights; it is "
            "incomplete. Save the adapter again."
        )
    return found
