"""The same recipe gives the same bytes on every supported Python and torch: digests recorded once, compared everywhere.

Found equal on Python 3.10 with torch 2.8.0, and on Python 3.11 and 3.13 with torch 2.13.0, with one thread and with two;
`.ci/versions` asks again. Whoever changes a method's numbers on purpose records them anew, `python tests/test_same_bytes.py`, and
says so in the changelog.
"""

import json
from pathlib import Path

import pytest
import torch

import tada_studio as tada
from tada_studio.core.methods import METHODS
from tada_studio.probing import Readings

FILE = Path(__file__).parent / "merge_digests.json"
#: Method -> start of the digest of its merge of minerals-tiny, all other knobs at their defaults.
DIGESTS = json.loads(FILE.read_text(encoding="utf-8"))


def opened():
    found = tada.samples()["minerals-tiny"]
    return tada.read_pair(found.task, found.domain), Readings.load(found.readings)


def digest(sample, method):
    return tada.merge(*sample, tada.Recipe(method=method)).digest[:16]


@pytest.fixture(scope="module")
def sample():
    return opened()


def test_every_method_is_recorded():
    assert set(DIGESTS) == set(METHODS), "record them: python tests/test_same_bytes.py"


@pytest.mark.parametrize("method", DIGESTS)
def test_the_bytes_of_a_merge_are_those_recorded(sample, method):
    assert digest(sample, method) == DIGESTS[method]


def test_the_number_of_threads_changes_no_byte(sample):
    before, found = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.add(digest(sample, "tada"))
    finally:
        torch.set_num_threads(before)
    assert found == {DIGESTS["tada"]}


if __name__ == "__main__":
    pair = opened()
    FILE.write_text(
        json.dumps({name: digest(pair, name) for name in sorted(METHODS)}, indent=1) + "\n", encoding="utf-8"
    )
