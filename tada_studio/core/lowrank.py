"""The best low-rank approximation of one full matrix: for updates that are not already a product of two factors."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

#: Columns beyond the rank that a block of the search carries, and the growth of captured energy at which it ends.
SPARE, SETTLED = 8, 1e-11


def best_low_rank(
    matrix: Float64[Tensor, "d_out d_in"], rank: int
) -> tuple[Float64[Tensor, "d_out r"], Float64[Tensor, "r d_in"]]:
    """(up, down): ``up @ down`` is the closest matrix of rank r = min(rank, d_out, d_in) (Eckart-Young, Frobenius).

    Singular values are split evenly between the two, strongest first; signs are fixed, so that equal matrices give equal
    factors. One side is a projection of the matrix itself: at full rank nothing is lost but rounding.
    """
    if matrix.shape[0] > matrix.shape[1]:
        up, down = best_low_rank(matrix.mT, rank)
        return down.mT, up.mT
    rank = min(rank, len(matrix))
    left = _signed(_leading(matrix, rank))
    rows = left.mT @ matrix
    root = rows.norm(dim=1, keepdim=True).sqrt()
    return left * root.mT, torch.where(root > 0, rows / root, 0.0)


def relative_loss(
    matrix: Float64[Tensor, "d_out d_in"], up: Float[Tensor, "d_out r"], down: Float[Tensor, "r d_in"]
) -> float:
    """``|matrix - up @ down| / |matrix|``, Frobenius, as measured; 0 where there is nothing to lose."""
    size = float(matrix.norm())
    return float((matrix - up.double() @ down.double()).norm()) / size if size > 0 else 0.0


def _leading(matrix: Float64[Tensor, "d_out d_in"], rank: int) -> Float64[Tensor, "d_out r"]:
    """The strongest left singular directions of a matrix that is no taller than wide.

    Block Krylov (Musco and Musco 2015): each step multiplies the newest block by the matrix and its transpose, and the answer
    is the best one inside all blocks together. Where they would fill half of the space anyway, all of it is taken.
    """
    width = rank + SPARE
    rows = torch.randn(width, matrix.shape[1], generator=torch.Generator().manual_seed(0), dtype=matrix.dtype)
    basis, seen, captured = matrix[:, :0], matrix[:0], -1.0
    while 2 * (basis.shape[1] + width) <= len(matrix):
        block = torch.linalg.qr(matrix @ rows.mT).Q
        block = torch.linalg.qr(block - basis @ (basis.mT @ block)).Q
        block = torch.linalg.qr(block - basis @ (basis.mT @ block)).Q  # once more: what is left may be rounding alone
        rows = block.mT @ matrix
        basis, seen = torch.cat([basis, block], 1), torch.cat([seen, rows])
        energy, vectors = torch.linalg.eigh(seen @ seen.mT)
        if (found := float(energy[-rank:].sum())) - captured <= SETTLED * float(matrix.square().sum()):
            return basis @ vectors[:, -rank:].flip(1)
        captured = found
    return torch.linalg.eigh(matrix @ matrix.mT).eigenvectors[:, -rank:].flip(1)


def _signed(left: Float64[Tensor, "d_out r"]) -> Float64[Tensor, "d_out r"]:
    """Every direction with its largest entry positive."""
    largest = left.gather(0, left.abs().argmax(0, keepdim=True))
    return torch.where(largest < 0, -left, left)
