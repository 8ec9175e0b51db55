"""Probe inputs through the base model, once for both adapters: how strongly does each module's update react?

Per module and token the k numbers ``z = [A_T x; A_D x] / |x|`` say everything: the response of adapter a is
``|dW_a x| / (|dW_a|_F |x|) = sqrt(z_a^T (B^T B) z_a) / |B A|_F``, in which the adapter's size cancels exactly.
Of texts, padding and position 0 are left out (an attention sink in most decoders). Of images nothing is: every patch counts,
and the class token (position 0 of a ViT) as one token among them, since it is what the answer is read from.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tada_studio.addresses import addresses
from tada_studio.base_model.devices import number_format, runs_on
from tada_studio.base_model.families import causal
from tada_studio.base_model.family import Batch, Family
from tada_studio.base_model.images import ImageFile
from tada_studio.base_model.inputs import Input, choose, read_inputs
from tada_studio.base_model.shared import whole_input
from tada_studio.core import gates
from tada_studio.core.parallel import one_thread
from tada_studio.errors import BaseError, InputError, MismatchError
from tada_studio.lora import LoraModule, Pair
from tada_studio.markup import Shown
from tada_studio.progress import Progress, ProgressFn, silent
from tada_studio.schema import Saved, first_problem

__all__ = ["Readings", "choose", "probe", "read_inputs"]

#: What is written; the first format, of version 0.1, holds domain inputs only.
_FORMAT = "tada-studio readings 2"
#: Before the names of what was read of task inputs, in the file of tensors.
_ON_TASK = "on_task."


def _unlike(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a module is named twice")
    return names


class ReadOnTask(Saved):
    """What readings.json says of task inputs, whose numbers lie beside the others."""

    about: dict[str, str]


class SavedReadings(Saved):
    """readings.json. names: the modules, in the order of the tensors;  about: what was read, of which adapters and base."""

    format: Literal["tada-studio readings 1", "tada-studio readings 2"]
    names: Annotated[tuple[str, ...], AfterValidator(_unlike)]
    about: dict[str, str]
    on_task: ReadOnTask | None = None


class Readings(Shown, gates.Readings):
    """The numbers of ``core.gates.Readings``, with a way to disk and back (readings.json + readings.safetensors)."""

    def _facts(self) -> dict[str, object]:
        on_task = 0 if self.on_task is None else len(self.on_task.tokens)
        inputs = {"domain_inputs": len(self.tokens), "task_inputs": on_task, "tokens": int(self.tokens.sum())}
        return {**inputs, "modules": len(self.names), "base": self.about.get("base")}

    @classmethod
    def of(cls, readings: gates.Readings) -> "Readings":
        """Any readings, as those that can be saved."""
        return readings if isinstance(readings, cls) else cls(**vars(readings))

    def save(self, path: str | Path) -> None:
        """Write ``path`` (.json) and the tensors beside it (.safetensors)."""
        path = Path(path)
        tensors = _tensors_of(self)
        content: dict[str, Any] = {"format": _FORMAT, "names": list(self.names), "about": self.about}
        if self.on_task is not None:
            tensors |= {_ON_TASK + name: tensor for name, tensor in _tensors_of(self.on_task).items()}
            content["on_task"] = {"about": self.on_task.about}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path.with_suffix(".safetensors"))
        path.with_suffix(".safetensors").chmod(0o644)  # safetensors writes it for its owner only
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Readings":
        """Readings that ``save`` wrote; those of version 0.1 have no ``on_task``. Raises InputError."""
        path = Path(path)
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError(f"it is larger than {_LARGEST:,} bytes")
            saved = SavedReadings.model_validate_json(path.read_bytes())
            with safe_open(path.with_suffix(".safetensors"), framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            on_task = (
                None if saved.on_task is None else cls(**_read(saved.names, saved.on_task.about, tensors, _ON_TASK))
            )
            return cls(**_read(saved.names, saved.about, tensors), on_task=on_task)
        except (OSError, ValueError, KeyError, RecursionError, SafetensorError) as error:
            raise InputError(
                f"{path}: no readings could be read ({first_problem(error)}). Give a readings.json that 'tada-studio probe' wrote, "
                "with its readings.safetensors beside it."
            ) from error

    @property
    def digest(self) -> str:
        """SHA-256 of all the numbers and names."""
        sha = hashlib.sha256("\n".join(self.names).encode())
        for part in (self, self.on_task):  # without task inputs the digest is that of version 0.1
            for tensor in () if part is None else _tensors_of(part).values():
                sha.update(tensor.contiguous().numpy().tobytes())
        return sha.hexdigest()


#: Bytes of a readings.json; a real one names a few thousand modules.
_LARGEST = 16_000_000


def _check(names: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless all of it is what ``save`` writes: files travel, and are edited."""
    n, m, k = len(names), tensors["tokens"].numel(), tensors["moment"].shape[-1] if tensors["moment"].ndim else 0
    shapes = {"moment": (n, k, k), "tokens": (m,), "present": (n, 2)}
    kinds = {"tokens": torch.int64, "present": torch.bool}
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != shapes.get(name, (n, m)) or tensor.dtype != kinds.get(name, torch.float64):
            raise ValueError(f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity")
    if m < 1 or int(tensors["tokens"].min()) < 1:
        raise ValueError("it has an input without a token")


_TENSORS = tuple(spec.name for spec in fields(gates.Readings) if spec.name not in ("names", "about", "on_task"))


def _tensors_of(readings: gates.Readings) -> dict[str, Tensor]:
    """The numbers as they are written; none shares memory with another."""
    found = {name: getattr(readings, name).clone() for name in _TENSORS}
    return {**found, "moment": found["moment"].float()}


def _read(
    names: tuple[str, ...], about: Mapping[str, str], tensors: Mapping[str, Tensor], start: str = ""
) -> dict[str, Any]:
    """The fields of readings whose tensors' names begin so. Raises ValueError, KeyError."""
    mine = {name: tensors[start + name] for name in _TENSORS}
    mine["moment"] = mine["moment"].double()
    _check(names, mine)
    return {"names": names, "about": about, **mine}


# -- the pass ------------------------------------------------------------------------------------------------------


def probe(
    pair: Pair,
    model: nn.Module,
    tokenizer: Any,
    inputs: Sequence[Input],
    *,
    family: Family = causal.FAMILY,
    about: Mapping[str, str] | None = None,
    progress: ProgressFn = silent,
) -> Readings:
    """One reading per adapter, module and input from a single pass of the base, in evaluation mode, without adapters.

    tokenizer: of a text model; for images its ``ImageReader``. family: of the base, which says how inputs are fed to it
    Raises InputError for inputs without a token to read, MismatchError for a module that the base does not have.
    """
    batches, says = family.feed(tokenizer, inputs), ""
    groups = _shared_inputs(model, pair.names, batches[0])
    while True:
        try:
            hooks = _passed(pair, model, groups, batches, len(inputs), progress, says)
            break
        except torch.OutOfMemoryError:
            # what the hooks have added up holds half a batch by now: all of it is read again, in batches of half the size
            if all(len(batch.members) == 1 for batch in batches):
                raise
            batches = [half for batch in batches for half in batch.halves()]
            says = f"; memory ran out, now at most {max(len(batch.members) for batch in batches)} inputs at once"
    progress(Progress("probe", len(batches), len(batches), f"{len(inputs)} inputs read{says}"))
    with one_thread():
        return _readings(pair, hooks, {**_about(pair, inputs), **(about or {})})


def _passed(
    pair: Pair,
    model: nn.Module,
    groups: list[list[str]],
    batches: Sequence[Batch],
    n: int,
    progress: ProgressFn,
    says: str,
) -> "list[_ReadingHook]":
    """One pass of all batches; what every group of modules that share an input have recorded."""
    dtype = number_format(model)
    with torch.inference_mode(), ExitStack() as attached:
        layers = [model.get_submodule(group[0]) for group in groups]
        with one_thread():
            hooks = [_ReadingHook(pair, *of, n, dtype) for of in zip(groups, map(runs_on, layers), strict=True)]
        for layer, hook in zip(layers, hooks, strict=True):
            attached.callback(layer.register_forward_pre_hook(hook.record).remove)
        for done, batch in enumerate(batches):
            progress(
                Progress("probe", done, len(batches), f"batch {done + 1} of {len(batches)} through the base{says}")
            )
            for hook in hooks:
                hook.batch = batch.to(hook.device)
            _run(model, batch.feed)
    return hooks


def _run(model: nn.Module, feed: Mapping[str, Any]) -> None:
    device, dtype = runs_on(model), number_format(model)
    try:
        model(**{
            name: value.to(device, dtype if value.is_floating_point() else None) if isinstance(value, Tensor) else value
            for name, value in feed.items()
        })  # fmt: skip
    except ValueError as error:  # a ViT refuses images of another size than it was made for
        raise BaseError(f"The base does not take these inputs as its own settings prepare them ({error}).") from error


def _shared_inputs(model: nn.Module, names: Sequence[str], batch: Batch) -> list[list[str]]:
    """Modules in groups that are fed the very same tensor (q, k, v; gate, up), found by a short look at one input."""
    seen: dict[str, Tensor] = {}  # holding the tensors keeps their addresses from being used again

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda layer, inputs: seen.__setitem__(name, inputs[0])

    hooks = [_submodule(model, name).register_forward_pre_hook(note(name)) for name in names]
    try:
        with torch.inference_mode():
            _run(model, batch.look)
    finally:
        for hook in hooks:
            hook.remove()
    _check_read(names, seen)
    groups: dict[int, list[str]] = {}
    for name, tensor in seen.items():
        groups.setdefault(id(tensor), []).append(name)
    return list(groups.values())


def _check_read(names: Sequence[str], read: Mapping[str, Any]) -> None:
    """Raise MismatchError for a module that was not run; a whole tower may be left out (texts do not run a vision tower)."""
    places = addresses(names)
    towers = {places[name].tower for name in read}
    unread = [name for name in names if name not in read and (places[name].tower in towers or not towers)]
    if unread:
        raise MismatchError(f"{unread[0]}: the base never ran this layer on such an input, so it cannot be probed.")


def _submodule(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise MismatchError(
            f"{name}: the base has no such layer; give the base that the adapters were trained on."
        ) from None


class _ReadingHook:
    """Adds up the readings of modules that are fed the same tensor x: one product ``A x`` serves all of them, and each step after
    it is one call for all, since on small matrices a call costs more than its arithmetic.
    """

    def __init__(self, pair: Pair, names: list[str], device: torch.device, inputs: int, dtype: torch.dtype) -> None:
        self.names, self.device = names, device
        self.batch: Batch | None = None
        self.tokens = torch.zeros(inputs, dtype=torch.int64, device=device)
        self.readers = [_Reader(m, i, side) for i, name in enumerate(names)
                        for side, m in enumerate(pair.both(name)) if m is not None]  # fmt: skip
        self.down = torch.cat([reader.down for reader in self.readers]).mT.to(device, dtype).contiguous()
        self.gram = torch.block_diag(*(reader.gram for reader in self.readers)).to(device)
        self.whose = torch.block_diag(*(torch.ones(reader.rank, 1) for reader in self.readers)).to(device)
        # by input: mean and mean square of every reader; and z z^T, of all columns
        self.sums = torch.zeros(inputs, 2, len(self.readers), dtype=torch.float64, device=device)
        self.moment = torch.zeros(len(self.gram), len(self.gram), dtype=torch.float64, device=device)

    def record(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """The forward pre-hook: x is (rows, length, d_in), or (rows, channels, height, width) for a convolution."""
        assert self.batch is not None
        # a layer of a base that is spread may be fed from another device
        x = _under_the_kernel(layer, whole_input(layer, inputs[0].to(self.device)))
        z, owner = self.batch.tokens(self.answers(x))
        square = (((z @ self.gram) * z) @ self.whose).clamp_min(0)
        self.tokens.index_add_(0, owner, torch.ones_like(owner))
        self.sums.index_add_(0, owner, torch.stack((square.sqrt(), square), 1).double())
        self.moment += (z.mT @ z).double()

    def answers(self, x: Tensor) -> Tensor:
        """``A x / |x|`` of every place; what an embedding is fed are token ids, each a unit vector of its own."""
        if not x.is_floating_point():
            return self.down[x].float()
        # the clamp keeps a token whose x is all zero from dividing by zero; its z is 0
        size = torch.linalg.vector_norm(x, dim=-1, dtype=torch.float32).clamp_min(torch.finfo(torch.float32).tiny)
        return (x @ self.down).float() / size[..., None]

    def read(self) -> Iterator[tuple[int, int, Tensor]]:
        """(place, side, mean and mean square by input) of each reader."""
        means = (self.sums / self.tokens[:, None, None]).cpu()
        for i, reader in enumerate(self.readers):
            yield reader.place, reader.side, means[:, :, i].mT

    def moments(self) -> list[Tensor]:
        """The mean of z z^T over all tokens, of each module's own columns."""
        places = torch.tensor([reader.place for reader in self.readers for _ in range(reader.rank)])
        mean = (self.moment / self.tokens.sum()).cpu()
        own = [(places == place).nonzero().flatten() for place in range(len(self.names))]
        return [mean[columns[:, None], columns] for columns in own]


def _under_the_kernel(layer: Any, x: Tensor) -> Tensor:
    """What a convolution's matrix is applied to: (rows, places, channels times kernel). Other layers' x as it is."""
    if not isinstance(layer, nn.Conv2d):
        return x
    return nn.functional.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride).mT  # type: ignore[arg-type]


class _Reader:
    """One adapter's part in one module: what turns ``A x / |x|`` into its response."""

    def __init__(self, module: LoraModule, place: int, side: int) -> None:
        self.place, self.side, self.rank = place, side, module.rank
        self.down = module.down.float()
        up, down = module.up.double(), module.down.double()
        gram = up.mT @ up
        square_norm = (gram * (down @ down.mT)).sum()
        # a module of zeros answers nothing: 0, not 0 / 0
        self.gram = (gram / square_norm.clamp_min(torch.finfo(torch.float64).tiny)).float()


def _readings(pair: Pair, reading_hooks: list[_ReadingHook], about: Mapping[str, str]) -> Readings:
    inputs = len(reading_hooks[0].tokens)
    # where layers see different numbers of tokens (a pooler one, others all), an input weighs as much as it has in most
    tokens = torch.stack([hook.tokens.cpu() for hook in reading_hooks]).amax(0)
    row = {name: i for i, name in enumerate(pair.names)}
    sums = torch.zeros(2, 2, len(row), inputs, dtype=torch.float64)
    starts, k = (0, pair.task.rank), pair.task.rank + pair.domain.rank
    moment = torch.zeros(len(row), k, k, dtype=torch.float64)
    for hook in reading_hooks:
        for place, side, means in hook.read():
            sums[:, side, row[hook.names[place]]] = means
        for name, own in zip(hook.names, hook.moments(), strict=True):
            columns = _columns(pair, name, starts)
            moment[row[name]][columns[:, None], columns] = own
    moment = moment.float().double()  # what readings.safetensors holds: loaded or not, equal readings give equal bytes
    present = torch.tensor([[_changes(module) for module in pair.both(name)] for name in pair.names])
    (task, domain), (square_task, square_domain) = sums[0], sums[1]
    return Readings(
        pair.names, task, domain, square_task.sqrt(), square_domain.sqrt(), moment, tokens, present, dict(about)
    )  # fmt: skip


def _columns(pair: Pair, name: str, starts: tuple[int, int]) -> Tensor:
    """Where a module's own columns stand among the k of the core space (see ``core.factor``), the adapters' from ``starts`` on."""
    sides = zip(pair.both(name), starts, strict=True)
    return torch.cat([torch.arange(start, start + module.rank) for module, start in sides if module is not None])


def _changes(module: LoraModule | None) -> bool:
    return module is not None and _any(module.up) and _any(module.down)


def _any(factor: Tensor) -> bool:
    """Whether it holds any number but 0; of what was trained the first row does."""
    return bool(factor[:1].any()) or bool(factor.any())


def _about(pair: Pair, inputs: Sequence[Input]) -> dict[str, str]:
    content = [one.digest if isinstance(one, ImageFile) else one for one in inputs]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return {"task": pair.task.digest, "domain": pair.domain.digest, "inputs": digest}
