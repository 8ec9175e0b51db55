"""What methods that go entry by entry (TIES, DARE, magnitude pruning) are made of: no core-space matrix holds what they give.

Each module's two updates are formed in full, one module at a time, combined, and brought back to rank r. No gates, no drops,
no balance.
"""

import hashlib
import threading
from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from tada_studio.core.mix import Analysis, Leading, Outside, alone, even_weights
from tada_studio.lora import LoraModule
from tada_studio.recipe import Recipe

#: Numbers in all the full-width updates that may be worked on at once (a module larger than that goes alone): with what
#: each step needs on top, about 2 GB.
AT_ONCE = 1 << 27
#: The subspace iteration takes this many directions more than asked for, and this many rounds.
EXTRA, ROUNDS = 16, 8
#: Singular values below this share of the largest are rounding of the float32 entries.
ROUNDING = 1e-6

#: What these methods use: strength (both weights; 1 is PEFT's 1 and 1), the share of entries that stay, and what becomes of
#: modules that only one adapter changes.
KNOBS = frozenset({"strength", "density", "weights"})

Full = Float[Tensor, "d_out d_in"]


# -- a method's frame ----------------------------------------------------------------------------------------------


def entry_by_entry(analysis: Analysis, recipe: Recipe, combine: Callable[[Full, Full, str], Full]) -> Outside:
    """``combine(task's update, domain's, name)`` of every module."""
    whole = taken_whole(analysis, recipe)
    largest = int(analysis.space.sizes.prod(1).max())
    room = threading.BoundedSemaphore(max(1, AT_ONCE // max(1, largest)))

    def leading(row: int, rank: int, many: int) -> Leading:
        name = analysis.space.names[row]
        with room:
            task, domain = _updates(*analysis.pair.both(name))
            merged = task + domain if whole[row] else combine(task, domain, name)
            return of_full(merged, rank, many, generator(0, name, "start"))

    return Outside(leading, even_weights(analysis.space, recipe.strength))


def taken_whole(analysis: Analysis, recipe: Recipe) -> list[bool]:
    """Of every module whether it goes in as it is, since only one adapter changes it."""
    return [one and recipe.weights != "0.1" for one in alone(analysis.space.present).tolist()]


def _updates(task: LoraModule | None, domain: LoraModule | None) -> tuple[Full, Full]:
    """Both full-width updates in float32, zeros where an adapter lacks the module."""
    size = next(module.layer_size for module in (task, domain) if module is not None)
    full = [torch.zeros(size) if m is None else (m.scale * m.up.float()) @ m.down.float() for m in (task, domain)]
    return full[0], full[1]


# -- entry by entry ------------------------------------------------------------------------------------------------


def trimmed(update: Full, density: float) -> Full:
    """The largest int(density * entries) entries; what ties with the smallest of them stays too."""
    gone = update.numel() - int(density * update.numel())
    if not gone:
        return update
    if gone == update.numel():
        return torch.zeros_like(update)
    size = update.abs()
    return update.masked_fill(size < size.flatten().kthvalue(gone + 1).values, 0)


def thinned(update: Full, density: float, draw: torch.Generator) -> Full:
    """Each entry with probability ``density``, divided by it: the expected update stays the same."""
    return update * torch.bernoulli(torch.full_like(update, density), generator=draw) / density


def agreeing(task: Full, domain: Full, mean: bool = True) -> Full:
    """At each entry the mean (or sum) of those of the two that have the sign of their sum; a sum of 0 counts as positive."""
    positive = task + domain >= 0
    kept = [torch.where(positive, one.clamp_min(0), one.clamp_max(0)) for one in (task, domain)]
    total = kept[0] + kept[1]
    return total / ((kept[0] != 0).float() + (kept[1] != 0).float()).clamp_min(1) if mean else total


def generator(seed: int, *what: str) -> torch.Generator:
    """Chance that depends on a seed and on what it is for, never on what was drawn before."""
    sha = hashlib.sha256(" ".join([str(seed), *what]).encode())
    return torch.Generator().manual_seed(int.from_bytes(sha.digest()[:8], "big", signed=True))


def shared_basis(task: LoraModule | None, domain: LoraModule | None) -> tuple[Tensor, Tensor, Tensor]:
    """(U, S V_T, S V_D) of the thin SVD ``[dW_T dW_D] = U S [V_T V_D]``: (d_out, k), (k, d_in), (k, d_in), float64."""
    there = [m for m in (task, domain) if m is not None]
    basis, corner = torch.linalg.qr(torch.cat([m.scale * m.up.double() for m in there], 1))
    inside = dict(zip(map(id, there), corner.split([m.rank for m in there], 1), strict=True))
    width = there[0].layer_size[1]
    parts = [
        torch.zeros(len(corner), width, dtype=torch.float64) if m is None else inside[id(m)] @ m.down.double()
        for m in (task, domain)
    ]
    turn = torch.linalg.svd(torch.cat(parts, 1), full_matrices=False).U
    return basis @ turn, turn.mT @ parts[0], turn.mT @ parts[1]


# -- back to rank r ------------------------------------------------------------------------------------------------


def of_product(up: Float64[Tensor, "d_out k"], down: Float64[Tensor, "k d_in"], rank: int, many: int) -> Leading:
    """The best rank-r approximation of ``up @ down``, exactly; up has orthonormal columns."""
    u, s, vt = torch.linalg.svd(down, full_matrices=False)
    return _leading(up @ u, s, vt, rank, many, float(s.square().sum()))


def of_full(update: Full, rank: int, many: int, draw: torch.Generator) -> Leading:
    """The best rank-r approximation of a full matrix: exact for a small one, else by seeded subspace iteration.

    Halko, Martinsson and Tropp 2011, algorithm 4.4. After ``ROUNDS`` rounds what is left out is at most a thousandth larger
    than at the optimum, on updates whose spectrum is as flat as DARE leaves it; on others it is the optimum to 1e-6.
    """
    wanted = max(rank, many) + EXTRA
    if 2 * wanted >= min(update.shape):
        u, s, vt = torch.linalg.svd(update.double(), full_matrices=False)
        return _leading(u, s, vt, rank, many, float(s.square().sum()))
    span = update @ torch.randn(update.shape[1], wanted, generator=draw)
    for _ in range(ROUNDS):
        span = update @ torch.linalg.qr(update.mT @ torch.linalg.qr(span).Q).Q
    basis = torch.linalg.qr(span).Q
    u, s, vt = torch.linalg.svd((basis.mT @ update).double(), full_matrices=False)
    return _leading(basis.double() @ u, s, vt, rank, many, float(update.double().square().sum()))


def _leading(u: Tensor, s: Tensor, vt: Tensor, rank: int, many: int, energy: float) -> Leading:
    s = torch.where(s > ROUNDING * s[:1], s, 0)
    half = s[:rank].sqrt()
    up, down = u[:, :rank] * half, half[:, None] * vt[:rank]
    short = rank - len(half)
    if short > 0:
        up, down = torch.nn.functional.pad(up, (0, short)), torch.nn.functional.pad(down, (0, 0, 0, short))
    spectrum = torch.nn.functional.pad(s[:many], (0, max(0, many - len(s))))
    return Leading(up.float().contiguous(), down.float().contiguous(), spectrum, energy)
