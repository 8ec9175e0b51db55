"""The base model and how to talk to it: put onto a device, in a number format, and with adapters attached.

An adapter is *attached*: forward hooks add ``scale * up @ down`` of an adapter to the layers' outputs, as PEFT's own layers do.
The base's weights are never written to, so whatever stops an evaluation leaves them bit for bit as they were.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tada_studio.base_model import generate
from tada_studio.base_model.answering import Sampling
from tada_studio.base_model.devices import (
    format_for,
    is_rounded,
    is_spread,
    number_format,
    one_device,
    runs_on,
    where_it_lies,
)
from tada_studio.base_model.digests import folder_digest
from tada_studio.base_model.families import causal
from tada_studio.base_model.family import Family, Question, Scoring
from tada_studio.base_model.files import cache_folder, folder_of, name_of, open_files
from tada_studio.base_model.placement import Placement
from tada_studio.base_model.shared import is_shared, own_slice, where_it_is_cut, whole_input
from tada_studio.errors import BaseError, InputError, MismatchError, Stopped
from tada_studio.lora import Adapter
from tada_studio.progress import ProgressFn, silent


@dataclass(frozen=True, eq=False)
class Base:
    """A base model that is ready to run, and how to talk to it.

    ref:       what it was asked for by
    tokenizer: of a text model; an image model's ``ImageReader`` stands in its place
    digest:    of its name, number format and every byte of its files, for caching readings and scores
    family:    what it is, and so how it is fed, scored and made to write (``families``)
    labels:    of a classifier, in the order of its head's rows; () for a model that writes, or a head without names
    says:      what a person should know about how it was loaded, in plain sentences
    has_head:  False for the bare body of a classifier, whose head an adapter brings
    """

    ref: str
    model: nn.Module
    tokenizer: Any
    digest: str
    family: Family = causal.FAMILY
    labels: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    has_head: bool = True

    @property
    def kind(self) -> str:
        """What it reads, "text" or "image"."""
        return self.family.reads

    @property
    def classifies(self) -> bool:
        """Whether it answers with one of a set of labels."""
        return self.family.classifies

    @property
    def name(self) -> str:
        """What to call it in files that travel: the Hub id, or a folder's own name without the path to it."""
        return name_of(self.ref)

    @property
    def lasting(self) -> str:
        """Its digest: equal files run alike."""
        return self.digest

    @property
    def device(self) -> torch.device:
        """Where its inputs go."""
        return runs_on(self.model)

    @property
    def dtype(self) -> torch.dtype:
        return number_format(self.model)

    @property
    def whole(self) -> bool:
        """Whether all its weights are in memory, on one device, as its files have them."""
        return not is_spread(self.model) and not is_rounded(self.model) and not is_shared(self.model)

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
            self._place(name, tensor, adapter)

    def _place(self, name: str, tensor: Tensor, adapter: Adapter | None) -> tuple[nn.Module, str]:
        """The layer that holds a tensor which an adapter replaces, and the tensor's name in it. Raises MismatchError.

        A classifier's head may have another number of rows than the base's: that is what a task with other labels brings.
        """
        path, _, last = name.replace(".base_layer.", ".").rpartition(".")
        layer = self.layer(path)
        found = getattr(layer, last, None)
        if not isinstance(found, Tensor) or not (
            found.shape == tensor.shape
            or (self._relabels(path, layer, adapter) and found.shape[1:] == tensor.shape[1:])
        ):
            there = "x".join(map(str, found.shape)) if isinstance(found, Tensor) else "nothing"
            raise MismatchError(
                f"{name}: the adapter brings a tensor of {'x'.join(map(str, tensor.shape))} of its own, the base {self.ref} has "
                f"{there} there. Give a base with that head, or an adapter without one."
            )
        return layer, last

    def _relabels(self, path: str, layer: nn.Module, adapter: Adapter | None) -> bool:
        """Whether an adapter replaces all of a classifier's last layer, by one that has as many rows in every tensor."""
        inside = adapter is not None and any(f"{path}.".startswith(f"{head}.") for head in adapter.heads)
        if adapter is None or not inside or not self.classifies or not isinstance(layer, nn.Linear):
            return False
        own = [adapter.whole.get(f"{path}.{name}") for name, _ in layer.named_parameters(recurse=False)]
        return (
            all(tensor is not None for tensor in own)
            and len({len(tensor) for tensor in own if tensor is not None}) == 1
        )

    @contextmanager
    def with_adapter(self, adapter: Adapter | None) -> Iterator[nn.Module]:
        """The model with an adapter's update added to it while the block runs; None: as it is."""
        with ExitStack() as hooks:
            for name, module in (adapter.modules if adapter else {}).items():
                layer = self.layer(name)
                dtype = torch.promote_types(module.up.dtype, self.dtype) if self.dtype == torch.float32 else self.dtype
                where = runs_on(layer)
                down, up = (t.to(where, dtype) for t in (module.down, module.up))
                bias = None if module.bias is None else module.bias.to(where, dtype)
                handle = layer.register_forward_hook(_adds(_UPDATES[module.kind], down, up, module.scale, bias))
                hooks.callback(handle.remove)
            for name, tensor in (adapter.whole if adapter else {}).items():
                hooks.enter_context(_instead(*self._place(name, tensor, adapter), tensor))
            yield self.model

    def holding(self, adapter: Adapter | None) -> AbstractContextManager[None]:
        """Nothing to do: attaching costs nothing here."""
        return nullcontext()

    @contextmanager
    def with_head(self, adapter: Adapter | None) -> Iterator[nn.Module]:
        """The model with an adapter's heads alone, over whatever adapter is attached; None: as it is."""
        with ExitStack() as kept:
            for name, tensor in (adapter.head_tensors if adapter else {}).items():
                kept.enter_context(_instead(*self._place(name, tensor, adapter), tensor))
            yield self.model

    @property
    def on(self) -> str:
        """The kind of device that batches go to."""
        return self.device.type

    def scoring(self, questions: Sequence[Question], tokens: int) -> Scoring:
        """How the choices of questions are scored. Raises InputError."""
        if self.family.score is None:
            raise InputError(f"{self.name} is {self.family.name}: it cannot be scored on items with choices.")
        return self.family.score(self.model, self.tokenizer, questions, tokens)

    def logliks(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """(n,) log-likelihood of each row's tokens after its first, in nats."""
        return causal.text_logliks(self.model, self.tokenizer.pad_token_id or 0, rows)

    def stream(self, prompts: Sequence[Sequence[int]], how: Sampling) -> Iterator[list[str]]:
        """The answers to a batch of prompts so far, after each new token. Raises InputError."""
        return generate.stream(self, prompts, how)

    @contextmanager
    def loaned_to_peft(self, adapter: Adapter) -> Iterator[nn.Module]:
        """The model for PEFT to load an adapter onto: whatever that overwrites, or leaves behind, is gone after the block.

        PEFT copies trained biases over the base's own, leaves heads in place when it unloads, and takes no head of another
        size than it finds.
        """
        with ExitStack() as kept:
            for head in adapter.heads:
                path, _, last = head.rpartition(".")
                kept.callback(setattr, self.layer(path), last, self.layer(head))
            for name, tensor in adapter.whole.items():
                layer, last = self._place(name, tensor, adapter)
                kept.enter_context(_instead(layer, last, tensor.clone()))
            yield self.model


@contextmanager
def _instead(layer: nn.Module, name: str, tensor: Tensor) -> Iterator[None]:
    """A layer with another tensor under a name while the block runs; its own is put aside, never written to."""
    kept = layer._parameters if name in layer._parameters else layer._buffers
    own: Any = kept[name]
    if own.is_meta or hasattr(own, "placements"):
        raise BaseError(
            f"{name}: the adapter brings this tensor of a head of its own, and the base's head is not whole in this process. "
            "Load the base onto one device, without --device-map and torchrun."
        )
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
        # a layer of a base that is spread may be fed from another device
        added = update(layer, whole_input(layer, inputs[0].to(down.device)), down, up)
        if bias is not None:
            added = added + bias.reshape(-1, *(1 for _ in getattr(layer, "kernel_size", ())))
        return output + own_slice((added * scale).to(output.dtype), output)

    return hook


def module_at(model: nn.Module, name: str) -> Any:
    """The module of that dotted name; None if there is none."""
    found: Any = model
    for part in name.split("."):
        found = found._modules.get(part)
        if found is None:
            return None
    return found


def layer_size(layer: nn.Module) -> tuple[int, int] | None:
    """(d_out, d_in) of a layer as a matrix; transformers' Conv1D (GPT-2) and embeddings store it the other way round."""
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        return None
    if isinstance(layer, nn.Linear) and not weight.is_floating_point():  # packed into fewer bits
        return layer.out_features, layer.in_features
    if isinstance(layer, nn.Embedding) or type(layer).__name__ == "Conv1D":
        return weight.shape[1], weight.shape[0]
    return weight.shape[0], weight[0].numel()


def load_base(
    ref: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    progress: ProgressFn = silent,
    device_map: str | Mapping[str, Any] | None = None,
    quantize: str | None = None,
) -> Base:
    """A base model by Hub id, folder or .gguf file: one that writes, or one that classifies images or text.

    device: "auto" takes cuda, then mps, then cpu. dtype: "auto" is float32, except on a GPU that it would fill (bfloat16).
    device_map: "auto" spreads it over all GPUs, the CPU and the disk. quantize: "4bit" or "8bit" by bitsandbytes.
    Nothing of the model's own code is ever run. Looks in this order: path, Hub cache, a package that carries a copy, the Hub
    itself. Raises BaseError, and Stopped from ``progress``.
    """
    ref, place = str(ref), Placement(device=device, dtype=dtype, device_map=device_map, quantize=quantize)
    try:
        family, found = open_files(ref, progress, place)
        model = _placed(found.model, place).eval().requires_grad_(False)
    except (BaseError, Stopped):
        raise
    except Exception as error:  # transformers raises anything from OSError to KeyError for a folder it cannot read
        raise BaseError(_cannot(ref, error)) from error
    digest = _digest(ref, f"{number_format(model)}{quantize or ''}{found.reads}", progress)
    says = (*found.says, *where_it_lies(model, place), *where_it_is_cut(model))
    return Base(ref, model, found.tokenizer, digest, family, found.labels, says, found.has_head)


def _placed(model: nn.Module, place: Placement) -> nn.Module:
    """The model on its device, in its number format; one that transformers has placed already stays as it is."""
    if not place.usual:
        return model
    device = one_device(place.device)
    return model.to(device=device, dtype=format_for(place.dtype, sum(p.numel() for p in model.parameters()), device))


def _cannot(ref: str, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return (
        f"{ref}: could not be loaded as a base model ({reason}). Give a folder with config.json and safetensors weights, a "
        ".gguf file, or a Hub id with a connection; without a base, adapters can still be inspected and merged."
    )


def _digest(ref: str, runs: str, progress: ProgressFn) -> str:
    """Tells bases apart by every byte of their files, by name, and by how they run.

    runs: number format, rounding, and how it prepares images
    """
    files = folder_digest(folder_of(ref), cache_folder() / "digests.json", progress)
    return hashlib.sha256(f"{Path(ref).name} {runs} {files}".encode()).hexdigest()
