"""Runs in words, flips by hand, and what is taken home as CSV."""

import csv
import io
import json

import pytest
import torch

from tada_studio import report
from tada_studio.base_model.images import ImageFile
from tada_studio.errors import InputError
from tada_studio.evaluation import Item, LabelItem, Score, read_items
from tada_studio.evaluation.runs import Run, cells
from tada_studio.evaluation.shown import Shown, shown
from tada_studio.recipe import Recipe
from tada_studio.session import Session

ITEMS = (Shown("rock?", "a", ("a", "b")), Shown("ore?", "b", ("a", "b")), Shown("=1+1", "a", ("a", "b")))


def score(name, loglik, right):
    loglik = torch.tensor(loglik)
    correct = loglik.argmax(1) == torch.tensor(right)
    return Score(name, loglik, correct, 1.0, 0.1, 0.9)


@pytest.fixture
def sides():
    before = score("task", [[-1.0, -2.0], [-1.0, -3.0], [-1.0, -4.0]], [0, 1, 0])  # right, wrong, right
    after = score("tada", [[-3.0, -2.5], [-2.0, -0.5], [-1.0, -4.0]], [0, 1, 0])  # wrong, right, right
    return {"domain": {"task": before, "tada": after}}


def test_flips_carry_choices_scores_and_margins(sides):
    lost, won = report.flips(sides, {"domain": ITEMS}, "task", "tada")
    assert (lost.item, lost.won, lost.shown.prompt, lost.replies) == (0, False, "rock?", ("a", "b"))
    assert (won.item, won.won, won.replies) == (1, True, ("a", "b"))
    assert (won.before, won.after) == ((-1.0, -3.0), (-2.0, -0.5))
    assert (lost.margin_before, lost.margin_after) == (1.0, -0.5) and (won.margin_before, won.margin_after) == (
        -2.0,
        1.5,
    )
    back = report.flips(sides, {"domain": ITEMS}, "tada", "task")
    assert [flip.won for flip in back] == [True, False]


def test_flips_are_filtered_by_side_direction_and_words(sides):
    found = report.flips({**sides, "task": sides["domain"]}, {"domain": ITEMS, "task": ITEMS}, "task", "tada")
    assert len(found) == 4
    assert {flip.side for flip in report.chosen_flips(found, "task", "", "")} == {"task"}
    assert all(flip.won for flip in report.chosen_flips(found, "", "won", ""))
    assert [flip.item for flip in report.chosen_flips(found, "domain", "", "  ROCK ")] == [0]
    assert report.chosen_flips(found, "", "", "granite") == []


def test_flips_without_choices_say_what_was_answered():
    before = Score("a", None, torch.tensor([True]), None, 0.0, 1.0, replies=("iron",), kind="answer")
    after = Score("b", None, torch.tensor([False]), None, 0.0, 1.0, replies=("gold",), kind="answer")
    [flip] = report.flips({"domain": {"a": before, "b": after}}, {}, "a", "b")
    assert flip.replies == ("iron", "gold") and flip.before == () and flip.margin_after is None
    assert flip.shown.prompt == "item 1"


def test_flips_go_home_as_lines_and_as_a_table(sides):
    found = report.flips(sides, {"domain": ITEMS}, "task", "tada")
    lines = [json.loads(line) for line in report.flips_jsonl(found).splitlines()]
    assert lines[0]["loglik_after"] == [-3.0, -2.5] and lines[1]["direction"] == "won"
    [lost, won] = csv.DictReader(io.StringIO(report.flips_csv(found)))
    assert lost["prompt"] == "rock?" and json.loads(won["choices"]) == ["a", "b"]


def test_a_spreadsheet_takes_no_text_for_a_formula(sides):
    evil = {"domain": tuple(item._replace(prompt="=HYPERLINK(1)") for item in ITEMS)}
    table = report.flips_csv(report.flips(sides, evil, "task", "tada"))
    assert "'=HYPERLINK" in table and ",=HYPERLINK" not in table


def test_two_sides_are_told_apart(sides):
    [gain] = report.two_sides(sides, "tada")
    assert gain.figure == "+0.0 points" and gain.name.startswith("domain gain, against task alone; 95 %: -")
    both = report.two_sides({**sides, "task": sides["domain"]}, "tada")
    assert [change.name.partition(",")[0] for change in both] == ["domain gain", "task retention"]
    [gain] = report.two_sides({"both": sides["domain"]}, "tada")
    assert gain.name.startswith("gain on both, ") and "95 %" in gain.name
    same = {"task": sides["domain"]["task"], "tada": sides["domain"]["task"]}
    assert report.two_sides({"task": same}, "tada")[0].name == "task retention, against task alone; no item differs"
    assert report.two_sides(sides, "svd") == [] and report.two_sides(sides, "task") == []


def test_recipes_are_told_by_what_they_change():
    assert report.recipe_words(Recipe()) == "all knobs as they start"
    told = report.recipe_words(Recipe(strength=1.5, overrides=("* : 1",), rank=4))
    assert "strength 1.5" in told and "1 gate lines" in told and "rank 4" in told
    assert report.recipe_words(Recipe(strength=0.5), Recipe(strength=0.5, rank=3)) == "rank automatic"


def test_runs_are_compared_on_the_same_items_only(sides):
    first, second = ("run 1", sides, "task"), ("run 2", sides, "tada")
    [sentence] = report.compared_runs(first, second, ["domain"])
    assert sentence.startswith("run 2 (tada) against run 1 (task): cannot tell")
    assert report.compared_runs(first, second, []) == []


def test_the_csv_of_runs_has_a_row_for_each_score(sides):
    runs = [Run(1, Recipe(), None, 3, sides=sides, finished=True), Run(2, Recipe(strength=0.5), None, 3, sides=sides)]
    table = list(csv.DictReader(io.StringIO(report.runs_csv(runs))))
    assert [(row["run"], row["variant"]) for row in table] == [
        ("1", "task"),
        ("1", "tada"),
        ("2", "task"),
        ("2", "tada"),
    ]
    assert float(table[0]["accuracy"]) == pytest.approx(2 / 3) and json.loads(table[2]["recipe"])["strength"] == 0.5


def test_items_of_every_kind_are_shown(tmp_path):
    assert shown(Item("q", ("a", "b"), 1)) == Shown("q", "b", ("a", "b"))
    assert shown(LabelItem("a text", "good")) == Shown("a text", "good")
    picture = LabelItem(ImageFile("0" * 64, tmp_path / "cat.png"), "cat")
    assert shown(picture) == Shown("cat.png", "cat", image=str(tmp_path / "cat.png"))


def test_a_gate_map_becomes_plain_numbers():
    assert cells(torch.tensor([[0.5, torch.nan]], dtype=torch.float64)) == ((0.5, None),)


def test_earlier_runs_and_exported_adapters_stand_in_line(pico):
    session = Session()
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    items = {"domain": read_items(pico.items)}
    first = session.evaluate(items, ["tada"], 12)
    session.turn(strength=0.5)
    second = session.evaluate(items, ["run 1", "tada"], 12, folders={"a copy of the task": str(pico.task)})
    assert list(second.sides["domain"]) == ["run 1", "tada", "a copy of the task"]
    was, again = first.sides["domain"]["tada"], second.sides["domain"]["run 1"]
    assert torch.equal(was.loglik, again.loglik) and not torch.equal(was.loglik, second.sides["domain"]["tada"].loglik)
    with pytest.raises(InputError, match="validation items"):
        session.evaluate(items, ["ties tuned"], 12)
    with pytest.raises(InputError, match="no such variant"):
        session.evaluate(items, ["run 9"], 12)
    session.close()
