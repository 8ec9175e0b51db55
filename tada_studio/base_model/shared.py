"""A base that several processes of one machine share under torchrun, each with its slice of every layer (transformers' tensor
parallelism).

All processes do the same work on the same inputs and meet in every layer. A layer is fed, and gives, whole tensors or this
process's slice of them: the first layers of a block give slices, the last ones take them. What is hooked to a layer asks here.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn

from tada_studio.base_model.devices import best_device, format_for
from tada_studio.base_model.placement import Placement, processes
from tada_studio.errors import BaseError

#: transformers' ways to cut a layer that are understood here: slices in the order of the processes, or none where a hook looks.
_STYLES = {
    "colwise", "rowwise", "colwise_gather_output", "colwise_rep", "rowwise_rep", "rowwise_split_input", "embedding_rowwise",
    "embedding_colwise", "replicate", "replicated_with_grad_allreduce",
}  # fmt: skip


def is_shared(model: nn.Module) -> bool:
    """Whether this process holds only its slices of a model."""
    return (getattr(model, "tp_size", None) or 1) > 1


def sharing_settings(place: Placement, parameters: int, config: Mapping[str, Any]) -> dict[str, Any]:
    """What ``from_pretrained`` is given for a base that the processes share. Raises BaseError for one that cannot be cut so."""
    count = processes()
    if place.device_map is not None or place.quantize is not None:
        raise BaseError(
            "Under torchrun the processes share the base: leave out --device-map and --quantize, or torchrun."
        )
    try:
        from transformers.distributed import DistributedConfig

        cut = DistributedConfig(tp_size=count)
    except (ImportError, TypeError) as error:
        raise BaseError(
            "To share a base under torchrun a newer transformers is needed (pip install -U transformers)."
        ) from error
    heads = {name: config.get(name) for name in ("num_attention_heads", "num_key_value_heads") if config.get(name)}
    odd = next(
        (f"{n} {name.replace('_', ' ')[4:]}" for name, n in heads.items() if not isinstance(n, int) or n % count), None
    )
    if odd is not None or not heads:
        raise BaseError(
            f"{odd or 'Attention of another kind'} cannot be shared by {count} processes alike. Start torchrun with a "
            "--nproc-per-node that divides the base's heads, or without torchrun give --device-map auto."
        )
    return {"dtype": format_for(place.dtype, parameters // count, best_device()), "distributed_config": cut}


def check_cut(model: Any) -> None:
    """Raise BaseError for a model whose layers were cut in a way that hooks here do not understand, or not at all."""
    plan = dict(getattr(model, "tp_plan", None) or {})
    odd = next((f"{name} as {style}" for name, style in plan.items() if style not in _STYLES), None)
    if odd is not None or not is_shared(model) or not plan:
        raise BaseError(
            f"{type(model).__name__} cannot be shared by processes here ({odd or 'transformers has no plan for it'}). Run it "
            "without torchrun; --device-map auto spreads it over all GPUs."
        )


def where_it_is_cut(model: nn.Module) -> tuple[str, ...]:
    """What a person should know."""
    says = f"The base is shared by {processes()} processes of this machine, each with its slice of every layer."
    return (says,) if is_shared(model) else ()


def whole_input(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer is fed, from all processes if each has a slice of it."""
    if not isinstance(layer, nn.Linear) or x.shape[-1] == layer.in_features:
        return x
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, x.contiguous())
    return torch.cat(parts, -1)


def own_slice(whole: Tensor, output: Tensor) -> Tensor:
    """Of an update of all that a layer gives, the part that belongs to this process's ``output``."""
    if whole.shape[-1] == output.shape[-1]:
        return whole
    return whole.chunk(distributed.get_world_size(), -1)[distributed.get_rank()]
