"""Calibrated separation: each adapter says on its own inputs what it says, and is silent on the other's. A closed form in k x k.

    z       = [A_T x; A_D x] / |x|, the k codes of an input x of a module in the base
    C_D, C_T = E[z z^T] over domain inputs and over task inputs;  G = A A^T / d_in, inputs without a preferred direction
    own, other = C_T, C_D for the task adapter, C_D, C_T for the domain adapter
    typical_a = median over modules of  tr(B_a^T B_a own_aa) / tr(B_a^T B_a G_aa)
    P_a     = rows a of  I - other (other + own_weight own + ridge typical_a G)^-1
    whole:    P_a /= clamp( tr(B_a^T B_a (P_a own)_aa) / tr(B_a^T B_a own_aa), .5, 1 )

``P_a`` solves a regression: of all linear maps of the codes of *both* adapters, the one through which adapter a comes nearest to
what it says on its own inputs (weight ``own_weight``), to nothing on the other's (weight 1), and to what it says on any other
input (weight ``ridge``, in units of its own typical response). It then takes the place of a's own codes: the merge is
``sum_a scale_a B_a P_a [A_T; A_D]``. ridge towards infinity is the plain sum. No label and no gradient is used, and nothing of
it is from the paper's text: our formula, with the properties that its abstract names (arXiv 2606.05016).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from tada_studio.addresses import towers_of
from tada_studio.core.factor import CoreSpace
from tada_studio.core.parallel import one_thread
from tada_studio.errors import MismatchError

#: Added to the diagonal of what is inverted, as a share of it: directions that two adapters have in common are no error.
JITTER = 1e-10
#: The same, for each code, where that is not enough: moments are kept in float32, whose rounding may leave them no moments.
ROUNDING = 2e-7
#: The least share of its own response that is brought back to 1 (``whole``): what is less is not made up for.
LEAST_KEPT = 0.5


class BothMoments(NamedTuple):
    """E[z z^T] of every module over task inputs and over domain inputs."""

    task: Float64[Tensor, "n k k"]
    domain: Float64[Tensor, "n k k"]


class Settings(NamedTuple):
    """How strongly the two are separated: ``ridge`` towards the plain sum, ``own_weight`` towards what each says on its own
    inputs; ``whole``: each is scaled so that it is whole on its own inputs."""

    ridge: float = 2.0
    own_weight: float = 3.0
    whole: bool = True


class Separation(NamedTuple):
    """P of every module: the rows of an adapter say through which of the codes it speaks. Identity: through its own, as trained.

    through: (n, k, k), rows of the task first
    """

    through: Float64[Tensor, "n k k"]

    def mix(self, space: CoreSpace, weights: Float64[Tensor, "n 2"]) -> Float64[Tensor, "n k k"]:
        """``dW = [B_T B_D] mix [A_T; A_D]`` of the merge in which adapter a counts ``weights[:, a]``."""
        return (spread(space, weights) * space.scale)[:, :, None] * self.through


def separate(
    space: CoreSpace,
    moments: BothMoments,
    settings: Settings,
    protected: Float64[Tensor, "n 2"] | None = None,
) -> Separation:
    """The separation of both adapters of a pair in every module.

    protected: how much the inputs of (task, domain) count where the *other* adapter is to be silent on them, 1 as computed; 0, or
    an adapter that does not change the module, leaves the other exactly as it was trained. Raises MismatchError for moments
    that no inputs give.
    """
    counts = space.present.double() * (1.0 if protected is None else protected.abs())
    white = space.gram_down / space.sizes[:, 1, None, None]
    alone = torch.eye(space.rank, dtype=torch.float64)
    through = []
    with one_thread():  # a few milliseconds of work: to share it would take longer
        for a, side in enumerate(sides(space)):
            own, other = (moments.task, moments.domain) if a == 0 else (moments.domain, moments.task)
            ratio = power(space, own, side) / power(space, white, side)
            typical = _typical(space, ratio, space.present[:, a] & own.flatten(1).any(1))
            counted = counts[:, 1 - a, None, None]
            total = torch.addcmul(white * (settings.ridge * typical) + settings.own_weight * own, counted, other)
            rows = alone[side] - _solved(total, counted * other[:, :, side]).mT
            rows = _made_whole(space, rows, own, side) if settings.whole else rows
            through.append(torch.where(counted > 0, rows, alone[side]))
    return Separation(torch.cat(through, 1))


def _typical(space: CoreSpace, ratio: Float64[Tensor, " n"], read: Bool[Tensor, " n"]) -> Float64[Tensor, "n 1 1"]:
    """The median of what an adapter says in the modules that inputs ran, of each module's own tower."""
    tower_of = towers_of(tuple(space.names))
    typical = torch.ones_like(ratio)
    for tower in dict.fromkeys(tower_of):
        ours = torch.tensor([one == tower for one in tower_of])
        typical[ours] = ratio[ours & read].nanmedian().nan_to_num(1.0)
    return typical[:, None, None]


def sides(space: CoreSpace) -> tuple[slice, slice]:
    """Where the task's and the domain's columns stand."""
    return slice(0, space.rank_task), slice(space.rank_task, None)


def spread(space: CoreSpace, values: Float64[Tensor, "n 2"]) -> Float64[Tensor, "n k"]:
    """One value an adapter at each of its columns."""
    return values[:, torch.tensor([0] * space.rank_task + [1] * space.rank_domain)]


def power(space: CoreSpace, moment: Float64[Tensor, "n k k"], side: slice) -> Float64[Tensor, " n"]:
    """``tr(B_a^T B_a C_aa)``: the mean square of what an adapter of scale 1 says on inputs of this moment."""
    return (space.gram_up[:, side, side] * moment[:, side, side]).sum((1, 2))


def _made_whole(space: CoreSpace, rows: Tensor, own: Tensor, side: slice) -> Tensor:
    """The rows of an adapter, scaled so that it answers its own inputs as strongly as it was trained to."""
    before = power(space, own, side)
    kept = (space.gram_up[:, side, side] * (rows @ own[:, :, side])).sum((1, 2)) / before
    return rows / torch.where(before > 0, kept, 1.0).clamp(LEAST_KEPT, 1.0)[:, None, None]


def _solved(total: Float64[Tensor, "n k k"], right: Float64[Tensor, "n k r"]) -> Float64[Tensor, "n k r"]:
    """``total^-1 right``, by Cholesky: whoever scales an adapter by a power of two gets the very same bits.

    A code that is padding has zeros in its row and column, and 1 on the diagonal here.
    """
    diagonal = total.diagonal(dim1=1, dim2=2)
    lift = torch.where(diagonal > 0, diagonal * JITTER, 1.0)
    triangle, failed = torch.linalg.cholesky_ex(total + torch.diag_embed(lift))
    if failed.any():
        again = failed > 0
        more = total[again] + torch.diag_embed(lift[again] * (ROUNDING * total.shape[1] / JITTER))
        triangle[again], still = torch.linalg.cholesky_ex(more)
        if still.any():
            raise MismatchError("These readings hold moments that no inputs give: the file was changed. Probe again.")
    return torch.cholesky_solve(right, triangle)


def response(
    space: CoreSpace, mix: Float64[Tensor, "n k k"], moment: Float64[Tensor, "n k k"]
) -> Float64[Tensor, "n 2"]:
    """Mean square of what (task, domain) says on inputs of this moment through a mix: ``E |B_a mix_a z|^2``, of |x| = 1."""
    found = []
    for side in sides(space):
        rows = mix[:, side]
        found.append((space.gram_up[:, side, side] * (rows @ moment @ rows.mT)).sum((1, 2)).clamp_min(0))
    return torch.stack(found, 1)


def distinguishable(moments: BothMoments) -> Float64[Tensor, " n"]:
    """How far the two kinds of inputs can be told apart by a module's codes: 0 not at all, 1 entirely.

    Of every direction of the codes, the share of it that is seen on domain inputs less the share seen on task inputs, without
    its sign, averaged over directions: the mean of ``|2 l - 1|`` over the eigenvalues l of C_D in units of C_D + C_T. 0 where no
    input ran the module. Two draws of inputs of one kind do not give 0 either: see ``report.inputs``.
    """
    total = moments.task + moments.domain
    size = total.diagonal(dim1=1, dim2=2)
    even = torch.where(size > 0, size.rsqrt(), 0)
    even = even[:, :, None] * even[:, None, :]
    values, vectors = torch.linalg.eigh(total * even)
    there = values > ROUNDING * total.shape[1] * values[:, -1:]
    units = vectors * torch.where(there, values.clamp_min(ROUNDING).rsqrt(), 0)[:, None, :]
    apart = torch.linalg.eigvalsh(units.mT @ ((moments.domain - moments.task) * even) @ units).abs()
    return apart.sum(1) / there.sum(1).clamp_min(1)
