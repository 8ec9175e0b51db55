"""The method lab's bookkeeping: pairs are made of other things than they are asked for, and tables say what is so, no more."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def lab():
    """Its modules, imported as its command does."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import lab_pairs
        import lab_report
        import lab_words

        yield {"pairs": lab_pairs, "report": lab_report, "words": lab_words}
    finally:
        sys.path.remove(str(BENCHMARKS))


def side(right, gold=None, free=None):
    return {
        "n": len(right),
        "right": right,
        "nll": 1.0,
        "gold": gold or [-1.0] * len(right),
        **({"free": free} if free else {}),
    }


def result(domain, task, **more):
    return {"domain": side(domain), "task": side(task), "auto": {"chosen": "o1:k1"}, **more}


@pytest.fixture
def results():
    """Two of three pairs: 3 won and 1 lost, .5 and .25 points of S ahead by hand; gates on the first alone."""
    return {
        "one": {"tada": result("1111", "1100"), "sum": result("1100", "1010"), "gates": result("1111", "1111")},
        "two": {"tada": result("1100", "1000"), "sum": result("1000", "1000")},
    }


def test_what_is_counted_is_what_a_hand_counts(lab, results):
    report = lab["report"]
    test = report.split(results["one"]["tada"], results["one"]["sum"])
    assert tuple(test) == (3, 1) and test.p == pytest.approx(10 / 16)  # 2 (C(4,0) + C(4,1)) / 2^4
    assert report.mean(results["one"]["tada"]) == pytest.approx((1 + 0.5) / 2)
    assert report.sign_flips([0.25, 0.125]) == pytest.approx(0.5)  # of four signs, all alike twice
    assert report.sign_flips([0.2, -0.2]) == 1.0
    won, on = report._pooled(results, "tada", "sum")
    assert tuple(won) == (4, 1) and on == ["one", "two"]


def test_a_smaller_loss_is_a_likelier_answer(lab):
    surer, less = {"task": side("11", [0.1, 0.3])}, {"task": side("11", [0.4, 0.5])}
    assert lab["report"].gold(surer, less)[0] == pytest.approx(0.25)
    assert lab["report"].gold(less, surer)[0] == pytest.approx(-0.25)
    for variants in lab["report"].read(BENCHMARKS / "method_lab").values():  # what is kept by item is the loss itself
        for one in lab["report"].sides(variants["sum"]).values():
            assert sum(one["gold"]) / len(one["gold"]) == pytest.approx(one["nll"], abs=1e-3)


def test_points_come_with_an_interval_over_the_items_of_each_side(lab):
    better, worse = {"a": side("1" * 100), "b": side("01" * 50)}, {"a": side("01" * 50), "b": side("01" * 50)}
    share, low, high = map(float, re.findall(r"[+-][\d.]+", lab["report"].points(better, worse)))
    error = (
        100 * (0.5 * 0.5 / 100) ** 0.5 / 2
    )  # of the mean of one side's hundred coins, halved by the side without any
    assert (
        share == 25
        and low == pytest.approx(25 - 1.96 * error, abs=0.6)
        and high == pytest.approx(25 + 1.96 * error, abs=0.6)
    )
    assert (
        lab["report"].points(worse, better).startswith("-25.0")
        and lab["report"].points(worse, worse) == "+0.0 [+0.0, +0.0]"
    )


def test_what_is_missing_is_named_and_nothing_is_claimed_of_it(lab, results):
    report, pairs = lab["report"], [lab["pairs"].LabPair(name, "x", 1, 1, (8, 8)) for name in ("one", "two", "three")]
    said = report.primary(results, pairs)
    assert said.startswith("**Interim, no claim is made from it** (2 of 3 pairs)") and "4 items won and 1 lost" in said
    assert "Not run yet: three." in said and "Free answers" not in said
    assert report.primary({}, pairs) == "Not run yet."
    assert report.primary(results, pairs[:2]).startswith("**Primary outcome** (2 of 2 pairs)")
    rows = {line.split("|")[1].strip(): line for line in report.by_pair(results, pairs).splitlines()}
    assert "not run yet" in rows["three"] and rows["two"].count("not run yet") == 6 and "3-1" in rows["one"]
    rivals = report.pooled(results, ("sum", "tada", "gates", "ties")).splitlines()
    assert "| gates | 1 | 0-2 |" in rivals[2] and "-25.0" in rivals[2] and "| ties | 0 | not run yet" in rivals[3]
    assert "behind in 1: one against gates (-25.0 points" in report.on_each(results)


def test_free_answers_count_where_models_write(lab, results):
    pairs = [lab["pairs"].LabPair("one", "x", 1, 1, (8, 8))]
    for name, free in (("tada", "11"), ("sum", "01")):
        results["one"][name]["domain"] = side("11", free=free)
        results["one"][name]["task"] = side("11", free="11")
    assert "Free answers (1 pairs): 1 won, 0 lost" in lab["report"].primary({"one": results["one"]}, pairs)


def test_the_plan_lists_at_least_fourteen_fresh_pairs_of_three_real_bases(lab):
    pairs, page = lab["pairs"].PAIRS, (BENCHMARKS.parent / "docs" / "method-lab.md").read_text(encoding="utf-8")
    assert len(pairs) >= 14 and len({pair.name for pair in pairs}) == len({(p.family, p.seed) for p in pairs}) == len(
        pairs
    )
    assert not {7, 8, 9, 207, 307, 407} & {pair.seed for pair in pairs}  # chosen on
    assert {"minilm", "dino-glyphs", "smollm2", "gemma"} <= {pair.family for pair in pairs} <= set(lab["pairs"].MAKERS)
    assert all(f"| {pair.name} | {pair.family} |" in page for pair in pairs)
    assert all((BENCHMARKS / f"{maker}.py").is_file() for maker in lab["pairs"].MAKERS.values())


def test_no_word_of_a_test_sentence_is_trained_on(lab):
    words = lab["words"]
    topics = [*words.BASE, *words.TASK]
    assert {len(found.split()) for found in {**words.BASE, **words.TASK}.values()} == {36}
    every = [
        word for topic in topics for part in ("training", "validation", "test") for word in words.words(topic, part)
    ]
    assert len(every) == len(set(every)) == 36 * len(topics)
    test = words.sentences(list(words.TASK), "test", 3, 41)
    assert len(test) == 6 * 12 * 3 and test == words.sentences(list(words.TASK), "test", 3, 41)


def test_styles_alter_every_sentence_and_its_length_hardly(lab):
    words = lab["words"]
    plain = words.sentences(list(words.TASK), "test", 3, 42)
    assert all(one.text[0].isupper() for one in plain)
    for style in ("noise", "dialect"):
        altered = words.sentences(list(words.TASK), "test", 3, 42, style)
        assert len(altered) == len(plain) and not {one.text for one in altered} & {one.text for one in plain}
        assert 0.8 < sum(len(one.text) for one in altered) / sum(len(one.text) for one in plain) < 1.6


@pytest.mark.parametrize(
    ("name", "ending", "digest"),
    [
        ("sl61", "", "ddcdbc06"),
        ("sl62", "_towns", "68072ceb"),
        ("gm71", "_birds", "72b6bfcf"),
        ("gm72", "_towns", "b989545a"),
    ],
)
def test_language_pairs_keep_the_domain_inputs_that_the_plan_was_written_with(
    lab, name, ending, digest, tmp_path, monkeypatch
):
    """Letter questions, and the very ones: samples have others since, a committed plan has not. Nothing is trained here."""
    import lab_language

    monkeypatch.setattr(lab_language.language, "_teach", lambda *_: None)
    monkeypatch.setattr(lab_language.language, "open_frozen", lambda *_: None)
    monkeypatch.setattr(lab_language, "gemma", lambda bases: bases)
    pair = next(one for one in lab["pairs"].PAIRS if one.name == name)
    lab_language.make(pair, tmp_path, tmp_path)
    probe = (tmp_path / f"probe{ending}.jsonl").read_bytes()
    assert hashlib.sha256(probe).hexdigest()[:8] == digest and probe.count(b"Answer:") == 32


@pytest.mark.nightly  # ten seconds for a script
def test_the_cost_of_the_separation_is_told_by_its_script():
    command = [sys.executable, "-W", "ignore", "separation_cost.py", "--dry", "--repeats", "1"]
    found = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True)
    assert found.returncode == 0 and "| 224 | 32 |" in found.stdout, found.stderr[-2000:]
