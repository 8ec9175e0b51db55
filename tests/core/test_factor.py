"""The core space against full-width matrices."""

import torch
from dense import deltas, lora, name_of, near, pair_of, pairs, size_of, sizes_of
from hypothesis import given
from hypothesis import strategies as st

from tada_studio.core.factor import alike, factor, root, stacked
from tada_studio.core.parallel import batched, each


@given(pairs())
def test_norms_are_those_of_the_full_updates(pair):
    space = factor(pair)
    for i, name in enumerate(space.names):
        for side, delta in enumerate(deltas(pair, name)):
            size = size_of(pair.both(name)[side]) ** 2
            near(space.squared_norms[i, side], delta.square().sum(), size)
            assert bool(space.present[i, side]) == bool((delta != 0).any())


@given(pairs(), st.floats(-2, 2), st.floats(-2, 2))
def test_norms_of_weighted_sums_are_those_of_the_full_sums(pair, task_weight, domain_weight):
    space = factor(pair)
    weights = torch.tensor([task_weight] * space.rank_task + [domain_weight] * space.rank_domain, dtype=torch.float64)
    norms = space.squared_norm(torch.diag_embed(space.scale * weights))
    for i, name in enumerate(space.names):
        task, domain = deltas(pair, name)
        near(norms[i], (task_weight * task + domain_weight * domain).square().sum(), (2 * sizes_of(pair, name)) ** 2)


@given(pairs())
def test_half_the_growth_of_the_squared_norm_of_a_sum_is_the_inner_product(pair):
    space = factor(pair)
    inner = (space.squared_norm(torch.diag_embed(space.scale)) - space.squared_norms.sum(1)) / 2
    for i, name in enumerate(space.names):
        task, domain = deltas(pair, name)
        near(inner[i], (task * domain).sum(), sizes_of(pair, name) ** 2)


@given(pairs(), st.integers(0, 2**32))
def test_the_norm_of_any_mix_is_that_of_the_full_product(pair, seed):
    space = factor(pair)
    mix = torch.randn(space.rank, space.rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    norms = space.squared_norm(mix.expand(len(space.names), -1, -1))
    for i, name in enumerate(space.names):
        stack = stacked([pair.both(name)], space.rank_task, torch.float64)
        up, down = stack.up[0], stack.down[0]
        want = (up @ mix[stack.columns][:, stack.columns] @ down).square().sum()
        near(norms[i], want, float(up.norm() * mix.norm() * down.norm()) ** 2)


@given(pairs())
def test_roots_are_coordinates_of_the_stacked_factors(pair):
    space = factor(pair)
    for grams, roots in zip((space.gram_up, space.gram_down), space.roots, strict=True):
        near(roots.mT @ roots, grams, float(grams.abs().max()), rounding=1e-12)


def test_norms_and_inner_product_of_a_hand_made_module():
    # T = 2 * [1 2]^T [1 0] = [[2 0], [4 0]], squared norm 4 + 16 = 20
    # D = 1 * [0 1]^T [3 1] = [[0 0], [3 1]], squared norm 10
    # <T, D> = 4 * 3 = 12, |T + D|^2 = 20 + 10 + 2 * 12 = 54
    pair = pair_of([_module([[1.0], [2.0]], [[1.0, 0.0]], 2.0)], [_module([[0.0], [1.0]], [[3.0, 1.0]], 1.0)])
    space = factor(pair)
    assert space.squared_norms.tolist() == [[20.0, 10.0]]
    assert space.squared_norm(torch.diag_embed(space.scale)).tolist() == [54.0]
    assert space.sizes.tolist() == [[2.0, 2.0]] and space.rank == 2


def test_modules_of_unequal_rank_share_a_batch_and_padding_is_zero():
    # ranks: layer 0 task 3, domain 2; layer 1 task 1, no domain. k = 3 + 2, and layer 1 uses the first column only
    pair = pair_of(
        [lora(name_of(0), 1, 4, 5, 3, scale=2.0), lora(name_of(1), 2, 6, 7, 1, scale=3.0)],
        [lora(name_of(0), 3, 4, 5, 2, scale=5.0)],
    )
    space = factor(pair)
    assert (space.rank_task, space.rank_domain) == (3, 2)
    assert space.scale.tolist() == [[2, 2, 2, 5, 5], [3, 0, 0, 0, 0]]
    assert space.sizes.tolist() == [[4, 5], [6, 7]]
    assert space.present.tolist() == [[True, True], [True, False]]
    assert space.gram_up[1, 0, 0] > 0
    assert not space.gram_up[1, 1:].any() and not space.gram_down[1, :, 1:].any()


def test_a_stack_says_where_its_columns_stand():
    domain = lora(name_of(0), 3, 4, 5, 2, scale=5.0)
    stack = stacked([(None, domain)], 3, domain.up.dtype)
    assert stack.columns == [3, 4]
    assert torch.equal(stack.up[0], domain.up) and torch.equal(stack.down[0], domain.down)


def test_groups_hold_every_module_once_and_only_modules_that_are_alike(monkeypatch):
    sizes = [(4, 5), (4, 5), (6, 5), (4, 5), (6, 5)]
    task = [lora(name_of(i), i, *size, 2) for i, size in enumerate(sizes)]
    pair = pair_of(task, [lora(name_of(0), 9, 4, 5, 3)])
    assert sorted(map(sorted, alike(pair))) == [[0], [1, 3], [2, 4]]
    monkeypatch.setattr("tada_studio.core.factor.TOGETHER", 1)
    assert sorted(alike(pair)) == [[0], [1], [2], [3], [4]]


def test_half_precision_factors_are_widened_without_loss():
    task = lora(name_of(0), 1, 9, 8, 3)
    half = type(task)(task.name, task.up.bfloat16(), task.down.half(), 1.0)
    stack = stacked([(half, half)], 3, torch.float32)
    assert torch.equal(stack.up[0, :, 3:], half.up.float()) and torch.equal(stack.down[0, :3], half.down.float())
    near(factor(pair_of([half], [half])).squared_norms[0, 0], half.delta().square().sum(), size_of(half) ** 2)


def test_the_root_of_a_singular_gram_is_finite():
    gram = torch.tensor([[[4.0, 4.0], [4.0, 4.0]]], dtype=torch.float64)
    near(root(gram).mT @ root(gram), gram, rounding=1e-12)


def test_work_in_parallel_keeps_its_order_and_the_number_of_threads():
    before = torch.get_num_threads()
    assert each(lambda i: i * i, 50) == [i * i for i in range(50)]
    tall = torch.arange(14.0).reshape(7, 2)
    doubled, sums = batched(lambda t: (2 * t, t.sum(1)), tall)
    assert torch.equal(doubled, 2 * tall) and torch.equal(sums, tall.sum(1))
    assert torch.get_num_threads() == before


def _module(up, down, scale):
    return type(lora(name_of(0), 0, 1, 1, 1))(name_of(0), torch.tensor(up), torch.tensor(down), scale)
