"""The paired verdict: by hand on small numbers, its errors at their nominal rate, and the same at every door."""

import json

import pytest
import torch

from tada_studio import cli, pipeline, report
from tada_studio.evaluation import Score, choose, read_items
from tada_studio.evaluation.compare import LEVEL, Comparison, compared, word
from tada_studio.evaluation.runs import Run
from tada_studio.lora import Adapter, LoraModule
from tada_studio.recipe import Recipe
from tada_studio.tuning import Judged, Tuning, halves, space


def score(name, right=None, loglik=None):
    """right: 0s and 1s; loglik: of each right answer, in nats."""
    correct = None if right is None else torch.tensor(right, dtype=torch.bool)
    gold = None if loglik is None else -torch.as_tensor(loglik, dtype=torch.float64)
    return Score(name, None, correct, None, None, None, gold=gold)


def sides(**variants):
    """Each variant: a score a side."""
    count = len(next(iter(variants.values())))
    return {f"side {i}": {name: score(name, *scores[i]) for name, scores in variants.items()} for i in range(count)}


def test_counts_and_gain_by_hand_and_a_side_counts_as_a_side():
    # side 0: won item 0, lost item 2, gains 2, 0, 1 -> mean 1; side 1: won, gains 4, 4 -> mean of the sides 2.5
    first = [([1, 1, 0], [-1.0, -1.0, -1.0]), ([1, 1], [-1.0, -1.0])]
    second = [([0, 1, 1], [-3.0, -1.0, -2.0]), ([0, 1], [-5.0, -5.0])]
    [found] = compared(sides(second=second, first=first))
    assert (found.variant, found.against, found.n, found.won, found.lost) == ("first", "second", 5, 2, 1)
    assert found.p_right == 1.0 and found.gain.mean == pytest.approx(2.5) and found.gain.low <= 2.5 <= found.gain.high
    one = found.sides["side 0"]
    assert (one.won, one.lost, one.gain.mean) == (1, 1, pytest.approx(1.0)) and found.sides["side 1"].gain.low == 4.0
    [back] = compared(sides(second=second, first=first), "second")
    assert (back.won, back.lost, back.gain.mean, back.p_gold) == (1, 2, pytest.approx(-2.5), found.p_gold)


def test_what_nobody_knows_is_not_counted_as_a_test():
    # 8 items won, none lost: p = 2 / 2^8, and no second measure to correct for
    [plain] = compared(sides(a=[([0] * 8,)], b=[([1] * 8,)]))
    assert plain.p_right == pytest.approx(2 / 256) and plain.p_gold is None and plain.gain is None
    [texts] = compared(sides(a=[(None, [-1.0])], b=[(None, [-2.0])]))
    assert texts.won is texts.p_right is None and texts.gain == (-1.0, None, None) and texts.word == "cannot tell"
    [nothing] = compared(sides(a=[([1], None)], b=[(None, [-1.0])]))
    assert nothing.word == "cannot tell" and nothing.p_right is nothing.p_gold is None
    assert compared({}) == [] == compared(sides(a=[([1],)])) == compared(sides(a=[([1],)], b=[([1],)]), "nobody")


def test_without_a_difference_five_in_a_hundred_are_called_one():
    dice = torch.Generator().manual_seed(1)
    pairs = [[torch.randn(2, 40, generator=dice, dtype=torch.float64)] for _ in range(300)]
    found = [compared({"s": {"a": score("a", None, one[0]), "b": score("b", None, one[1])}})[0] for [one] in pairs]
    assert 0.02 < sum(one.p_gold < LEVEL for one in found) / 300 < 0.09  # 3 standard errors are .038
    same = [([1, 0], [-1.0, -2.0])]
    [alike] = compared(sides(a=same, b=same))
    assert (alike.p_right, alike.p_gold, alike.gain.mean, alike.needed) == (1.0, 1.0, 0.0, None)


def test_the_interval_holds_the_true_gain_in_95_of_100():
    dice = torch.Generator().manual_seed(4)
    zero = torch.zeros(60, dtype=torch.float64)
    held = 0
    for _ in range(200):
        gains = torch.randn(60, generator=dice, dtype=torch.float64) + 0.3
        [found] = compared({"s": {"a": score("a", None, zero), "b": score("b", None, gains)}})
        held += found.gain.low <= 0.3 <= found.gain.high
    assert 0.89 < held / 200 <= 1.0


def test_the_needed_number_would_show_a_gain_of_that_size():
    # gains of mean .1 and spread 1 on 100 items, at level .05 / 2: ((2.241 + .842) / .1)^2 = 951 items, whatever the sample
    gains = torch.randn(100, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gains = (gains - gains.mean()) / gains.std() + 0.1
    right = [0] * 100
    [found] = compared(sides(a=[(right, torch.zeros(100))], b=[(right, gains)]))
    assert found.word == "cannot tell" and found.needed == pytest.approx(951, rel=0.08)


def test_the_words_need_one_measure_that_says_so_and_none_that_says_the_opposite():
    assert word(4, 0.9, 0.1, 0.001) == "better" == word(4, 0.001, -0.1, 0.9)
    assert word(4, 0.9, -0.1, 0.001) == "worse" == word(-4, 0.001, 0.1, None)
    assert word(4, 0.001, -0.1, 0.001) == "mixed"
    assert word(4, 0.9, 0.1, 0.05) == "cannot tell" == word(0, None, 0.0, None)


def test_all_comparisons_that_are_made_together_are_corrected_together():
    # 7 won, 0 lost: p = 2 / 2^7 = .0156 alone; twice as many tests, twice the p, and no difference is claimed any more
    alone = compared(sides(a=[([0] * 7,)], b=[([1] * 7,)]))
    assert alone[0].p_right == pytest.approx(1 / 64) and alone[0].word == "better"
    four = compared(sides(a=[([0] * 7,)], c=[([0] * 7,)], d=[([1] * 7,)], e=[([1] * 7,)], b=[([1] * 7,)]))
    assert [one.p_right for one in four] == pytest.approx([4 / 64, 4 / 64, 1.0, 1.0])
    assert {one.word for one in four} == {"cannot tell"}


# -- one verdict at every door ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def likelier():
    """Scores on which the two measures disagree: the right answers are much likelier, and hardly an item flips."""
    dice = torch.Generator().manual_seed(3)
    before = -torch.rand(60, generator=dice, dtype=torch.float64) - 1
    gains = 0.3 + 0.2 * torch.randn(60, generator=dice, dtype=torch.float64)
    right = [0, 1] * 30
    flipped = [1, *right[1:]]
    return {
        side: {
            "default": score("default", right[part], before[part]),
            "tuned": score("tuned", flipped[part], (before + gains)[part]),
        }
        for side, part in (("domain", slice(0, 25)), ("task", slice(25, 60)))
    }


def test_the_same_scores_give_one_verdict_at_every_door(likelier):
    [found] = compared(likelier)
    assert found.word == "better" and found.p_right == 1.0 and found.p_gold < 0.01 and found.needed is None
    verdict = (
        f"better with 60 items (1 won, 0 lost, p = 1; log-likelihood {found.gain.mean:+.3f}, p = {found.p_gold:.2g})"
    )
    [evaluate] = report.comparison_sentences(likelier)
    assert evaluate.startswith(f"tuned against default: {verdict}. ")
    card = report.model_card(
        Adapter("a", {"m": LoraModule("m", torch.ones(2, 1), torch.ones(1, 2), 1.0)}), {}, likelier
    )
    assert f"- {evaluate}" in card.splitlines()
    runs = [Run(i, Recipe(), None, 60, sides=likelier) for i in (1, 2)]
    [history] = report.compared_runs(("run 1", runs[0].sides, "default"), ("run 2", runs[1].sides, "tuned"), likelier)
    assert history == evaluate.replace("tuned", "run 2 (tuned)", 1).replace("default", "run 1 (default)", 1)
    judged = Judged(likelier, compared(likelier, "tuned"))
    tuning = Tuning(halves({"domain": [*"abcd"]}), Recipe(), space(2, ()), judged=judged)
    assert report.search_sentences(tuning)[0] == evaluate.replace("60 items", "60 untouched items", 1)
    assert report.tuning_dict(tuning)["verdict"]["default"] == report.comparison_dict(found)


def test_the_command_line_says_what_the_scores_say(pico, capsys):
    where = ["evaluate", "--base", str(pico.base), "--items", f"domain={pico.items}", "--limit", "20"]
    where += ["--adapter", f"mine={pico.task}"]
    assert cli.main([*where, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    base, items = pipeline.load_base(str(pico.base)), choose(read_items(pico.items), 20)
    scores = {"domain": pipeline.evaluate(base, {"base": None, "mine": pipeline.read_adapter(pico.task)}, items)}
    [found] = compared(scores)
    assert [row["compared"] for row in rows] == [json.loads(json.dumps(report.comparison_dict(found))), None]
    assert cli.main(where) == 0
    assert report.comparison_sentences(scores)[0] in capsys.readouterr().out


# -- in one sentence -------------------------------------------------------------------------------------------------


def comparison(against, word, p=0.5, needed=None):
    return Comparison("tada", against, word, 60, 1, 1, p, None, None, needed, {})


def test_a_verdict_names_both_parents_at_once_and_the_largest_p_of_a_group():
    found = [
        comparison("base", "better", 1e-9),
        comparison("task", "better", 0.02),
        comparison("domain", "better", 1e-4),
        comparison("sum", "cannot tell", needed=900),
        comparison("ties", "cannot tell", needed=400),
    ]
    assert report.verdict_words(found) == (
        "Better than both parents and the base, p = 0.02; cannot be told from the sum and ties."
    )
    assert report.verdict_kind(found) == "good"
    assert report.verdict_note(found) == (
        "Paired tests on the same 60 items, corrected for 5 comparisons. About 400 items could tell more."
    )
    likelier = [comparison("task", "better", 1e-5), comparison("sum", "better", 1.0)]
    assert "From the sum it differs in how likely the right answers are" in report.verdict_note(likelier)
    one = [comparison("task", "better", 1e-5), comparison("domain", "worse", 0.01), comparison("sum", "mixed", 0.01)]
    assert report.verdict_words(one) == (
        "Better than the task adapter, p < 0.001; worse than the domain adapter, p = 0.01; "
        "better by one measure and worse by the other than the sum."
    )
    assert report.verdict_kind(one) == "bad" and report.verdict_kind(found[3:]) == "" and report.verdict_words([]) == ""
    assert report.verdict_kind([*found, comparison("svd", "worse", 0.01)]) == "", "better than its parents is not all"
