"""A merge as one side of the next: the same bytes from every door, and all parents named with their weights."""

import json

import pytest
import torch
from pico import pico_adapter

from tada_studio import cli, pipeline, report
from tada_studio.lora import WEIGHTS
from tada_studio.pipeline.ancestry import named, parents_of
from tada_studio.pipeline.merge import Merge
from tada_studio.recipe import Recipe
from tada_studio.session import Session

HALF, WHOLE = Recipe(method="linear", strength=0.5), Recipe(method="linear", rank=12)


@pytest.fixture(scope="module")
def third(pico, tmp_path_factory):
    return pico_adapter(tmp_path_factory.mktemp("third") / "birds", pico.base, seed=77)


def command(task, domain, out, *flags):
    assert cli.main(["merge", "--task", str(task), "--domain", str(domain), "-o", str(out), *flags]) == 0
    return out


@pytest.fixture(scope="module")
def chain(pico, third, tmp_path_factory):
    home = tmp_path_factory.mktemp("chain")
    first = command(pico.task, pico.domain, home / "mix", "--method", "linear", "--strength", "0.5", "--rank", "8")
    return command(first, third, home / "all", "--method", "linear", "--rank", "12")


def test_all_parents_are_named_with_their_weights(pico, third, chain):
    digests = [pipeline.read_adapter(ref).digest for ref in (pico.task, pico.domain, third)]
    want = [(pico.task.name, digests[0], 0.5), (pico.domain.name, digests[1], 0.5), ("birds", digests[2], 1.0)]
    for name in ("recipe.json", "certificate.json"):
        parents = json.loads((chain / name).read_text())["inputs"]["parents"]
        assert [(one["label"], one["content_sha256"], one["weight"]) for one in parents] == want
    card = (chain / "README.md").read_text()
    assert f"linear of mix ({pico.task.name} x 0.5, {pico.domain.name} x 0.5) and birds" in card
    assert "goes back to" in card and f"| {pico.domain.name} | {digests[1][:16]} | 0.5 |" in card
    assert "goes back to" not in (chain.parent / "mix" / "README.md").read_text()
    assert cli.main(["verify", str(chain)]) == 0


def test_a_chain_is_what_its_weights_say(pico, third, chain):
    parts = [pipeline.read_adapter(ref) for ref in (pico.task, pico.domain, third)]
    for name, module in pipeline.read_adapter(chain).modules.items():
        want = sum(weight * part.modules[name].delta() for weight, part in zip((0.5, 0.5, 1.0), parts, strict=True))
        torch.testing.assert_close(module.delta(), want, rtol=0, atol=1e-5 * float(want.norm()))


def test_command_line_library_and_session_make_equal_bytes(third, chain, tmp_path):
    first, want = chain.parent / "mix", (chain / WEIGHTS).read_bytes()
    knobs = {"method": "linear", "rank": 12}
    made = pipeline.export(Merge(pipeline.read_pair(first, third), None, WHOLE).adapter, tmp_path / "library")
    assert made.holds and (tmp_path / "library" / WEIGHTS).read_bytes() == want
    session = Session()
    session.open(str(first), str(third))
    session.turn(**knobs)
    session.export(tmp_path / "session")
    session.close()
    for place in (tmp_path / "session", tmp_path / "library"):
        assert (place / WEIGHTS).read_bytes() == want
        said, wanted = (json.loads((at / "recipe.json").read_text()) for at in (place, chain))
        assert said["inputs"] == wanted["inputs"] and said["recipe"] == wanted["recipe"]


def test_a_merge_in_memory_knows_its_parents_as_its_folder_does(pico, chain):
    merged = Merge(pipeline.read_pair(pico.task, pico.domain), None, HALF.but(rank=8)).adapter
    assert parents_of(merged) == parents_of(pipeline.read_adapter(chain.parent / "mix"))
    assert (
        parents_of(pipeline.read_adapter(pico.task)) == () and named(pipeline.read_adapter(pico.task)) == pico.task.name
    )


def test_a_merge_beside_one_that_it_holds_is_no_stranger_to_it(pico, third, chain):
    found = pipeline.role_of(pipeline.read_pair(chain, third))
    assert (found.role, found.why, found.later) == ("siblings", "parent", "task")
    said = report.role_sentence(found.role, found.why, found.later, found.cosine)
    assert "the task adapter is a merge that holds the other already" in said and "twice" in said
    rack = pipeline.read_rack([chain, third, chain.parent / "mix"])
    assert rack.roles["all", "birds"] == "siblings" and rack.roles["birds", "mix"] == "independent"


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"inputs": 3}', '{"inputs": {"parents": [1, {"label": "x"}, null]}}']
)
def test_a_strangers_recipe_file_names_nobody_and_breaks_nothing(chain, tmp_path, content):
    folder = tmp_path / "odd"
    folder.mkdir()
    for file in (chain / WEIGHTS, chain / "adapter_config.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "recipe.json").write_text(content)
    assert parents_of(pipeline.read_adapter(folder)) == ()
