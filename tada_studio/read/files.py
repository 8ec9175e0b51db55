"""The two files of an adapter as bytes that nobody vouches for: a config as plain JSON, and the header of a safetensors file.

Only the header is read here, with ordinary reads of a known size: nothing is mapped, unpickled or believed before its
numbers have been checked against each other and against the size of the file.
"""

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tada_studio.errors import AdapterError, PickledError
from tada_studio.files import shown
from tada_studio.lora import CONFIG, WEIGHTS

#: Bytes; real configs have a few kB, real headers a few hundred kB. JSON takes some ten times that in memory.
MAX_CONFIG, MAX_HEADER = 4_000_000, 16_000_000
#: What is to be said of a file without a tensor.
EMPTY = (
    "It holds no tensors at all, as when it was saved under DeepSpeed ZeRO-3 without gathering the weights. Save it again with "
    "stage3_gather_16bit_weights_on_model_save, or from a checkpoint through zero_to_fp32.py."
)
INDEX, PICKLE = f"{WEIGHTS}.index.json", "adapter_model.bin"
#: Bytes a number takes, by the name that safetensors gives its format.
FORMATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
           "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "C64": 8}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Entry:
    """One tensor as a header declares it: number format, shape, the file that holds it, and its first byte there.

    turned: the file holds the transposed matrix (MLX-LM's factors)
    heads:  the file holds the rows in llama.cpp's order for so many heads; -1: for a number that is not known; 0: as they are
    """

    kind: str
    shape: tuple[int, ...]
    file: str = WEIGHTS
    begin: int = 0
    turned: bool = False
    heads: int = 0


# -- the folder ----------------------------------------------------------------------------------------------------


def weight_files(folder: Path, allow_pickle: bool = False) -> list[Path]:
    """The weight files of a PEFT folder: one, or the shards that an index names. Raises AdapterError."""
    check_folder(folder)
    if _there(folder, CONFIG) and _there(folder, WEIGHTS):
        return [folder / WEIGHTS]
    if _there(folder, CONFIG) and _there(folder, INDEX):
        return [folder / name for name in _shards(folder)]
    if allow_pickle and _there(folder, CONFIG) and _there(folder, PICKLE):
        return [folder / PICKLE]
    pickled = _there(folder, CONFIG) and _there(folder, PICKLE)
    raise (PickledError if pickled else AdapterError)(
        f"{folder}: has no {WEIGHTS if _there(folder, CONFIG) else CONFIG}. {_instead(folder)}"
    )


def check_folder(folder: Path) -> None:
    """Raise AdapterError unless it is a folder."""
    try:
        if folder.is_dir():
            return
        found = "is a file" if folder.exists() else "there is no such folder"
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        found = f"cannot be a folder's name ({shown(error)})"
    if found == "is a file" and (says := _what_it_holds(folder)):
        raise AdapterError(f"{shown(folder, 400)}: is a file. {says}")
    raise AdapterError(f"{shown(folder, 400)}: {found}. Give a folder with {CONFIG} and {WEIGHTS}, as PEFT saves it.")


#: Files that are parts of an adapter, by a piece of a tensor's name.
_PARTS = (
    (re.compile(r"\.lora_[ab]$"), "It holds factors as MLX-LM saves them; give its folder, with its adapter_config.json beside "
     "it, which says their scale."),
    (re.compile(r"\.lora_[AB](\.\w+)?\.weight$"), f"It holds LoRA weights; give its folder, with {CONFIG} beside it."),
    (re.compile(r"hada_w[12]|lokr_w[12]"), "It is a LyCORIS file (LoHa or LoKr), whose updates are not two factors. Train a "
     "LoRA instead."),
)  # fmt: skip


def _what_it_holds(file: Path) -> str | None:
    """What a safetensors file is, if it is a part of an adapter or no LoRA."""
    if file.suffix.lower() != ".safetensors" or not file.is_file():  # a pipe would never be read to its end
        return None
    try:
        names = list(read_header(file))
    except AdapterError:
        return None
    if not names:
        return EMPTY
    return next((says for shape, says in _PARTS if any(shape.search(name) for name in names)), None)


def inside_folder(folder: Path, name: str) -> Path | None:
    """A file of a folder; None if there is none. Raises AdapterError for a link that leads out of the folder."""
    return folder / name if _there(folder, name) else None


def _there(folder: Path, name: str) -> bool:
    file = folder / name
    if not file.is_file():
        return False
    if not _stays_inside(folder, file):
        raise AdapterError(
            f"{file}: is a link to a file outside the folder. Give a folder that holds the files themselves."
        )
    return True


def _stays_inside(folder: Path, file: Path) -> bool:
    home = folder.resolve()
    if home.parent.name == "snapshots" and home.parent.parent.name.startswith("models--"):
        home = home.parent.parent  # the Hub's cache links every file of a snapshot to its own blobs folder
    return file.resolve().is_relative_to(home)


def _shards(folder: Path) -> list[str]:
    places = read_json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise AdapterError(f"{folder / INDEX}: names no shards under weight_map. Save the adapter again with PEFT.")
    names = sorted(set(places.values()))
    for name in names:
        if "/" in name or "\\" in name or not name.endswith(".safetensors"):
            raise AdapterError(
                f"{folder / INDEX}: names the shard {shown(name)!r}, which is not a safetensors file beside it."
            )
        if not _there(folder, name):
            raise AdapterError(f"{folder}: has no {shown(name)}, which its index names. Download the missing shard.")
    return names


_MLX = "These are weights of MLX-LM; give the folder with MLX-LM's own adapter_config.json too, which says their scale."
#: What else may lie in a folder, and what to do about it.
_INSTEAD = {
    PICKLE: "adapter_model.bin is a pickle, which can run code: save the adapter again with safe_serialization=True, or read it "
    "with --allow-pickle (on the screen: the tick below the fields), which loads numbers only.",
    "pytorch_adapter.bin": "This is an adapter of the AdapterHub library; it has no PEFT form. Train a LoRA with PEFT.",
    "adapters.safetensors": _MLX,
    "[0-9]*_adapters.safetensors": _MLX,
    "config.json": "This looks like a whole model; give the folder of a LoRA adapter, and the model as the base.",
}


def _instead(folder: Path) -> str:
    known = next((sentence for name, sentence in _INSTEAD.items() if any(folder.glob(name))), None)
    if known is None:
        known = next((says for file in sorted(folder.glob("*.safetensors")) if (says := _what_it_holds(file))), None)
    if inner := sorted(file.parent.name for file in folder.glob(f"*/{CONFIG}")):
        known = f"It holds {shown(', '.join(inner), 200)}; give the one of these folders that is meant."
    return known or "Give a folder that PEFT's save_pretrained wrote."


#: Files of a checkpoint folder that hold no weights of a model, and the adapter's own.
_NO_WEIGHTS = re.compile(
    r"(adapter_model|adapters?|optimizer|scheduler|scaler|rng_state|training_args|global_step|random_states|sampler)\b.*|.*optim_states.*"
    r"|adapter_model.*|pytorch_lora_weights.*|rng_state_.*|\d+_adapters\..*"
)
_WEIGHTS_OF_ANY_KIND = (".bin", ".safetensors", ".pt", ".pth", ".ckpt")


def weights_beside(folder: Path) -> tuple[str, ...]:
    """Files beside the adapter that hold weights which were trained with it and that nothing here reads.

    non_lora_trainables.bin, non_lora_state_dict.bin, new_embeddings.safetensors, value_head.bin, mm_projector.bin and their like.
    """
    return tuple(
        sorted(shown(file.name, 80) for file in folder.iterdir() if may_be_weights(file.name) and file.is_file())
    )


def may_be_weights(name: str) -> bool:
    """Whether a file of that name beside an adapter holds weights of its own."""
    return name.lower().endswith(_WEIGHTS_OF_ANY_KIND) and not _NO_WEIGHTS.fullmatch(name.lower())


# -- JSON ----------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of bounded size. Raises AdapterError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG + 1)
    except OSError as error:
        raise AdapterError(f"{path}: cannot be read ({error.strerror}). May you read that file?") from error
    return parse_json(content, str(path))


def parse_json(content: bytes, where: str) -> dict[str, Any]:
    """The object that the bytes of a config hold; ``where`` names them in errors. Raises AdapterError."""
    if len(content) > MAX_CONFIG:
        raise AdapterError(f"{where}: is larger than {MAX_CONFIG:,} bytes; an adapter's config has a few thousand.")
    if content.startswith(b"version https://git-lfs"):
        raise AdapterError(f"{where}: is a Git-LFS pointer, not the config itself; run 'git lfs pull' there.")
    try:
        config = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise AdapterError(
            f"{where}: is not readable JSON ({shown(error)}). Save the adapter again with PEFT."
        ) from error
    if not isinstance(config, dict):
        raise AdapterError(f"{where}: holds a {type(config).__name__} where PEFT writes an object with named fields.")
    return config


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands there twice")
    return found


# -- the header ----------------------------------------------------------------------------------------------------


def read_header(path: Path) -> dict[str, Entry]:
    """Name -> what a safetensors file declares about it: no tensor is read. Raises AdapterError."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            return parse_header(file.read(header_length(start, size, str(path))), size, str(path), path.name)
    except OSError as error:
        raise AdapterError(f"{path}: cannot be read ({error.strerror}). May you read that file?") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a safetensors file carries beside its tensors. Raises AdapterError."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(header_length(file.read(8), path.stat().st_size, str(path))))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{path}: its header cannot be read ({shown(error)}). Download or save it again.") from error
    content = header.get("__metadata__") if isinstance(header, dict) else None
    return {k: v for k, v in content.items() if isinstance(v, str)} if isinstance(content, dict) else {}


def header_length(start: bytes, size: int, where: str) -> int:
    """Length of the header of a file of ``size`` bytes that starts with these eight. Raises AdapterError."""
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 0 < length <= min(MAX_HEADER, size - 8):
        raise AdapterError(f"{where}: {_what_is_it(start)}. Give the real safetensors file.")
    return length


def _what_is_it(start: bytes) -> str:
    if start.startswith(b"version "):
        return "is a Git-LFS pointer, not the weights themselves; run 'git lfs pull' there"
    if start.lstrip()[:1] == b"<":
        return "is a web page, not weights"
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return "is a zip or pickle, not safetensors"
    if start[:4] == b"GGUF":
        return "is a GGUF file, llama.cpp's own format; call it by a name that ends in .gguf and give it alone"
    return "is cut short or not a safetensors file"


def parse_header(content: bytes, size: int, where: str, name: str = WEIGHTS) -> dict[str, Entry]:
    """The tensors that a header declares, if its numbers agree with each other and with the file's size."""
    try:
        header = json.loads(content, object_pairs_hook=_no_duplicates)
        if not isinstance(header, dict):
            raise TypeError(f"holds a {type(header).__name__}")
        start = 8 + len(content)
        return {
            key: _entry(key, value, start, size - start, name) for key, value in header.items() if key != "__metadata__"
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AdapterError(
            f"{where}: its safetensors header is broken ({shown(error)}). Download or save it again."
        ) from error


def _entry(key: str, value: Mapping[str, Any], start: int, room: int, file: str) -> Entry:
    kind, shape, (begin, end) = value["dtype"], value["shape"], value["data_offsets"]
    numbers = [*shape, begin, end]
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**53 for n in numbers) or len(shape) > 8:
        raise ValueError(f"{shown(key)} has no proper shape")
    if kind not in FORMATS:
        raise ValueError(f"{shown(key)} is of an unknown number format")
    if end > room:
        raise ValueError(f"the file is cut short: {shown(key)} should end at byte {end:,} of {room:,}")
    if begin > end or end - begin != math.prod(shape) * FORMATS[kind]:
        raise ValueError(f"{shown(key)} has not as many bytes as its shape needs")
    return Entry(kind, tuple(shape), file, start + begin)
