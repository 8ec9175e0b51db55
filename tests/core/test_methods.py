"""Baselines against the definitions they are known by: PEFT's own functions, dense SVDs, small cases by hand."""

import dense
import pytest
import torch
from dense import analysis, lora, merge, name_of, near, pair_of, pairs
from hypothesis import given
from hypothesis import strategies as st
from peft.utils import merge_utils

from tada_studio.core import elementwise
from tada_studio.core.elementwise import agreeing, generator, of_full, thinned, trimmed
from tada_studio.core.merge import expand
from tada_studio.core.mix import Outside
from tada_studio.core.sizes import ranks, three_way
from tada_studio.lora import LoraModule
from tada_studio.recipe import Recipe

OUTSIDE = ("ties", "dare_ties", "magnitude_prune", "knots_ties")


def pair_in(layers=2, d_out=12, d_in=9, ranks=(3, 2)):
    task, domain = (
        [lora(name_of(layer), 10 * layer + seed, d_out, d_in, rank) for layer in range(layers)]
        for seed, rank in enumerate(ranks)
    )
    return pair_of(task, domain)


def merged_deltas(pair, **knobs):
    known = analysis(pair)
    return {
        name: module.delta() for name, module in expand(known, merge(known, Recipe(**knobs)), torch.float32).items()
    }


def best(delta, rank):
    u, s, vt = torch.linalg.svd(delta, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


# -- in core space ---------------------------------------------------------------------------------------------------


@given(pairs(kinds=("full",), relations=("strangers", "task only")), st.sampled_from([None, 1, 2, 5, 40]))
def test_tsv_is_the_dense_definition(pair, rank):
    known, recipe = analysis(pair), Recipe(method="tsv", rank=rank, strength=1.5)
    merged = merge(known, recipe)
    for i, name in enumerate(pair.names):
        d_out, d_in = next(m for m in pair.both(name) if m).layer_size
        if sum(m.rank for m in pair.both(name) if m) >= min(d_out, d_in):
            continue  # more directions than the layer has: which orthonormal ones are nearest is then not unique
        want = dense.tsv(pair, name, merged.rank, 1.5)
        stack = [m.up.double() for m in pair.both(name) if m], [m.down.double() for m in pair.both(name) if m]
        columns = [j for side, first in zip(pair.both(name), (0, known.space.rank_task), strict=True) if side
                   for j in range(first, first + side.rank)]  # fmt: skip
        got = torch.cat(stack[0], 1) @ merged.up[i, columns] @ merged.down[i][:, columns] @ torch.cat(stack[1], 0)
        near(got, want, dense.sizes_of(pair, name), rounding=1e-8)


def test_tsv_takes_two_equal_adapters_for_one():
    task = lora(name_of(0), 1, 12, 9, 3)
    pair = pair_of([task], [task])
    out = merged_deltas(pair, method="tsv", rank=6)[name_of(0)]
    # each direction is there twice, and becomes u / sqrt(2) twice: s (1/2 + 1/2) u v^T in all
    near(out, task.delta(), dense.size_of(task), rounding=1e-6)


def test_ramp_and_balanced_by_hand():
    one = torch.ones(1, 1)
    task = [LoraModule(name_of(i), one, one, 1.0) for i in range(3)]
    domain = [LoraModule(name_of(i), one, 4 * one, 1.0) for i in range(3)]
    pair = pair_of(task, domain)
    # min(1, 2 (1 - g)) * 1 + min(1, 2 g) * 4 with g = .42, .5, .58
    assert [float(d) for d in merged_deltas(pair, method="ramp").values()] == pytest.approx([4.36, 5.0, 4.84])
    # norms 1 and 4 in every module: both become 2
    assert [float(d) for d in merged_deltas(pair, method="balanced").values()] == pytest.approx([4.0] * 3)


# -- entry by entry --------------------------------------------------------------------------------------------------

MATRICES = st.tuples(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.2, 0.5, 0.9, 1.0]))


def two(seed, rows, columns):
    draw = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, rows, columns, generator=draw)
    return one, torch.where(torch.rand(rows, columns, generator=draw) < 0.2, 0.0, other)  # zeros have no sign


@pytest.mark.filterwarnings("ignore:The density 1.0")
@given(MATRICES)
def test_ties_and_pruning_are_pefts(drawn):
    seed, rows, columns, density = drawn
    task, domain = two(seed, rows, columns)
    weights = torch.ones(2)
    if int(density * rows * columns):
        near(trimmed(task, density), merge_utils.prune(task, density, "magnitude"))
    near(agreeing(trimmed(task, density), trimmed(domain, density)), merge_utils.ties([task, domain], weights, density),
         rounding=1e-6)  # fmt: skip
    near(trimmed(task, density) + trimmed(domain, density),
         merge_utils.magnitude_prune([task, domain], weights, density), rounding=1e-6)  # fmt: skip


@given(MATRICES)
def test_thinning_is_pefts_with_the_same_chance(drawn):
    seed, rows, columns, density = drawn
    task, _ = two(seed, rows, columns)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theirs = merge_utils.random_pruning(task, density, rescale=True)
    near(thinned(task, density, torch.Generator().manual_seed(seed)), theirs)


def test_entries_that_tie_with_the_last_one_kept_stay_too():
    update = torch.tensor([[3.0, -2.0], [2.0, 1.0]])
    assert trimmed(update, 0.5).tolist() == [[3.0, -2.0], [2.0, 0.0]]
    assert not trimmed(update, 0.2).any()  # int(.8) entries


def test_the_mean_of_what_agrees_by_hand():
    task, domain = torch.tensor([[1.0, 1.0, -3.0, 2.0, 0.0]]), torch.tensor([[3.0, -2.0, 1.0, -2.0, 0.0]])
    # both agree: their mean; the larger wins alone; a sum of 0 counts as positive
    assert agreeing(task, domain).tolist() == [[2.0, -2.0, -3.0, 2.0, 0.0]]
    assert agreeing(task, domain, mean=False).tolist() == [[4.0, -2.0, -3.0, 2.0, 0.0]]


@pytest.mark.parametrize("density", [0.3, 0.5, 1.0])
def test_knots_is_the_dense_definition(density):
    pair = pair_in()
    for name, delta in merged_deltas(pair, method="knots_ties", density=density, strength=1.0, rank=5).items():
        want = dense.knots_ties(pair, name, density, 1.0)
        near(delta, best(want, 5), dense.sizes_of(pair, name), rounding=1e-6)


@pytest.mark.parametrize("method", OUTSIDE)
def test_a_module_that_only_one_adapter_has_is_merged_with_nothing(method):
    task, domain = lora(name_of(0), 1, 8, 7, 2), lora(name_of(1), 2, 8, 7, 3)
    pair = pair_of([task], [domain])
    for name, delta in merged_deltas(pair, method=method, density=1.0).items():
        own = next(module for module in pair.both(name) if module is not None)
        near(delta, own.delta(), dense.size_of(own), rounding=1e-6)


@pytest.mark.parametrize("method", OUTSIDE)
def test_only_strength_density_rank_and_seed_matter_and_strength_only_multiplies(method):
    known = analysis(pair_in())
    usual = merge(known, Recipe(method=method))
    assert isinstance(usual.how, Outside)
    turned = Recipe(
        method=method, sharpness=3.0, balance=1.0, overrides=("* : 0",), drop="both", conflict_threshold=0.0
    )
    assert torch.equal(merge(known, turned).spectrum, usual.spectrum)
    near(merge(known, Recipe(method=method, strength=1.5)).spectrum, 1.5 * usual.spectrum)
    assert torch.equal(merge(analysis(pair_in()), Recipe(method=method)).spectrum, usual.spectrum)
    assert not torch.equal(merge(known, Recipe(method=method, density=0.7)).spectrum, usual.spectrum)
    assert torch.equal(merge(known, Recipe(method=method, seed=1)).spectrum, usual.spectrum) == (method != "dare_ties")
    assert not merge(known, Recipe(method=method, strength=0.0)).spectrum.any()


def test_dare_draws_nothing_from_the_global_chance():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    merge(analysis(pair_in(d_out=200, d_in=180)), Recipe(method="dare_ties"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", OUTSIDE)
def test_what_rank_r_keeps_is_told_truly(method):
    known = analysis(pair_in(d_out=40, d_in=30, ranks=(6, 6)))
    merged = merge(known, Recipe(method=method, rank=4))
    wide = merge(known, Recipe(method=method, rank=30))
    for i, (short, full) in enumerate(zip(merged.full, wide.full, strict=True)):
        want = full.up.double() @ full.down.double()
        left = (want - short.up.double() @ short.down.double()).square().sum()
        assert float(merged.kept[i]) == pytest.approx(1 - float(left / want.square().sum()), abs=1e-5)
    assert 0.05 < merged.kept_in_all < 0.99 and wide.kept_in_all == pytest.approx(1.0)


@pytest.mark.parametrize("method", OUTSIDE)
def test_how_it_meets_the_adapters_and_what_ranks_keep_is_that_of_the_dense_merge(method):
    pair = pair_of([lora(name_of(0), 1, 20, 15, 3)], [lora(name_of(0), 2, 20, 15, 2), lora(name_of(1), 3, 20, 15, 2)])
    known = analysis(pair)
    merged = merge(known, Recipe(method=method, rank=3))
    got, out = three_way(known.space, merged, [0, 1]), expand(known, merged, torch.float32)
    for i, name in enumerate(pair.names):
        three = [*dense.deltas(pair, name), out[name].delta()]
        near(got.norms[i], torch.stack([one.norm() for one in three]), rounding=1e-4)
        for column, (a, b) in enumerate(((0, 1), (0, 2), (1, 2))):
            if three[a].any() and three[b].any():
                near(
                    got.cosines[i, column],
                    torch.cosine_similarity(three[a].flatten(), three[b].flatten(), 0),
                    rounding=1e-5,
                )
    assert ranks(merged.spectrum, merged.energy).at(3)[0] == pytest.approx(merged.kept_in_all)


# -- back to rank r --------------------------------------------------------------------------------------------------


def left_over(update, rank, leading):
    return float((update.double() - leading.up.double() @ leading.down.double()).norm())


@pytest.mark.parametrize("method", ["ties", "dare_ties", "magnitude_prune"])
def test_subspace_iteration_leaves_out_at_most_a_thousandth_more_than_an_exact_svd(method):
    task, domain = (lora(name_of(0), seed, 260, 340, 16) for seed in (1, 2))
    for module in (task, domain):
        module.up.mul_(torch.logspace(0, -1.5, 16))
    t, d = task.delta().float(), domain.delta().float()
    if method == "dare_ties":
        update = agreeing(thinned(t, 0.5, generator(0, "t")), thinned(d, 0.5, generator(0, "d")))
    else:
        update = agreeing(trimmed(t, 0.5), trimmed(d, 0.5)) if method == "ties" else trimmed(t, 0.5) + trimmed(d, 0.5)
    s = torch.linalg.svdvals(update.double())
    leading = of_full(update, 16, 32, generator(0, "start"))
    assert left_over(update, 16, leading) <= 1.001 * float(s[16:].square().sum().sqrt())
    assert leading.energy == pytest.approx(float(s.square().sum()))
    torch.testing.assert_close(leading.spectrum[:16], s[:16], rtol=5e-3, atol=0)


def test_a_small_matrix_is_taken_apart_exactly():
    update = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
    s = torch.linalg.svdvals(update.double())
    assert left_over(update, 4, of_full(update, 4, 8, generator(0))) == pytest.approx(
        float(s[4:].square().sum().sqrt())
    )


def test_large_modules_wait_for_each_other(monkeypatch):
    monkeypatch.setattr(elementwise, "AT_ONCE", 1)
    known = analysis(pair_in(layers=4))
    assert len(merge(known, Recipe(method="ties")).full) == 4  # one at a time, and none for ever
