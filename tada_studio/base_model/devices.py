"""A model on one device or on several: where it and each layer of it compute, and how transformers is made to spread it.

What accelerate fetches for every pass (layers on the CPU beside a GPU, or on the disk) lies on the "meta" device between two
passes; such a layer computes where its hook says.
"""

import importlib.util
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tada_studio import scratch, zero_gpu
from tada_studio.base_model.placement import Placement
from tada_studio.errors import BaseError


def runs_on(layer: nn.Module) -> torch.device:
    """Where a layer computes; of a whole model, where its inputs go."""
    hook = getattr(layer, "_hf_hook", None)
    for one in (hook, *getattr(hook, "hooks", ())):
        if (where := getattr(one, "execution_device", None)) is not None:
            return torch.device(where)
    return next(layer.parameters()).device


def number_format(model: nn.Module) -> torch.dtype:
    """What a model computes in; rounded weights are stored as whole numbers, and are no format to compute in."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def is_spread(model: nn.Module) -> bool:
    """Whether parts of a model compute, or lie, on different devices."""
    return len(set(getattr(model, "hf_device_map", {"": 0}).values())) > 1 or any(p.is_meta for p in model.parameters())


def is_rounded(model: nn.Module) -> bool:
    """Whether a model's weights are stored in fewer bits than it computes in."""
    return getattr(model, "quantization_method", None) is not None


def best_device() -> torch.device:
    """Where a model runs fastest here."""
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def one_device(name: str) -> torch.device:
    """The device of a name; "auto" is the best one, unless a Space lends its GPU by the call."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cpu") if zero_gpu.lends() else best_device()


def format_for(name: str, parameters: int, device: torch.device) -> torch.dtype:
    """The number format of a name; "auto" is float32, except on a GPU that it would fill."""
    if name != "auto":
        return getattr(torch, name)
    if device.type != "cuda":
        return torch.float32
    return (
        torch.float32 if 4 * parameters < torch.cuda.get_device_properties(device).total_memory / 3 else torch.bfloat16
    )


def slow_in_bfloat16(device: torch.device) -> bool:
    """Whether its products in bfloat16 take many times as long as in float32: an x86 processor without AVX-512."""
    return device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"


# -- for transformers --------------------------------------------------------------------------------------------------


def spread_settings(place: Placement, parameters: int) -> dict[str, Any]:
    """What ``from_pretrained`` is given for a placement that is not the usual one. Raises BaseError."""
    device = one_device(place.device)
    dtype = format_for(place.dtype, parameters, device)
    found: dict[str, Any] = {"dtype": dtype, "device_map": place.device_map or {"": str(device)}}
    if place.device_map is not None:  # holds only weights that are not in the files as the model wants them
        found["offload_folder"] = tempfile.mkdtemp(prefix="offloaded-", dir=scratch.root())
    if place.quantize is not None:
        found["quantization_config"] = _rounding(place.quantize, dtype)
    return found


def _rounding(bits: str, dtype: torch.dtype) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BaseError(
            f"--quantize {bits} needs bitsandbytes, which is not installed here (pip install bitsandbytes). "
            "Without it give --base-dtype bfloat16, or --device-map auto."
        )
    from transformers import BitsAndBytesConfig

    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


@contextmanager
def accelerate_quiet() -> Iterator[None]:
    """Without accelerate's remarks about weights on the meta device: ``where_it_lies`` says it in words."""
    log = logging.getLogger("accelerate.big_modeling")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def where_it_lies(model: nn.Module, place: Placement) -> tuple[str, ...]:
    """What a person should know about a placement that is not the usual one."""
    says = []
    if is_spread(model):
        sizes = _sizes(model, getattr(model, "hf_device_map", {}))
        parts = [f"{size / 1e9:,.1f} GB on {name}" for name, size in sizes.items()]
        says.append(f"The base is spread: {', '.join(parts)}; what is not on a GPU is fetched for every pass.")
    if place.dtype == "bfloat16" and slow_in_bfloat16(next(model.parameters()).device):
        says.append("This processor does not compute in bfloat16: a pass takes several times as long as in float32.")
    if place.quantize is not None:
        says.append(f"The base's weights are rounded to {place.quantize}: readings and scores are of the rounded base.")
    return tuple(says)


def _sizes(model: nn.Module, places: Mapping[str, Any]) -> dict[str, int]:
    """Bytes by device, as a map of module names has them."""
    found: dict[str, int] = {}
    for name, weight in model.named_parameters():
        above = [part for part in places if not part or name == part or name.startswith(f"{part}.")]
        where = places[max(above, key=len)] if above else weight.device
        called = {"cpu": "the CPU", "disk": "the disk"}.get(str(where), f"GPU {where}")
        found[called] = found.get(called, 0) + weight.numel() * weight.element_size()
    return found
