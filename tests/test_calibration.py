"""Auto: what it chooses is the candidate nearest to both parents, from prompts alone, and it can be repeated without the base."""

import json
from pathlib import Path

import pytest
import torch

from tada_studio import cli, pipeline, report
from tada_studio.errors import InputError
from tada_studio.lora import WEIGHTS
from tada_studio.pipeline.calibration import CANDIDATES, Trial, calibrate, gentlest, tried
from tada_studio.pipeline.merge import Merge
from tada_studio.probing import read_inputs
from tada_studio.recipe import Recipe
from tada_studio.session import Session


@pytest.fixture(scope="module")
def base(pico):
    return pipeline.load_base(pico.base, device="cpu")


@pytest.fixture(scope="module")
def pair(pico):
    return pipeline.read_pair(pico.task, pico.domain)


@pytest.fixture(scope="module")
def kinds(pico):
    inputs = read_inputs(pico.inputs)
    return inputs[:6], inputs[6:]


@pytest.fixture(scope="module")
def found(pair, base, kinds):
    return calibrate(pair, base, *kinds)


def says(base, adapter, text):
    """log-probabilities of the token after a prompt, by one call of the whole model."""
    with base.with_adapter(adapter) as model, torch.inference_mode():
        return model(input_ids=torch.tensor([base.tokenizer(text).input_ids])).logits[0, -1].double().log_softmax(0)


def test_the_divergences_are_those_of_the_held_out_halves(pair, base, kinds, found):
    for trial in (found.trials[0], found.trials[4]):
        sides = {"domain": [], "task": []}
        for fold in (0, 1):
            readings = pipeline.probe(pair, base, kinds[0][fold::2], task_inputs=kinds[1][fold::2])
            merged = Merge(pair, readings, Recipe(**CANDIDATES[trial.name])).adapter
            for side, parent, held in (("domain", pair.domain, kinds[0]), ("task", pair.task, kinds[1])):
                for text in held[1 - fold :: 2]:
                    p, q = says(base, parent, text), says(base, merged, text)
                    sides[side].append(float((p.exp() * (p - q)).sum()))
        assert trial.domain == pytest.approx(sum(sides["domain"]) / 6, rel=1e-3)
        assert trial.task == pytest.approx(sum(sides["task"]) / 6, rel=1e-3)


def test_the_lowest_wins_and_a_tie_goes_to_the_gentler(found):
    assert found.chosen == min(found.trials, key=lambda one: one.mean).name or found.chosen == gentlest(found.trials)
    trials = [Trial("sum", 0.3, 0.3), Trial("n4:k10", 0.2, 0.2), Trial("o1:k1", 0.1, 0.2999)]
    assert gentlest(trials) == "n4:k10" and gentlest([trials[0], trials[2]]) == "o1:k1"
    assert list(CANDIDATES) == ["sum", "n4:k10", "o4:k10", "o2:k3", "o1:k1"]


def test_lines_of_a_hand_have_the_last_word(pair):
    mine = Recipe(overrides=("layer 1 : sep 0.5",), rank=2)
    assert tried(mine, "sum").overrides == ("* : sep 0", "layer 1 : sep 0.5") and tried(mine, "sum").rank == 2
    assert Merge(pair, None, tried(mine, "sum")).gates.separation[:, 0].tolist() == [0.0, 0.5, 0.0]


def test_too_few_inputs_are_refused(pair, base, kinds):
    with pytest.raises(InputError, match="at least 4 inputs of each kind, found 6 of the domain and 3"):
        calibrate(pair, base, kinds[0], kinds[1][:3])


@pytest.fixture
def files(tmp_path, kinds):
    """Both kinds of inputs as files whose lines also hold an answer key."""

    def write(name, texts, key):
        rows = (json.dumps({"question": text, "choices": ["a", "b"], "answer": key(i)}) for i, text in enumerate(texts))
        path = tmp_path / name
        path.write_text("\n".join(rows), encoding="utf-8")
        return str(path)

    return lambda key, name: (write(f"d{name}.jsonl", kinds[0], key), write(f"t{name}.jsonl", kinds[1], key))


def run(pico, inputs, out, *more):
    words = ["merge", "--task", pico.task, "--domain", pico.domain, "--base", pico.base, "-o", out, *more]
    words += ["--inputs", inputs[0], "--task-inputs", inputs[1]] if inputs else []
    assert cli.main([str(word) for word in words]) == 0
    return (Path(out) / WEIGHTS).read_bytes(), json.loads((Path(out) / "recipe.json").read_text())


def test_poisoned_answer_keys_change_nothing(pico, files, tmp_path, capsys):
    """Nothing in the method or in auto reads an answer: right ones, wrong ones and rubbish give the very same bytes."""
    right = run(pico, files(lambda i: i % 2, "a"), tmp_path / "a")
    wrong = run(pico, files(lambda i: 1 - i % 2, "b"), tmp_path / "b")
    rubbish = run(pico, files(lambda i: {"answer": [None, "poison"]}, "c"), tmp_path / "c")
    assert right[0] == wrong[0] == rubbish[0]
    assert right[1]["auto"]["candidates"] == rubbish[1]["auto"]["candidates"]
    assert "Auto chose" in capsys.readouterr().err


def test_a_recipe_that_auto_made_is_repeated_without_the_base(pico, files, tmp_path, found, kinds):
    inputs = files(lambda i: 0, "a")
    first, recipe = run(pico, inputs, tmp_path / "a")
    assert recipe["auto"]["chosen"] == found.chosen and recipe["recipe"] == found.recipe.to_dict()
    readings = recipe["inputs"]["readings_about"]
    assert recipe["auto"]["inputs_sha256"] == {"domain": readings["inputs"], "task": readings["task_inputs"]}

    where = ("--task", pico.task, "--domain", pico.domain)
    probed = ("probe", *where, "--base", pico.base, "--inputs", inputs[0], "--task-inputs", inputs[1])
    assert cli.main([str(word) for word in (*probed, "-o", tmp_path / "readings.json")]) == 0
    again = ("merge", *where, "--readings", tmp_path / "readings.json", "--recipe", tmp_path / "a" / "recipe.json")
    assert cli.main([str(word) for word in (*again, "-o", tmp_path / "again")]) == 0
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == first
    assert json.loads((tmp_path / "again" / "recipe.json").read_text())["auto"] == recipe["auto"]


def test_auto_is_off_when_asked_and_when_a_hand_set_the_separation(pico, files, tmp_path):
    inputs = files(lambda i: 0, "a")
    for i, more in enumerate((("--no-auto",), ("--ridge", "7"), ("--method", "gates"))):
        assert "auto" not in run(pico, inputs, tmp_path / str(i), *more)[1]


def test_a_session_takes_what_auto_chose_and_can_undo_it(pico, kinds, found, tmp_path):
    session = Session()
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    with pytest.raises(InputError, match="domain inputs and task inputs"):
        session.calibrate()
    before = session.recipe
    assert session.calibrate(*kinds).chosen == found.chosen == session.calibration.chosen
    assert session.recipe == found.recipe and session.view.called == "tada"
    session.export(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["auto"]["chosen"] == found.chosen
    if session.recipe != before:
        session.undo()
        assert session.recipe == before


def test_inputs_of_another_form_than_a_parent_was_trained_on_are_doubted():
    """Of candidates that are all far from a parent chance chooses: the samples' domain inputs were in the task's form once."""
    near, far = ({"name": "sum", "domain": kl, "task": 0.3} for kl in (0.2, 7.1))
    auto = {"chosen": "sum", "candidates": [near, far], "seconds": 1}
    assert "trained on" not in report.calibration_sentence(auto)
    says = report.calibration_sentence({**auto, "candidates": [far, far]})
    assert "none of them is like the domain adapter on domain inputs" in says and "task adapter" not in says
