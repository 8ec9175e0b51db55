"""lm-evaluation-harness on our variants: the same numbers as our own scorer, item by item; nothing fetched, nothing left behind."""

import json
import socket

import pytest
import torch

from tada_studio import cli, pipeline
from tada_studio.errors import InputError, Stopped
from tada_studio.evaluation import Item, harness, read_items
from tada_studio.evaluation.harness import as_task, read_task, run

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # what the harness imports is not ours to mend
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")


@pytest.fixture(scope="module")
def base(pico):
    return pipeline.load_base(pico.base, device="cpu")


@pytest.fixture(scope="module")
def task(pico):
    return pipeline.read_adapter(pico.task)


@pytest.fixture(scope="module")
def items(pico):
    """30 items whose choices differ in length, some of several tokens."""
    found = read_items(pico.items)[:30]
    return [Item(i.question, (i.choices[0], f"{i.choices[1]} rock", *i.choices[2:]), i.answer) for i in found]


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"something looked up {args[:1]}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_our_scorer_and_the_harness_agree_item_by_item(base, task, items, offline):
    with base.with_adapter(task):
        theirs = run(base, as_task(items), name="task").score
    ours = pipeline.evaluate(base, {"task": task}, items)["task"]
    torch.testing.assert_close(ours.loglik, theirs.loglik, rtol=0, atol=1e-3)
    assert torch.equal(ours.correct, theirs.correct) and torch.equal(ours.normed, theirs.normed)
    torch.testing.assert_close(ours.gold, theirs.gold, rtol=0, atol=1e-3)
    assert 0 < ours.accuracy < 1 and theirs.n == 30


def test_a_guest_changes_nothing(base, task, items):
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    torch.manual_seed(3)
    dice, side = torch.get_rng_state(), base.tokenizer.padding_side
    with base.with_adapter(task):
        run(base, as_task(items[:4]))
    assert torch.equal(torch.get_rng_state(), dice) and base.tokenizer.padding_side == side
    assert all(torch.equal(before[name], tensor) for name, tensor in base.model.state_dict().items())
    assert "tie_weights" not in vars(base.model) and not any(m._forward_hooks for m in base.model.modules())


def test_its_progress_is_told_and_can_be_stopped(base, items):
    told = []
    run(base, as_task(items[:4]), name="base", progress=told.append)
    assert told[-1].done == told[-1].total == 16 and told[0].note == "base"

    def stop(progress):
        raise Stopped("enough")

    with pytest.raises(Stopped):
        run(base, as_task(items[:4]), progress=stop)
    assert "tie_weights" not in vars(base.model)


TASK = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: colours.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{metric: acc}]
"""


def test_a_task_file_by_command_line_on_a_pair_and_its_merge(pico, tmp_path, offline, capsys):
    (tmp_path / "colours.yaml").write_text(TASK)
    rows = [{"question": "gold is", "choices": ["red", "blue"], "answer": i % 2} for i in range(6)]
    (tmp_path / "colours.jsonl").write_text("\n".join(map(json.dumps, rows)))
    where = ("--task", pico.task, "--domain", pico.domain, "--base", pico.base)
    words = ("evaluate", *where, "--lm-eval", tmp_path / "colours.yaml", "--variants", "base,sum", "--json")
    assert cli.main([*map(str, words)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows if "metrics" in row] == ["base", "sum", "tada"]
    scores = {row["name"]: row for row in rows if "metrics" not in row}
    for row in rows:
        if "metrics" in row:
            assert row["side"] == "colours" and row["metrics"]["acc"] == scores[row["name"]]["accuracy"] == 0.5
    assert all(row["n"] == 6 and "lm-evaluation-harness" in row["note"] for row in scores.values())


def test_a_task_that_writes_is_judged_by_exact_match(base, items):
    wanted = as_task(items[:3], "write") | {
        "output_type": "generate_until", "doc_to_target": "{{choices[answer]}}", "generation_kwargs": {"max_gen_toks": 3},
        "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    del wanted["doc_to_choice"]
    found = run(base, wanted)
    assert found.score.kind == "answer" and found.score.n == 3 and found.score.loglik is None
    assert found.metrics["exact_match"] == found.score.accuracy


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("task: [", "cannot be read as a task file"),
        ("task: x\ndoc_to_text: !function utils.go", "runs functions of its own is refused"),
        ("group: x", "is no task"),
        (TASK, "cannot be read as .jsonl"),
        ("[" * 20_000, "cannot be read as a task file"),
        (
            "task: x\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: " + "y" * 5000,
            "Give one object a line",
        ),
    ],
)
def test_a_wrong_task_file_is_refused_in_words(content, says, tmp_path):
    (tmp_path / "t.yaml").write_text(content)
    with pytest.raises(InputError, match=says):
        read_task(str(tmp_path / "t.yaml"))


def test_a_task_file_whose_data_are_no_files_is_the_harness_own_matter(tmp_path):
    for data in ("dataset_kwargs: [1]", "dataset_kwargs:\n  data_files: [1]", "dataset_kwargs: 5"):
        (tmp_path / "t.yaml").write_text(f"task: x\ndataset_path: json\n{data}\n")
        assert read_task(str(tmp_path / "t.yaml"))["dataset_path"] == "json"


def test_data_that_the_harness_chokes_on_are_one_sentence(base):
    broken = as_task([Item("q", ("a", "b"), 0)]) | {"doc_to_text": "{{nothing.at.all}}"}
    with pytest.raises(InputError, match="items: lm-evaluation-harness could not run it"):
        run(base, broken)


def test_without_the_extra_it_says_how_to_get_it(base, monkeypatch):
    monkeypatch.setattr(harness.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(InputError, match=r"tada-studio\[lm-eval\]"):
        run(base, "arc_easy")
