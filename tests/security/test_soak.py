"""The soak of benchmarks/soak.py, short: a few visitors, a few seconds, everything that must hold."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@pytest.mark.nightly
def test_a_few_visitors_while_one_searches_without_end():
    import soak

    found = soak.soak(visitors=4, seconds=8.0, settles=0.0, pause=1.0)
    assert found["strokes"] >= 4 and found["page loads"] + found["builds"] >= 0
    assert (found["errors"], found["mixed"], found["waited without a word"]) == (0, 0, 0), found


@pytest.mark.parametrize("wrong", ["errors", "mixed", "waited without a word"])
def test_what_does_not_hold_is_said(wrong):
    import soak

    good = {
        "errors": 0, "mixed": 0, "waited without a word": 0, "stroke median, s": 0.1, "memory before, MB": 600,
        "memory after, MB": 650, "temporary files before, MB": 1.0, "temporary files after, MB": 1.5,
    }  # fmt: skip
    assert soak.holds(good) == []
    assert soak.holds({**good, wrong: 1}) == [wrong]
    assert soak.holds({**good, "stroke median, s": 0.6}) == ["stroke median"]
    assert soak.holds({**good, "memory after, MB": 700, "temporary files after, MB": 3.0}) == [
        "memory",
        "temporary files",
    ]
