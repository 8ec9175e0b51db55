"""The sample that the app opens with holds what it promises; all items of both sides are scored here."""

import json
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tada_studio import cli, pipeline
from tada_studio.core.gates import gates as gates_of
from tada_studio.core.stats import holm, paired_p, wilson
from tada_studio.pipeline.merge import merge
from tada_studio.probing import Readings
from tada_studio.recipe import Recipe
from tada_studio.sample_pairs import DEFAULT, sample

MAKE = Path(__file__).parent.parent / "sample_adapters" / "make"
RIVALS = ("base", "task", "domain", "average", "ties", "dare_ties")


@pytest.fixture(scope="module")
def measure():
    """What the sample's figures were taken with."""
    sys.path.insert(0, str(MAKE))
    import measure

    yield measure
    sys.path.remove(str(MAKE))


@pytest.fixture(scope="module")
def chosen():
    return sample("minerals-tiny")


@pytest.fixture(scope="module")
def opened(chosen):
    """(base, pair, cached readings)"""
    base = pipeline.load_base(chosen.base, device="cpu", dtype="float32")
    return base, pipeline.read_pair(chosen.task, chosen.domain), Readings.load(chosen.readings)


@pytest.fixture(scope="module")
def sides(measure, chosen, opened):
    base, pair, readings = opened
    return pipeline.score_sides(base, measure.variants(pair, readings), pipeline.sample_items(chosen))


def test_it_is_small_and_the_default(chosen):
    assert DEFAULT == chosen.name and chosen.size < 20e6 and chosen.base_is_here


@pytest.mark.nightly  # all items of both sides: a minute for what changes with the sample only
def test_the_merge_beats_both_parents_and_every_method_that_shrinks(measure, sides):
    correct = {name: torch.cat([scores[name].correct for scores in sides.values()]) for name in (*RIVALS, "tada")}
    assert max(holm([paired_p(correct["tada"], correct[name]) for name in RIVALS])) < 0.01
    skill = {name: measure.both_skills(sides, name) for name in (*RIVALS, "sum", "tada")}
    assert skill["tada"] > max(skill[name] for name in RIVALS) and skill["tada"] > skill["sum"] - 0.01
    assert min(scores["tada"].n for scores in sides.values()) >= 200


@pytest.mark.nightly  # all items of both sides: a minute for what changes with the sample only
def test_the_base_guesses_letters(sides):
    """Chance is one in four; what the base knows of letter questions is nothing that could be told from it."""
    base = sides["task"]["base"]
    low, high = wilson(int(base.correct.sum()), base.n)
    assert low < 0.25 < high


@pytest.mark.nightly  # all items of both sides: a minute for what changes with the sample only
def test_every_figure_is_the_one_that_sample_json_promises(chosen, sides):
    promised = chosen.about["measured"]
    assert set(promised) == set(sides)
    for side, scores in sides.items():
        assert set(promised[side]) == set(scores)
        for name, score in scores.items():  # a near tie may fall the other way on another processor
            assert promised[side][name]["accuracy"] == pytest.approx(score.accuracy, abs=0.011), (side, name)


def test_other_seeds_are_reported(chosen):
    seeds = chosen.about["seeds"]
    assert len({one["seed"] for one in seeds}) == len(seeds) >= 3
    assert {"gates", "sum", *RIVALS} <= set.intersection(*(set(one["both_skills"]) for one in seeds))
    for one in seeds:  # where the sum is the better merge, the sample says so too; older seeds measured gates only
        against = one["tada_against"] if "tada" in one["both_skills"] else one["gates_against"]
        beaten = [name for name, found in against.items() if found["won"] > found["lost"] and found["p"] < 0.01]
        assert set(RIVALS) <= set(beaten), one["seed"]


def test_the_cached_readings_are_those_of_the_probe(chosen, opened):
    base, pair, readings = opened
    readings.belongs_to(pair)
    taken = pipeline.probe(pair, base, pipeline.sample_inputs(chosen))
    torch.testing.assert_close(gates_of(taken).values, gates_of(readings).values, rtol=0, atol=1e-4)


def test_the_merge_loads_with_transformers_and_peft_alone(opened, chosen, tmp_path):
    base, pair, readings = opened
    merged = merge(pair, readings)
    assert pipeline.export(merged, tmp_path / "out", base=base).holds
    model = AutoModelForCausalLM.from_pretrained(chosen.base, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(model, tmp_path / "out").eval()
    tokens = base.tokenizer("Question: what colour is grass?", return_tensors="pt").input_ids
    with base.with_adapter(merged) as ours, torch.inference_mode():
        torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, rtol=0, atol=1e-4)


@pytest.mark.nightly
def test_a_quick_search_is_judged_on_items_that_it_never_saw(chosen, tmp_path, capsys):
    found, storage = tmp_path / "tuned.json", tmp_path / "tune.log"
    assert (
        cli.main(
            [
                "tune",
                "--sample",
                chosen.name,
                "--quick",
                "--trials",
                "4",
                "--seeds",
                "1",
                "--storage",
                str(storage),
                "-o",
                str(found),
                "--json",
            ]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    asked = sum(len(pipeline.sample_items(chosen)[side]) for side in ("domain", "task"))
    against = told["verdict"]  # the default recipe, unless nothing better than it was found, and the best baseline
    assert told["items"]["held_out"] == asked and told["items"]["searched"] > 0
    assert against and set(against) - {"default"} and all(one["n"] == asked for one in against.values())
    assert {one["word"] for one in against.values()} <= {"better", "worse", "mixed", "cannot tell"}
    assert Recipe.load(found).ridge == told["recipe"]["ridge"]
