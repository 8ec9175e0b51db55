"""The paper's two settings on models of a few thousand parameters: the same code, the same settings files."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from pico_vision import LABELS_OF_BASE, by_label, pico_vit, pico_vit_adapter, pictures

PAPER = Path(__file__).parent.parent / "examples" / "paper"
sys.path.insert(0, str(PAPER))

import run as paper  # noqa: E402 - the path above is where it lies
from rows import items_file  # noqa: E402

import tada_studio as tada  # noqa: E402
from tada_studio.evaluation import read_items  # noqa: E402

VARIANTS = ("base", "task", "domain", "average", "sum", "ties", "dare_ties", "tada")


def written(path, **changes):
    """A settings file made from one of the two that are shipped."""
    content = yaml.safe_load((PAPER / changes.pop("like", "llama2_7b.yaml")).read_text())
    path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False))
    return path


def csv(path, items):
    rows = [f"{item.question.replace(',', ' ')},{','.join(item.choices)},{'ABCD'[item.answer]}" for item in items]
    path.write_text("\n".join(["ask,A,B,C,D,right", *rows]))
    return path.name


@pytest.fixture
def language(pico, tmp_path):
    """Two sets: one that tada_studio reads as it is, one as somebody else's table."""
    table = {"file": csv(tmp_path / "table.csv", read_items(pico.items)[:8]), "question": "{ask} ?",
             "choices": ["A", "B", "C", "D"], "answer": "right"}  # fmt: skip
    sets = {"plain": {"items": str(pico.items)}, "table": {"items": table}}
    given = {"base": str(pico.base), "task": str(pico.task), "domain": str(pico.domain), "probe": str(pico.inputs)}
    return written(tmp_path / "pico.yaml", **given, n=6, recipe={"rank": 4}, sets=sets)


def test_the_language_setting_prints_our_table_beside_the_papers(language, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out.json"
    assert paper.main([str(language), "--limit", "6", "--out", str(out), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    rows = {
        line.split()[0]: line.split()
        for line in printed.splitlines()
        if line.split()[:1] and line.split()[0] in VARIANTS
    }
    assert tuple(rows) == VARIANTS and rows["dare_ties"][-1] == "0.416" and rows["tada"][-1] == "0.452"
    kept = json.loads(out.read_text())
    for name, row in rows.items():
        scores = [kept[one]["scores"][name]["accuracy"] for one in ("plain", "table")]
        assert row[1:4] == [f"{score:.3f}" for score in (*scores, sum(scores) / 2)]
    assert len(rows["sum"]) == 4 and "Items: plain 6, table 6." in printed and "not known to us" in printed
    monkeypatch.setattr(paper, "run_set", lambda *_: pytest.fail("was done already"))
    assert paper.main([str(language), "--limit", "6", "--out", str(out), "--device", "cpu"]) == 0
    assert capsys.readouterr().out == printed


def test_a_set_is_run_again_when_its_settings_change(language, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "run_set", lambda *_: {name: {"accuracy": 0.5, "n": 1} for name in VARIANTS})
    out = ["--out", str(tmp_path / "out.json")]
    assert paper.main([str(language), *out]) == 0
    monkeypatch.setattr(paper, "run_set", lambda *_: {name: {"accuracy": 0.7, "n": 1} for name in VARIANTS})
    assert paper.main([str(language), "--limit", "3", *out]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["plain"]["scores"]["tada"]["accuracy"] == 0.7


def test_the_merges_are_the_ones_of_the_public_functions(pico):
    pair = tada.read_pair(pico.task, pico.domain)
    readings = tada.probe(pair, tada.load_base(pico.base, device="cpu"), tada.read_inputs(pico.inputs))
    made = paper.variants(pair, readings, {"rank": 3, "sharpness": 2.0})
    assert tuple(made) == VARIANTS and {one.rank for name, one in made.items() if name in paper.MERGES} == {3}
    assert made["tada"].digest == tada.merge(pair, readings, tada.Recipe(rank=3, sharpness=2.0)).digest
    assert made["sum"].digest == tada.merge(pair, readings, tada.Recipe(method="linear", rank=3)).digest
    assert made["base"] is None and made["task"] is pair.task


def test_the_vision_setting_runs_a_pair_for_each_set(tmp_path, capsys):
    base = pico_vit(tmp_path / "base")
    for i, name in enumerate(("eurosat", "dtd")):
        pico_vit_adapter(tmp_path / f"{name}-task", base, seed=i, labels=("sea", "wood"))
        pico_vit_adapter(tmp_path / f"{name}-domain", base, seed=10 + i)
        by_label(tmp_path / name / "test", ("sea", "wood"), each=3)
        pictures(tmp_path / name / "probe", 4)
    sets = {name: {"task": f"{name}-task", "domain": f"{name}-domain", "probe": f"{name}/probe", "items": f"{name}/test"}
            for name in ("eurosat", "dtd")}  # fmt: skip
    file = written(tmp_path / "pico.yaml", like="vit_l16.yaml", base="base", n=4, sets=sets)
    assert paper.main([str(file), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "0.859" in printed and "Items: eurosat 6, dtd 6." in printed
    assert LABELS_OF_BASE  # the base's own labels are others: it is answered with the task's head


def test_the_two_files_that_are_shipped_list_six_sets_and_say_what_is_not_known():
    for name in ("llama2_7b.yaml", "vit_l16.yaml"):
        text = (PAPER / name).read_text()
        assert len(yaml.safe_load(text)["sets"]) == 6 and "not in the public record" in text
    assert len(paper.read_setting(PAPER / "vit_l16.yaml").sets) == 6
    with pytest.raises(tada.InputError, match="SciQ has no task and no domain"):
        paper.read_setting(PAPER / "llama2_7b.yaml")


ROWS = {
    "a list of texts and an index": ({"q": "why", "c": ["x", "y"], "a": 1}, {"choices": "c", "answer": "a"}, ["x", "y"], 1),
    "texts with labels": (
        {"q": "why", "c": {"text": ["x", "y"], "label": ["1", "2"]}, "a": "2"}, {"choices": "c", "answer": "a"}, ["x", "y"], 1),
    "a letter": ({"q": "why", "c": ["x", "y", "z"], "a": "C"}, {"choices": "c", "answer": "a"}, ["x", "y", "z"], 2),
    "the text itself": ({"q": "why", "no": "x", "yes": "y", "a": "y"}, {"choices": ["no", "yes"], "answer": "a"}, ["x", "y"], 1),
    "always the first": ({"q": "why", "right": "x", "wrong": "y"}, {"choices": ["right", "wrong"], "answer": 0}, ["x", "y"], 0),
}  # fmt: skip


@pytest.mark.parametrize(("row", "how", "choices", "answer"), ROWS.values(), ids=ROWS)
def test_other_peoples_tables_become_items(row, how, choices, answer, tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
    (item,) = read_items(items_file({"file": "t.jsonl", "question": "q", **how}, tmp_path))
    assert (item.question, item.choices, item.answer) == ("Question: why\nAnswer:", tuple(choices), answer)


WRONG = {
    "cannot be read as a settings file": {"sets": None},
    "has no probe": {"probe": None},
    "no such folder": {"task": "./nowhere"},
    "cannot be read": {"probe": "nowhere.txt"},
    "does not have what the settings name": {"probe": {"file": "table.csv", "question": "nothing"}},
}


@pytest.mark.parametrize(("says", "change"), WRONG.items(), ids=WRONG)
def test_a_persons_mistake_is_one_sentence(says, change, language, tmp_path, capsys):
    content = {**yaml.safe_load(language.read_text()), **change}
    language.write_text(yaml.safe_dump(content))
    assert paper.main([str(language), "--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert says in said.err and said.out == ""
