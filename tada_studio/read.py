"""A PEFT LoRA folder on disk becomes an Adapter, or one sentence that says why not.

Nothing in the files is trusted: the config is read as plain JSON, the tensors decide what the adapter is, nothing is ever
unpickled, and every feature of PEFT that changes what an adapter means is either handled exactly or refused in words.
"""

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from tada_studio.errors import AdapterError, MismatchError
from tada_studio.lora import CONFIG, WEIGHTS, Adapter, LoraModule, Pair, Passport, addresses

_MAX_CONFIG, _MAX_HEADER = 4_000_000, 100_000_000  # bytes; real ones have a few kB and a few hundred kB
_FLOATS = {"F64", "F32", "F16", "BF16"}
_KEY = re.compile(r"(?:base_model\.model\.)?(?P<name>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")


def read_adapter(folder: str | Path) -> Adapter:
    """The adapter in a PEFT folder (adapter_config.json + adapter_model.safetensors).

    Factors stay memory-mapped in the number format they were stored in. Raises AdapterError.
    """
    folder = Path(folder).expanduser()
    config_file, weights_file = _files(folder)
    config = _read_config(config_file)
    _refuse_other_kinds(config, config_file)
    shapes = _read_header(weights_file)
    names = _pairs_of_factors(shapes, weights_file)
    tensors = _tensors(weights_file, names)
    modules = {name: _module(name, *tensors[name], config, config_file) for name in addresses(names)}
    label = folder.name or str(folder)
    return Adapter(
        label=label,
        modules=modules,
        base=_text(config.get("base_model_name_or_path")),
        task_type=_text(config.get("task_type")),
        source=str(folder.resolve()),
        passport=_passport(label, modules, config, weights_file),
    )


def pair_up(task: Adapter, domain: Adapter) -> Pair:
    """The two adapters as a Pair, with remarks about them together. Raises MismatchError if they cannot belong together."""
    return Pair(task, domain, problems=tuple(_remarks_on_bases(task, domain) + _remarks_on_modules(task, domain)))


# -- files ---------------------------------------------------------------------------------------------------------


def _files(folder: Path) -> tuple[Path, Path]:
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "there is no such folder"
        raise AdapterError(f"{folder}: {found}. Give a folder with {CONFIG} and {WEIGHTS}, as PEFT saves it.")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise AdapterError(f"{folder}: has no {name}. {_instead(folder)}")
    return folder / CONFIG, folder / WEIGHTS


def _instead(folder: Path) -> str:
    if (folder / "adapter_model.bin").exists():
        return "adapter_model.bin is a pickle, which can run code: save the adapter again with safe_serialization=True."
    if (folder / "config.json").exists():
        return "This looks like a whole model; give the folder of a LoRA adapter, and the model as the base."
    return "Give a folder that PEFT's save_pretrained wrote."


def _read_config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_CONFIG:
            raise AdapterError(f"{path}: is larger than {_MAX_CONFIG:,} bytes; an adapter's config has a few thousand.")
        config = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_twins)
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{path}: is not readable JSON ({error}). Save the adapter again with PEFT.") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{path}: holds a {type(config).__name__} where PEFT writes an object with named fields.")
    return config


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _read_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (number format, shape) from a safetensors file's own header: no tensor is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(_MAX_HEADER, size - 8):
            raise AdapterError(f"{path}: {_what_is_it(start)}. Give the real safetensors file.")
        try:
            header = json.loads(file.read(length), object_pairs_hook=_no_twins)
            tensors = {
                k: (str(v["dtype"]), tuple(map(int, v["shape"]))) for k, v in header.items() if k != "__metadata__"
            }
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise AdapterError(
                f"{path}: its safetensors header is broken ({error}). Download or save it again."
            ) from error
    return tensors


def _what_is_it(start: bytes) -> str:
    if start.startswith(b"version "):
        return "is a Git-LFS pointer, not the weights themselves; run 'git lfs pull' there"
    if start[:1] in (b"<",):
        return "is a web page, not weights"
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x04"):
        return "is a zip or pickle, not safetensors"
    return "is cut short or not a safetensors file"


def _pairs_of_factors(shapes: Mapping[str, tuple[str, tuple[int, ...]]], path: Path) -> dict[str, dict[str, str]]:
    """Module name -> {"A": key, "B": key}; every tensor of the file must be one of such a pair."""
    found: dict[str, dict[str, str]] = {}
    for key, (kind, shape) in shapes.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise AdapterError(f"{path}: holds {key!r}, {_other_tensor(key)}")
        if kind not in _FLOATS or len(shape) != 2 or 0 in shape:
            raise AdapterError(
                f"{path}: {key} is {kind} of shape {shape}; LoRA factors of linear layers are float matrices."
            )
        if found.setdefault(match["name"], {}).setdefault(match["side"], key) != key:
            raise AdapterError(f"{path}: holds lora_{match['side']} of {match['name']} twice.")
    for name, sides in found.items():
        _check_factors(name, sides, shapes, path)
    if not found:
        raise AdapterError(f"{path}: holds no lora_A / lora_B tensors at all.")
    return found


def _check_factors(
    name: str, sides: dict[str, str], shapes: Mapping[str, tuple[str, tuple[int, ...]]], path: Path
) -> None:
    if set(sides) != {"A", "B"}:
        raise AdapterError(f"{path}: {name} has lora_{next(iter(sides))} but not its partner; the file is incomplete.")
    (rank, _), (_, rank_b) = shapes[sides["A"]][1], shapes[sides["B"]][1]
    if rank != rank_b:
        raise AdapterError(f"{path}: {name} has lora_A of rank {rank} and lora_B of rank {rank_b}; they must be equal.")


def _other_tensor(key: str) -> str:
    known = {
        "lora_magnitude_vector": "the magnitudes of DoRA, which depend on the base weights. Train with use_dora=False.",
        "lora_embedding": "LoRA on an embedding, which is not supported. Train without embeddings in target_modules.",
        "lora_B.bias": "a bias of lora_bias=True, which is not supported. Train with lora_bias=False.",
        "trainable_tokens": "trained token embeddings, which no LoRA can hold. Train without trainable_token_indices.",
    }
    for part, sentence in known.items():
        if part in key or (part == "lora_B.bias" and "lora_B" in key and key.endswith("bias")):
            return sentence
    return "a tensor that is no part of a LoRA update (modules_to_save, bias). Train or save the adapter without it."


def _tensors(path: Path, names: Mapping[str, dict[str, str]]) -> dict[str, tuple[Tensor, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: (file.get_tensor(keys["B"]), file.get_tensor(keys["A"])) for name, keys in names.items()}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise AdapterError(f"{path}: cannot be read as safetensors ({error}). Download or save it again.") from error


# -- meaning -------------------------------------------------------------------------------------------------------

#: Config fields that change what an adapter means and that a merge into one LoRA cannot honour (yet).
_REFUSED: dict[str, str] = {
    "use_dora": "DoRA rescales the base weights; export it as plain LoRA first",
    "kasa_config": "KaSA edits the base weights",
    "lora_bias": "lora_bias adds biases beside the update; train with lora_bias=False",
    "modules_to_save": "whole modules were trained beside the LoRA (modules_to_save); train without them",
    "trainable_token_indices": "token embeddings were trained beside the LoRA",
    "target_parameters": "it adapts parameters of fused experts (target_parameters)",
    "layer_replication": "it repeats layers of the base (layer_replication)",
    "alora_invocation_tokens": "an activated LoRA depends on the input; no single LoRA can hold it",
    "arrow_config": "Arrow routing depends on the input; no single LoRA can hold it",
    "use_qalora": "QALoRA pools its inputs; no single LoRA can hold it",
    "use_bdlora": "BD-LoRA's factors are block-diagonal; export it as plain LoRA first",
    "monteclora_config": "MonteCLoRA is stochastic",
    "loftq_config": "LoftQ changed the base it was trained on; the plain base is another model",
    "megatron_config": "it was trained for Megatron's parallel layers",
}
_INITS_THAT_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def _refuse_other_kinds(config: Mapping[str, Any], path: Path) -> None:
    kind = config.get("peft_type", "LORA")
    if str(kind).upper() != "LORA":
        raise AdapterError(f"{path}: peft_type is {kind!r}; TaDA Studio merges LORA adapters only.")
    for name, sentence in _REFUSED.items():
        if config.get(name):
            raise AdapterError(f"{path}: {name} is set: {sentence}.")
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower().startswith(_INITS_THAT_CHANGE_THE_BASE):
        raise AdapterError(
            f"{path}: init_lora_weights = {init!r} changed the base weights before training, so this adapter fits only "
            "that residual base. Save it with path_initial_model_for_weight_conversion, which makes it plain LoRA."
        )


def _module(name: str, up: Tensor, down: Tensor, config: Mapping[str, Any], path: Path) -> LoraModule:
    return LoraModule(name, up, down, _scale(name, down.shape[0], config, path))


def _scale(name: str, rank: int, config: Mapping[str, Any], path: Path) -> float:
    """alpha / r, or alpha / sqrt(r) with rsLoRA; alpha by ``alpha_pattern``, r by the tensor itself."""
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise AdapterError(f"{path}: alpha_pattern must hold names and numbers, found {type(patterns).__name__}.")
    # PEFT's rule: the first key, in the order of the file, that matches the end of the module's name
    key = next((key for key in patterns if _pattern(key, path)(name)), None)
    alpha = config.get("lora_alpha", 8) if key is None else patterns[key]
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e6:  # NaN fails too
        raise AdapterError(f"{path}: lora_alpha = {alpha!r} for {name}; expected a number of ordinary size.")
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _pattern(key: str, path: Path) -> Callable[[str], Any]:
    """A key of alpha_pattern as PEFT reads it, a regular expression; only kinds that cannot hang are taken."""
    if len(key) > 300 or re.search(r"[+{?]|[^.]\*|\*\)", key) or key.count(".*") > 2:
        raise AdapterError(f"{path}: the pattern {key!r} is more than a name; write module names in alpha_pattern.")
    try:
        return re.compile(rf"(?:.*\.)?(?:{key})$").match
    except re.error as error:
        raise AdapterError(f"{path}: the pattern {key!r} cannot be read ({error}).") from error


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


# -- passport ------------------------------------------------------------------------------------------------------


def _passport(label: str, modules: Mapping[str, LoraModule], config: Mapping[str, Any], path: Path) -> Passport:
    places = addresses(modules)
    ranks, scales = sorted({m.rank for m in modules.values()}), sorted({m.scale for m in modules.values()})
    layers = sorted({place.layer for place in places.values()})
    return Passport(
        label,
        facts={
            "base": _text(config.get("base_model_name_or_path")) or "not named",
            "rank": ", ".join(map(str, ranks)),
            "alpha": config.get("lora_alpha", 8),
            "scale": ", ".join(f"{scale:g}" for scale in scales),
            "scaling rule": "alpha / sqrt(r) (rsLoRA)" if config.get("use_rslora") else "alpha / r",
            "projections": ", ".join(dict.fromkeys(place.projection for place in places.values())),
            "layers": f"{len(layers)} ({layers[0]} to {layers[-1]})",
            "modules": len(modules),
            "number format": ", ".join(sorted({str(m.up.dtype).removeprefix("torch.") for m in modules.values()})),
            "size": f"{path.stat().st_size / 1e6:.1f} MB",
            "written by": f"PEFT {config['peft_version']}" if _text(config.get("peft_version")) else "not named",
        },
        remarks=tuple(_remarks(modules, config, ranks)),
    )


def _remarks(modules: Mapping[str, LoraModule], config: Mapping[str, Any], ranks: list[int]) -> list[str]:
    found = []
    untrained = sum(not (module.up[:1].any() or module.up.any()) for module in modules.values())
    if untrained:
        found.append(f"{untrained} of {len(modules)} modules are untrained: their lora_B is all zero.")
    if len(ranks) > 1:
        found.append(
            f"Ranks differ between modules ({ranks[0]} to {ranks[-1]}); the merge will have one rank everywhere."
        )
    if config.get("alpha_pattern"):
        found.append("alpha differs between modules (alpha_pattern); each module's own scale is used.")
    if not config.get("rank_pattern") and config.get("r") not in (None, *ranks):
        found.append(f"The config says r = {config['r']}, the tensors have rank {ranks[0]}; the tensors are believed.")
    return found


def _remarks_on_bases(task: Adapter, domain: Adapter) -> list[str]:
    if not task.base or not domain.base:
        return ["One of the adapters does not name its base; make sure that both were trained on the same one."]
    if task.base == domain.base:
        return []
    if _bare(task.base) == _bare(domain.base) or _is_path(task.base) or _is_path(domain.base):
        return [
            f"The bases are spelled differently ({task.base} and {domain.base}); make sure that they are the same model."
        ]
    raise MismatchError(
        f"The task adapter {task.label} was trained on {task.base}, the domain adapter {domain.label} on {domain.base}. "
        "A merge needs two adapters of one base model."
    )


def _bare(base: str) -> str:
    """The model's own name: no owner, no folder, no quantisation suffix, no case."""
    name = re.split(r"[/\\]", base.rstrip("/\\"))[-1].lower()
    return re.sub(r"([-_.](unsloth|bnb|4bit|8bit|gguf|gptq|awq|int4|int8|hf))+$", "", name)


def _is_path(base: str) -> bool:
    return base.startswith(("/", ".", "~")) or "\\" in base or base.count("/") != 1


def _remarks_on_modules(task: Adapter, domain: Adapter) -> list[str]:
    only = {"task": set(task.modules) - set(domain.modules), "domain": set(domain.modules) - set(task.modules)}
    found = [
        f"{len(names)} modules are only in the {role} adapter, such as {min(names)}; there the gate is all {role}."
        for role, names in only.items()
        if names
    ]
    if task.source is not None and task.source == domain.source:
        found.append("Both are the same adapter.")
    return found
