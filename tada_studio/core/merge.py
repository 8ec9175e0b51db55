"""From a core space, gates and a recipe to merged modules: first in k x k, where a slider is followed, then in full width.

A method (see ``methods``) says how the two updates are mixed; recompression to rank r and the factors that come out are done
here, once for all of them.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from tada_studio.core.factor import ABSENT, CoreSpace, alike, stacked
from tada_studio.core.gates import Gates
from tada_studio.core.methods import METHODS
from tada_studio.core.mix import Analysis, Leading, Mix, Moments, Outside, rank_of
from tada_studio.core.parallel import batched, each, one_thread
from tada_studio.errors import MismatchError
from tada_studio.lazy import lazy
from tada_studio.lora import LoraModule, Pair
from tada_studio.recipe import Recipe

#: A knob that only multiplies what a method outside the core space gives.
MULTIPLIES = "strength"


@dataclass(frozen=True, eq=False)
class Merged:
    """A merge before it is expanded: everything about it that a screen shows.

    spectrum: singular values of the merged updates, strongest first; of a method outside the core space the leading ones
    energy:   squared Frobenius norm of each merged update, before it is brought to rank r
    up, down: coefficients of the best rank-r factors, ``lora_B = [B_T B_D] up``, ``lora_A = down [A_T; A_D]``
    full:     instead of up and down, the factors themselves, where no coefficients could give them
    met:      and then how they meet the adapters' own, ``[B_T B_D]^T lora_B lora_A [A_T; A_D]^T``
    """

    how: Mix | Outside
    rank: int
    spectrum: Float64[Tensor, "n s"]
    energy: Float64[Tensor, " n"]
    up: Float64[Tensor, "n k r"] | None = None
    down: Float64[Tensor, "n r k"] | None = None
    full: tuple[Leading, ...] = ()
    met: Float64[Tensor, "n k k"] | None = None

    def meets(self, space: CoreSpace) -> Float64[Tensor, "n k k"]:
        """``[B_T B_D]^T dW [A_T; A_D]^T`` of each merged update at rank r; its diagonal gives inner products with the adapters'."""
        if self.met is not None:
            return self.met
        assert self.up is not None and self.down is not None
        return space.gram_up @ self.up @ self.down @ space.gram_down

    @lazy
    def kept(self) -> Float64[Tensor, " n"]:
        """Share of each module's energy that rank r keeps; 1 for a module whose update is zero."""
        kept = self.spectrum[:, : self.rank].square().sum(1)
        return torch.where(self.energy > 0, kept / self.energy, 1.0).clamp_max(1)

    @property
    def kept_in_all(self) -> float:
        """Share of the whole merge's energy that rank r keeps."""
        kept, everything = float(self.spectrum[:, : self.rank].square().sum()), float(self.energy.sum())
        return min(1.0, kept / everything) if everything > 0 else 1.0


def mixed(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments | None = None) -> Mix | Outside:
    """How a recipe mixes the two. Raises RecipeError: what can be wrong with a recipe shows here, before any SVD."""
    with one_thread():
        return METHODS[recipe.method].run(analysis, gates, recipe, moments or Moments())


def merge_core(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments | None = None) -> Merged:
    """The merge that a recipe asks for. In core space its cost does not depend on the width of the base."""
    return recompressed(analysis, mixed(analysis, gates, recipe, moments), recipe)


def recompressed(analysis: Analysis, how: Mix | Outside, recipe: Recipe, before: Merged | None = None) -> Merged:
    """The merge of a mix. ``before``, a merge of the same pair, lends what it knows of modules that are mixed as they were:
    a brush stroke then costs the modules it touched.
    """
    rank, space = rank_of(analysis.pair, recipe), analysis.space
    with one_thread():
        if isinstance(how, Outside):
            return _outside(analysis, how, recipe, rank)
        put_in = (how.weights.square() * space.squared_norms).sum(1).sqrt()
        if before is None or before.rank != rank or before.up is None or before.down is None:
            spectrum, up, down = recompress(space.roots, how.mix, rank, put_in)
        else:
            rows, kept = _mixed_anew(how, before.how), (before.spectrum, before.up, before.down)
            roots = space.roots[0][rows], space.roots[1][rows]
            parts = recompress(roots, how.mix[rows], rank, put_in[rows])
            spectrum, up, down = (old.index_copy(0, rows, part) for old, part in zip(kept, parts, strict=True))
    return Merged(how, rank, spectrum, spectrum.square().sum(1), up, down)


def _mixed_anew(how: Mix, before: Mix | Outside) -> Int64[Tensor, " m"]:
    assert isinstance(before, Mix)
    changed = (how.mix != before.mix).flatten(1).any(1) | (how.weights != before.weights).any(1)
    return changed.nonzero().flatten()


def _outside(analysis: Analysis, how: Outside, recipe: Recipe, rank: int) -> Merged:
    """The merge of a method that leaves the core space; the last one is kept at weight 1, since it takes seconds."""
    counts = {"method", "rank"} | METHODS[recipe.method].uses - {MULTIPLIES}
    key = tuple((knob, getattr(recipe, knob)) for knob in sorted(counts))
    found = analysis.latest.get(key)
    if found is None:
        many = max(rank, analysis.space.rank)
        found = each(lambda row: how.leading(row, rank, many), len(analysis.space.names))
        analysis.latest.clear()
        analysis.latest[key] = found
    full = tuple(one.times(weight) for one, weight in zip(found, how.weights[:, 0].tolist(), strict=True))
    energy = torch.tensor([one.energy for one in full], dtype=torch.float64)
    met = torch.stack([_met(analysis, row, one) for row, one in enumerate(full)])
    return Merged(how, rank, torch.stack([one.spectrum for one in full]), energy, full=full, met=met)


def _met(analysis: Analysis, row: int, merged: Leading) -> Float64[Tensor, "k k"]:
    stack = stacked([analysis.pair.both(analysis.space.names[row])], analysis.space.rank_task, torch.float32)
    met, columns = (
        torch.zeros(analysis.space.rank, analysis.space.rank, dtype=torch.float64),
        torch.tensor(stack.columns),
    )
    met[columns[:, None], columns] = ((stack.up[0].mT @ merged.up) @ (merged.down @ stack.down[0].mT)).double()
    return met


def recompress(
    roots: tuple[Tensor, Tensor], mix: Float64[Tensor, "n k k"], rank: int, put_in: Float64[Tensor, " n"]
) -> tuple[Tensor, Tensor, Tensor]:
    """(spectrum, up, down) of the best rank-r approximation of ``[B_T B_D] mix [A_T; A_D]`` in the Frobenius norm.

    The singular values are split evenly between the two factors. Where there are fewer than r of them, columns are zero.
    roots:  ``CoreSpace.roots`` of the n modules
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

    spectrum, up, down = batched(work, mix, *roots, put_in)
    return spectrum, up, down


def _to_rank(columns: Tensor, rank: int) -> Tensor:
    short = rank - columns.shape[2]
    return columns[:, :, :rank] if short <= 0 else torch.nn.functional.pad(columns, (0, short))


def output_dtype(pair: Pair, recipe: Recipe) -> torch.dtype:
    """The number format of the merged factors: the recipe's, or the wider of the two adapters'."""
    if recipe.dtype != "auto":
        return getattr(torch, recipe.dtype)
    return max((pair.task.dtype, pair.domain.dtype), key=lambda dtype: (dtype.itemsize, str(dtype)))


def expand(analysis: Analysis, merged: Merged, dtype: torch.dtype) -> dict[str, LoraModule]:
    """The merged modules in full width: rank r everywhere, scale 1, rounded once to ``dtype``."""
    names = analysis.space.names
    if merged.full:
        factors = [(one.up.to(dtype), one.down.to(dtype)) for one in merged.full]
        return {name: _module(analysis, merged, i, *factors[i]) for i, name in enumerate(names)}
    groups = alike(analysis.pair)
    parts = each(lambda g: _expanded(analysis, merged, dtype, groups[g]), len(groups))
    found = dict(pair for part in parts for pair in part)
    return {name: found[name] for name in names}


def _expanded(analysis: Analysis, merged: Merged, dtype: torch.dtype, rows: list[int]) -> list[tuple[str, LoraModule]]:
    """Some modules that are alike, in full width."""
    assert merged.up is not None and merged.down is not None
    names = analysis.space.names
    stack = stacked([analysis.pair.both(names[i]) for i in rows], analysis.space.rank_task, torch.float32)
    where = torch.tensor(stack.columns)
    lora_b = (stack.up @ merged.up[rows].float()[:, where]).to(dtype)
    lora_a = (merged.down[rows].float()[:, :, where] @ stack.down).to(dtype)
    return [
        (names[i], _module(analysis, merged, i, *factors)) for i, *factors in zip(rows, lora_b, lora_a, strict=True)
    ]


class Expanded(Mapping[str, LoraModule]):
    """The modules of ``expand``, number for number, made when they are asked for: of any size, a group is held at a time."""

    def __init__(self, analysis: Analysis, pair: Pair, merged: Merged, dtype: torch.dtype) -> None:
        self.analysis, self.pair, self.merged, self.dtype = (
            analysis,
            pair,
            merged,
            dtype,
        )  # the pair lives as long as this
        self.groups = alike(pair)
        self.group_of = {analysis.space.names[row]: g for g, rows in enumerate(self.groups) for row in rows}
        self.latest = threading.local()  # a thread that goes from module to module makes each group once

    def __getitem__(self, name: str) -> LoraModule:
        group = self.group_of[name]
        if getattr(self.latest, "group", None) != group:
            made = _expanded(self.analysis, self.merged, self.dtype, self.groups[group])
            self.latest.group, self.latest.modules = group, dict(made)
        return self.latest.modules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.analysis.space.names)

    def __len__(self) -> int:
        return len(self.group_of)

    @lazy
    def outlines(self) -> dict[str, LoraModule]:
        """Every module with factors that have a shape and a format, and no numbers."""
        sizes, rank = self.analysis.space.sizes.int().tolist(), self.merged.rank

        def outline(row: int) -> LoraModule:
            d_out, d_in = sizes[row]
            up, down = (torch.empty(shape, dtype=self.dtype, device="meta") for shape in ((d_out, rank), (rank, d_in)))
            return _module(self.analysis, self.merged, row, up, down)

        return {name: outline(row) for row, name in enumerate(self.analysis.space.names)}


#: Bytes of merged factors that are held at once; a larger merge is made group by group, as it is written and read back.
HELD = 256_000_000


def expanded(analysis: Analysis, pair: Pair, merged: Merged, dtype: torch.dtype) -> Mapping[str, LoraModule]:
    """The merged modules, all at once or, of a large merge, as they are asked for: the same numbers either way."""
    size = float(analysis.space.sizes.sum()) * merged.rank * dtype.itemsize
    if merged.full or size <= HELD:
        return expand(analysis, merged, dtype)
    return Expanded(analysis, pair, merged, dtype)


def _module(analysis: Analysis, merged: Merged, row: int, up: Tensor, down: Tensor) -> LoraModule:
    name = analysis.space.names[row]
    one = next(m for m in analysis.pair.both(name) if m is not None)
    bias = _bias(analysis.pair, name, merged.how.weights[row])
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
