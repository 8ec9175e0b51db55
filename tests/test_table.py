"""The table of variants: who takes part, by which name, from the command line and from Python; and weights tuned elsewhere."""

import json
import shutil
import sys

import pytest
import torch

from tada_studio import cli, pipeline, report
from tada_studio.errors import InputError
from tada_studio.evaluation import read_items
from tada_studio.evaluation.runs import Run
from tada_studio.pipeline.merge import merge
from tada_studio.pipeline.variants import RESIZED, TUNED, TURNED, baselines
from tada_studio.recipe import Recipe
from tada_studio.sample_pairs import planted
from tada_studio.session import Session

TABLE = pipeline.by_name("tada")


@pytest.fixture(scope="module")
def base(pico):
    return pipeline.load_base(pico.base, device="cpu")


@pytest.fixture(scope="module")
def pair(pico):
    return pipeline.read_pair(pico.task, pico.domain)


@pytest.fixture
def tiny_sample(pico, tmp_path, monkeypatch):
    """The pico pair as an embedded sample that promises something."""
    home = tmp_path / "samples" / "pico"
    for name in ("base", "task", "domain"):
        shutil.copytree(getattr(pico, name), home / name)
    for name in ("domain.jsonl", "task.jsonl", "val.jsonl"):
        shutil.copy(pico.items, home / name)
    shutil.copy(pico.inputs, home / "probe.txt")
    about = {
        "title": "Pico", "story": "Two of nothing.", "base": "base",
        "files": {
            "task": "task", "domain": "domain", "probe": "probe.txt",
            "items": {"domain": "domain.jsonl", "task": "task.jsonl"}, "validation": {"domain": "val.jsonl"},
        },
        "measured": {"domain": {"base": {"low": 0.0, "high": 1.0}, "sum": {"low": 0.98, "high": 1.0}}},
    }  # fmt: skip
    (home / "sample.json").write_text(json.dumps(about))
    monkeypatch.setattr(sys.modules["tada_studio.sample_pairs"], "_folder", lambda: home.parent)
    return home


def run(*words):
    return cli.main(["evaluate", *map(str, words)])


def test_a_sample_gives_the_whole_table_on_both_sides_and_says_what_it_promised(tiny_sample, capsys):
    assert run("--sample", "pico", "--json", "--tuned") == 0
    out = capsys.readouterr()
    rows = json.loads(out.out)
    names = [row["name"] for row in rows if row["side"] == "task"]
    assert names[: len(TABLE) - 1] == TABLE[:-1] and names[-1] == "tada"
    assert names[-3:-1] == ["ties tuned", "dare_ties tuned"]
    assert [row["name"] for row in rows if row["side"] == "domain"] == names
    assert all(row["chance"] == 0.25 and row["n"] == 50 and row["kind"] == "choice" for row in rows)
    assert "1 of 2 figures lie outside the sample's promised intervals: sum on domain:" in out.err
    assert "evaluate 0/" in out.err  # progress, line by line where there is no terminal


def test_a_pair_with_a_recipe_and_chosen_variants(pico, tmp_path, capsys):
    recipe = {"format": "tada-studio recipe 1", "recipe": {"method": "linear", "strength": 1.5}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    where = ("--task", pico.task, "--domain", pico.domain, "--base", pico.base, "--recipe", tmp_path / "recipe.json")
    items = ("--items", f"know={pico.items}", "--items", f"do={pico.items}", "--adapter", f"mine={pico.task}")
    assert run(*where, *items, "--variants", "mine, svd,linear", "--limit", 5) == 0
    table = capsys.readouterr().out.splitlines()
    assert (
        table[0].split()[:3] == ["variant", "know", "accuracy"]
        and " do accuracy" in table[0]
        and table[0].endswith("mean accuracy")
    )
    assert [line.split()[0] for line in table[1:4]] == ["mine", "svd", "linear"]
    assert any(line.startswith("linear against mine:") for line in table)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--task", "a"], "needs both"),
        (["--items", "x.jsonl"], "No base model"),
        (["--base", "b"], "Nothing to score"),
        (["--sample", "pico", "--variants", "base,nobody"], "nobody: no such variant. There are: base, task"),
        (["--base", "b", "--items", "know={items}", "--items", "know={items}"], "two files for the side know"),
    ],
)
def test_what_is_missing_is_said(words, says, tiny_sample, pico, capsys):
    assert run(*(word.format(items=pico.items) for word in words)) == 2
    assert says in capsys.readouterr().err


def test_tuning_needs_items_that_are_not_scored(pico, capsys):
    where = ("--task", pico.task, "--domain", pico.domain, "--base", pico.base, "--items", pico.items)
    assert run(*where, "--tuned", "--limit", 3) == 2
    assert "--tuned needs --validation" in capsys.readouterr().err


def test_names_stand_for_what_they_say(pair, pico):
    view = pipeline.Merge(pair, None, Recipe(rank=3))
    other = pipeline.read_adapter(pico.domain)
    names = ["base", "average", "sum x 0.75", "sum", "svd", "ties", "tada", "old", "run 2"]
    earlier = Run(2, Recipe(strength=1.0, rank=2), None, 5)
    found = pipeline.variants(view, names, beside=pipeline.Beside(runs=[earlier], adapters={"old": other}))
    assert list(found) == names and found["base"] is None and found["tada"] is view.adapter and found["old"] is other
    assert found["run 2"].digest == merge(pair, None, earlier.recipe).digest
    assert found["sum"].digest == found["svd"].digest != found["average"].digest
    for name, module in found["average"].modules.items():
        half = found["sum"].modules[name].delta() / 2
        torch.testing.assert_close(module.delta(), half, rtol=0, atol=1e-6 * float(half.norm()))
    assert all(found[name].rank == 3 for name in ("average", "sum", "ties"))


def test_tuning_takes_the_strength_that_is_best_on_the_validation_items(base, pair, pico):
    items = {"domain": read_items(pico.items)[:30], "task": read_items(pico.items)[20:]}
    sizes = (0.5, 2.0, 4.0)
    found = pipeline.tuned(base, pair, Recipe(method="ties", density=0.7), items, sizes)
    by_size = {}
    for size in sizes:
        adapter = merge(pair, None, Recipe(method="ties", density=0.7, strength=size))
        scores = [pipeline.evaluate(base, {"x": adapter}, some)["x"] for some in items.values()]
        by_size[size] = (sum(s.accuracy for s in scores), -sum(s.nll for s in scores))
    assert found == Recipe(method="ties", density=0.7, strength=max(by_size, key=by_size.get))
    assert len(set(by_size.values())) == 3


def test_a_sample_without_validation_items_cannot_tune():
    chosen = planted()
    with pytest.raises(InputError, match="proves nothing"):
        pipeline.sample_validation(chosen)


def test_promises_that_nobody_measured_are_not_kept_or_broken():
    assert report.promise_sentence({}, {"domain": {"base": {"low": 0, "high": 1}}}) == ""


def test_every_door_takes_its_names_from_one_list(pair, pico, base):
    """Evaluate's ticks, the command line's table, auto-tune's baselines and the tuned ones: each name once, and made the same."""
    assert set(pipeline.USUAL) <= set(TABLE) and len(set(TABLE)) == len(TABLE)
    assert {*TURNED, *RESIZED} <= set(baselines(3)) <= {*TABLE, *RESIZED}
    view, items = pipeline.Merge(pair, None, Recipe(rank=3)), {"domain": read_items(pico.items)[:8]}
    names = [*baselines(3), *TUNED]
    found = pipeline.variants(view, names, base, pipeline.Beside(items))
    for name, recipe in baselines(3).items():
        assert found[name].digest == merge(pair, None, recipe).digest
    for name, method in TUNED.items():
        assert found[name].origin.recipe == pipeline.tuned(base, pair, Recipe(method=method, rank=3), items)
    session = Session()
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    session.turn(rank=3)
    run = session.evaluate(items, ["sum x 0.75", "ties", "tada"], 8)
    scores = pipeline.evaluate(base, {name: found.get(name, view.adapter) for name in run.variants}, items["domain"])
    assert all(torch.equal(run.sides["domain"][name].loglik, score.loglik) for name, score in scores.items())
    session.close()
