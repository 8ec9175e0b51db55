"""The embedded samples hold what they promise."""

import math
import re

import pytest
import torch

from tada_studio import pipeline
from tada_studio.core.stats import wilson
from tada_studio.evaluation import choose, read_items
from tada_studio.pipeline.analysis import analysis
from tada_studio.pipeline.merge import merge
from tada_studio.probing import Readings, read_inputs
from tada_studio.sample_pairs import planted, sample, samples


def test_the_planted_conflicts_are_found_and_nothing_else():
    """Alignments, which pairs conflict, and which direction goes: all of it is known, because it was put there."""
    chosen = planted()
    pair = pipeline.read_pair(chosen.task, chosen.domain)
    merged = pipeline.Merge(pair).merged
    found, drops = analysis(pair).directions, merged.how.drops
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


def test_a_second_domain_is_a_sample_by_its_own_name_and_in_no_list():
    """``evaluate --sample smollm2-birds``: the same task adapter, another domain with its own items, validation items and probe."""
    one, other = sample("smollm2-minerals"), sample("smollm2-birds")
    assert "smollm2-birds" not in samples() and (other.task, other.base) == (one.task, one.base)
    assert other.domain.name == "domain-birds" and other.readings is None
    assert other.items["task"] == one.items["task"] and other.validation["task"] == one.validation["task"]
    files = [other.items["domain"], other.validation["domain"]]
    asked = [{item.question for item in read_items(file)} for file in files]
    assert [len(some) for some in asked] == [208, 80] and not asked[0] & asked[1]
    assert not set.union(*asked) & set(read_inputs(other.probe)) and len(read_inputs(other.probe)) == 32
    assert set(other.about["measured"]) == {"domain", "task"}


def test_items_of_the_language_sample_are_in_one_file_only():
    """What knobs are chosen on, what is reported and what is probed with are different questions, of different facts."""
    chosen = sample("smollm2-minerals")
    files = [*chosen.items.values(), *chosen.validation.values()]
    texts = [(item.question, item.choices[item.answer]) for file in files for item in read_items(file)]
    assert len(files) == 4 and len(set(texts)) == len(texts) == 578
    asked = {item.question for file in files for item in read_items(file)}
    assert not asked & set(read_inputs(chosen.probe))


@pytest.mark.parametrize("name", ["minerals-tiny", "vit-glyphs", "smollm2-minerals"])
def test_a_sample_ships_task_inputs_that_are_no_items_and_readings_of_both_kinds(name):
    chosen = sample(name)
    domain, task = pipeline.sample_inputs(chosen), pipeline.sample_task_inputs(chosen)
    assert len(domain) == len(task) == 32 and not set(domain) & set(task)
    files = [*chosen.items.values(), *chosen.validation.values()]
    items = {getattr(item, "question", getattr(item, "content", None)) for file in files for item in read_items(file)}
    assert len(items) > 2 and not items & {*domain, *task}
    readings = Readings.load(chosen.readings)
    readings.belongs_to(pipeline.read_pair(chosen.task, chosen.domain))
    assert len(readings.on_task.tokens) == 32 and readings.about["equal_inputs"] == "0 of 32"


@pytest.mark.parametrize("name", ["minerals-tiny", "smollm2-minerals", "smollm2-birds"])
def test_the_domain_is_probed_in_its_own_form_and_not_in_the_tasks(name):
    """Letter questions about the domain are what neither parent was taught: no merge can be told to be near to them there."""
    chosen = sample(name)
    domain, task = pipeline.sample_inputs(chosen), pipeline.sample_task_inputs(chosen)
    assert all(re.search(r"\(D\)|^D\) ", text, re.M) for text in task)
    assert not [text for text in domain if re.search(r"\([A-D]\)|^[A-D]\) |\?|\n", text, re.M)]
    items = read_items(chosen.items["domain"])
    length = sum(len(item.question.split()) for item in items) / len(items)
    assert sum(len(text.split()) for text in domain) / len(domain) == pytest.approx(length, rel=0.5)


@pytest.mark.parametrize(
    "name",
    [
        "minerals-tiny",
        pytest.param("smollm2-minerals", marks=pytest.mark.nightly),  # a minute each
        pytest.param("smollm2-birds", marks=pytest.mark.nightly),
    ],
)
def test_merges_can_be_compared_on_the_domain_inputs_of_a_sample(name):
    """Auto's divergences are of the size that candidates differ by: in the task's form each was 6 to 30 nats from the domain
    parent, and what was chosen was chance."""
    chosen = sample(name)
    base, pair = pipeline.load_base(chosen.base, device="cpu"), pipeline.read_pair(chosen.task, chosen.domain)
    found = pipeline.calibrate(pair, base, pipeline.sample_inputs(chosen), pipeline.sample_task_inputs(chosen), n=8)
    assert max(one.domain for one in found.trials) < 0.6


@pytest.mark.nightly  # twenty seconds for what changes with the sample only
def test_forty_items_score_as_the_sample_promises():
    """The 95 % intervals of what 40 items give and of what all of them gave meet, for the merge and for both parents.

    A parent on the other's side is at chance, far from its own side: an adapter, or a side, taken for the other would show.
    """
    chosen = sample("smollm2-minerals")
    base, pair = pipeline.load_base(chosen.base, device="cpu"), pipeline.read_pair(chosen.task, chosen.domain)
    items = {side: choose(rows, 20, seed=1) for side, rows in pipeline.sample_items(chosen).items()}
    variants = {"task": pair.task, "domain": pair.domain, "tada": merge(pair, Readings.load(chosen.readings))}
    sides = pipeline.score_sides(base, variants, items)
    for side, scores in sides.items():
        for name, score in scores.items():
            promised, found = chosen.about["measured"][side][name], wilson(int(score.correct.sum()), score.n)
            assert promised["low"] <= found.high and found.low <= promised["high"], (side, name, found)
    gap = {
        side: scores[side].accuracy - scores["domain" if side == "task" else "task"].accuracy
        for side, scores in sides.items()
    }
    assert min(gap.values()) > 0.3
