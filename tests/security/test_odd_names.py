"""Names that can be none: too long for any file system, of nobody's home, with a NUL. Each is a sentence, at every door."""

import json

import pytest
from pico import pico_adapter, pico_base, pico_inputs

from tada_studio import cli, pipeline
from tada_studio.addresses import split_name
from tada_studio.base_model.skeleton import config_of
from tada_studio.core.conflict import direction
from tada_studio.errors import RecipeError
from tada_studio.files import is_here
from tada_studio.recipe import Recipe

ODD = {
    "long": "a" * 300, "deep": "/".join(["a" * 200] * 30), "of the Hub": f"{'a' * 300}/{'b' * 300}", "NUL": "a\0b",
    "nobody's": "~nobody-at-all/x",
}  # fmt: skip
NO_NUMBER = "9" * 5000  # more digits than Python makes a number of


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    home = tmp_path_factory.mktemp("pico")
    base = pico_base(home / "base")
    return home, base, *(pico_adapter(home / name, base, seed=i) for i, name in enumerate(("task", "domain")))


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_a_name_that_can_be_none_is_refused_in_a_sentence(name, pico, capsys):
    home, base, task, domain = pico
    pair, inputs = ["--task", task, "--domain", domain], pico_inputs(home / "inputs.txt")
    out = home / "out.json"
    for words in (
        ["passport", name, domain], ["verify", name], ["rack", name], ["merge", *pair, "-o", name],
        ["merge", *pair, "-o", out, "--recipe", name], ["merge", *pair, "-o", out, "--readings", name],
        ["merge", *pair, "-o", out, "--base", name], ["evaluate", "--base", base, "--items", name],
        ["probe", *pair, "--base", base, "--inputs", name, "-o", out],
        ["probe", *pair, "--base", base, "--inputs", inputs, "-o", name], ["report", *pair, "-o", name],
    ):  # fmt: skip
        assert cli.main([str(word) for word in words]) == 2, words
        assert len(capsys.readouterr().err) < 1500, words
    assert not is_here(name) and config_of(name) is None


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_a_base_of_such_a_name_keeps_no_adapter_from_being_merged(name, pico, tmp_path):
    _, base, *_ = pico
    parents = [pico_adapter(tmp_path / side, base, seed=i) for i, side in enumerate(("task", "domain"))]
    for parent in parents:
        config = json.loads((parent / "adapter_config.json").read_text())
        (parent / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": name}))
    words = ["merge", "--task", parents[0], "--domain", parents[1], "-o", tmp_path / "out"]
    assert cli.main([str(word) for word in words]) == 0
    assert (tmp_path / "out" / "certificate.json").is_file()


def test_more_digits_than_a_number_has_name_no_layer_and_no_direction(pico):
    *_, task, domain = pico
    pair = pipeline.read_pair(task, domain)
    for line in (f"layers 0-{NO_NUMBER} : attn : 0.5", f"layer {NO_NUMBER} : domain"):
        with pytest.raises(RecipeError, match="names no layers"):
            pipeline.Merge(pair, None, Recipe(overrides=(line,))).gates  # noqa: B018
    assert direction(f"layer {NO_NUMBER} : q_proj : task 0") is None
    assert split_name(f"model.layers.{NO_NUMBER}.q_proj") == ("", None, f"model.layers.{NO_NUMBER}.q_proj")
