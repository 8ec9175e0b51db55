"""The other way to compute everything: full-width float64 matrices, plain loops. And pairs to compute it on.

Pairs are drawn as seeds and sizes, not as arrays: they shrink well and stay fast.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from tada_studio.core.factor import factor
from tada_studio.core.gates import Gates, gates, unprobed
from tada_studio.core.merge import Merged, merge_core
from tada_studio.core.mix import Analysis
from tada_studio.lora import Adapter, LoraModule, Pair
from tada_studio.recipe import Recipe

#: Below this share of what was put in a singular value is absent, as in the core.
ABSENT = 1e-7
KINDS = ("full", "full", "zero up", "zero down", "repeated", "half empty")
RELATIONS = ("strangers", "strangers", "same", "opposite", "task only", "domain only")


def name_of(layer: int, projection: str = "q_proj") -> str:
    return f"model.layers.{layer}.self_attn.{projection}"


def lora(
    name: str, seed: int, d_out: int, d_in: int, rank: int, *, kind: str = "full", size: float = 1.0, scale: float = 1.0
) -> LoraModule:
    """A random module in float32; every kind but "full" is rank-deficient exactly, not only nearly."""
    draw = torch.Generator().manual_seed(seed)
    up, down = torch.randn(d_out, rank, generator=draw) * size, torch.randn(rank, d_in, generator=draw)
    if kind == "zero up":  # what PEFT starts from
        up = torch.zeros_like(up)
    if kind == "zero down":
        down = torch.zeros_like(down)
    if kind == "repeated":
        up = up[:, :1].expand_as(up).clone()
    if kind == "half empty":
        up[:, 1::2] = 0
    return LoraModule(name, up, down, scale)


def pair_of(task: list[LoraModule], domain: list[LoraModule]) -> Pair:
    return Pair(
        Adapter("task", {module.name: module for module in task}),
        Adapter("domain", {module.name: module for module in domain}),
    )


@st.composite
def pairs(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS, relations: tuple[str, ...] = RELATIONS) -> Pair:
    """One to three modules of any shape and rank, rank above width included; either adapter may lack all but one."""
    dice, task, domain = random.getstate(), [], []
    for layer in range(draw(st.integers(1, 3))):
        relation = draw(st.sampled_from(relations if layer else [r for r in relations if "only" not in r]))
        d_out, d_in = draw(st.integers(1, 12)), draw(st.integers(1, 12))
        one, other = (
            lora(
                name_of(layer), draw(st.integers(0, 2**32)), d_out, d_in, draw(st.integers(1, 16)),
                kind=draw(st.sampled_from(kinds)), size=draw(st.sampled_from([0.01, 1.0, 30.0])),
                scale=draw(st.sampled_from([2.0, 1 / 3, -0.5])),
            )
            for _ in range(2)
        )  # fmt: skip
        if relation in ("same", "opposite"):
            other = LoraModule(one.name, one.up if relation == "same" else -one.up, one.down, one.scale)
        task += [one] if relation != "domain only" else []
        domain += [other] if relation != "task only" else []
    pair = pair_of(task, domain)
    random.setstate(dice)  # beartype rolls them to check containers, and hypothesis objects to that inside a strategy
    return pair


def analysis(pair: Pair) -> Analysis:
    return Analysis(pair, factor(pair))


def gates_by_hand(known: Analysis, recipe: Recipe) -> Gates:
    """The gates of a pair without readings: .5 and whatever the recipe's lines say."""
    return gates(unprobed(known.pair, known.space.present), recipe)


def merge(known: Analysis, recipe: Recipe) -> Merged:
    return merge_core(known, gates_by_hand(known, recipe), recipe)


def near(got: Tensor, want: Tensor, size: float = 1.0, rounding: float = 1e-9) -> None:
    """Assert that two float64 tensors agree to ``rounding`` of ``size``, the size of what they were made of."""
    torch.testing.assert_close(got, want, rtol=0, atol=rounding * size)


# -- the reference ---------------------------------------------------------------------------------------------------


def deltas(pair: Pair, name: str) -> tuple[Tensor, Tensor]:
    """Both dense updates of a module, zeros where an adapter does not have it."""
    task, domain = pair.both(name)
    zeros = torch.zeros((task or domain).layer_size, dtype=torch.float64)
    return (zeros if task is None else task.delta()), (zeros if domain is None else domain.delta())


def size_of(module: LoraModule | None) -> float:
    """How large the update could be without cancellation inside it: rounding is a share of this."""
    return 0.0 if module is None else abs(module.scale) * float(module.up.double().norm() * module.down.double().norm())


def sizes_of(pair: Pair, name: str) -> float:
    return sum(map(size_of, pair.both(name)))


class Svd(NamedTuple):
    """u: (d_out, k), s: (k,), v: (d_in, k); only directions that are there."""

    u: Tensor
    s: Tensor
    v: Tensor


def svd(delta: Tensor) -> Svd:
    u, s, vt = torch.linalg.svd(delta, full_matrices=False)
    k = int((s > ABSENT * s[0]).sum())
    return Svd(u[:, :k], s[:k], vt.mT[:, :k])


def separated(s: Tensor) -> Tensor:
    """Which singular values stand clear of all others and of 0: only their directions are unique."""
    gaps = (s[:, None] - s[None, :]).abs() + torch.diag(torch.full_like(s, torch.inf))
    return (gaps.amin(1) > 1e-3 * s[0]) & (s > 1e-3 * s[0]) if len(s) else s > 0


def alignment(task: Svd, domain: Svd) -> Tensor:
    """Inner products of unit rank-one updates u v^T, each written out in full."""
    table = torch.zeros(len(task.s), len(domain.s), dtype=torch.float64)
    for i in range(len(task.s)):
        for j in range(len(domain.s)):
            table[i, j] = (torch.outer(task.u[:, i], task.v[:, i]) * torch.outer(domain.u[:, j], domain.v[:, j])).sum()
    return table


def dropped(task: Svd, domain: Svd, weights: Sequence[float], recipe: Recipe) -> tuple[set[int], set[int]]:
    """The rule of conflicts, pair by pair, as a person would apply it."""
    gone_task, gone_domain, table = set(), set(), alignment(task, domain)
    chance = (len(task.u) * len(task.v)) ** -0.5
    for i, j in [(i, j) for i in range(len(task.s)) for j in range(len(domain.s))]:
        one, other = float(task.s[i]) * abs(weights[0]), float(domain.s[j]) * abs(weights[1])
        a = float(table[i, j]) * (-1 if weights[0] * weights[1] < 0 else 1)
        beyond = a / chance < -recipe.conflict_threshold - 1e-7 and a < -recipe.conflict_floor - 1e-9
        if not (beyond and one > 0 and other > 0) or recipe.drop == "none":
            continue
        task_loses = one < other * (1 - 1e-8)
        if recipe.drop == "both" or task_loses:
            gone_task.add(i)
        if recipe.drop == "both" or not task_loses:
            gone_domain.add(j)
    return gone_task, gone_domain


def without(parts: Svd, gone: set[int]) -> Tensor:
    """The update that is left when some directions go."""
    kept = [i for i in range(len(parts.s)) if i not in gone]
    return (parts.u[:, kept] * parts.s[kept]) @ parts.v[:, kept].mT


def balance_levels(pair: Pair, recipe: Recipe) -> tuple[float, float]:
    """(geometric mean of both adapters' total norms / its own) ** balance."""
    squares = [sum(float(deltas(pair, name)[side].square().sum()) for name in pair.names) for side in (0, 1)]
    task, domain = (square**0.5 for square in squares)
    if task == 0 or domain == 0:
        return 1.0, 1.0
    middle = (task * domain) ** 0.5
    return (middle / task) ** recipe.balance, (middle / domain) ** recipe.balance


def ramp_at(pair: Pair, name: str) -> float:
    """.42 in the first layer, .58 in the last, straight between."""
    layers = [place.layer for place in pair.addresses.values()]
    there = max(layers) - min(layers)
    return 0.42 + (0.16 * (pair.addresses[name].layer - min(layers)) / there if there else 0.0)


def tsv(pair: Pair, name: str, rank: int, strength: float) -> Tensor:
    """TSV: rank/2 directions of each, all left and all right vectors turned to the nearest orthonormal ones by an SVD.

    Of a module that one adapter does not change, the other's update.
    """
    if sum(bool(delta.any()) for delta in deltas(pair, name)) == 1:
        u, s, v = svd(sum(deltas(pair, name)))
        return strength * (u[:, :rank] * s[:rank]) @ v[:, :rank].mT
    (u1, s1, v1), (u2, s2, v2) = (svd(delta) for delta in deltas(pair, name))
    h1, h2 = -(-rank // 2), rank // 2
    u, v = torch.cat([u1[:, :h1], u2[:, :h2]], 1), torch.cat([v1[:, :h1], v2[:, :h2]], 1)
    u, v = ((lambda x, _, yt: x @ yt)(*torch.linalg.svd(side, full_matrices=False)) for side in (u, v))
    return strength * (u * torch.cat([s1[:h1], s2[:h2]])) @ v.mT


def knots_ties(pair: Pair, name: str, density: float, strength: float) -> Tensor:
    """KnOTS: the full SVD of both updates side by side, TIES by hand on the two blocks of S V."""
    task, domain = deltas(pair, name)
    u, s, vt = torch.linalg.svd(torch.cat([task, domain], 1), full_matrices=False)
    k = sum(m.rank for m in pair.both(name) if m is not None)
    u, blocks = u[:, :k], [(s[:, None] * vt)[:k, side] for side in (slice(task.shape[1]), slice(task.shape[1], None))]
    kept = []
    for block in blocks:
        least = block.abs().flatten().sort(descending=True).values[int(density * block.numel()) - 1]
        kept.append(torch.where(block.abs() >= least, block, 0))
    sign = torch.sign(kept[0] + kept[1])
    return strength * u @ sum(torch.where(part.sign() == sign, part, 0) for part in kept)


def share_weights(pair: Pair, name: str, share: float, recipe: Recipe) -> tuple[float, float]:
    """(w_T, w_D) of a domain's share: whole at its end, both whole in the middle; a module of one adapter alone stays whole."""
    if recipe.weights == "0.1":
        return 2 * (1 - share), 2 * share
    there = [bool(delta.any()) for delta in deltas(pair, name)]
    if sum(there) == 1:
        return float(there[0]), float(there[1])
    return min(1.0, 2 * (1 - share)), min(1.0, 2 * share)


def merged(
    pair: Pair, name: str, share: float, recipe: Recipe, multipliers: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """The merged update of a module in full width, before it is brought to rank r. multipliers: of the strength plane."""
    task, domain = deltas(pair, name)
    if recipe.method == "svd":
        return task + domain
    levels = balance_levels(pair, recipe.but(balance=1.0) if recipe.method == "balanced" else recipe)
    if recipe.method in ("linear", "balanced"):
        return recipe.strength * (task * levels[0] + domain * levels[1])
    share = ramp_at(pair, name) if recipe.method == "ramp" else share
    weights = [
        recipe.strength * weight * level
        for weight, level in zip(share_weights(pair, name, share, recipe), levels, strict=True)
    ]
    if recipe.method == "ramp":
        return weights[0] * task + weights[1] * domain
    weights = [weight * multiplier for weight, multiplier in zip(weights, multipliers, strict=True)]
    parts = svd(task), svd(domain)
    gone = dropped(*parts, weights, recipe)
    return weights[0] * without(parts[0], gone[0]) + weights[1] * without(parts[1], gone[1])
