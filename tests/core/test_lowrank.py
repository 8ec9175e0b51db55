"""The best low-rank approximation, against a dense SVD: flat spectra, ranks beyond the size, nothing at all."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tada_studio.core.lowrank import best_low_rank, relative_loss


def draw(seed, *size):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def least_loss(matrix, rank):
    squares = torch.linalg.svdvals(matrix).square()
    return float((squares[rank:].sum() / squares.sum()).sqrt())


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 12), st.integers(1, 14))
def test_it_loses_what_the_singular_values_beyond_the_rank_hold(seed, d_out, d_in, rank):
    matrix = draw(seed, d_out, d_in)
    up, down = best_low_rank(matrix, rank)
    assert up.shape == (d_out, min(rank, d_out, d_in)) and len(down) == up.shape[1]
    assert relative_loss(matrix, up, down) == pytest.approx(least_loss(matrix, rank), abs=1e-7)
    torch.testing.assert_close(up.norm(dim=0), down.norm(dim=1))  # strength split evenly
    assert bool((up.norm(dim=0).diff() <= 1e-9).all())  # strongest first


SHAPES = [(300, 700), (700, 300), (400, 400)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["flat", "with a LoRA inside", "of rank 3"])
def test_large_matrices_are_searched_and_lose_as_little(kind, shape):
    """What DoRA adds is a scaled copy of the base, whose spectrum is flat: the hardest case for a search."""
    lora = draw(2, shape[0], 3) @ draw(3, 3, shape[1])
    matrix = {"flat": draw(1, *shape), "with a LoRA inside": draw(1, *shape) + lora, "of rank 3": lora}[kind]
    up, down = best_low_rank(matrix, 8)
    assert relative_loss(matrix, up, down) == pytest.approx(least_loss(matrix, 8), abs=1e-6)
    again = best_low_rank(matrix.clone(), 8)
    assert torch.equal(again[0], up) and torch.equal(again[1], down)


def test_nothing_is_approximated_by_nothing():
    for size in ((5, 9), (300, 200)):
        up, down = best_low_rank(torch.zeros(size, dtype=torch.float64), 4)
        assert not up.any() and not down.any() and relative_loss(torch.zeros(size, dtype=torch.float64), up, down) == 0


def test_signs_do_not_depend_on_the_search():
    matrix = draw(4, 20, 30)
    up, _ = best_low_rank(matrix, 5)
    assert bool((up.gather(0, up.abs().argmax(0, keepdim=True)) > 0).all())
