"""The domain adapter replaced by random directions of its own spectrum: a control, not a method.

Adaptive merging was found to gain nearly as much from random LoRAs as from trained ones (arXiv 2602.12323). What a merge gains by
the domain adapter must be more than what this gains.
"""

import torch
from torch import Tensor

from tada_studio.core.elementwise import generator, of_product
from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Leading, Method, Moments, Outside, alone, even_weights
from tada_studio.lora import LoraModule
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Outside:
    """``dW_T + U diag(s_D) V^T`` with random orthonormal U and V, drawn from the recipe's seed for each module, and the domain's
    own singular values. What the domain adapter learned is gone; its size and the shape of its spectrum stay. A module that one
    adapter alone changes stays as it is.
    """
    strengths, names = analysis.directions.domain.strength, analysis.space.names
    lone = alone(analysis.space.present)

    def leading(row: int, rank: int, many: int) -> Leading:
        task, domain = analysis.pair.both(names[row])
        d_out, d_in = (int(size) for size in analysis.space.sizes[row].tolist())
        if lone[row] and domain is not None and bool(strengths[row].any()):
            return _of(domain, rank, many)
        spectrum = strengths[row][: min(d_out, d_in)]
        draw = generator(recipe.seed, names[row], "placebo")
        up, down = random_basis(d_out, len(spectrum), draw) * spectrum, random_basis(d_in, len(spectrum), draw).mT
        if task is not None:
            up = torch.cat([task.scale * task.up.double(), up], 1)
            down = torch.cat([task.down.double(), down])
        basis, corner = torch.linalg.qr(up)
        return of_product(basis, corner @ down, rank, many)

    return Outside(leading, even_weights(analysis.space, recipe.strength))


def _of(module: LoraModule, rank: int, many: int) -> Leading:
    basis, corner = torch.linalg.qr(module.scale * module.up.double())
    return of_product(basis, corner @ module.down.double(), rank, many)


def random_basis(width: int, many: int, draw: torch.Generator) -> Tensor:
    """(width, many) orthonormal columns, uniformly random."""
    return torch.linalg.qr(torch.randn(width, many, generator=draw, dtype=torch.float64)).Q


METHOD = Method(
    "placebo",
    run,
    says="a control: the domain adapter replaced by random directions of its own spectrum",
    uses=frozenset({"strength", "seed"}),
    source="after arXiv 2602.12323",
)
