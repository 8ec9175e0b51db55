"""Whether llama.cpp itself loads an exported GGUF LoRA: tried where llama-cpp-python is installed and the base is here as GGUF."""

import importlib.util
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tada_studio.base_model.files import packaged_copy
from tada_studio.exporting.formats import FILES
from tada_studio.exporting.portable import Tick
from tada_studio.files import is_here, path_of, shown


def loaded_here(ticks: Sequence[Tick], folder: Path, base: str | None) -> tuple[Tick, ...]:
    """The ticks, llama.cpp's by what it did and not by its rules, if it could be tried. base: name, folder or file of the base."""
    lora, model = folder / FILES["gguf"], _gguf_of(base)
    if not lora.is_file() or model is None or importlib.util.find_spec("llama_cpp") is None:
        return tuple(ticks)
    problem = _problem(model, lora)
    if problem is None:
        says = f"llama.cpp: yes, {lora.name} was loaded here (llama-cpp-python {version('llama-cpp-python')}) onto {model.name}."
        found = Tick("llama.cpp", True, "", says)
    else:
        found = Tick("llama.cpp", False, lora.name, f"llama.cpp: no, it does not load {lora.name} here: {problem}.")
    return tuple(found if tick.loader == "llama.cpp" else tick for tick in ticks)


def _gguf_of(base: str | None) -> Path | None:
    path = path_of(base) if base and is_here(base) else Path()
    return path if path.suffix.lower() == ".gguf" and path.is_file() else packaged_copy(base or "")


def _problem(model: Path, lora: Path) -> str | None:
    from llama_cpp import Llama

    try:
        Llama(str(model), lora_path=str(lora), n_ctx=32, n_batch=32, verbose=False).close()
    except Exception as error:  # it raises RuntimeError and ValueError, and more to come
        return shown(error, 200) or type(error).__name__
    return None
