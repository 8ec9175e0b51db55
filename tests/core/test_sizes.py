"""Ranks, norms and the three-way view against full-width matrices."""

import dense
import pytest
import torch
from dense import analysis, deltas, gates_by_hand, merge, near, pairs
from hypothesis import given
from hypothesis import strategies as st

from tada_studio.core.sizes import norms, ranks, three_way
from tada_studio.recipe import Recipe


@given(pairs(), st.sampled_from([0.0, 0.4, 1.0]))
def test_norms_by_layer_are_those_of_the_dense_updates(pair, balance):
    known, recipe = analysis(pair), Recipe(balance=balance)
    layer_of = [place.layer for place in pair.addresses.values()]
    got, levels = norms(known.space, list(pair.addresses.values()), recipe), dense.balance_levels(pair, recipe)
    size = max(dense.sizes_of(pair, name) for name in pair.names) * max(1.0, *levels)
    for side in (0, 1):
        for i, layer in enumerate(got.layers):
            here = [name for name, at in zip(pair.names, layer_of, strict=True) if at == layer]
            want = sum((deltas(pair, name)[side].square().sum() for name in here), torch.tensor(0.0)).double().sqrt()
            near(got.before[i, side], want, size, rounding=1e-6)
            near(got.after[i, side], want * levels[side], size, rounding=1e-6)
        assert got.whole_after[side] == pytest.approx(got.whole_before[side] * levels[side])
    if balance == 1.0 and min(got.whole_before) > 0:
        assert got.whole_after[0] == pytest.approx(got.whole_after[1])


@given(pairs())
def test_the_three_updates_have_the_norms_and_cosines_of_the_dense_ones(pair):
    known, recipe = analysis(pair), Recipe(rank=64)
    gate = gates_by_hand(known, recipe).at(tuple(pair.addresses.values()))
    got = three_way(known.space, merge(known, recipe), range(len(pair.names)))
    for i, name in enumerate(pair.names):
        task, domain = deltas(pair, name)
        three = [task, domain, dense.merged(pair, name, float(gate[i]), recipe)]
        size = dense.sizes_of(pair, name)
        near(got.norms[i], torch.stack([one.norm() for one in three]), size, rounding=1e-6)
        for column, (a, b) in enumerate(((0, 1), (0, 2), (1, 2))):
            if min(three[a].norm(), three[b].norm()) > 1e-3 * size:
                near(
                    got.cosines[i, column],
                    (three[a] * three[b]).sum() / (three[a].norm() * three[b].norm()),
                    rounding=1e-6,
                )
            if not three[a].any() or not three[b].any():
                assert got.cosines[i, column].isnan()


def test_energy_kept_against_rank_by_hand():
    got = ranks(torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0], [2.0, 2.0, 1.0]], dtype=torch.float64))
    near(got.everywhere, torch.tensor([13 / 19, 18 / 19, 1.0], dtype=torch.float64))
    near(got.worst, torch.tensor([4 / 9, 8 / 9, 1.0], dtype=torch.float64))
    assert got.worst_row[:2] == (2, 2)
    assert [got.smallest(share) for share in (0.5, 13 / 19, 0.9, 0.99, 1.0)] == [1, 1, 2, 3, 3]
    assert got.at(2)[0] == pytest.approx(18 / 19) and got.at(500)[:2] == (1.0, 1.0)


def test_a_merge_of_nothing_loses_nothing_at_any_rank():
    got = ranks(torch.zeros(2, 4, dtype=torch.float64))
    assert got.everywhere.tolist() == got.worst.tolist() == [1.0] * 4 and got.smallest(0.99) == 1


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9))
def test_the_last_rank_keeps_everything_whatever_the_rounding(seed, n, k):
    spectrum = torch.rand(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = ranks(spectrum)
    assert found.smallest(1.0) <= k and found.at(k)[:2] == (pytest.approx(1.0), pytest.approx(1.0))
