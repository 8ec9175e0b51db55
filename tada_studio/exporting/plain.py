"""An adapter at its plainest, as every server reads it: one rank everywhere, scale 1. A merge is so already."""

from dataclasses import replace

import torch
from torch import Tensor

from tada_studio.lora import Adapter, LoraModule


def at_one_rank(adapter: Adapter) -> Adapter:
    """The same updates; scales go into lora_B, in float32 unless they are 1, and missing directions are zeros."""
    if {(module.rank, module.scale) for module in adapter.outlines.values()} == {(adapter.rank, 1.0)}:
        return adapter
    modules = {name: _module(module, adapter.rank) for name, module in adapter.modules.items()}
    return replace(adapter, modules=modules)


def _module(module: LoraModule, rank: int) -> LoraModule:
    more = rank - module.rank
    up = torch.nn.functional.pad(_times(module.up, module.scale), (0, more))
    down = torch.nn.functional.pad(module.down, (0, 0, 0, more))
    bias = None if module.bias is None else _times(module.bias, module.scale)
    return replace(module, up=up, down=down, scale=1.0, bias=bias)


def _times(tensor: Tensor, scale: float) -> Tensor:
    return tensor if scale == 1 else tensor.float() * scale
