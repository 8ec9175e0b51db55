"""One module as PEFT holds it against the merge's, without a full-width matrix.

Both updates are products of thin factors, so their difference is one too:

    s' B' A' - s B A  =  [s'B' - sB, sB] [A'; A' - A]

and the Grams of the two sides give its Frobenius norm exactly (float64, no cancellation: the differences are taken entry by
entry before anything is multiplied). That says what PEFT holds; what PEFT *computes* is asked of its own layer, on a few inputs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tada_studio.exporting.certificate import LOST, ModuleCheck
from tada_studio.exporting.readback import NAME
from tada_studio.lora import LoraModule

#: Random inputs that each layer of PEFT is run on, and single columns of its update that are looked at.
RANDOM, COLUMNS = 3, 3


class Held(NamedTuple):
    """The parameters of PEFT's layer that make up one adapter's update."""

    up: nn.Parameter
    down: nn.Parameter
    bias: nn.Parameter | None
    scale: float


class Update(NamedTuple):
    """``scale * (up @ down)``, and what is added to every output, in float64."""

    up: Tensor  # (d_out, r)
    down: Tensor  # (r, d_in)
    scale: float
    bias: Tensor | None

    def of(self, inputs: Tensor) -> Tensor:
        """What it adds to the layer's output, (rows, d_in) -> (rows, d_out)."""
        added = (inputs @ self.down.mT) @ self.up.mT
        return self.scale * (added if self.bias is None else added + self.bias)


def check(module: LoraModule, layer: Any, run: bool = True) -> ModuleCheck:
    """PEFT's layer of a module against the merge. ``layer`` None, or one without a LoRA: the module is lost.

    run: also what the layer computes; for layers of a skeleton, whose own output is nothing
    """
    held = _held(module, layer)
    if held is None or held.up.is_meta or held.down.is_meta:  # what the file did not bring has no numbers yet
        return LOST
    if _shape(held) != (*module.up.shape, *module.down.shape) or not _same_bias(module, held):
        return LOST
    ours = Update(module.up.double(), module.down.double(), module.scale, _wide(module.bias))
    same = _same_numbers(module, held)
    theirs = (
        ours if same else Update(_matrix(held.up).double(), _matrix(held.down).double(), held.scale, _wide(held.bias))
    )
    largest, distance, size = (0.0, 0.0, 1.0) if same else _distance(ours, theirs)
    computed = _computed(module, layer, held, theirs, ours) if run else 0.0
    return ModuleCheck(largest, distance / size if size else distance, computed)


def _held(module: LoraModule, layer: Any) -> Held | None:
    if not hasattr(layer, "lora_A"):  # PEFT put no LoRA there: the layer lies in a module that is kept whole
        return None
    if module.kind == "embedding":
        if NAME not in layer.lora_embedding_A:
            return None
        return Held(layer.lora_embedding_B[NAME], layer.lora_embedding_A[NAME], None, float(layer.scaling[NAME]))
    if NAME not in layer.lora_A:
        return None
    up, down = layer.lora_B[NAME], layer.lora_A[NAME]
    return Held(up.weight, down.weight, up.bias, float(layer.scaling[NAME]))


def _matrix(factor: Tensor) -> Tensor:
    """A factor as a matrix, here: a convolution's channels and kernel are one axis."""
    return factor.detach().flatten(1).cpu()


def _shape(held: Held) -> tuple[int, ...]:
    return (*_matrix(held.up).shape, *_matrix(held.down).shape)


def _wide(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().cpu().double()


def _same_bias(module: LoraModule, held: Held) -> bool:
    """Number for number; where only other modules have a bias, PEFT wants zeros."""
    if held.bias is None:
        return module.bias is None
    wanted = torch.zeros_like(held.bias) if module.bias is None else module.bias.to(held.bias.dtype)
    return torch.equal(held.bias.detach().cpu(), wanted)


def _same_numbers(module: LoraModule, held: Held) -> bool:
    factors = ((module.up, held.up), (module.down, held.down))
    wide = (torch.promote_types(ours.dtype, theirs.dtype) for ours, theirs in factors)
    return held.scale == module.scale and all(
        torch.equal(ours.to(dtype), _matrix(theirs).to(dtype))
        for dtype, (ours, theirs) in zip(wide, factors, strict=True)
    )


def _distance(ours: Update, theirs: Update) -> tuple[float, float, float]:
    """(a bound of the largest entry and the Frobenius norm of the difference, the norm of ours)."""
    up, their_up = ours.up * ours.scale, theirs.up * theirs.scale
    gap_up, gap_down = their_up - up, theirs.down - ours.down
    distance = _product_norm(torch.cat([gap_up, up], 1), torch.cat([theirs.down, gap_down]))
    bound = _longest(gap_up) * _longest(theirs.down.mT) + _longest(up) * _longest(gap_down.mT)
    return bound, distance, _product_norm(up, ours.down)


def _longest(rows: Tensor) -> float:
    return float(rows.norm(dim=1).max())


def _product_norm(left: Tensor, right: Tensor) -> float:
    """Frobenius norm of ``left @ right``: the square root of the sum of (left^T left) * (right right^T)."""
    return float(((left.mT @ left) * (right @ right.mT)).sum().clamp_min(0).sqrt())


# -- what PEFT's own layer computes ------------------------------------------------------------------------------------


@torch.no_grad()
def _computed(module: LoraModule, layer: Any, held: Held, theirs: Update, ours: Update) -> float:
    """Largest relative difference of what PEFT's forward adds to an input and what the merge adds."""
    inputs = _inputs(module)
    with _widened(held, theirs), _silent(module, layer):
        if module.kind == "embedding":
            found = layer(inputs.argmax(1))
        elif module.kernel:
            found = layer(inputs.reshape(len(inputs), -1, *module.kernel)).flatten(1)
        else:
            found = layer(inputs)
    wanted = ours.of(inputs)
    gap, size = (found - wanted).norm(dim=1), wanted.norm(dim=1)
    return float(torch.where(size > 0, gap / size, gap).max())


def _inputs(module: LoraModule) -> Tensor:
    """(rows, d_in): random numbers, and single ones, which give single columns of the update. Tokens are always the latter."""
    width, random = module.layer_size[1], 0 if module.kind == "embedding" else RANDOM
    draw = torch.Generator().manual_seed(width)
    inputs = torch.zeros(random + COLUMNS, width, dtype=torch.float64)
    inputs[:random] = torch.randn(random, width, generator=draw, dtype=torch.float64)
    inputs[torch.arange(random, len(inputs)), torch.randint(width, (COLUMNS,), generator=draw)] = 1
    return inputs


@contextmanager
def _widened(held: Held, wide: Update) -> Iterator[None]:
    """PEFT's own parameters in float64 while the block runs: then its arithmetic is seen without rounding."""
    parameters = [(held.up, wide.up), (held.down, wide.down)]
    if held.bias is not None and wide.bias is not None:
        parameters.append((held.bias, wide.bias))
    kept = [(parameter, parameter.data) for parameter, _ in parameters]
    try:
        for parameter, numbers in parameters:
            parameter.data = numbers.reshape(parameter.shape)
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


@contextmanager
def _silent(module: LoraModule, layer: Any) -> Iterator[None]:
    """The layer underneath adds nothing while the block runs."""
    under, ones = layer.get_base_layer(), (1,) * len(module.kernel)
    under.forward = lambda x, *_, **__: torch.zeros(len(x), len(module.up), *ones, dtype=torch.float64)
    try:
        yield
    finally:
        del under.forward
