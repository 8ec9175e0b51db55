"""An exported folder as PEFT itself loads it, onto a base or onto a skeleton of the layers that it speaks of.

The skeleton weighs nothing: its weights are one stored zero seen from everywhere, and PEFT's factors stay where the file is
mapped. So the two cost the same for a base of any size.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tada_studio.base_model.loading import BUILDING
from tada_studio.base_model.model import module_at
from tada_studio.errors import ExportError
from tada_studio.files import shown
from tada_studio.lora import Adapter, LoraModule
from tada_studio.uncollected import uncollected

#: What PEFT calls the adapter.
NAME = "merged"


def skeleton(adapter: Adapter) -> nn.Module:
    """Just the layers that an adapter speaks of, under their names; one stored zero stands for all their weights."""
    top = nn.Module()
    for name, module in adapter.outlines.items():
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
    """A layer of the size, kind and number format that a module updates, without memory for its weights."""
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
    # PEFT brings its factors to the number format of the layer: in their own they stay the file's, not copies
    layer.weight = nn.Parameter(torch.zeros((), dtype=module.up.dtype).expand(shape), requires_grad=False)
    return layer


@contextmanager
def loaded_by_peft(
    folder: Path, model: nn.Module, mapped: bool = False
) -> Iterator[tuple[Any, tuple[str, ...], tuple[str, ...]]]:
    """The folder as PEFT loads it onto ``model``, with the keys it missed and did not know; ``model`` is as before after.

    mapped: onto a skeleton, by PEFT's low_cpu_mem_usage and without widening: its factors are the file's own numbers, not
    copies of them, and the skeleton is not given back as it was
    Raises ExportError for whatever PEFT raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # missing and unexpected keys are reported by name
        try:
            with BUILDING:
                peft_model, result = _load(folder, model, mapped)
        except Exception as error:  # PEFT raises anything from KeyError to RuntimeError
            raise ExportError(
                f"{folder.name}: PEFT cannot load it ({shown(error, 300) or type(error).__name__}). Leave the module that it "
                "names out of the adapters, or merge adapters that were saved by one version of PEFT."
            ) from error
        try:
            yield peft_model.eval(), tuple(result.missing_keys), tuple(result.unexpected_keys)
        finally:
            if not mapped:  # a skeleton is thrown away with all that was put on it
                peft_model.unload()


def _load(folder: Path, model: nn.Module, mapped: bool) -> tuple[Any, Any]:
    with uncollected():
        from peft import LoraConfig, PeftModel

    how = {"autocast_adapter_dtype": not mapped, "low_cpu_mem_usage": mapped}
    config = LoraConfig.from_pretrained(str(folder))
    config.inference_mode = True
    if config.task_type is not None and not hasattr(model, "prepare_inputs_for_generation"):
        config.task_type = None  # a skeleton generates nothing; the weights are what is read back
    peft_model = PeftModel(model, config, NAME, **how)
    # read onto the CPU and copied to where the model is: PEFT's own choice is a GPU, and on a ZeroGPU Space there is none
    return peft_model, peft_model.load_adapter(str(folder), NAME, is_trainable=False, torch_device="cpu", **how)


def layer_of(peft_model: Any, name: str) -> Any:
    """PEFT's layer of that name; None if there is none."""
    return module_at(peft_model.base_model.model, name)


def adapted(peft_model: Any) -> set[str]:
    """The names of all layers that PEFT gave a LoRA."""
    from peft.tuners.lora import LoraLayer

    return {name for name, layer in peft_model.base_model.model.named_modules() if isinstance(layer, LoraLayer)}


def whole_lost(adapter: Adapter, peft_model: Any) -> tuple[str, ...]:
    """Which tensors that were trained whole PEFT does not hold as they are, number for number."""
    if not adapter.whole:
        return ()
    state = peft_model.base_model.model.state_dict()
    inside = {name.replace(f".modules_to_save.{NAME}.", "."): tensor for name, tensor in state.items()
              if ".original_module." not in name}  # fmt: skip

    def kept(name: str, tensor: Tensor) -> bool:
        found = inside.get(name)
        return found is not None and not found.is_meta and torch.equal(found.cpu(), tensor.to(found.dtype))

    return tuple(name for name, tensor in adapter.whole.items() if not kept(name, tensor))
