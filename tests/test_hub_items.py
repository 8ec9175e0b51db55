"""Items of a data set on the Hub: one file by its id, here from a stand-in on this machine; every refusal is one sentence."""

import json

import pytest
from fake_data_sets import COMMIT, NAME, data_sets

from tada_studio import cli
from tada_studio.errors import InputError
from tada_studio.evaluation import hub_items, read_items
from tada_studio.evaluation.hub_items import at_hand, fetch_items

LINE = json.dumps({"question": "What rusts?", "choices": ["iron", "gold"], "answer": 0})
FILES = {
    "README.md": b"# quiz", "data/train.jsonl": f"{LINE}\n{LINE}\n".encode(), "data/test.jsonl": f"{LINE}\n".encode(),
    "latest.csv": b"question,A,B,answer\nWhat shines?,iron,gold,B\n",
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with data_sets(monkeypatch, tmp_path / "cache", dict(FILES)) as found:
        yield found


def test_the_test_split_is_meant_unless_a_file_is_named(hub, tmp_path):
    found = fetch_items(NAME, tmp_path / "here")
    assert found == tmp_path / "here" / "data" / "test.jsonl" and len(read_items(found)) == 1
    assert len(read_items(fetch_items(f"{NAME}:train.jsonl", tmp_path / "here"))) == 2
    assert read_items(fetch_items(f"{NAME}@v2:latest.csv", tmp_path / "here"))[0].answer == 1
    assert [path for path in hub.asked if "README" in path] == [], "what is not meant is not fetched"
    assert f"/datasets/{NAME}/resolve/{COMMIT}/latest.csv" in hub.asked, "of the very commit that was looked at"


def test_what_cannot_be_meant_names_what_there_is(hub, monkeypatch):
    with pytest.raises(
        InputError, match=r"no file dev\.jsonl; it holds data/test\.jsonl, .*Name one of them: someone/quiz:data/"
    ):
        fetch_items(f"{NAME}:dev.jsonl")
    del hub.files["data/test.jsonl"]
    with pytest.raises(InputError, match=r"it holds data/train\.jsonl, latest\.csv\. Name one of them"):
        fetch_items(NAME)  # "latest" is no test split
    del hub.files["data/train.jsonl"]
    monkeypatch.setattr(hub_items, "MOST", 10)
    with pytest.raises(InputError, match=r"latest\.csv has 0 MB; 0 are the most"):
        fetch_items(NAME)
    del hub.files["latest.csv"]
    with pytest.raises(InputError, match=r"holds no file of items \(\.jsonl, \.csv"):
        fetch_items(NAME)
    with pytest.raises(InputError, match="is no data set's id"):
        fetch_items("../etc/passwd")


def test_offline_and_unknown_are_one_sentence_each(hub, monkeypatch):
    with pytest.raises(
        InputError, match=r"nobody/nothing: could not be fetched from the Hub .*or give a file of your own\.$"
    ):
        fetch_items("nobody/nothing")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"could not be fetched from the Hub .*Check the name and the connection"):
        fetch_items(NAME)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="could not be fetched from the Hub"):
        fetch_items(NAME)


def test_a_mistyped_file_asks_nobody_and_an_id_is_taken_by_the_command_line(hub, pico, capsys):
    for file in ("data/items.jsonl", "quiz/items.CSV", "items", str(pico.items)):
        assert at_hand(file) == file
    assert hub.asked == []
    done = cli.main(
        ["evaluate", "--base", str(pico.base), "--items", f"domain={NAME}:train.jsonl", "--json", "--quiet"]
    )
    [row] = json.loads(capsys.readouterr().out)
    assert done == 0 and (row["side"], row["name"], row["n"]) == ("domain", "base", 2)
