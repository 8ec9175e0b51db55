"""A merged adapter becomes a PEFT folder that is read back by PEFT itself and certified, or nothing at all.

Everything is written to a temporary name beside the target and renamed at the end, so a full disk or a killed process
leaves no half-written folder. Equal merges give equal bytes in every file: no dates, no machine names.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from tada_studio.base_model.model import Base
from tada_studio.errors import ExportError
from tada_studio.exporting.certificate import CARD, RECIPE, Certificate, canonical, write_certificate
from tada_studio.exporting.certify import certify
from tada_studio.exporting.names import check_names, target_modules, task_type
from tada_studio.exporting.place import replacing
from tada_studio.lora import CONFIG, LABELS, WEIGHTS, Adapter, LoraModule
from tada_studio.progress import Progress, ProgressFn, silent


def export(
    adapter: Adapter,
    out: str | Path,
    base: Base | None = None,
    *,
    card: str = "",
    progress: ProgressFn = silent,
) -> Certificate:
    """Write the PEFT folder ``out`` with recipe.json, certificate.json and a model card; certify it by reading it back.

    base: for comparing logits.
    Raises ExportError, and leaves nothing, if the disk refuses or the certificate does not hold.
    """
    out = Path(out)
    with replacing(out) as folder:
        progress(Progress("export", 0, 3, "writing"))
        write_adapter(adapter, folder, base)
        _write_json(folder / RECIPE, adapter.origin.to_dict() if adapter.origin else {})
        (folder / CARD).write_text(card, encoding="utf-8")
        progress(Progress("export", 1, 3, "reading back through PEFT"))
        certificate = certify(adapter, folder, base)
        write_certificate(certificate, folder)
        if not certificate.holds:
            raise ExportError(
                f"{out}: was not kept, since what PEFT reads back is not the merge. " + " ".join(certificate.sentences)
            )
        progress(Progress("export", 2, 3, "moving into place"))
    progress(Progress("export", 3, 3, f"written to {out}"))
    return certificate


# -- writing -------------------------------------------------------------------------------------------------------


def write_adapter(adapter: Adapter, folder: str | Path, base: Base | None = None) -> None:
    """adapter_config.json and adapter_model.safetensors, as PEFT, vLLM and llama.cpp read them alike; a head's labels beside.

    Needs one rank everywhere and scale 1, which every merge has. base: whose class says which short names mean just its
    modules. Raises ExportError if the disk refuses, or for modules that PEFT cannot load together.
    """
    check_names(adapter)
    folder = Path(folder)
    layers = None if base is None else [name for name, _ in base.model.named_modules()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(_tensors(adapter), folder / WEIGHTS, metadata={"format": "pt"})
        (folder / WEIGHTS).chmod(0o644)  # safetensors writes it for its owner only; servers read it as someone else
        _write_json(folder / CONFIG, _config(adapter, layers))
        if adapter.labels:
            _write_json(folder / LABELS, {"labels": list(adapter.labels)})
    except Exception as error:  # safetensors has an error of its own for a full disk
        raise ExportError(
            f"{folder}: could not be written ({error}). Is there space, and may you write there?"
        ) from error


def _tensors(adapter: Adapter) -> dict[str, Tensor]:
    pairs = ((name, module) for name, module in sorted(adapter.modules.items()))
    factors = {
        f"base_model.model.{name}.{key}": tensor.contiguous()
        for name, module in pairs
        for key, tensor in _factors(module, has_bias(adapter)).items()
    }
    return {**factors, **{f"base_model.model.{name}": tensor.contiguous() for name, tensor in adapter.whole.items()}}


def has_bias(adapter: Adapter) -> bool:
    """Whether any lora_B has a bias: then PEFT wants one in every module."""
    return any(module.bias is not None for module in adapter.modules.values())


def _factors(module: LoraModule, biased: bool) -> dict[str, Tensor]:
    """A module's tensors as PEFT names and shapes them for its kind of layer."""
    if module.kind == "embedding":
        return {"lora_embedding_A": module.down, "lora_embedding_B": module.up}
    down = module.down.reshape(module.rank, -1, *module.kernel)
    found = {"lora_A.weight": down, "lora_B.weight": module.up.reshape(*module.up.shape, *(1 for _ in module.kernel))}
    if biased:
        found["lora_B.bias"] = module.up.new_zeros(len(module.up)) if module.bias is None else module.bias
    return found


def _config(adapter: Adapter, layers: Collection[str] | None) -> dict[str, Any]:
    """The fields that every reader knows, at their plainest: one rank, alpha = rank, no patterns, no extras."""
    ranks, scales = {m.rank for m in adapter.modules.values()}, {m.scale for m in adapter.modules.values()}
    assert len(ranks) == 1 and scales == {1.0}, "only merged adapters are written"
    rank = ranks.pop()
    return {
        "alpha_pattern": {},
        "base_model_name_or_path": adapter.base,
        "bias": _bias_mode(adapter),
        "exclude_modules": None,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "lora_bias": has_bias(adapter),
        "lora_dropout": 0.0,
        "modules_to_save": list(adapter.heads) or None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {},
        "target_modules": target_modules(adapter, layers),
        "task_type": task_type(adapter),
        "use_dora": False,
        "use_rslora": False,
    }


def _bias_mode(adapter: Adapter) -> str:
    """PEFT's name for which of the base's biases the folder carries; heads bring their own."""
    loose = [
        name
        for name in adapter.whole
        if name.endswith(".bias") and not name.startswith(tuple(f"{h}." for h in adapter.heads))
    ]
    own = all(name.endswith(".base_layer.bias") for name in loose)
    return "none" if not loose else "lora_only" if own else "all"


def _write_json(path: Path, content: Any) -> None:
    path.write_text(canonical(content), encoding="utf-8")
