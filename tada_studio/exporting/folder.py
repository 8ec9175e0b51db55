"""A merged adapter becomes a PEFT folder that is read back by PEFT itself and certified, or nothing at all.

Everything is written to a temporary name beside the target and renamed at the end, so a full disk or a killed process
leaves no half-written folder. Equal merges give equal bytes in every file: no dates, no machine names.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tada_studio.base_model.model import Base
from tada_studio.core.parallel import each
from tada_studio.errors import ExportError
from tada_studio.exporting.certificate import CARD, RECIPE, Certificate, canonical, write_certificate
from tada_studio.exporting.certify import certify
from tada_studio.exporting.formats import check_formats, write_format
from tada_studio.exporting.names import check_names, target_modules, task_type
from tada_studio.exporting.place import replacing
from tada_studio.exporting.stream import Outline, in_order, write_stream
from tada_studio.lora import CONFIG, LABELS, WEIGHTS, Adapter, LoraModule
from tada_studio.progress import Progress, ProgressFn, silent

_PREFIX = "base_model.model."


def export(
    adapter: Adapter,
    out: str | Path,
    base: Base | None = None,
    *,
    card: str = "",
    guard: Callable[[], None] = lambda: None,
    progress: ProgressFn = silent,
    formats: Collection[str] = (),
    pictures: Mapping[str, bytes] | None = None,
) -> Certificate:
    """Write the PEFT folder ``out`` with recipe.json, certificate.json and a model card; certify it by reading it back.

    base: for comparing logits. guard: as in ``write_adapter``. formats: of other programs, to be written beside.
    pictures: of the card, by name.
    Raises ExportError, and leaves nothing, if the disk refuses or the certificate does not hold.
    """
    out, formats = Path(out), check_formats(formats)
    with replacing(out) as folder:
        progress(Progress("export", 0, 3, "writing"))
        write_adapter(adapter, folder, base, guard)
        for name in formats:
            write_format(adapter, folder, name, base)
        _write_json(folder / RECIPE, adapter.origin.to_dict() if adapter.origin else {})
        (folder / CARD).write_text(card, encoding="utf-8")
        for name, content in (pictures or {}).items():
            (folder / name).write_bytes(content)
        progress(Progress("export", 1, 3, "reading back through PEFT"))
        guard()
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


def write_adapter(
    adapter: Adapter, folder: str | Path, base: Base | None = None, guard: Callable[[], None] = lambda: None
) -> None:
    """adapter_config.json and adapter_model.safetensors, as PEFT, vLLM and llama.cpp read them alike; a head's labels beside.

    Needs one rank everywhere and scale 1, which every merge has. base: whose class says which short names mean just its
    modules. guard: asked again and again while it is written, to raise if what the merge is made of has changed.
    Raises ExportError if the disk refuses, or for modules that PEFT cannot load together.
    """
    check_names(adapter)
    folder = Path(folder)
    layers = None if base is None else [name for name, _ in base.model.named_modules()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        outlines, owners = _outlines(adapter)
        write_stream(folder / WEIGHTS, outlines, _numbers(adapter, in_order(outlines), owners, guard))
        (folder / WEIGHTS).chmod(0o644)  # servers read it as someone else
        _write_json(folder / CONFIG, _config(adapter, layers))
        if adapter.labels:
            _write_json(folder / LABELS, {"labels": list(adapter.labels)})
    except (OSError, ValueError) as error:
        raise ExportError(
            f"{folder}: could not be written ({error}). Is there space, and may you write there?"
        ) from error


#: Modules that are made before any of them is written: enough for every core, few enough to be held.
_AT_ONCE = 16


def _outlines(adapter: Adapter) -> tuple[dict[str, Outline], dict[str, str]]:
    """(every tensor of the file, the module that each factor is of), by the tensor's name, before any of them is made."""
    biased = has_bias(adapter)
    outlines, owners = {}, {}
    for name, module in adapter.outlines.items():
        for key, tensor in _tensors(name, module, biased).items():
            outlines[key], owners[key] = Outline(tensor.dtype, tuple(tensor.shape)), name
    whole = {f"{_PREFIX}{name}": Outline(t.dtype, tuple(t.shape)) for name, t in adapter.whole.items()}
    return {**outlines, **whole}, owners


def _numbers(
    adapter: Adapter, names: list[str], owners: Mapping[str, str], guard: Callable[[], None]
) -> Iterator[tuple[str, Tensor]]:
    """The tensors of these names, some modules at a time. guard: raises if what they are made of has changed."""
    biased = has_bias(adapter)
    for first in range(0, len(names), 2 * _AT_ONCE):
        some = names[first : first + 2 * _AT_ONCE]
        guard()
        made = _made(adapter, list(dict.fromkeys(owners[key] for key in some if key in owners)))
        tensors = {key: tensor for name, module in made for key, tensor in _tensors(name, module, biased).items()}
        for key in some:
            yield key, tensors[key] if key in owners else adapter.whole[key.removeprefix(_PREFIX)]


def _made(adapter: Adapter, names: list[str]) -> list[tuple[str, LoraModule]]:
    """Modules by name: held already, or made now, on all cores."""
    if isinstance(adapter.modules, dict):
        return [(name, adapter.modules[name]) for name in names]
    return list(zip(names, each(lambda i: adapter.modules[names[i]], len(names)), strict=True))


def _tensors(name: str, module: LoraModule, biased: bool) -> dict[str, Tensor]:
    return {f"{_PREFIX}{name}.{key}": tensor for key, tensor in _factors(module, biased).items()}


def has_bias(adapter: Adapter) -> bool:
    """Whether any lora_B has a bias: then PEFT wants one in every module."""
    return any(module.bias is not None for module in adapter.outlines.values())


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
    ranks, scales = {m.rank for m in adapter.outlines.values()}, {m.scale for m in adapter.outlines.values()}
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
