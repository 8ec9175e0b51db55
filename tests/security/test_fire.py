"""The scripts under benchmarks/ that a public server must stand, short: damaged files, killed processes, a greedy visitor."""

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


def run(script, *options, seconds=300):
    where = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / script), *options]
    return subprocess.run(command, env=where, capture_output=True, text=True, timeout=seconds)


def test_damaged_files_end_in_an_answer_or_a_sentence():
    import fuzz

    found = fuzz.fuzz(inputs=240, seed=0)
    assert found.wrong == []
    assert sum(found.refused.values()) > 60 and sum(found.taken.values()) > 20, (
        "or nothing was damaged, or nothing read"
    )


def test_a_reader_that_fails_is_told_with_what_makes_it_fail_again(tmp_path):
    import random

    import fuzz
    from fuzz import Counter, Found, Reader

    from tada_studio.errors import InputError

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("{}")

    class Bent(InputError):
        def __str__(self):
            return "\x1b[2J"

    for error, says in ((KeyError("x"), "KeyError"), (Bent(), "the sentence is"), (MemoryError(), "MemoryError")):

        def read(folder, error=error):
            raise error

        found = Found(Counter(), Counter(), [])
        fuzz._one("reader", Reader(tmp_path / "in", ("a",), read), tmp_path / "copy", "3:7", found)
        assert len(found.wrong) == 1 and says in found.wrong[0] and "reader 3:7" in found.wrong[0]
    assert fuzz.damaged(b"abc" * 9, random.Random("x")) == fuzz.damaged(b"abc" * 9, random.Random("x"))


@pytest.mark.nightly
def test_killed_at_random_moments_what_is_offered_is_whole():
    found = run("kill.py", "--merges", "8", "--servers", "2")
    assert found.returncode == 0 and "left after a sweep" in found.stdout, found.stdout + found.stderr[-2000:]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("fuzz.py", ("--inputs", "6000", "--seed", str(datetime.date.today().toordinal()))),
        ("kill.py", ("--merges", "100", "--servers", "20")),
        ("flips.py", ("--flips", "40")),
        ("greedy.py", ("--seconds", "15")),
    ],
)
def test_it_holds_at_length(script, options):
    found = run(script, *options, seconds=1800)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-2000:]
