"""A PEFT LoRA folder, zip or pair of headers becomes an Adapter or a Passport, or one sentence that says why not.

Nothing in the files is trusted: the config is read as plain JSON, the tensors decide what the adapter is, nothing is ever
unpickled unasked, and every feature of PEFT that changes what an adapter means is either handled exactly or refused in words.

    files -> config, keys -> manifest -> passport, verdict        from the config and the headers alone
                                      -> Adapter                  from the tensors
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tada_studio.addresses import addresses
from tada_studio.errors import AdapterError, MismatchError, OtherBaseError
from tada_studio.files import path_of, shown
from tada_studio.lora import CONFIG, LABELS, Adapter, LoraModule, Pair
from tada_studio.progress import ProgressFn, silent
from tada_studio.read.binding import IN_MEMORY, check_unchanged, content_of, stamps
from tada_studio.read.config import judge, text
from tada_studio.read.dora import Standing, Weights, needs_base, stand_in
from tada_studio.read.files import PICKLE, Entry, read_json
from tada_studio.read.fit import (
    SAME_ADAPTER,
    heads_without_place,
    is_copy,
    outline,
    same_content,
    verdict,
    vocabularies_differ,
)
from tada_studio.read.formats import GGUF, single_file
from tada_studio.read.gguf_lora import Heads, reordered
from tada_studio.read.manifest import Manifest, build, files_of, manifest_of
from tada_studio.read.passport import balance_note, beside_says, from_manifest, measured, trained_remarks

__all__ = [
    "Heads",
    "Standing",
    "Weights",
    "balance_note",
    "beside_says",
    "check_unchanged",
    "llama_cpp_file",
    "look",
    "look_at",
    "measured",
    "pair_up",
    "read_adapter",
    "verdict",
]


def read_adapter(
    folder: str | Path,
    allow_pickle: bool = False,
    dora: Standing | None = None,
    progress: ProgressFn = silent,
    heads: Heads | None = None,
) -> Adapter:
    """The adapter in a PEFT folder (adapter_config.json + adapter_model.safetensors, or shards with an index), or in one file of
    kohya's, diffusers' or llama.cpp's format.

    Factors keep the number format they were stored in; those of a large file stay mapped from it. allow_pickle: also take an
    adapter_model.bin, read as numbers only (``weights_only``). dora: the base's weights, with which a LoRA stands in for DoRA;
    unused for others. heads: the base's, for a file of llama.cpp.
    Raises AdapterError; with ``dora`` also MismatchError and BaseError.
    """
    folder = path_of(folder, AdapterError)
    files = files_of(folder, allow_pickle)
    before = stamps(_all_files(folder, files))
    if files[0].name == PICKLE:
        manifest, tensors = _unpickled(folder)
    else:
        manifest = manifest_of(folder, heads=heads)
        tensors = _tensors(files[0].parent, manifest.entries)
    found = _adapter(manifest, tensors, folder, dora, progress)
    if before != stamps(_all_files(folder, files_of(folder, allow_pickle))):
        raise AdapterError(
            f"{folder}: its files changed while they were read. Wait until they are written, then open it again."
        )
    return replace(found, files=before)


def _all_files(folder: Path, files: Iterable[Path]) -> list[Path]:
    """What an adapter is read from; a file of another format has no config beside it."""
    config = folder / CONFIG
    return [*files, config] if config.exists() else [*files]


def llama_cpp_file(place: Path) -> Path | None:
    """The GGUF file that a place is or holds, where that is what would be read."""
    file = single_file(place)
    return file if file is not None and file.suffix.lower() == GGUF else None


def look(folder: str | Path, allow_pickle: bool = False) -> Manifest:
    """What a folder holds by its config and headers; no tensor is read (a pickle has no header). Raises AdapterError."""
    folder = path_of(folder, AdapterError)
    pickled = allow_pickle and files_of(folder, allow_pickle)[0].name == PICKLE
    return _unpickled(folder)[0] if pickled else manifest_of(folder)


def look_at(
    label: str,
    config: Mapping[str, Any],
    entries: Mapping[str, Entry],
    size: int,
    revision: str | None,
    beside: tuple[str, ...] = (),
) -> Manifest:
    """What an adapter elsewhere holds, by its judged config and header; beside: files of weights there. Raises AdapterError."""
    return replace(build(label, config, entries, label, size, revision), beside=beside)


def pair_up(task: Adapter, domain: Adapter, same_base: bool = False) -> Pair:
    """The two adapters as a Pair, with remarks about them together.

    same_base: somebody vouches that both were trained on one base, whatever their configs call it. Raises MismatchError if
    they cannot belong together, and AdapterError if one of them is not made of numbers.
    """
    for one in (task, domain):
        if one.passport is not None and one.passport.refused:
            raise AdapterError(one.passport.refused)
    found = verdict(outline(task), outline(domain), same_base)
    if not found.fits:
        vouching_helps = (
            not same_base and found.reasons != verdict(outline(task), outline(domain), same_base=True).reasons
        )
        raise (OtherBaseError if vouching_helps else MismatchError)(" ".join(found.reasons))
    for name in filter(is_copy, set(task.whole) & set(domain.whole)):
        if not torch.equal(task.whole[name], domain.whole[name]):
            raise MismatchError(vocabularies_differ(name, "its own numbers", "other numbers"))
    same = [SAME_ADAPTER] if same_content(task, domain) else []
    notes = (*same, *found.notes, *balance_note(task.passport, domain.passport))
    vouched = same_base and not verdict(outline(task), outline(domain)).fits
    if heads_without_place(task.task_type, domain.heads):
        domain = domain.bare  # verdict's notes say so
    return Pair(task, domain, problems=notes, same_base=vouched)


# -- tensors -------------------------------------------------------------------------------------------------------


def _tensors(folder: Path, entries: Mapping[str, Entry]) -> dict[str, Tensor]:
    """Every tensor by key, as the header declared it."""
    files = {name: content_of(folder / name) for name in sorted({entry.file for entry in entries.values()})}
    return {key: _slice(files[entry.file], entry) for key, entry in entries.items()}


def _slice(content: Tensor, entry: Entry) -> Tensor:
    dtype = _DTYPES[entry.kind]
    if entry.heads:
        return _in_order(_slice(content, replace(entry, heads=0)), entry)
    part = content[entry.begin : entry.begin + math.prod(entry.shape) * dtype.itemsize]
    if entry.begin % dtype.itemsize:  # a header of odd length: torch views numbers at their own multiples only
        part = part.clone()
    return part.view(dtype).view(entry.shape[::-1]).mT if entry.turned else part.view(dtype).view(entry.shape)


def _in_order(rows: Tensor, entry: Entry) -> Tensor:
    if entry.heads < 0:
        raise AdapterError(
            f"{entry.file}: llama.cpp stores the rows of q_proj and k_proj in an order that depends on the base's number of heads. "
            "Give the base too (--base, or the base field), whose config says it."
        )
    return reordered(rows, entry.heads, back=True)


def _unpickled(folder: Path) -> tuple[Manifest, dict[str, Tensor]]:
    """An adapter_model.bin that the user vouches for: numbers only, no code, and no more numbers than the file has bytes."""
    file, config = folder / PICKLE, read_json(folder / CONFIG)
    judge(config, str(folder / CONFIG))
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=file.stat().st_size > IN_MEMORY)
    except Exception as error:  # torch raises anything from EOFError to UnpicklingError
        raise AdapterError(
            f"{file}: is not a pickle of tensors alone ({shown(error)}). Save it with safe_serialization=True."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(t, Tensor) for k, t in content.items()
    ):
        raise AdapterError(
            f"{file}: does not hold tensors by name. Save the adapter again with safe_serialization=True."
        )
    if any(not tensor.is_contiguous() or tensor.layout != torch.strided for tensor in content.values()):
        raise AdapterError(
            f"{file}: holds tensors that stretch fewer numbers than they show. Save it with safe_serialization=True."
        )
    entries = {
        key: Entry(_FORMATS.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape), PICKLE)
        for key, tensor in content.items()
    }
    return build(shown(folder.name), config, entries, str(file), file.stat().st_size), content


#: Number formats by the name that safetensors gives them.
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool, "U16": torch.uint16,
    "U32": torch.uint32, "U64": torch.uint64, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
}  # fmt: skip
_FORMATS = {dtype: name for name, dtype in _DTYPES.items()}


def _adapter(
    manifest: Manifest, tensors: Mapping[str, Tensor], folder: Path, dora: Standing | None, progress: ProgressFn
) -> Adapter:
    stored = Adapter(
        labels=_labels(folder, manifest),
        label=manifest.label,
        modules={name: _module(manifest, name, tensors) for name in addresses(manifest.modules)},
        base=manifest.base,
        revision=manifest.revision_of_base,
        task_type=text(manifest.config.get("task_type")),
        source=str(folder.resolve()),
        whole={name: _finite(name, tensors[key], folder) for name, (key, _) in manifest.whole.items()},
        heads=manifest.heads,
    )
    remarks = trained_remarks(stored.modules)
    if manifest.dora:
        if dora is None:
            raise AdapterError(needs_base(folder, manifest.base))
        magnitudes = {name: tensors[module.keys["magnitude"]] for name, module in manifest.modules.items()}
        stored, remarks = stand_in(stored, magnitudes, dora, progress)
    passport = from_manifest(manifest, read=True)
    return replace(stored, passport=replace(passport, remarks=(*passport.remarks, *remarks)))


def _labels(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """What the rows of the adapter's head are called, by its labels.json: {"labels": [names]}. Raises AdapterError."""
    file = folder / LABELS
    if not manifest.heads or not file.is_file():
        return ()
    names = read_json(file).get("labels")
    rows = {entry.shape[0] for name, (_, entry) in manifest.whole.items() if name.startswith(manifest.heads)}
    known = names if isinstance(names, list) and all(isinstance(name, str) and name.strip() for name in names) else []
    if len(set(known)) < len(known) or rows != {len(known)}:
        raise AdapterError(
            f'{file}: should be {{"labels": [...]}} with a different name for each of the head\'s '
            f"{' or '.join(map(str, sorted(rows)))} rows. Correct it, or remove it."
        )
    return tuple(known)


def _module(manifest: Manifest, name: str, tensors: Mapping[str, Tensor]) -> LoraModule:
    """One module with its factors as matrices: a convolution's channels and kernel become one axis, which loses nothing."""
    found = manifest.modules[name]
    up, down = tensors[found.keys["B"]], tensors[found.keys["A"]]
    bias = tensors[found.keys["bias"]] if "bias" in found.keys else None
    kind, kernel, *_ = found.layer
    return LoraModule(name, up.flatten(1), down.flatten(1), found.scale, kind, kernel, bias)


def _finite(name: str, tensor: Tensor, folder: Path) -> Tensor:
    if not tensor.isfinite().all():
        raise AdapterError(
            f"{folder}: {name} holds NaN or infinity; its training diverged, or the file is damaged. Use an earlier one."
        )
    return tensor
