"""The weights of a base by module: from a model that is loaded, or straight from its files, one tensor at a time.

What DoRA is read with. Needs no more memory than one layer, so a base that is too large to run will do.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from tada_studio.base_model.files import folder_of, name_of
from tada_studio.base_model.model import Base, layer_size
from tada_studio.errors import BaseError, MismatchError
from tada_studio.files import shown
from tada_studio.lazy import lazy
from tada_studio.lora import Layer
from tada_studio.read import Weights
from tada_studio.read.keys import canonical, family

#: Families with transformers' Conv1D, which stores (d_in, d_out), and its names; only for square layers is that to be known.
_CONV1D, _CONV1D_NAMES = (
    ("gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"),
    ("c_attn", "c_proj", "c_fc", "q_attn"),
)
_EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings")


def weights_of(base: Base | str | Path) -> Weights:
    """The weights of a loaded base, or of one by Hub id, folder or GGUF file; its files are looked for when first needed."""
    return (
        Loaded(base)
        if isinstance(base, Base) and base.whole
        else Filed(base.ref if isinstance(base, Base) else str(base))
    )


@dataclass(frozen=True, eq=False)
class Loaded:
    """Of a model in memory, in whatever number format it runs in."""

    base: Base

    @property
    def name(self) -> str:
        return self.base.name

    def __call__(self, module: str, layer: Layer) -> Tensor:
        found: Any = self.base.layer(module)
        size = layer_size(found)
        if size != layer[2:]:
            raise MismatchError(_differs(module, layer, self.base.name, size))
        weight = found.weight.detach().cpu()
        turned = layer[0] == "embedding" or type(found).__name__ == "Conv1D"
        return weight.mT if turned else weight.reshape(size)


@dataclass(frozen=True, eq=False)
class Filed:
    """Of a model's safetensors files."""

    ref: str

    @property
    def name(self) -> str:
        return name_of(self.ref)

    def __call__(self, module: str, layer: Layer) -> Tensor:
        key = self._key(module)
        with self._open(self._places[key]) as file:
            weight = file.get_tensor(key)
        kind, _, d_out, d_in = layer
        if not weight.is_floating_point() or weight.element_size() < 2:
            raise BaseError(
                f"{self.ref}: {key} is stored as {weight.dtype}, a quantised number. Give the base in full precision (its "
                "unquantised model, or a GGUF file)."
            )
        if kind == "embedding" or tuple(weight.shape) == (d_in, d_out) != (d_out, d_in) or self._turned(module, layer):
            weight = weight.mT
        if len(weight) != d_out or weight.numel() != d_out * d_in:
            raise MismatchError(_differs(module, layer, self.ref, tuple(weight.shape)))
        return weight.reshape(d_out, d_in)

    def _turned(self, module: str, layer: Layer) -> bool:
        """Whether a square layer is stored the other way round, which no shape shows."""
        square = layer[0] == "linear" and layer[2] == layer[3]
        return square and self._config.get("model_type") in _CONV1D and module.rpartition(".")[2] in _CONV1D_NAMES

    def _key(self, module: str) -> str:
        """The key that holds a module's weight: its own name, with less or more of the model's prefixes, or a tied head's."""
        parts = module.split(".")
        names = [".".join(parts[i:]) for i in range(min(3, len(parts)))]
        found = next((self._names[name] for name in names if name in self._names), None)
        if found is None:
            longer = [key for name, key in self._names.items() if name.endswith(f".{module}")]
            tied = (
                [key for name, key in self._names.items() if name.endswith(_EMBEDDINGS)]
                if parts[-1] == "lm_head"
                else []
            )
            found = next((one[0] for one in (longer, tied) if len(one) == 1), None)
        if found is None:
            raise MismatchError(
                f"{module}: the base {self.ref} has no weight of that name. Give the base that the adapter was trained on."
            )
        return found

    @lazy
    def _names(self) -> dict[str, str]:
        """Module name, as transformers 5 calls it -> key in the files."""
        keys = [key for key in self._places if key.endswith(".weight")]
        return {
            canonical(name, family(name, self.ref)): f"{name}.weight"
            for name in (key[: -len(".weight")] for key in keys)
        }

    @lazy
    def _places(self) -> dict[str, Path]:
        """Key -> file that holds it."""
        found: dict[str, Path] = {}
        for file in self._files:
            with self._open(file) as opened:
                found.update(dict.fromkeys(opened.keys(), file))
        return found

    @lazy
    def _files(self) -> list[Path]:
        index = self._folder / "model.safetensors.index.json"
        if index.is_file():
            named = self._json(index).get("weight_map") or {}
            if not named or not all(isinstance(name, str) for name in named.values()):
                raise BaseError(f"{index}: names no shards under weight_map. Download the model again.")
            return [self._folder / Path(name).name for name in sorted(set(named.values()))]
        whole = self._folder / "model.safetensors"
        found = [whole] if whole.is_file() else sorted(self._folder.glob("*.safetensors"))
        if not found:
            raise BaseError(f"{self.ref}: holds no safetensors weights. Give a model folder, a GGUF file or a Hub id.")
        return found

    @lazy
    def _config(self) -> dict[str, Any]:
        file = self._folder / "config.json"
        return self._json(file) if file.is_file() else {}

    def _json(self, file: Path) -> dict[str, Any]:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BaseError(f"{file}: cannot be read as JSON ({shown(error)}). Download the model again.") from error
        return found if isinstance(found, dict) else {}

    @lazy
    def _folder(self) -> Path:
        try:
            return folder_of(self.ref)
        except BaseError:
            raise
        except Exception as error:  # the Hub's client raises anything from OSError to its own errors
            raise BaseError(
                f"{self.ref}: its weights could not be had ({shown(error)}). Give a model folder, a GGUF file, or a Hub id with a "
                "connection."
            ) from error

    def _open(self, file: Path) -> Any:
        try:
            return safe_open(file, framework="pt")
        except (SafetensorError, OSError) as error:
            raise BaseError(f"{file}: cannot be read as safetensors ({shown(error)}). Download it again.") from error


def _differs(module: str, layer: Layer, base: str, found: Any) -> str:
    there = "x".join(map(str, found)) if found else "no such layer"
    return (
        f"{module}: the adapter was trained on a {layer[2]}x{layer[3]} layer, the base {base} has {there} there. "
        "Give the base that the adapter was trained on."
    )
