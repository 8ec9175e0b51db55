"""Baselines that stay in k x k against their full-width definitions by SVDs of the stacked factors, and small cases by hand."""

import pytest
import torch
from dense import analysis, deltas, lora, merge, name_of, near, pair_of, sizes_of

from tada_studio.core.aligned import aligned
from tada_studio.core.elementwise import agreeing, generator, thinned, trimmed
from tada_studio.core.merge import expand
from tada_studio.core.methods.pico import damping
from tada_studio.lora import LoraModule
from tada_studio.recipe import Recipe

CORE = ("pico", "ctm", "core_tsv_iso", "core_ties", "core_dare")


@pytest.fixture(scope="module")
def pair():
    """Unequal ranks, scales and sizes; the last module is the task's alone."""
    task = [lora(name_of(i), i, 14, 11, 3, scale=0.5) for i in range(3)]
    domain = [lora(name_of(i), 40 + i, 14, 11, 2, size=2.0) for i in range(2)]
    return pair_of(task, domain)


def merged(pair, **knobs):
    known = analysis(pair)
    out = expand(known, merge(known, Recipe(**knobs)), torch.float32)
    return {name: module.delta() for name, module in out.items()}


def best(delta, rank):
    u, s, vt = torch.linalg.svd(delta.double(), full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


def in_core_space(pair, name):
    """(U, V^T, M_T, M_D) by SVDs of the stacked factors, the adapters' scales in B."""
    modules = pair.both(name)
    up = torch.cat([m.scale * m.up.double() for m in modules], 1)
    down = torch.cat([m.down.double() for m in modules])
    left, right = torch.linalg.svd(up, full_matrices=False).U, torch.linalg.svd(down, full_matrices=False).Vh
    return left, right, *(left.T @ delta.double() @ right.T for delta in deltas(pair, name))


def test_both_updates_over_common_bases_are_the_updates(pair):
    known = analysis(pair)
    found = aligned(known.space)
    for i, name in enumerate(pair.names[:2]):
        stacks = [torch.cat([getattr(m, part).double() for m in pair.both(name)], axis)
                  for part, axis in (("up", 1), ("down", 0))]  # fmt: skip
        basis = stacks[0] @ found.left[i], found.right[i] @ stacks[1]
        near(basis[0].T @ basis[0], torch.eye(5, dtype=torch.float64), 1.0, rounding=1e-6)
        near(basis[1] @ basis[1].T, torch.eye(5, dtype=torch.float64), 1.0, rounding=1e-6)
        for core, delta in zip((found.task[i], found.domain[i]), deltas(pair, name), strict=True):
            near(basis[0] @ core @ basis[1], delta, sizes_of(pair, name), rounding=1e-6)


@pytest.mark.parametrize("density", [0.4, 1.0])
def test_ties_and_dare_in_core_space_are_their_definitions_over_the_bases_of_the_stacked_factors(pair, density):
    for name in pair.names[:2]:
        left, right, task, domain = in_core_space(pair, name)
        ties = agreeing(trimmed(task, density), trimmed(domain, density))
        drawn = [thinned(one, density, generator(5, name, "core", role))
                 for one, role in ((task, "task"), (domain, "domain"))]  # fmt: skip
        for method, core in (("core_ties", ties), ("core_dare", agreeing(*drawn))):
            got = merged(pair, method=method, density=density, seed=5, rank=5, strength=1.5)[name]
            near(got, 1.5 * left @ core @ right, sizes_of(pair, name), rounding=1e-5)


def test_ties_in_core_space_by_hand():
    """Along one input the two write 3 and 1 to the same output and 2 alone: (3 + 1) / 2 and 2, where the sum has 4 and 2."""
    e = torch.eye(3)
    one = LoraModule(name_of(0), e[:, :1] * 3, e[:1], 1.0)
    other = LoraModule(name_of(0), torch.stack([e[0], 2 * e[1]], 1), torch.stack([e[0], 0.5 * e[2]]), 1.0)
    near(merged(pair_of([one], [other]), method="core_ties", density=1.0)[name_of(0)],
         torch.tensor([[2.0, 0, 0], [0, 0, 1.0], [0, 0, 0]]).double(), rounding=1e-6)  # fmt: skip


def test_ctm_projects_onto_the_strongest_common_subspaces_and_nothing_is_left_to_cut(pair):
    known, rank = analysis(pair), 3
    found = merge(known, Recipe(method="ctm", strength=0.8))
    assert float(found.kept[:2].min()) == pytest.approx(1.0, abs=1e-12)
    for name in pair.names[:2]:
        task, domain = (delta.double() for delta in deltas(pair, name))
        left = torch.linalg.svd(torch.cat([task, domain], 1)).U[:, :rank]
        right = torch.linalg.svd(torch.cat([task, domain])).Vh[:rank]
        want = 0.8 * left @ (left.T @ (task + domain) @ right.T) @ right
        near(merged(pair, method="ctm", strength=0.8)[name], want, sizes_of(pair, name), rounding=1e-6)


def test_pico_damps_what_both_write_to_by_hand():
    """Both write to output 1, with .8 and 16/17 of their energy: the larger has 20/37 of what is there together. The rest stays."""
    e = torch.eye(4)
    one = LoraModule(name_of(0), torch.stack([2 * e[0], e[1]], 1), e[:2], 1.0)
    other = LoraModule(name_of(0), torch.stack([2 * e[0], 0.5 * e[2]], 1), e[2:], 1.0)
    d = (16 / 17) / (16 / 17 + 4 / 5)
    assert d == pytest.approx(20 / 37)
    size = ((8 + 1 + 0.25) / (8 * d * d + 1 + 0.25)) ** 0.5  # back to the norm of the sum
    want = size * torch.tensor([[2 * d, 0, 2 * d, 0], [0, 1, 0, 0], [0, 0, 0, 0.5], [0, 0, 0, 0]]).double()
    near(merged(pair_of([one], [other]), method="pico", rank=4)[name_of(0)], want, rounding=1e-6)


def test_pico_changes_nothing_where_outputs_do_not_meet():
    e = torch.eye(6)
    one = LoraModule(name_of(0), torch.stack([3 * e[0], e[1]], 1), torch.randn(2, 5), 1.0)
    other = LoraModule(name_of(0), torch.stack([2 * e[2], 0.5 * e[3]], 1), torch.randn(2, 5), 1.0)
    pair = pair_of([one], [other])
    near(damping(analysis(pair).space)[0], torch.eye(4, dtype=torch.float64), 1.0)
    near(merged(pair, method="pico", rank=4)[name_of(0)], sum(deltas(pair, name_of(0))), 10.0, rounding=1e-6)


def test_isotropic_tsv_has_its_directions_and_one_strength(pair):
    known = analysis(pair)
    usual, even = (merge(known, Recipe(method=method, rank=4)) for method in ("tsv", "core_tsv_iso"))
    for i in range(2):
        near(even.spectrum[i, :4], usual.spectrum[i, :4].mean().expand(4), 10.0, rounding=1e-6)
        near(even.spectrum[i, 4:], torch.zeros(1).double(), 10.0, rounding=1e-6)
        u = known.space.gram_up[i]
        both = usual.up[i].T @ u @ even.up[i]  # the same left space: singular values are all the product of both roots
        s = torch.linalg.svdvals(both)
        want = (usual.spectrum[i, :4] * even.spectrum[i, :4]).sqrt()
        near(s.sort().values, want.sort().values, 10.0, rounding=1e-5)


@pytest.mark.parametrize("method", CORE)
def test_what_one_adapter_alone_changes_stays_as_it_is(pair, method):
    name = pair.names[2]
    near(merged(pair, method=method)[name], deltas(pair, name)[0], sizes_of(pair, name), rounding=1e-5)


@pytest.mark.parametrize("method", CORE)
def test_strength_only_multiplies(pair, method):
    known = analysis(pair)
    once, twice = (merge(known, Recipe(method=method, strength=strength)) for strength in (1.0, 2.0))
    near(twice.spectrum, 2 * once.spectrum, 10.0)
