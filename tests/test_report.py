"""What the words claim, and what they must not."""

import torch

from tada_studio import report
from tada_studio.core.gates import Depth
from tada_studio.core.sizes import Norms, ThreeWay, ranks
from tada_studio.core.stats import Interval
from tada_studio.evaluate import Score


def depth(rho, interval):
    flat = torch.full((3,), 0.5, dtype=torch.float64)
    return Depth(rho, interval, {}, (0.4, 0.5, 0.6), flat, flat, flat)


def test_the_trend_is_only_what_its_interval_says():
    assert "rises with depth" in report.depth_sentence(depth(0.4, Interval(0.1, 0.6)), True)
    assert "no clear trend" in report.depth_sentence(depth(0.4, Interval(-0.1, 0.6)), True)
    assert "falls with depth" in report.depth_sentence(depth(-0.4, Interval(-0.6, -0.1)), True)


def test_without_an_interval_none_is_invented():
    said = report.depth_sentence(depth(0.9, None), True)
    assert "unknown trend" in said and "95 %" not in said
    assert "No readings yet" in report.depth_sentence(depth(None, None), False)


def test_cells_set_by_hand_are_said_to_be_in_the_trend():
    assert "3 cells are set by hand" in report.depth_sentence(depth(0.4, Interval(0.1, 0.6)), True, edited=3)


def score(name, right):
    correct = torch.tensor([bool(c == "1") for c in right])
    return Score(name, torch.zeros(len(right), 2), correct, 0.5, 0.0, 1.0)


def test_a_comparison_is_paired_over_all_sides_and_says_when_it_cannot_tell():
    # tada wins 12 items and loses 1 against base: exact p = 2 (1 + 13) / 2^13 = .0034, times two (Holm) .0068;
    # against task it wins 1 and loses 1: p = 1
    sides = {
        "domain": {"base": score("base", "0" * 8), "task": score("task", "1" * 8), "tada": score("tada", "1" * 8)},
        "task": {"base": score("base", "000010"), "task": score("task", "111101"), "tada": score("tada", "111100")},
    }
    sides["task"]["task"] = score("task", "111001")
    sides["task"]["tada"] = score("tada", "111100")
    against_base, against_task = report.comparison_sentences(sides)
    assert against_base == "tada against base: better (12 items won, 1 lost; p = 0.0068)."
    assert against_task == "tada against task: cannot tell from 14 items (1 items won, 1 lost; p = 1)."


def test_a_variant_that_is_not_done_on_every_side_is_not_averaged():
    sides = {
        "domain": {"base": score("base", "10"), "task": score("task", "11")},
        "task": {"base": score("base", "11")},
    }
    headers, rows = report.score_table(sides)
    assert headers[-1] == "S" and [row[-1] for row in rows] == ["0.750", ""]
    assert report.comparison_sentences(sides) == []


def test_a_card_takes_nothing_from_a_name_that_markdown_or_html_would_obey():
    assert report._plain("<img src=x>`|[a](b)\n\x00") == "img src=xa(b)"


def test_a_variant_that_loses_is_called_worse():
    sides = {"task": {"base": score("base", "1" * 10), "tada": score("tada", "0" * 10)}}
    assert report.comparison_sentences(sides) == ["tada against base: worse (0 items won, 10 lost; p = 0.002)."]


def test_a_share_that_is_there_is_not_called_nothing():
    assert [report.percent(share) for share in (0.0, 0.0004, 0.001, 0.5)] == ["0.0%", "less than 0.1%", "0.1%", "50.0%"]


def norms_of(task, domain, after=None):
    none = torch.zeros(1, 2, dtype=torch.float64)
    return Norms((0,), none, none, (task, domain), after or (task, domain))


def test_norms_that_differ_several_fold_are_pointed_out_and_balance_is_told():
    assert "domain adapter is 4.0 times as large" in report.norms_sentence(norms_of(1.0, 4.0), 0.0)
    assert "several-fold" in report.norms_sentence(norms_of(1.0, 4.0), 0.0)
    assert "several-fold" not in report.norms_sentence(norms_of(2.0, 1.0), 0.0)
    assert "Balance 0.5 makes that 2.0" in report.norms_sentence(norms_of(1.0, 4.0, (1.4, 2.8)), 0.5)
    assert "about equally large" in report.norms_sentence(norms_of(1.0, 1.01), 0.0)
    assert report.norms_sentence(norms_of(0.0, 1.0), 0.0) == "Only the domain adapter changes anything."


def test_rank_advice_names_the_smallest_that_is_enough_and_the_next_that_servers_take():
    found = ranks(torch.tensor([[10.0, 1.0, 1.0, 0.5], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64))
    said = report.rank_advice(found, 1, (2, 4), ["layer 0 q_proj", "layer 1 q_proj"])
    # 101 of 103.25 at rank 1, 102 (98.8 %) at 2, 103 at 3
    assert "Rank 1 keeps 97.82%" in said and "layer 0 q_proj loses most and keeps 97.8%" in said
    assert "keeps 99% is 3, and the next that servers accept is 4" in said
    assert "more than servers" in report.rank_advice(found, 1, (2,), ["a", "b"])


def test_three_ways_in_words():
    cosines = torch.tensor([[0.05, 0.2, 0.9], [-0.6, 0.9, 0.1], [torch.nan, torch.nan, 1.0]], dtype=torch.float64)
    found = ThreeWay(torch.ones(3, 3, dtype=torch.float64), cosines)
    said = report.three_way_sentence(found, ["q", "k", "v"])
    assert said == (
        "The merge is nearer to the domain's update in 2 of 3 projections. "
        "Task and domain point apart: their largest cosine is -0.600, at k."
    )
    assert "No projection here" in report.three_way_sentence(ThreeWay(found.norms[2:], cosines[2:]), ["v"])
