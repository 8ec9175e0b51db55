"""What PEFT itself makes of an exported folder, against the merge that it should hold: the certificate.

Nothing here writes. The folder is loaded by PEFT onto the base, or onto a skeleton of its layers when no base is at hand.
"""

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from tada_studio.base_model.model import Base
from tada_studio.errors import ExportError
from tada_studio.exporting.portable import Tick, portability
from tada_studio.files import sha256
from tada_studio.lora import CONFIG, LABELS, WEIGHTS, Adapter, LoraModule

#: The files beside the adapter's own two.
RECIPE, CERTIFICATE, CARD = "recipe.json", "certificate.json", "README.md"
#: Largest relative difference between a module's delta as PEFT rebuilds it and as it was merged, in float32.
DELTA_ROOM = 1e-6
#: Largest difference of any logit (float32) between the base with the merge attached here and PEFT's model of the folder.
LOGIT_ROOM = 1e-4
_FORMAT = "tada-studio certificate 1"


@dataclass(frozen=True)
class ModuleCheck:
    """One module's delta, as PEFT rebuilds it, against the merge: largest and relative (Frobenius) difference."""

    max_error: float
    relative_error: float


@dataclass(frozen=True)
class HeadCheck:
    """A module that the folder keeps whole: its rows (0: it has no matrix), whose it is, what its rows are called."""

    rows: int
    of: str | None
    labels: tuple[str, ...] = ()

    def says(self, name: str) -> str:
        whose = {
            "task": "the task adapter's",
            "domain": "the domain adapter's",
            "average": "the average of both adapters'",
        }
        named = f", for {', '.join(self.labels[:12])}{' ...' if len(self.labels) > 12 else ''}" if self.labels else ""
        of = f" is {whose.get(self.of, self.of)}," if self.of else " is"
        return f"{name} ({self.rows} rows{named}){of} kept whole in modules_to_save."


@dataclass(frozen=True, eq=False)
class Certificate:
    """What was found when the written folder was read back by PEFT.

    outputs: file name -> SHA-256; inputs: what the merge came from; modules: by name
    missing, unexpected: keys that PEFT did not find, or did not know
    logit_error: largest difference of any logit on a test input; None if no base was at hand
    loaders: what PEFT, vLLM, llama.cpp and LoRAX make of the folder; a cross does not fail the certificate
    heads: what the folder keeps whole: module -> its rows, and whose it is (None: not known)
    """

    outputs: Mapping[str, str]
    inputs: Mapping[str, Any]
    modules: Mapping[str, ModuleCheck]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    rank: int
    logit_error: float | None
    logit_room: float
    versions: Mapping[str, str]
    loaders: tuple[Tick, ...] = ()
    heads: Mapping[str, "HeadCheck"] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """The largest relative error of any module."""
        return max(check.relative_error for check in self.modules.values())

    @property
    def holds(self) -> bool:
        deltas = all(check.relative_error <= DELTA_ROOM for check in self.modules.values())
        logits = self.logit_error is None or self.logit_error <= self.logit_room
        return deltas and logits and not self.missing and not self.unexpected

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was checked and what came out, in plain language."""
        keys = "no key missing, none unexpected"
        if self.missing or self.unexpected:
            keys = f"{len(self.missing)} keys missing, {len(self.unexpected)} unexpected"
        logits = "Logits were not compared: no base model was loaded."
        if self.logit_error is not None:
            logits = f"Logits differ from the merge on screen by at most {self.logit_error:.1e} (room {self.logit_room:.0e})."
        return (
            f"PEFT {self.versions['peft']} loads the folder: {keys}; rank {self.rank} everywhere, scale 1.",
            f"All {len(self.modules)} modules rebuild the merge: worst relative error {self.worst:.1e} (room {DELTA_ROOM:.0e}).",
            *(head.says(name) for name, head in self.heads.items()),
            logits,
            *(tick.says for tick in self.loaders),
            f"SHA-256 of {WEIGHTS}: {self.outputs[WEIGHTS]}",
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "verdict": "pass" if self.holds else "fail",
            "says": list(self.sentences),
            **asdict(self),
            "worst_relative_error": self.worst,
        }


def certify(adapter: Adapter, folder: str | Path, base: Base | None = None) -> Certificate:
    """What PEFT makes of a folder, against the adapter it should hold. ``base`` None: on a skeleton of the base's layers."""
    folder = Path(folder)
    expected = None if base is None else _logits_with(adapter, base)
    with ExitStack() as block:
        model = skeleton(adapter) if base is None else block.enter_context(base.loaned_to_peft(adapter))
        peft_model, missing, unexpected = block.enter_context(_loaded_by_peft(folder, model))
        modules = {name: _check(module, _layer(peft_model, name)) for name, module in adapter.modules.items()}
        missing = (*missing, *_whole_lost(adapter, peft_model))
        logit_error, room = _compare_logits(peft_model, expected, base)
    origin = adapter.origin.to_dict() if adapter.origin else {}
    written = (CONFIG, WEIGHTS, LABELS, RECIPE, CARD)
    return Certificate(
        outputs={name: sha256(folder / name) for name in written if (folder / name).is_file()},
        inputs=origin.get("inputs", {}),
        modules=modules,
        missing=missing,
        unexpected=unexpected,
        rank=adapter.rank,
        logit_error=logit_error,
        logit_room=room,
        versions={name: version(name) for name in ("torch", "peft", "transformers", "safetensors")},
        loaders=portability(folder),
        heads=_heads(adapter, origin.get("heads", {})),
    )


def _heads(adapter: Adapter, whose: Mapping[str, str]) -> dict[str, HeadCheck]:
    def check(head: str) -> HeadCheck:
        matrices = [len(t) for name, t in adapter.whole.items() if name.startswith(f"{head}.") and t.ndim > 1]
        rows = max(matrices, default=0)
        return HeadCheck(rows, whose.get(head), adapter.labels if len(adapter.labels) == rows else ())

    return {head: check(head) for head in adapter.heads}


def _whole_lost(adapter: Adapter, peft_model: Any) -> tuple[str, ...]:
    """Which tensors that were trained whole PEFT does not hold as they are, number for number."""
    state = peft_model.base_model.model.state_dict()
    inside = {name.replace(".modules_to_save.merged.", "."): tensor for name, tensor in state.items()
              if ".original_module." not in name}  # fmt: skip

    def kept(name: str, tensor: Tensor) -> bool:
        found = inside.get(name)
        return found is not None and torch.equal(found.cpu(), tensor.to(found.dtype))

    return tuple(name for name, tensor in adapter.whole.items() if not kept(name, tensor))


def skeleton(adapter: Adapter) -> nn.Module:
    """Just the layers that an adapter speaks of, under their names; one stored zero stands for all their weights."""
    top = nn.Module()
    for name, module in adapter.modules.items():
        parent, last = _parent(top, name)
        parent.add_module(last, _blank(module))
    for name, tensor in adapter.whole.items():
        parent, last = _parent(top, name.replace(".base_layer.", "."))
        blank = torch.zeros_like(tensor)
        if tensor.is_floating_point() and not last.startswith("running_"):
            parent.register_parameter(last, nn.Parameter(blank, requires_grad=False))
        else:
            parent.register_buffer(last, blank)
    return top


def _parent(top: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds the last part of a dotted name, made where it is missing."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(top, part):
            top.add_module(part, nn.Module())
        top = getattr(top, part)
    return top, last


_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def _blank(module: LoraModule) -> nn.Module:
    """A layer of the size and kind that a module updates, without memory for its weights."""
    d_out, d_in = module.layer_size
    layer: nn.Module
    shape: tuple[int, ...]
    if module.kind == "embedding":
        layer, shape = nn.Embedding(d_in, d_out, device="meta"), (d_in, d_out)
    elif module.kernel:
        channels = d_in // math.prod(module.kernel)
        layer = _CONVOLUTIONS[len(module.kernel)](channels, d_out, module.kernel, bias=False, device="meta")  # type: ignore[arg-type]
        shape = (d_out, channels, *module.kernel)
    else:
        layer, shape = nn.Linear(d_in, d_out, bias=False, device="meta"), (d_out, d_in)
    layer.weight = nn.Parameter(torch.zeros(()).expand(shape), requires_grad=False)
    return layer


@contextmanager
def _loaded_by_peft(folder: Path, model: nn.Module) -> Iterator[tuple[nn.Module, tuple[str, ...], tuple[str, ...]]]:
    """The folder as PEFT loads it onto ``model``, with the keys it missed and did not know; ``model`` is as before after."""
    from peft import LoraConfig, PeftModel

    config = LoraConfig.from_pretrained(str(folder))
    config.inference_mode = True
    if config.task_type is not None and not hasattr(model, "prepare_inputs_for_generation"):
        config.task_type = None  # a skeleton generates nothing; the weights are what is read back
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # missing and unexpected keys are reported by name below
        peft_model = PeftModel(model, config, adapter_name="merged")
        try:
            result = peft_model.load_adapter(str(folder), "merged", is_trainable=False)
            yield peft_model.eval(), tuple(result.missing_keys), tuple(result.unexpected_keys)
        finally:
            peft_model.unload()


def _layer(peft_model: Any, name: str) -> Any:
    return peft_model.base_model.model.get_submodule(name)


def _check(module: LoraModule, layer: Any) -> ModuleCheck:
    """The delta that PEFT computes against the merge's own, row block by row block in float32."""
    if not hasattr(layer, "get_delta_weight"):  # PEFT put no LoRA there: the layer lies in a module that is kept whole
        return ModuleCheck(float("inf"), float("inf"))
    rebuilt, worst, square, size = layer.get_delta_weight("merged"), 0.0, 0.0, 0.0
    rebuilt = (
        rebuilt.mT
        if getattr(layer, "fan_in_fan_out", False) or module.kind == "embedding"
        else rebuilt.reshape(len(rebuilt), -1)
    )
    bias = getattr(layer.lora_B["merged"], "bias", None) if module.bias is not None else None
    if module.bias is not None and (bias is None or not torch.equal(bias.cpu(), module.bias.to(bias.dtype))):
        return ModuleCheck(float("inf"), float("inf"))
    down = module.down.float().to(rebuilt.device)
    for first in range(0, len(module.up), 2048):
        rows = slice(first, first + 2048)
        wanted = module.scale * module.up[rows].float().to(rebuilt.device) @ down
        gap = rebuilt[rows].float() - wanted
        worst, square = max(worst, float(gap.abs().max())), square + float(gap.square().sum())
        size += float(wanted.square().sum())
    return ModuleCheck(worst, (square / size) ** 0.5 if size > 0 else square**0.5)


_TEST_INPUT = "The merged adapter must answer here exactly as it did on screen: 2 + 2 ="


@torch.inference_mode()
def _logits_with(adapter: Adapter, base: Base) -> Tensor:
    with base.with_adapter(adapter) as model:
        return model(**_test_input(base)).logits.float()


@torch.inference_mode()
def _compare_logits(peft_model: Any, expected: Tensor | None, base: Base | None) -> tuple[float | None, float]:
    if expected is None or base is None:
        return None, LOGIT_ROOM
    found = peft_model(**_test_input(base)).logits.float()
    # a base in half precision rounds its own activations: there the room is that rounding, not float32's
    room = LOGIT_ROOM if base.dtype == torch.float32 else 4 * float(expected.abs().max()) * torch.finfo(base.dtype).eps
    return float((found - expected).abs().max()), room


def _test_input(base: Base) -> dict[str, Any]:
    """A sentence, or an image of coloured noise, always the same."""
    if base.kind == "image":
        noise = torch.randint(256, (64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        image = Image.fromarray(noise.numpy()).convert("L" if base.tokenizer.channels == 1 else "RGB")
        return {"pixel_values": base.tokenizer.pixels([image]).to(base.device, base.dtype)}
    ids = torch.tensor([base.tokenizer(_TEST_INPUT).input_ids], device=base.device)
    return {"input_ids": ids} if base.classifies else {"input_ids": ids, "use_cache": False}


def read_certificate(folder: str | Path) -> dict[str, Any]:
    """The certificate.json of an exported folder. Raises ExportError."""
    path = Path(folder) / CERTIFICATE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _ = content["outputs"], content["verdict"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"{path}: no certificate could be read ({error}). Give a folder that TaDA Studio exported."
        ) from error
    return content


def changed_files(folder: str | Path, outputs: Mapping[str, str]) -> Sequence[str]:
    """Which of the certified files are not what they were."""
    folder = Path(folder)
    return [
        name for name, digest in outputs.items() if not (folder / name).is_file() or sha256(folder / name) != digest
    ]
