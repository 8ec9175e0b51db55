"""The embedded samples hold what they promise."""

import math

import pytest
import torch

from tada_studio import studio
from tada_studio.recipe import Recipe
from tada_studio.samples import planted, sample, samples


def test_the_planted_conflicts_are_found_and_nothing_else():
    """Alignments, which pairs conflict, and which direction goes: all of it is known, because it was put there."""
    chosen = planted()
    pair = studio.read_pair(chosen.task, chosen.domain)
    merged = studio.merge_core(pair, studio.gates(studio.unprobed(pair)), Recipe())
    found, drops = studio.analysis(pair).directions, merged.how.drops
    row = {(address.layer, address.projection): i for i, address in enumerate(pair.addresses.values())}
    alignment, opposed = torch.zeros_like(found.alignment), torch.zeros_like(drops.opposed)
    gone = {"task": torch.zeros_like(drops.task), "domain": torch.zeros_like(drops.domain)}
    for one in chosen.about["planted"]:
        place = row[one["layer"], one["projection"]], one["task"], one["domain"]
        alignment[place] = one["alignment"]
        if one["dropped"]:
            opposed[place] = True
            gone[one["dropped"]][place[0], one[one["dropped"]]] = True
    torch.testing.assert_close(found.alignment, alignment, atol=1e-4, rtol=0)  # the files are in half precision
    assert torch.equal(drops.opposed, opposed) and opposed.sum() == 8
    assert torch.equal(drops.task, gone["task"]) and torch.equal(drops.domain, gone["domain"])


def test_a_weak_and_an_agreeing_pair_are_among_the_planted():
    """What must not be dropped is as much a part of the right answer: one pair is opposed by chance only, two agree."""
    kept = [one for one in planted().about["planted"] if one["dropped"] is None]
    chance = 1 / math.sqrt(192 * 512)
    assert sorted(one["alignment"] > 0 for one in kept) == [False, True, True]
    assert min(one["alignment"] for one in kept) == pytest.approx(-4.7 * chance, rel=0.01)


def test_the_planted_pair_is_not_among_the_samples_to_try():
    assert "planted-conflict" not in samples() and sample("planted-conflict").title
