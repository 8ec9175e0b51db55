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


def test_what_does_not_hold_is_said_and_is_the_exit_code():
    import soak
    from common import verdict

    good = {
        "errors": 0, "mixed": 0, "waited without a word": 0, "stroke median, s": 0.1, "memory before, MB": 600,
        "memory after, MB": 650, "temporary files before, MB": 1.0, "temporary files after, MB": 1.5,
    }  # fmt: skip
    bad = {"errors": 1, "mixed": 1, "waited without a word": 1, "stroke median, s": 0.6, "memory after, MB": 700,
           "temporary files after, MB": 3.0}  # fmt: skip
    assert verdict(soak.goals(good))[1] == 0
    for name, figure in bad.items():
        says, code = verdict(soak.goals({**good, name: figure}))
        assert code == 1 and f"Missed: {name}. Exit code 1." in says
