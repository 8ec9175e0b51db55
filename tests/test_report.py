"""What the words claim, and what they must not."""

import torch

from tada_studio import report
from tada_studio.core.gates import Depth
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
