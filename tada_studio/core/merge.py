"""From a core space, gates and a recipe to merged modules: first in k x k, where a slider is followed, then in full width.

A method is a plain function that says how the two updates are mixed: ``dW = [B_T B_D] mix [A_T; A_D]`` for a (k, k) mix per
module. What all methods share (recompression to rank r, the factors that come out) is done once, after it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from tada_studio.core.conflict import Directions, Drops, Side, conflicts, directions
from tada_studio.core.factor import ABSENT, CoreSpace, alike, stacked
from tada_studio.core.gates import Gates
from tada_studio.core.parallel import batched, each, one_thread
from tada_studio.errors import MismatchError
from tada_studio.lora import LoraModule, Pair
from tada_studio.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Analysis:
    """What the core space of a pair is asked for again and again; computed once per pair."""

    pair: Pair
    space: CoreSpace

    @cached_property
    def directions(self) -> Directions:
        return directions(self.space)


@dataclass(frozen=True, eq=False)
class Mix:
    """How the updates of every module are to be combined.

    mix:     dW = [B_T B_D] mix [A_T; A_D]
    weights: (w_T, w_D) of every module
    drops:   directions left out, for a method that drops any
    """

    mix: Float64[Tensor, "n k k"]
    weights: Float64[Tensor, "n 2"]
    drops: Drops | None = None


Method = Callable[[Analysis, Gates, Recipe, Tensor | None], Mix]


def gate_weights(space: CoreSpace, gate: Float64[Tensor, " n"], recipe: Recipe) -> Float64[Tensor, "n 2"]:
    """``strength * g_a``, each adapter scaled as a whole by its balance level."""
    return recipe.strength * torch.stack((1 - gate, gate), 1) * balance_levels(space, recipe)


def balance_levels(space: CoreSpace, recipe: Recipe) -> Float64[Tensor, " 2"]:
    """What balance scales each adapter by: (geometric mean of both total norms / its own) ** balance."""
    norms = space.squared_norms.sum(0).sqrt()
    return (norms.prod().sqrt() / norms) ** recipe.balance if bool((norms > 0).all()) else torch.ones_like(norms)


def tada(known: Analysis, gates: Gates, recipe: Recipe, moment: Tensor | None) -> Mix:
    """Gated sum of what is left of both adapters after conflicting directions are dropped (arXiv 2606.05016, our reading)."""
    gate = gates.at(tuple(known.pair.addresses.values()))
    weights = gate_weights(known.space, gate, recipe)
    drops = conflicts(known.directions, weights, recipe, known.pair.addresses, moment)
    mix = torch.diag_embed(_column_weights(known.space, weights))
    for side, dropped, weight, columns in _sides(known, drops, weights):
        gone = side.up * (side.strength * dropped * weight[:, None])[:, None, :] @ side.down.mT
        mix[:, columns, columns] -= gone
    return Mix(mix, weights, drops)


def linear(known: Analysis, gates: Gates, recipe: Recipe, moment: Tensor | None) -> Mix:
    """Weighted sum with the same weight everywhere: strength 2 is the plain sum, 1 the average."""
    weights = gate_weights(known.space, torch.full((len(known.space.names),), 0.5, dtype=torch.float64), recipe)
    return Mix(torch.diag_embed(_column_weights(known.space, weights)), weights)


def svd(known: Analysis, gates: Gates, recipe: Recipe, moment: Tensor | None) -> Mix:
    """PEFT's ``combination_type="svd"`` with weights 1 and 1: the plain sum, whatever the strength."""
    weights = torch.ones(len(known.space.names), 2, dtype=torch.float64)
    return Mix(torch.diag_embed(_column_weights(known.space, weights)), weights)


METHODS: dict[str, Method] = {"tada": tada, "linear": linear, "svd": svd}


def _column_weights(space: CoreSpace, weights: Float64[Tensor, "n 2"]) -> Float64[Tensor, "n k"]:
    sides = torch.tensor([0] * space.rank_task + [1] * space.rank_domain)
    return weights[:, sides] * space.scale


def _sides(known: Analysis, drops: Drops, weights: Tensor) -> list[tuple[Side, Tensor, Tensor, slice]]:
    found, t = known.directions, known.space.rank_task
    return [
        (found.task, drops.task, weights[:, 0], slice(0, t)),
        (found.domain, drops.domain, weights[:, 1], slice(t, None)),
    ]


@dataclass(frozen=True, eq=False)
class Merged:
    """A merge in core space: everything about it that a screen shows, before any full-width factor exists.

    spectrum: singular values of the merged updates, strongest first
    up, down: coefficients of the best rank-r factors, ``lora_B = [B_T B_D] up``, ``lora_A = down [A_T; A_D]``
    """

    how: Mix
    rank: int
    spectrum: Float64[Tensor, "n k"]
    up: Float64[Tensor, "n k r"]
    down: Float64[Tensor, "n r k"]

    @cached_property
    def kept(self) -> Float64[Tensor, " n"]:
        """Share of each module's energy that rank r keeps; 1 for a module whose update is zero."""
        energy = self.spectrum.square()
        return torch.where(energy.sum(1) > 0, energy[:, : self.rank].sum(1) / energy.sum(1), 1.0)

    @property
    def kept_in_all(self) -> float:
        """Share of the whole merge's energy that rank r keeps."""
        energy = self.spectrum.square()
        return float(energy[:, : self.rank].sum() / energy.sum()) if energy.sum() > 0 else 1.0


def merge_core(known: Analysis, gates: Gates, recipe: Recipe, moment: Tensor | None = None) -> Merged:
    """The merge that a recipe asks for, in core space. Its cost does not depend on the width of the base."""
    rank = recipe.rank or max(known.pair.task.rank, known.pair.domain.rank)
    with one_thread():
        how = METHODS[recipe.method](known, gates, recipe, moment)
        put_in = (how.weights.square() * known.space.squared_norms).sum(1).sqrt()
        spectrum, up, down = recompress(known.space, how.mix, rank, put_in)
    return Merged(how, rank, spectrum, up, down)


def recompress(
    space: CoreSpace, mix: Float64[Tensor, "n k k"], rank: int, put_in: Float64[Tensor, " n"]
) -> tuple[Tensor, Tensor, Tensor]:
    """(spectrum, up, down) of the best rank-r approximation of ``[B_T B_D] mix [A_T; A_D]`` in the Frobenius norm.

    The singular values are split evenly between the two factors. Where there are fewer than r of them, columns are zero.
    put_in: norm of each module's weighted updates before they met; where they cancel, what is left is not taken for signal
    """

    def work(mix: Tensor, root_up: Tensor, root_down: Tensor, put_in: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inner = mix @ root_down.mT
        u, s, vt = torch.linalg.svd(root_up @ inner)
        # B_out = dW v / sqrt(s) and A_out = u^T dW / sqrt(s): the only division is by a singular value that is kept
        there = s > ABSENT * put_in[:, None]
        s, inverse = torch.where(there, s, 0), torch.where(there, s.rsqrt(), 0)
        up, down = inner @ vt.mT * inverse[:, None, :], inverse[:, :, None] * (u.mT @ root_up @ mix)
        return s, _to_rank(up, rank), _to_rank(down.mT, rank).mT

    spectrum, up, down = batched(work, mix, *space.roots, put_in)
    return spectrum, up, down


def _to_rank(columns: Tensor, rank: int) -> Tensor:
    short = rank - columns.shape[2]
    return columns[:, :, :rank] if short <= 0 else torch.nn.functional.pad(columns, (0, short))


def output_dtype(pair: Pair, recipe: Recipe) -> torch.dtype:
    """The number format of the merged factors: the recipe's, or the wider of the two adapters'."""
    if recipe.dtype != "auto":
        return getattr(torch, recipe.dtype)
    return max((pair.task.dtype, pair.domain.dtype), key=lambda dtype: (dtype.itemsize, str(dtype)))


def expand(known: Analysis, merged: Merged, dtype: torch.dtype) -> dict[str, LoraModule]:
    """The merged modules in full width: rank r everywhere, scale 1, rounded once to ``dtype``."""
    up, down = merged.up.float(), merged.down.float()
    names, groups = known.space.names, alike(known.pair)

    def some(g: int) -> list[tuple[str, LoraModule]]:
        rows = groups[g]
        sides = [known.pair.both(names[i]) for i in rows]
        stack = stacked(sides, known.space.rank_task, torch.float32)
        where = torch.tensor(stack.columns)
        lora_b = (stack.up @ up[rows][:, where]).to(dtype)
        lora_a = (down[rows][:, :, where] @ stack.down).to(dtype)
        return [
            (names[i], _module(known, merged, i, *factors)) for i, *factors in zip(rows, lora_b, lora_a, strict=True)
        ]

    found = dict(pair for part in each(some, len(groups)) for pair in part)
    return {name: found[name] for name in names}


def _module(known: Analysis, merged: Merged, row: int, up: Tensor, down: Tensor) -> LoraModule:
    name = known.space.names[row]
    one = next(m for m in known.pair.both(name) if m is not None)
    bias = _bias(known.pair, name, merged.how.weights[row])
    return LoraModule(name, up, down, 1.0, one.kind, one.kernel, None if bias is None else bias.to(up.dtype))


def _bias(pair: Pair, name: str, weights: Float64[Tensor, " 2"]) -> Tensor | None:
    """The merged bias of lora_B: each adapter's, scaled and weighted like its update. Directions dropped have none."""
    sides = zip(pair.both(name), weights.tolist(), strict=True)
    parts = [weight * m.scale * m.bias.double() for m, weight in sides if m is not None and m.bias is not None]
    return torch.stack(parts).sum(0) if parts else None


def merge_whole(pair: Pair, recipe: Recipe) -> dict[str, Tensor]:
    """The tensors trained whole (heads, biases) that a merge keeps, by the recipe's ``head``. Raises MismatchError.

    They are the layers' own values, not updates, so no gate applies. What only one adapter has, it gives; what both have
    goes together by layer, since one adapter's weight and the other's bias make no head.
    """
    task, domain = pair.task.whole, pair.domain.whole
    if recipe.head == "average":
        return {name: _average(name, task.get(name), domain.get(name)) for name in sorted({*task, *domain})}
    first, second = (task, domain) if recipe.head == "task" else (domain, task)
    taken = {name.rpartition(".")[0] for name in first}
    rest = {name: tensor for name, tensor in second.items() if name.rpartition(".")[0] not in taken}
    return dict(sorted({**first, **rest}.items()))


def whose_heads(pair: Pair, recipe: Recipe) -> dict[str, str]:
    """Of every module that the merge keeps whole (a classifier), whose it is: "task", "domain" or "average"."""
    task, domain = set(pair.task.heads), set(pair.domain.heads)
    return {
        head: recipe.head if head in task & domain else "task" if head in task else "domain"
        for head in dict.fromkeys((*pair.task.heads, *pair.domain.heads))
    }


def head_labels(pair: Pair, recipe: Recipe) -> tuple[str, ...]:
    """What the rows of the merge's classifier are called; () if nobody wrote it down, or two that are averaged differ."""
    sides = {"task": pair.task.labels, "domain": pair.domain.labels}
    owners = set(whose_heads(pair, recipe).values())
    found = {sides[side] for owner in owners for side in (sides if owner == "average" else (owner,))}
    return found.pop() if len(found) == 1 else ()


def _average(name: str, task: Tensor | None, domain: Tensor | None) -> Tensor:
    if task is None or domain is None:
        return task if task is not None else domain  # type: ignore[return-value]
    if task.shape != domain.shape:
        sizes = " and ".join("x".join(map(str, tensor.shape)) for tensor in (task, domain))
        raise MismatchError(
            f"{name}: the two adapters' are of {sizes} and cannot be averaged. Set head to task or domain."
        )
    if not task.is_floating_point() or not domain.is_floating_point() or ".running_" in name:
        if torch.equal(task, domain):
            return task
        raise MismatchError(
            f"{name}: is a statistic of the training data, whose average means nothing. Set head to task or domain."
        )
    wide = torch.promote_types(task.dtype, domain.dtype)
    return ((task.double() + domain.double()) / 2).to(wide)
