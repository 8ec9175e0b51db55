"""Adapters of PEFT's other types (LoHa, LoKr, VeRA ...) as LoRA: with the base at hand, PEFT itself says what each layer adds.

PEFT's ``convert_to_lora`` takes the same updates apart; here each is taken apart in float64 and what a rank loses is measured. A
type whose update is a product of few factors (LoHa of rank r has rank r * r at most) loses nothing but rounding.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tada_studio.base_model.files import quietly
from tada_studio.base_model.model import Base
from tada_studio.core.lowrank import best_low_rank, relative_loss
from tada_studio.errors import AdapterError
from tada_studio.files import shown
from tada_studio.lora import CONFIG, Adapter, LoraModule, Passport, Replacement, add_tensor
from tada_studio.progress import Progress, ProgressFn
from tada_studio.read.binding import stamps
from tada_studio.read.config import CONVERTIBLE, text
from tada_studio.read.files import read_json, weight_files

#: The rank that is given to an update of full rank if none is asked for.
_MOST_RANK = 128
#: Singular values below this share of the largest are float32's rounding, no direction of the update.
_ROUNDING = 1e-6
#: Settings of such adapters that change more than updates of linear layers.
_MORE = ("modules_to_save", "trainable_token_indices")


@dataclass(frozen=True)
class _Part:
    module: LoraModule
    lost: float
    size: float


def convertible(place: Path) -> str | None:
    """The peft_type of a folder whose updates PEFT turns into LoRA; None for every other place. Raises nothing."""
    try:
        kind = str(read_json(place / CONFIG).get("peft_type", "")).upper() if (place / CONFIG).is_file() else ""
    except AdapterError:  # whoever reads it says what is wrong
        return None
    return kind if kind in CONVERTIBLE else None


def as_lora(folder: Path, base: Base, rank: int | None, progress: ProgressFn) -> Adapter:
    """The adapter of a folder as its best LoRA of ``rank`` on the base (None: as few directions as it has). Raises AdapterError."""
    if not base.whole:
        raise AdapterError(
            f"{folder}: is turned into a LoRA by its base's own weights. Load {base.name} without --device-map and --quantize."
        )
    config, files = read_json(folder / CONFIG), [*weight_files(folder), folder / CONFIG]
    kind = str(config.get("peft_type")).upper()
    if more := next((name for name in _MORE if config.get(name)), None):
        raise AdapterError(f"{folder}: {kind} with {more}, which is not converted. Train it without.")
    before, sha = stamps(files), hashlib.sha256(f"{kind} {rank}".encode())
    parts = {}
    updates = _updates(folder, base, kind)
    for i, (name, update) in enumerate(updates.items()):
        progress(Progress(f"read {kind}", i, len(updates), name))
        if not update.isfinite().all():
            raise AdapterError(
                f"{folder}: {name} holds NaN or infinity; its training diverged. Use an earlier checkpoint."
            )
        add_tensor(sha, update)
        parts[name] = _part(name, update, rank)
    stands_for = _account(parts, base.name, rank, kind, sha.hexdigest())
    return Adapter(
        label=shown(folder.name),
        modules={name: part.module for name, part in parts.items()},
        base=text(config.get("base_model_name_or_path")),
        task_type=text(config.get("task_type")),
        source=str(folder.resolve()),
        passport=_passport(shown(folder.name), config, kind, parts, stands_for),
        stands_for=stands_for,
        revision=text(config.get("revision")),
        files=before,
    )


def _updates(folder: Path, base: Base, kind: str) -> dict[str, Tensor]:
    """(d_out, d_in) update of every adapted layer, in float64, as PEFT computes it; the base is as before after."""
    from peft import PeftModel
    from transformers.pytorch_utils import Conv1D

    try:
        with quietly(), torch.no_grad():
            adapted: Any = PeftModel.from_pretrained(base.model, str(folder), adapter_name="default").eval()
            try:
                layers = dict(_layers(adapted))
                odd = next((n for n, layer in layers.items() if not layer.supports_lora_conversion("default")), None)
                if odd is not None or not layers:
                    raise AdapterError(
                        f"{folder}: PEFT turns the {kind} of {odd or 'this base'} into no LoRA. Train a LoRA instead."
                    )
                found = {}
                for name, layer in layers.items():
                    update = _update(layer).detach().double().cpu()
                    found[name] = update.mT if isinstance(layer.get_base_layer(), Conv1D) else update
                if wide := next((name for name, update in found.items() if update.ndim != 2), None):
                    raise AdapterError(
                        f"{folder}: {wide} is no linear layer, and its {kind} is not converted. Train a LoRA instead."
                    )
                return found
            finally:
                adapted.unload()
    except AdapterError:
        raise
    except Exception as error:  # PEFT raises anything from KeyError to RuntimeError
        raise AdapterError(
            f"{folder}: PEFT cannot load this {kind} onto {base.name} ({shown(error, 200)}). Give the base that it was trained on."
        ) from error


def _update(layer: Any) -> Tensor:
    if type(layer).__name__ != "MissLinear":
        return layer.get_delta_weight("default")
    # MiSS alone has no update of its own: PEFT's conversion gives its two factors, which are exact
    from peft.tuners.lora.conversion import _convert_miss_module_to_lora

    down, up, _ = _convert_miss_module_to_lora(layer, min(layer.in_features, layer.out_features))
    return up.double() @ down.double()


def _layers(adapted: nn.Module) -> Any:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in adapted.named_modules():
        if isinstance(layer, BaseTunerLayer):
            yield name.removeprefix("base_model.model."), layer


def _part(name: str, update: Tensor, rank: int | None) -> _Part:
    values = torch.linalg.svdvals(update)
    own = max(1, int((values > _ROUNDING * values.max()).sum()))
    up, down = best_low_rank(update, rank or min(own, _MOST_RANK))
    up, down = up.float().contiguous(), down.float().contiguous()
    size = float(update.norm())
    return _Part(LoraModule(name, up, down, 1.0), relative_loss(update, up, down) * size, size)


def _account(parts: Mapping[str, _Part], base: str, rank: int | None, kind: str, digest: str) -> Replacement:
    def share(part: _Part) -> float:
        return part.lost / part.size if part.size > 0 else 0.0

    worst = max(parts, key=lambda name: share(parts[name]))
    size = sum(part.size**2 for part in parts.values())
    lost = (sum(part.lost**2 for part in parts.values()) / size) ** 0.5 if size > 0 else 0.0
    return Replacement(base, rank, lost, share(parts[worst]), worst, digest, kind)


def _passport(
    label: str, config: Mapping[str, Any], kind: str, parts: Mapping[str, _Part], stands_for: Replacement
) -> Passport:
    ranks = sorted({part.module.rank for part in parts.values()})
    facts = {
        "base": text(config.get("base_model_name_or_path")) or "not named",
        "kind": f"{kind}, turned into a LoRA",
        "rank": ", ".join(map(str, ranks)),
        "modules": len(parts),
    }
    return Passport(label, facts, (f"{stands_for}.",))
