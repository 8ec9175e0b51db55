"""What the words claim, and what they must not."""

import math
from dataclasses import replace

import torch

from tada_studio import report
from tada_studio.core.gates import Depth, Gates
from tada_studio.core.sizes import Norms, ThreeWay, ranks
from tada_studio.core.stats import Interval
from tada_studio.evaluation import Rates, Score, flipped


def depth(rho, interval, thirds=(0.4, 0.5, 0.6), by_chance=0.001):
    flat = torch.full((3,), 0.5, dtype=torch.float64)
    return Depth(rho, interval, {}, thirds, flat, flat, flat, by_chance)


def test_the_trend_is_only_what_its_interval_says():
    assert "rises with depth" in report.depth_sentence(depth(0.4, Interval(0.1, 0.6)), True)
    assert "no clear trend" in report.depth_sentence(depth(0.4, Interval(-0.1, 0.6)), True)
    assert "falls with depth" in report.depth_sentence(depth(-0.4, Interval(-0.6, -0.1)), True)
    assert "the domain's share falls with depth" in report.compared_depth_sentences(
        "x", {"": depth(-0.4, Interval(-0.6, -0.1))}
    )


def test_a_trend_that_shuffled_layers_show_too_is_none_and_a_small_one_is_flat():
    unsure = report.depth_sentence(depth(0.4, Interval(0.3, 0.5), by_chance=0.2), True)
    assert "no clear trend" in unsure and "20%" in unsure
    for flat in (depth(0.1, Interval(0.05, 0.19)), depth(0.9, Interval(0.8, 0.95), thirds=(0.495, 0.5, 0.51))):
        assert "is flat over depth" in report.depth_sentence(flat, True)


def test_the_layers_that_lean_are_named():
    def said(*means):
        values = torch.tensor([[mean, mean, torch.nan] for mean in means], dtype=torch.float64)
        plain = torch.zeros_like(values, dtype=torch.bool)
        return report.lean_sentence(
            Gates(
                tuple(range(2, 2 + len(means))),
                ("q", "k", "v"),
                values,
                values,
                values.expand(2, -1, -1),
                values,
                plain,
                plain,
            )
        )

    assert said(0.1, 0.44, 0.5, 0.2, 0.56, 0.9, 0.8) == "Layers 6-8 lean to domain, layers 2-3, 5 to task."
    assert said(0.5, 0.6) == "Layer 3 leans to domain."
    assert said(0.4, 0.5) == "Layer 2 leans to task, none to domain."
    assert said(0.46, 0.54) == ""


def test_without_an_interval_none_is_invented():
    said = report.depth_sentence(depth(0.9, None), True)
    assert "unknown trend" in said and "95 %" not in said
    assert "No readings yet" in report.depth_sentence(depth(None, None), False)


def test_cells_set_by_hand_are_said_to_be_in_the_trend():
    assert "1 cell set by hand counts as it is." in report.depth_sentence(depth(0.4, None), True, 1)
    assert "3 cells set by hand count as they are" in report.depth_sentence(
        depth(0.4, Interval(0.1, 0.6)), True, edited=3
    )


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
    assert against_base == (
        "tada against base: better with 14 items (12 won, 1 lost, p = 0.0068). domain: 8 won, 0 lost; task: 4 won, 1 lost."
    )
    assert against_task == (
        "tada against task: cannot tell with 14 items (1 won, 1 lost, p = 1). domain: 0 won, 0 lost; task: 1 won, 1 lost."
    )


def test_where_it_cannot_tell_it_says_about_how_many_items_would():
    # 3 won, 1 lost of 40: d = .1, e = .05: (1.95996 sqrt .1 + .84162 sqrt .0975)^2 / .05^2 = 311.6
    sides = {"task": {"sum": score("sum", "0001" + "1" * 36), "tada": score("tada", "1110" + "1" * 36)}}
    (said,) = report.comparison_sentences(sides)
    assert said.startswith(
        "tada against sum: cannot tell with 40 items; about 312 would be needed (3 won, 1 lost, p = 0.62)."
    )


def test_right_answers_that_became_likelier_are_told_beside_the_items():
    gold = torch.tensor([1.0, 2.0, 0.5, 1.5] * 5)
    scores = {
        name: replace(score(name, "1" * 20), gold=gold + shift) for name, shift in (("sum", 0.0), ("tada", -0.25))
    }
    (said,) = report.comparison_sentences({"task": scores})
    assert said.endswith("task: 0 won, 0 lost, log-likelihood +0.250 (+0.250 to +0.250).")


def test_texts_are_compared_by_likelihood_alone_and_shown_as_perplexity():
    draw = torch.Generator().manual_seed(0)
    base = torch.rand(50, generator=draw) + 2
    gold = {"base": base, "tada": base - 0.5 + 0.1 * torch.randn(50, generator=draw), "same": base}
    scores = {
        name: Score(name, None, None, float(nats.mean()), None, None, gold=nats, kind="text")
        for name, nats in gold.items()
    }
    headers, rows = report.score_table({"domain": scores})
    assert headers == ["variant", "domain perplexity", "domain NLL"]
    assert rows[0] == ["base", f"{math.exp(float(base.mean())):.2f}", f"{float(base.mean()):.3f}"]
    better, _ = report.comparison_sentences({"domain": {name: scores[name] for name in ("base", "same", "tada")}})
    assert better.startswith("tada against base: better with 50 items (log-likelihood +0.49") and "p = 0.00" in better
    (told,) = report.comparison_sentences({"domain": {name: scores[name] for name in ("base", "same")}})
    assert told.startswith("same against base: cannot tell with 50 items (log-likelihood +0.000, p = 1).")


def test_blind_rates_stand_under_the_accuracies_and_per_character_where_it_differs():
    rates = Rates(0.25, 0.5, None)
    plain = replace(score("base", "10"), rates=rates)
    normed = replace(plain, normed=torch.tensor([True, True]))
    headers, rows = report.score_table({"domain": {"base": plain}, "task": {"base": normed}})
    assert headers == [
        "variant", "domain accuracy (95 %)", "domain NLL", "task accuracy (95 %)", "task per character", "task NLL",
        "mean accuracy",
    ]  # fmt: skip
    blind = ["blind: chance / commonest / longest", "0.250 / 0.500 / -", "", "0.250 / 0.500 / -", "", "", ""]
    assert rows[-1] == blind and rows[0][4] == "1.000"


def test_a_variant_that_is_not_done_on_every_side_is_not_averaged():
    sides = {
        "domain": {"base": score("base", "10"), "task": score("task", "11")},
        "task": {"base": score("base", "11")},
    }
    headers, rows = report.score_table(sides)
    assert headers[-1] == "mean accuracy" and [row[-1] for row in rows] == ["0.750", ""]
    assert report.comparison_sentences(sides) == []


def test_a_card_takes_nothing_from_a_name_that_markdown_or_html_would_obey():
    assert report._plain("<img src=x>`|[a](b)\n\x00") == "img src=xa(b)"


def test_a_variant_that_loses_is_called_worse():
    sides = {"task": {"base": score("base", "1" * 10), "tada": score("tada", "0" * 10)}}
    assert report.comparison_sentences(sides) == [
        "tada against base: worse with 10 items (0 won, 10 lost, p = 0.002). task: 0 won, 10 lost."
    ]


def test_a_share_that_is_there_is_not_called_nothing():
    assert [report.percent(share) for share in (0.0, 0.0004, 0.001, 0.5)] == ["0.0%", "less than 0.1%", "0.1%", "50.0%"]


def norms_of(task, domain, after=None):
    none = torch.zeros(1, 2, dtype=torch.float64)
    return Norms((0,), none, none, (task, domain), after or (task, domain), ("",))


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


def test_what_flipped_is_listed_by_item_on_every_side():
    sides = {
        "domain": {"sum": score("sum", "1100"), "tada": score("tada", "1011")},
        "text": {
            name: Score(name, None, None, 1.0, None, None, gold=torch.ones(2), kind="text") for name in ("sum", "tada")
        },
    }
    assert flipped(sides, "sum", "tada") == {"domain": ((1,), (2, 3))}
    assert flipped(sides, "tada", "sum")["domain"].lost == (2, 3)
    assert flipped(sides, "sum", "nobody") == {}
