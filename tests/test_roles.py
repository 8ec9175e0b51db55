"""What two adapters are to each other: found by weights and files, told, and one recipe away from the right merge."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tada_studio import cli, pipeline, report
from tada_studio.core.conflict import directions
from tada_studio.core.factor import factor
from tada_studio.core.relations import relations
from tada_studio.errors import InputError
from tada_studio.lora import CONFIG, WEIGHTS, Adapter, LoraModule, Pair
from tada_studio.pipeline.merge import merge
from tada_studio.pipeline.rack import folders_in
from tada_studio.read import read_adapter
from tada_studio.session import Session
from tada_studio.session import files as session_files

NAMES = [f"model.layers.{i}.{part}" for i in range(3) for part in ("self_attn.q_proj", "mlp.down_proj")]


def trained(label, seed, rank=4, size=1.0, **about):
    """As training leaves an adapter: A near its random start, B grown from zero along a few directions."""
    draw = torch.Generator().manual_seed(seed)
    modules = {}
    for name in NAMES:
        up = torch.randn(32, rank, generator=draw) * torch.logspace(0, -1, rank) * size
        modules[name] = LoraModule(name, up, torch.randn(rank, 24, generator=draw), 2.0)
    return Adapter(label, modules, **about)


def later(adapter, label="later", growth=1.6, drift=0.2, seed=99):
    """The same run some hundred steps on."""
    draw = torch.Generator().manual_seed(seed)

    def moved(t, by):
        return by * (t + drift * float(t.std()) * torch.randn(t.shape, generator=draw))

    modules = {n: replace(m, up=moved(m.up, growth), down=moved(m.down, 1.0)) for n, m in adapter.modules.items()}
    return replace(adapter, label=label, modules=modules)


def deltas(adapter):
    return {name: module.delta() for name, module in adapter.modules.items()}


def assert_gives(pair, recipe, wanted):
    for name, delta in deltas(merge(pair, None, recipe)).items():
        torch.testing.assert_close(delta, wanted[name], rtol=0, atol=1e-5 * float(wanted[name].norm()))


# -- the four roles --------------------------------------------------------------------------------------------------


def test_two_trained_apart_are_independent():
    found = pipeline.role_of(Pair(trained("a", 1), trained("b", 2)))
    assert (found.role, found.why, found.later) == ("independent", "strangers", None) and abs(found.cosine) < 0.05
    assert report.role_sentence("independent", "strangers", None, 0.0).startswith("Independent")


def test_two_checkpoints_of_one_run_are_siblings_and_each_way_out_is_one_recipe():
    early = trained("early", 1)
    pair = Pair(early, later(early))
    found = pipeline.role_of(pair)
    assert (found.role, found.why, found.later) == ("siblings", "one run", "domain") and found.cosine > 0.9
    assert pipeline.role_of(Pair(pair.domain, pair.task)).later == "task"
    ways, (a, b) = pipeline.recipes_for(pair, "siblings", "domain"), map(deltas, (pair.task, pair.domain))
    assert list(ways) == ["the domain adapter", "their average", "the task adapter", "beyond the later"]
    wide = {name: recipe.but(rank=8) for name, recipe in ways.items()}
    assert_gives(pair, ways["the domain adapter"], b)
    assert_gives(pair, ways["the task adapter"], a)
    assert_gives(pair, wide["their average"], {n: (a[n] + b[n]) / 2 for n in a})
    assert_gives(pair, wide["beyond the later"], {n: b[n] + 0.5 * (b[n] - a[n]) for n in a})


def test_one_adapter_twice_is_one_adapter_in_another_format_too():
    one = trained("a", 1)
    half = {n: replace(m, up=m.up.bfloat16(), down=m.down.bfloat16()) for n, m in one.modules.items()}
    for twin in (replace(one, label="b"), replace(one, label="b", modules=half)):
        found = pipeline.role_of(Pair(one, twin))
        assert (found.role, found.why, found.later) == ("siblings", "same", None)
        assert next(iter(pipeline.recipes_for(Pair(one, twin), "siblings"))) == "the domain adapter"
    assert "the same adapter" in report.role_sentence("siblings", "same", None, 1.0)


@pytest.mark.parametrize("named", ["sft", "runs/sft", "/home/me/runs/sft/"])
def test_one_trained_on_top_of_the_other_is_stacked_and_both_are_their_exact_sum(named):
    lower = trained("sft", 1, base="acme/base", source="/home/me/runs/sft")
    upper = trained("dpo", 2, rank=3, base=named)
    for pair, who in ((Pair(lower, upper), "domain"), (Pair(upper, lower), "task")):
        found = pipeline.role_of(pair)
        assert (found.role, found.why, found.later) == ("stacked", "base", who)
        recipe = pipeline.recipes_for(pair, "stacked", who)["both, exactly"]
        assert recipe.rank == 7
        a, b = deltas(lower), deltas(upper)
        assert_gives(pair, recipe, {n: a[n] + b[n] for n in a})


def test_a_base_of_the_same_name_stacks_nothing():
    assert (
        pipeline.role_of(Pair(trained("a", 1, base="acme/base"), trained("b", 2, base="acme/base"))).role
        == "independent"
    )


def test_an_untrained_partner_leaves_one_alone():
    one = trained("a", 1)
    blank = trained("b", 2, size=0.0)
    for pair, who in ((Pair(one, blank), "task"), (Pair(blank, one), "domain")):
        found = pipeline.role_of(pair)
        assert (found.role, found.why, found.later) == ("alone", "untrained", who)
        assert_gives(pair, pipeline.recipes_for(pair, "alone", who)[f"the {who} adapter"], deltas(one))


def test_a_role_keeps_what_says_nothing_about_the_two():
    pair = Pair(trained("a", 1), trained("b", 2))
    start = pipeline.Merge(pair).recipe.but(head="domain", dtype="float16", strength=0.3)
    for role in pipeline.ROLES:
        for recipe in pipeline.recipes_for(pair, role, "domain", start).values():
            assert (recipe.head, recipe.dtype) == ("domain", "float16") and recipe.strength != 0.3


# -- on disk ---------------------------------------------------------------------------------------------------------


def test_the_command_line_finds_the_role_and_takes_its_recipe(pico, tmp_path, capsys):
    upper = tmp_path / "dpo"
    upper.mkdir()
    config = json.loads((pico.domain / CONFIG).read_text())
    (upper / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": str(pico.task)}))
    (upper / WEIGHTS).write_bytes((pico.domain / WEIGHTS).read_bytes())
    words = ["merge", "--task", str(pico.task), "--domain", str(upper), "--json", "-o", str(tmp_path / "out")]
    assert cli.main([*words, "--role", "stacked"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["role"] == "stacked" and said["says"][0].startswith("Stacked: the domain adapter was trained on top")
    a, b = deltas(read_adapter(pico.task)), deltas(read_adapter(upper))
    for name, delta in deltas(read_adapter(tmp_path / "out")).items():
        torch.testing.assert_close(delta, a[name] + b[name], rtol=0, atol=1e-5 * float(delta.norm()))
    assert cli.main([*words, "--role", "cousins"]) == 2 and "independent, stacked" in capsys.readouterr().err


def test_one_adapter_alone_from_end_to_end(pico, tmp_path, capsys):
    words = ["merge", "--task", str(pico.task), "--base", str(pico.base), "--json", "-o", str(tmp_path / "out")]
    assert cli.main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["role"] == "alone" and said["says"][0].startswith("Alone: only the task adapter")
    own = deltas(read_adapter(pico.task))
    for name, delta in deltas(read_adapter(tmp_path / "out")).items():
        torch.testing.assert_close(delta, own[name], rtol=0, atol=1e-5 * float(own[name].norm()))
    halved = ["--method", "gates", "--overrides", "layer 0 : x 0.5", "--rank", "2"]
    assert cli.main([*words[:-1], str(tmp_path / "less"), *halved]) == 0
    less = read_adapter(tmp_path / "less")
    assert less.rank == 2 and sum(module.delta().norm() for module in less.modules.values()) > 0


def test_a_session_of_one_adapter_alone_is_kept(pico, tmp_path):
    session = Session()
    session.open(str(pico.task), "", str(pico.base))
    session.paint([(0, 0)], 0.5)
    assert session.export(tmp_path / "out").holds
    session_files.write(session.state, tmp_path / "kept")
    again, remarks = session_files.read(tmp_path / "kept")
    assert remarks == [] and again.pair.domain.digest == session.pair.domain.digest and again.recipe == session.recipe
    for one in (session, again):
        one.close()


# -- a rack ----------------------------------------------------------------------------------------------------------


def test_relations_are_those_of_dense_updates():
    one, other = trained("a", 1, rank=3), trained("b", 2, rank=5)
    near = later(one, growth=-1.3, seed=5)
    found, three = relations([one, other, near]), [deltas(x) for x in (one, other, near)]
    for i, a in enumerate(three):
        for j, b in enumerate(three):
            want = sum(float((a[n] * b[n]).sum()) for n in NAMES)
            assert float(found.inner[i, j]) == pytest.approx(want, rel=1e-4, abs=1e-3)
            spaces = [torch.linalg.svd(a[n], full_matrices=False) for n in NAMES]
            rank = (3, 5, 3)[i]
            inside = sum(
                float((u[:, :rank].mT @ b[n] @ vt[:rank].mT).square().sum())
                for n, (u, _, vt) in zip(NAMES, spaces, strict=True)
            )
            assert float(found.inside[i, j]) == pytest.approx(
                inside / sum(float(b[n].square().sum()) for n in NAMES), abs=1e-4
            )
    pair = Pair(one, near)
    dense = directions(factor(pair))
    opposed = dense.alignment / dense.chance[:, None, None] < -8
    lost = float((opposed.any(2) * dense.task.strength.square()).sum()) / float(found.inner[0, 0])
    assert float(found.conflict[0, 2]) == pytest.approx(lost, abs=1e-4) and lost > 0.2
    assert found.conflict[0, 1] == 0 and found.shared.tolist() == [[6] * 3] * 3


@pytest.fixture
def shelf(pico, tmp_path):
    """Six adapters in one folder: two of the base, a later checkpoint, a copy, one on top, an untrained one."""
    made = {
        "task": {},
        "domain": {},
        "later": {"times": 1.4},
        "copy": {},
        "dpo": {"base": "task"},
        "blank": {"times": 0.0},
    }
    for name, how in made.items():
        (tmp_path / name).mkdir()
        origin = pico.task if name in ("task", "later", "copy") else pico.domain
        config = json.loads((origin / CONFIG).read_text())
        if "base" in how:
            config["base_model_name_or_path"] = str(tmp_path / how["base"])
        (tmp_path / name / CONFIG).write_text(json.dumps(config))
        tensors = load_file(origin / WEIGHTS)
        scaled = {k: t * how.get("times", 1.0) if "lora_B" in k else t for k, t in tensors.items()}
        if name == "dpo":
            scaled = {k: t.flip(-1).contiguous() for k, t in scaled.items()}
        save_file(scaled, tmp_path / name / WEIGHTS, metadata={"format": "pt"})
    return tmp_path


def test_a_rack_of_six_shows_who_is_related(shelf, capsys):
    assert cli.main(["rack", str(shelf), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in said["adapters"]] == ["blank", "copy", "domain", "dpo", "later", "task"]
    roles = {frozenset((one["one"], one["other"])): one["role"] for one in said["pairs"]}
    assert len(roles) == 15 and all(one["fits"] for one in said["pairs"] if "dpo" not in (one["one"], one["other"]))
    assert roles[frozenset(("task", "domain"))] == "independent"
    assert roles[frozenset(("task", "copy"))] == roles[frozenset(("task", "later"))] == "siblings"
    assert roles[frozenset(("task", "dpo"))] == "stacked" and roles[frozenset(("domain", "dpo"))] == "independent"
    assert {roles[frozenset(("blank", name))] for name in ("task", "domain", "later", "copy")} == {"alone"}
    assert cli.main(["rack", str(shelf)]) == 0
    page = capsys.readouterr().out
    assert "copy and task: siblings, the same adapter" in page and "dpo and task: stacked" in page


def test_a_rack_says_what_it_leaves_out_and_needs_two(shelf, tmp_path, capsys):
    (shelf / "task" / WEIGHTS).write_bytes(b"no tensors")
    found = pipeline.read_rack([shelf])
    assert list(found.left_out) == [str(shelf / "task")] and "task" not in found.adapters
    with pytest.raises(InputError, match="two adapters or more, and 1 could be read"):
        pipeline.read_rack([shelf / "copy", shelf / "task"])
    (tmp_path / "empty").mkdir()
    assert cli.main(["rack", str(tmp_path / "empty")]) == 2 and "holds none" in capsys.readouterr().err
    assert folders_in([shelf / "copy", shelf / "copy"]) == [str(shelf / "copy")]
