"""Pairs on which a merge once said one thing and did another: what they must give, by the files that describe them."""

import json
from pathlib import Path

import pytest
import torch

from tada_studio import cli, pipeline
from tada_studio.pipeline.merge import merge
from tada_studio.read import read_adapter
from tada_studio.recipe import FORMAT, FORMAT_1, Recipe

ROOT = Path(__file__).resolve().parent.parent
CASES = next((found for up in ROOT.parents if (found := up / "shared" / "data" / "cases").is_dir()), None)
pytestmark = pytest.mark.skipif(CASES is None, reason="no shared/data/cases beside the repository")


def pair_of(case):
    return pipeline.read_pair(CASES / case / "task", CASES / case / "domain")


def assert_is(adapter, name, want):
    got = adapter.modules[name].delta()
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6 * float(want.norm()))


def test_a_module_that_one_adapter_lacks_goes_in_once():
    pair = pair_of("lone_modules")
    out = merge(pair, None, Recipe(rank=8))
    for name in pair.names:
        task, domain = pair.both(name)
        assert_is(out, name, sum(module.delta() for module in (task, domain) if module is not None))


def test_an_untrained_partner_changes_nothing():
    pair = pair_of("untrained_partner")
    out = merge(pair)
    for name, module in pair.task.modules.items():
        assert_is(out, name, module.delta())


def test_all_painted_to_task_is_the_task_adapter():
    pair = pair_of("all_gates_to_task")
    out = merge(pair, None, Recipe(overrides=("* : 0",)))
    for name, module in pair.task.modules.items():
        assert_is(out, name, module.delta())


def test_a_recipe_of_version_one_still_doubles_and_says_why(tmp_path, capsys):
    words = [
        "merge",
        "--task",
        str(CASES / "all_gates_to_task" / "task"),
        "--domain",
        str(CASES / "all_gates_to_task" / "domain"),
    ]
    old = {"format": FORMAT_1, "recipe": {"method": "tada", "strength": 2.0, "overrides": ["* : 0"]}}
    (tmp_path / "recipe.json").write_text(json.dumps(old), encoding="utf-8")
    assert cli.main([*words, "--recipe", str(tmp_path / "recipe.json"), "-o", str(tmp_path / "out")]) == 0
    assert "note: The recipe is of version 0.1" in capsys.readouterr().err
    out, pair = read_adapter(tmp_path / "out"), pair_of("all_gates_to_task")
    for name, module in pair.task.modules.items():
        assert_is(out, name, 2 * module.delta())
    again = json.loads((tmp_path / "out" / "recipe.json").read_text(encoding="utf-8"))
    assert again["format"] == FORMAT and again["recipe"]["weights"] == "0.1" and again["recipe"]["strength"] == 1.0
