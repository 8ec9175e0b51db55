"""What PEFT itself makes of an exported folder, against the merge that it should hold: the certificate.

Nothing here writes. PEFT loads the folder onto a skeleton of its layers, where every module is compared; and onto the base, if
one is at hand, where the class's own layers and the logits are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tada_studio.base_model.model import Base
from tada_studio.base_model.skeleton import RealClass, real_class
from tada_studio.core.parallel import each
from tada_studio.exporting.certificate import (
    CARD,
    CERTIFICATE,
    LOGIT_ROOM,
    RECIPE,
    Certificate,
    HeadCheck,
    ModuleCheck,
    changed_files,
    read_certificate,
    room_for,
)
from tada_studio.exporting.compare import check
from tada_studio.exporting.formats import FILES, read_back
from tada_studio.exporting.llama_cpp import loaded_here
from tada_studio.exporting.pictures import DEPTH, MAP
from tada_studio.exporting.portable import portability
from tada_studio.exporting.readback import adapted, layer_of, loaded_by_peft, skeleton, whole_lost
from tada_studio.files import sha256
from tada_studio.lora import CONFIG, LABELS, WEIGHTS, Adapter

__all__ = ["CARD", "CERTIFICATE", "RECIPE", "Certificate", "certify", "changed_files", "read_certificate"]


def certify(adapter: Adapter, folder: str | Path, base: Base | None = None) -> Certificate:
    """What PEFT makes of a folder, against the adapter it should hold. ``base``: also on its own class, and by its logits.

    Raises ExportError if PEFT cannot load the folder at all.
    """
    folder = Path(folder)
    base = (
        base if base is None or base.whole else None
    )  # PEFT would not meet the weights that the adapters were trained on
    found = _on_skeleton(adapter, folder)
    kind = real_class(adapter.base, [adapter]) if base is None else None
    if base is not None:
        found = found.and_also(_on_base(adapter, folder, base))
    elif kind is not None:
        found = found.and_also(_on_class(adapter, folder, kind, found.modules))
    origin = adapter.origin.to_dict() if adapter.origin else {}
    written = (CONFIG, WEIGHTS, LABELS, RECIPE, CARD, MAP, DEPTH, *FILES.values())
    return Certificate(
        outputs={name: sha256(folder / name) for name in written if (folder / name).is_file()},
        inputs=origin.get("inputs", {}),
        modules=found.modules,
        missing=found.missing,
        unexpected=found.unexpected,
        beyond=found.beyond,
        rank=adapter.rank,
        delta_room=room_for(adapter.dtype),
        logit_error=found.logit_error,
        logit_room=found.logit_room,
        base=None if base is None else {"name": base.name, "digest": base.digest},
        base_class=type(base.model).__name__ if base is not None else kind.name if kind is not None else None,
        versions={name: version(name) for name in ("torch", "peft", "transformers", "safetensors")},
        loaders=loaded_here(portability(folder), folder, base.ref if base is not None else adapter.base),
        heads=_heads(adapter, origin.get("heads", {})),
        formats=read_back(adapter, folder),
    )


@dataclass(frozen=True)
class _Found:
    """What one loading by PEFT brought to light."""

    modules: Mapping[str, ModuleCheck]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    beyond: tuple[str, ...]
    logit_error: float | None = None
    logit_room: float = LOGIT_ROOM

    def and_also(self, other: "_Found") -> "_Found":
        """Both together: of every module the worse."""
        return _Found(
            {name: check.worse_of(other.modules[name]) for name, check in self.modules.items()},
            tuple(dict.fromkeys((*self.missing, *other.missing))),
            tuple(dict.fromkeys((*self.unexpected, *other.unexpected))),
            other.beyond,
            other.logit_error,
            other.logit_room,
        )


def _on_skeleton(adapter: Adapter, folder: Path) -> _Found:
    with loaded_by_peft(folder, skeleton(adapter), mapped=True) as (peft_model, missing, unexpected):
        return _read_off(adapter, peft_model, missing, unexpected, run=True)


def _on_class(adapter: Adapter, folder: Path, kind: RealClass, modules: Mapping[str, ModuleCheck]) -> _Found:
    """What PEFT finds no place for on the base's real class, built from its config alone; numbers are the skeleton's matter."""
    for name, tensor in adapter.whole.items():
        kind.resize(name.replace(".base_layer.", "."), tensor.shape)
    with loaded_by_peft(folder, kind.model, mapped=True) as (peft_model, missing, unexpected):
        return _Found(modules, missing, unexpected, tuple(sorted(adapted(peft_model) - set(adapter.modules))))


def _on_base(adapter: Adapter, folder: Path, base: Base) -> _Found:
    expected = _logits_with(adapter, base)
    with base.loaned_to_peft(adapter) as model, loaded_by_peft(folder, model) as (peft_model, missing, unexpected):
        found = _read_off(adapter, peft_model, missing, unexpected, run=False)
        error, room = _compare_logits(peft_model, expected, base)
    return replace(found, logit_error=error, logit_room=room)


def _read_off(
    adapter: Adapter, peft_model: Any, missing: tuple[str, ...], unexpected: tuple[str, ...], run: bool
) -> _Found:
    names = list(adapter.modules)

    def one(i: int) -> ModuleCheck:
        return check(adapter.modules[names[i]], layer_of(peft_model, names[i]), run)

    return _Found(
        dict(zip(names, each(one, len(names)), strict=True)),
        (*missing, *whole_lost(adapter, peft_model)),
        unexpected,
        tuple(sorted(adapted(peft_model) - set(names))),
    )


def _heads(adapter: Adapter, whose: Mapping[str, str]) -> dict[str, HeadCheck]:
    def check(head: str) -> HeadCheck:
        matrices = [len(t) for name, t in adapter.whole.items() if name.startswith(f"{head}.") and t.ndim > 1]
        rows = max(matrices, default=0)
        return HeadCheck(rows, whose.get(head), adapter.labels if len(adapter.labels) == rows else ())

    return {head: check(head) for head in adapter.heads}


_TEST_INPUT = "The merged adapter must answer here exactly as it did on screen: 2 + 2 ="


@torch.inference_mode()
def _logits_with(adapter: Adapter, base: Base) -> Tensor:
    with base.with_adapter(adapter) as model:
        return _answered(model, base)


@torch.inference_mode()
def _compare_logits(peft_model: Any, expected: Tensor, base: Base) -> tuple[float, float]:
    found = _answered(peft_model, base)
    # a base in half precision rounds its own activations: there the room is that rounding, not float32's
    room = LOGIT_ROOM if base.dtype == torch.float32 else 4 * float(expected.abs().max()) * torch.finfo(base.dtype).eps
    return float((found - expected).abs().max()), room


def _answered(model: Any, base: Base) -> Tensor:
    """Logits; of a model that has none (a sentence encoder) its last hidden states."""
    out = model(**_test_input(base))
    return (out.logits if "logits" in out else out.last_hidden_state).float()


def _test_input(base: Base) -> dict[str, Any]:
    """A sentence, or an image of coloured noise, always the same."""
    if base.kind == "image":
        noise = torch.randint(256, (64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        image = Image.fromarray(noise.numpy()).convert("L" if base.tokenizer.channels == 1 else "RGB")
        return {"pixel_values": base.tokenizer.pixels([image]).to(base.device, base.dtype)}
    feed = base.family.feed(base.tokenizer, [_TEST_INPUT])[0].feed
    return {name: value.to(base.device) if isinstance(value, Tensor) else value for name, value in feed.items()}
