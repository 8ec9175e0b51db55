"""Auto-tune: the untouched items stay untouched, one seed gives one search, processes share a file, a stop loses nothing."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pico import pico_items

from tada_studio import cli, pipeline
from tada_studio.base_model.inputs import read_inputs
from tada_studio.errors import InputError, Stopped
from tada_studio.evaluation import Item, read_items
from tada_studio.evaluation.benchmark import Benchmark, SideScore, answers, items_digest, value
from tada_studio.evaluation.scores import Score
from tada_studio.pipeline import tuning
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe
from tada_studio.report import search_sentences
from tada_studio.tuning import Plan, Trial, Tuning, by_files, front, halves, space
from tada_studio.tuning.space import params_of, recipe_with
from tada_studio.tuning.study import storage

SMALL = Plan(trials=7, seeds=1, chunks=2)


@dataclass(frozen=True)
class Bed:
    pair: object
    base: object
    readings: object
    items: dict


@pytest.fixture(scope="module")
def bed(pico, tmp_path_factory):
    folder = tmp_path_factory.mktemp("items")
    items = {
        side: read_items(pico_items(folder / f"{side}.jsonl", 24, seed=i)) for i, side in enumerate(("domain", "task"))
    }
    pair, base = pipeline.read_pair(pico.task, pico.domain), pipeline.load_base(pico.base, device="cpu")
    few = {"average": Recipe(method="linear", strength=0.5), "sum": Recipe(method="linear")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "baselines", lambda rank: few)  # all of them are for the two processes
        yield Bed(pair, base, pipeline.probe(pair, base, read_inputs(pico.inputs)), items)


def run(bed, plan=SMALL, where=None, items=None, **how):
    return tuning.search(bed.pair, bed.base, bed.readings, items or bed.items, plan=plan, storage=where, **how)


@pytest.fixture(scope="module")
def found(bed):
    return run(bed)


# -- the split ---------------------------------------------------------------------------------------------------------


def test_halves_share_nothing_and_lose_nothing(bed):
    split = halves({**bed.items, "task": [*bed.items["task"], bed.items["task"][0]]})
    for side, items in bed.items.items():
        assert not set(split.search[side]) & set(split.held[side])
        assert set(split.search[side]) | set(split.held[side]) == set(items)
    assert halves(bed.items).search == halves(bed.items).search != halves(bed.items, 1).search


def test_an_item_of_both_files_is_held_out_only():
    shared, own, test = (Item(text, ("a", "b"), 0) for text in ("shared", "own", "test"))
    split = by_files({"x": [shared, own], "y": [own]}, {"x": [shared, test]})
    assert split.search == {"x": [own]} and split.held == {"x": [shared, test]}
    with pytest.raises(InputError, match="0 items to search on"):
        by_files({"x": [shared]}, {"x": [shared]})


def test_the_search_never_sees_the_untouched_half(bed, monkeypatch):
    """Every item that is scored is written down; before the verdict none is of the untouched half."""
    split, seen, steps = halves(bed.items), [], []
    module = sys.modules["tada_studio.evaluation.benchmark"]
    honest = module.score
    monkeypatch.setattr(
        module, "score", lambda base, items, *more: seen.append((steps[-1], list(items))) or honest(base, items, *more)
    )
    run(bed, items=split, progress=lambda progress: steps.append(progress.step))
    before = {item for step, items in seen if step in ("baselines", "tune") for item in items}
    after = {item for step, items in seen if step == "judge" for item in items}
    searched, held = ({item for items in half.values() for item in items} for half in (split.search, split.held))
    assert before == searched and after == held and not searched & held


# -- the search --------------------------------------------------------------------------------------------------------


def test_one_seed_gives_one_search_and_its_first_trial_is_the_start(bed, found):
    first, again, other = found, run(bed), run(bed, Plan(trials=3, seeds=1, chunks=2, seed=1), items=found.split)
    told = [(trial.params, trial.state, trial.value) for trial in first.trials]
    assert told == [(trial.params, trial.state, trial.value) for trial in again.trials]
    assert told[1:3] != [(trial.params, trial.state, trial.value) for trial in other.trials][1:]
    assert recipe_with(first.start, first.trials[0].params) == first.start
    assert len({json.dumps(trial.params) for trial in first.trials}) == 7


def test_marks_and_verdict_are_what_evaluate_says(bed, found):
    adapter = merge(bed.pair, bed.readings, recipe_with(found.start, found.best.params))
    for side, items in found.split.search.items():
        expected = pipeline.evaluate(bed.base, {"x": adapter}, items)["x"]
        mark = found.best.side_scores[side]
        assert mark.gold == pytest.approx(-expected.nll, abs=1e-5) and mark.right == expected.accuracy
        assert mark.n == len(items)
    assert found.best.value == max(trial.value for trial in found.trials if trial.state == "done")
    tuned = merge(bed.pair, bed.readings, found.recipe)
    for side, items in found.split.held.items():
        expected = pipeline.evaluate(bed.base, {"x": tuned}, items)["x"]
        assert found.judged.sides[side]["tuned"].nll == pytest.approx(expected.nll, abs=1e-5)
    assert found.found == found.recipe and found.judged.against[0].against == "default"
    assert {one.variant for one in found.judged.against} == {"tuned"} and len(found.judged.against) == 2
    said = search_sentences(found)
    assert said[0].startswith("tuned against default: ") and "untouched items" in said[0]


def test_poor_trials_are_stopped_early(bed, monkeypatch):
    """A make that gives the domain adapter away on every trial after the fifth: those must not see the last chunk."""
    module = sys.modules["tada_studio.pipeline.tuning"]
    honest = module.merge
    made = []

    def worse_and_worse(pair, readings, recipe):
        made.append(recipe)
        return honest(pair, readings, recipe.but(strength=2.0) if len(made) > 9 else recipe)

    monkeypatch.setattr(module, "merge", worse_and_worse)
    found = run(bed, Plan(trials=10, seeds=1, chunks=4))
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    whole = {side: len(items) for side, items in found.split.search.items()}
    assert pruned and all(trial.side_scores[side].n < whole[side] for trial in pruned for side in whole)
    assert found.best.state == "done"


def test_a_stop_keeps_the_study_and_leaves_the_rest_untouched(bed, found, tmp_path):
    states, split = [], halves(bed.items)

    def stop_after_three(progress):
        if states and len(states[-1].trials) == 3:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        run(bed, where=tmp_path / "tune.log", items=split, progress=stop_after_three, each=states.append)
    assert len(states[-1].trials) == 3 and states[-1].judged is None and states[-1].best is not None
    assert states[0].trials == () and states[0].side_scores == {}, "a state that was handed out has changed since"
    resumed = run(bed, where=tmp_path / "tune.log")
    assert [trial.params for trial in resumed.trials[:3]] == [trial.params for trial in found.trials[:3]]
    assert len(resumed.trials) == 7 and resumed.judged is not None
    assert run(bed, Plan(trials=0, seeds=1, chunks=2), tmp_path / "tune.log").recipe == resumed.recipe


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-20], lambda b: b + b"\0" * 40, lambda b: b + b'{"op_code": 4, "study']
)
def test_a_file_whose_end_is_torn_loses_that_end_and_goes_on(bed, found, tmp_path, damage):
    """As a full disk or a power cut leaves it."""
    file = tmp_path / "tune.log"
    run(bed, Plan(trials=3, seeds=1, chunks=2), file)
    file.write_bytes(damage(file.read_bytes()))
    again = run(bed, Plan(trials=3, seeds=1, chunks=2), file)
    told, kept = ([(t.params, t.value) for t in one.trials] for one in (found, again))
    assert len(kept) == 3 and kept[:2] == told[:2] and again.judged is not None
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_a_full_disk_is_one_sentence_and_leaves_the_base_bare(bed, tmp_path, monkeypatch):
    backend, writes = type(storage(tmp_path / "tune.log")._backend), []
    honest = backend.append_logs

    def full(self, logs):
        writes.append(logs)
        if len(writes) > 8:
            raise OSError(28, "No space left on device")
        honest(self, logs)

    monkeypatch.setattr(backend, "append_logs", full)
    with pytest.raises(InputError, match=r"could not be kept \(No space left on device\)"):
        run(bed, where=tmp_path / "tune.log")
    assert not any(module._forward_hooks for module in bed.base.model.modules())
    monkeypatch.setattr(backend, "append_logs", honest)
    assert run(bed, Plan(trials=2, seeds=1, chunks=2), tmp_path / "tune.log").judged is not None


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a second for each item that is scored, and by nothing else."""
    seconds = [0.0]
    module = sys.modules["tada_studio.evaluation.benchmark"]
    honest = module.score

    def score(base, items, *more):
        seconds[0] += len(items)
        return honest(base, items, *more)

    monkeypatch.setattr(module, "score", score)
    for name in ("tada_studio.tuning", "tada_studio.evaluation.benchmark"):
        monkeypatch.setattr(sys.modules[name], "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return seconds


def test_the_limit_holds_for_what_trials_are_compared_with_and_for_the_verdict_too(bed, clock):
    # 24 items a pass; start, task, domain and average take 96 s, and a fifth pass would go beyond .4 of 300 s
    found = run(bed, Plan(trials=1000, seeds=1, chunks=2, minutes=5.0))
    assert list(found.left_out) == ["sum"] and len(found.trials) > 4 and found.judged is not None
    assert 200 < clock[0] <= 300 and found.seconds == clock[0]
    assert "no time to measure sum" in " ".join(search_sentences(found))
    assert Plan().minutes == 5.0


def test_without_a_finished_trial_nothing_is_found_and_the_untouched_items_stay_so(bed, clock):
    start = Recipe(overrides=("layer 0 : 1",))
    found = run(bed, Plan(trials=1000, seeds=1, chunks=2, minutes=0.1), start=start)
    assert found.found is None and found.judged is None and found.trials == [] and clock[0] == 24
    assert "No trial has finished" in " ".join(search_sentences(found))
    with pytest.raises(InputError, match="minutes"):
        Plan(minutes=0.0)
    with pytest.raises(InputError, match="seeds"):
        Plan(seeds=0)


def _work(arguments):
    base, task, domain, folder, storage_file = arguments
    command = [
        sys.executable, "-m", "tada_studio", "tune", "--base", base, "--task", task, "--domain", domain,
        "--items-domain", f"{folder}/items.jsonl", "--trials", "6", "--seeds", "1", "--quick", "--storage", storage_file, "--json",
    ]  # fmt: skip
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_two_processes_join_one_storage(pico, tmp_path):
    pico_items(tmp_path / "items.jsonl", 24, seed=5)
    arguments = [(str(pico.base), str(pico.task), str(pico.domain), str(tmp_path), str(tmp_path / "tune.log"))] * 2
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(_work, arguments)
    for told in (first, second):
        assert 6 <= len(told["trials"]) <= 7  # the two may each have had one under way at the end
    # the one that each had under way when the other ended is missing there, whichever it was
    numbers = [{t["number"] for t in told["trials"]} for told in (first, second)]
    assert numbers[0] | numbers[1] >= set(range(6)) and len(numbers[0] & numbers[1]) >= 5


def test_a_storage_that_cannot_be_opened_is_said_without_its_password(tmp_path):
    with pytest.raises(InputError, match="could not be opened") as caught:
        storage("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)
    assert storage(f"sqlite:///{tmp_path}/tune.db").get_all_studies() == []


# -- pieces ------------------------------------------------------------------------------------------------------------


def test_the_space_is_what_can_matter_for_a_pair():
    assert "sharpness" not in space(30, {"sharpness"}) and "middle third" not in space(2, ())
    assert space(30, (), (8, 16))["rank"].options == (8, 16) and "rank" not in space(30, (), (8, 8))
    start = Recipe(strength=9 / 8, sharpness=9.0, overrides=("layer 0 : even",))
    point = params_of(start, space(30, (), (8, 16)), rank=16)
    assert point["strength"] == pytest.approx(1.125) and point["sharpness"] == 3.0 and point["rank"] == 16
    shifted = recipe_with(start, {**point, "middle third": -0.04})
    assert shifted.overrides == ("layer 0 : even", "middle third : -0.04") and shifted.strength == 1.125


def trial(number, *golds, state="done"):
    side_scores = {side: SideScore(gold, None, 4) for side, gold in zip(("domain", "task"), golds, strict=True)}
    return Trial(number, 0, {}, state, value(side_scores), side_scores)


def test_the_front_is_what_no_other_trial_beats_on_both_sides():
    trials = [trial(0, -1, -3), trial(1, -2, -2), trial(2, -3, -1), trial(3, -2, -3), trial(4, -2, -2),
              trial(5, 0, 0, state="pruned")]  # fmt: skip
    assert [one.number for one in front(trials)] == [0, 1, 2]


def test_a_side_counts_as_a_side_and_a_start_that_is_not_beaten_stays():
    assert value({"a": SideScore(-1.0, None, 1000), "b": SideScore(-3.0, None, 10)}) == -2.0
    empty = Tuning(halves({"x": [Item(str(i), ("a", "b"), 0) for i in range(4)]}), Recipe(), space(30, ()))
    assert empty.recipe == Recipe() and empty.found is None and empty.best is None
    found = replace(empty, trials=[trial(0, -1.0, -1.0)._replace(params={"strength": 0.75})])
    assert found.recipe == found.found == Recipe(strength=0.75)
    start = {"domain": SideScore(-0.5, None, 4), "task": SideScore(-1.0, None, 4)}
    beaten = replace(found, side_scores={"start": start})
    assert beaten.found is None and beaten.recipe == Recipe()
    assert beaten.best_baseline({"sum": Recipe()}) is None


def test_answers_without_likelihood_count_as_right_or_wrong_and_texts_as_likelihood_alone():
    right = torch.tensor([True, False])
    assert answers(Score("", None, right, None, 0.0, 1.0, kind="answer")).gold.tolist() == [1.0, 0.0]
    text = answers(Score("", None, None, 1.5, None, None, gold=torch.tensor([1.0, 2.0]), kind="text"))
    assert text.right is None and text.gold.tolist() == [-1.0, -2.0]


def test_chunks_are_all_items_once_and_a_digest_tells_items_apart(bed):
    benchmark = Benchmark(bed.base, bed.items, 5)
    for side, items in bed.items.items():
        assert sorted(map(repr, (item for part in benchmark.parts for item in part[side]))) == sorted(map(repr, items))
    assert items_digest(bed.items) == items_digest(dict(reversed(bed.items.items())))
    assert items_digest(bed.items) != items_digest({**bed.items, "task": bed.items["domain"]})


# -- the command -------------------------------------------------------------------------------------------------------


def test_tune_writes_a_recipe_that_merge_takes(pico, bed, tmp_path, capsys):
    pico_items(tmp_path / "items.jsonl", 24, seed=5)
    pair = ["--base", str(pico.base), "--task", str(pico.task), "--domain", str(pico.domain)]
    asked = [
        "--items-domain",
        str(tmp_path / "items.jsonl"),
        "--inputs",
        str(pico.inputs),
        "-o",
        str(tmp_path / "recipe.json"),
    ]
    assert cli.main(["tune", *pair, *asked, "--quick", "--trials", "5", "--search-rank"]) == 0
    said = capsys.readouterr().out
    assert "tuned against default:" in said and "held out" in said
    again = ["--inputs", str(pico.inputs), "--recipe", str(tmp_path / "recipe.json"), "-o", str(tmp_path / "out")]
    assert cli.main(["merge", *pair, *again]) == 0
    assert Path(tmp_path / "out" / "adapter_model.safetensors").is_file()
    assert cli.main(["tune", *pair]) == 2 and "Nothing to tune" in capsys.readouterr().err
