"""DoRA with its base at hand: every module's exact update becomes its best LoRA of a rank, and what that loses is measured.

    W' = m * (W + dW) / |W + dW|, row by row (PEFT's own: the rows of the (d_out, d_in) matrix, for every kind of layer)

W' - W scales the rows of W itself, which no product of two thin factors can; only a fresh DoRA, m = |W + dW|, is a LoRA.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from tada_studio.core.lowrank import best_low_rank, relative_loss
from tada_studio.errors import AdapterError, MismatchError
from tada_studio.lora import Adapter, Layer, LoraModule, Replacement, add_tensor
from tada_studio.progress import Progress, ProgressFn

#: Magnitudes are trained from the row norms of the base; a median this far off means that this is not that base.
FOREIGN = 0.5


@runtime_checkable  # the annotations are checked in tests
class Weights(Protocol):
    """The weights of a base by module; ``name`` is what to call that base in files that travel."""

    @property
    def name(self) -> str: ...

    def __call__(self, module: str, layer: Layer) -> Tensor:
        """(d_out, d_in) weights of a module. Raises MismatchError or BaseError."""
        ...


@dataclass(frozen=True)
class Standing:
    """What a DoRA adapter is read with: the base's weights, the rank of what stands in for it (None: its own)."""

    weights: Weights
    rank: int | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and not 1 <= self.rank <= 4096:
            raise AdapterError(
                f"DoRA rank {self.rank}: give a whole number from 1 to 4096, or none for the adapter's own."
            )


class _Stand(NamedTuple):
    module: LoraModule
    squared_loss: float
    squared_size: float
    off: float


def needs_base(where: object, base: str | None) -> str:
    """The sentence for a DoRA adapter without its base."""
    named = f" ({base})" if base else ""
    return (
        f"{where}: is DoRA (use_dora), which rescales the rows of the base weights, so no LoRA equals it on its own. Give its base "
        f"model{named} too (--base, or the base field): then its best rank-r LoRA stands in for it and the residual is shown."
    )


def stand_in(
    dora: Adapter, magnitudes: Mapping[str, Tensor], how: Standing, progress: ProgressFn
) -> tuple[Adapter, list[str]]:
    """(the adapter with every module replaced by its best LoRA, remarks). Raises AdapterError, MismatchError, BaseError."""
    sha = hashlib.sha256(f"DoRA {how.rank} {dora.digest}".encode())
    found: dict[str, _Stand] = {}
    for i, (name, module) in enumerate(dora.modules.items()):
        progress(Progress("read DoRA", i, len(dora.modules), name))
        weight = how.weights(name, (module.kind, module.kernel, *module.layer_size)).float()
        add_tensor(sha, magnitudes[name])
        add_tensor(sha, weight)
        found[name] = _stand(module, magnitudes[name].reshape(-1), weight, how.rank or module.rank)
    stands_for = _account(found, how, sha.hexdigest())
    adapter = replace(dora, modules={name: one.module for name, one in found.items()}, stands_for=stands_for)
    return adapter, list(_remarks(found, stands_for))


def _stand(module: LoraModule, magnitude: Tensor, weight: Tensor, rank: int) -> _Stand:
    if not (magnitude.isfinite().all() and module.up.isfinite().all() and module.down.isfinite().all()):
        raise AdapterError(
            f"{module.name}: holds NaN or infinity; the DoRA training diverged, or the file is damaged. Use an earlier one."
        )
    if weight.shape != module.layer_size:
        raise MismatchError(f"{module.name}: its base weights are {tuple(weight.shape)}, expected {module.layer_size}.")
    update, off = exact_update(module, magnitude, weight)
    up, down = (factor.float().contiguous() for factor in best_low_rank(update, rank))
    size, lost = float(update.norm()), relative_loss(update, up, down)
    made = LoraModule(module.name, up, down, 1.0, module.kind, module.kernel)
    return _Stand(made, (lost * size) ** 2, size**2, off)


def exact_update(
    module: LoraModule, magnitude: Float[Tensor, " d_out"], weight: Float[Tensor, "d_out d_in"]
) -> tuple[Float64[Tensor, "d_out d_in"], float]:
    """(W' - W, median relative distance of the magnitudes from the rows' norms), in float64."""
    base, delta = weight.double(), module.delta()
    norms = (base + delta).norm(dim=1)
    ratio = torch.where(norms > 0, magnitude.double() / norms, 1.0)  # a row of zeros has no direction to scale
    return ratio[:, None] * (base + delta) - base, float((ratio - 1).abs().median())


def _account(found: Mapping[str, _Stand], how: Standing, digest: str) -> Replacement:
    def share(one: _Stand) -> float:
        return (one.squared_loss / one.squared_size) ** 0.5 if one.squared_size > 0 else 0.0

    size = sum(one.squared_size for one in found.values())
    worst = max(found, key=lambda name: share(found[name]))
    return Replacement(
        base=how.weights.name,
        rank=how.rank,
        lost=(sum(one.squared_loss for one in found.values()) / size) ** 0.5 if size > 0 else 0.0,
        worst=share(found[worst]),
        worst_module=worst,
        digest=digest,
    )


def _remarks(found: Mapping[str, _Stand], stands_for: Replacement) -> list[str]:
    larger = (
        ""
        if stands_for.lost < 0.01
        else " A larger rank loses less (--dora-rank, dora_rank in Python, under the base on the Open tab)."
    )
    off = [one.off for one in found.values()]
    strange = sum(one > FOREIGN for one in off)
    foreign = (
        f"In {strange} of {len(off)} modules its magnitudes are far from the row norms of {stands_for.base}; make sure that it was "
        "trained on that base."
    )
    return [f"{stands_for}.{larger}", *([foreign] if 2 * strange > len(off) else [])]
