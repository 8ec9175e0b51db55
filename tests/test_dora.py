"""DoRA with its base: against PEFT's own merged weights, and against a dense SVD of the exact update."""

import json
from dataclasses import replace

import menagerie
import pytest
import torch
from menagerie import LINEAR, Feature, adapter, loaded, output
from pico import pico_adapter
from safetensors.torch import load_file, save_file

from tada_studio import cli, pipeline
from tada_studio.base_model.model import Base
from tada_studio.base_model.weights import weights_of
from tada_studio.errors import AdapterError, BaseError, MismatchError
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KINDS = {
    "linear": LINEAR,
    "Conv1D": ("c_fc",),
    "embedding": ("embed_tokens", "q_proj"),
    "Conv2d": ("mix", "point"),
}
FULL = menagerie.TOKENS + 4  # no layer of the menagerie is of a higher rank
IDENTITY = Recipe(method="gates", overrides=("* : 0",), drop="none", dtype="float32", rank=FULL)


def dora(folder, targets=LINEAR, seed=1, **config):
    """A DoRA adapter with every number drawn, magnitudes too."""
    return adapter(folder, Feature({"target_modules": list(targets), "use_dora": True, **config}), seed)


def base():
    return Base("menagerie", menagerie.model(), None, "menagerie")


def filed(folder, rename=lambda name: name):
    """The menagerie as a model folder."""
    folder.mkdir()
    save_file(
        {rename(k): t.contiguous() for k, t in menagerie.model().state_dict().items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text('{"model_type": "menagerie"}')
    return folder


def merged_by_peft(folder):
    """Module -> (the base's weight, PEFT's merged weight) as (d_out, d_in) matrices in float64."""
    before, model = menagerie.model(), loaded(folder)
    names = [
        name for name, module in model.base_model.model.named_modules() if hasattr(module, "lora_magnitude_vector")
    ]
    model.merge_adapter()
    return {name: tuple(matrix(layer, layer.weight) for layer in (
        before.get_submodule(name), model.base_model.model.get_submodule(name).get_base_layer())) for name in names}  # fmt: skip


def matrix(layer, weight):
    turned = isinstance(layer, torch.nn.Embedding) or type(layer).__name__ == "Conv1D"
    return (weight.mT if turned else weight.reshape(len(weight), -1)).detach().double()


@pytest.mark.parametrize("targets", KINDS.values(), ids=KINDS)
def test_at_full_rank_it_is_what_peft_merges(targets, tmp_path):
    folder = dora(tmp_path / "a", targets)
    ours = pipeline.read_adapter(folder, base=base(), dora_rank=FULL)
    theirs = merged_by_peft(folder)
    assert set(theirs) == set(ours.modules) and ours.stands_for.lost < 1e-6
    for name, (weight, merged) in theirs.items():
        found = weight + ours.modules[name].delta()
        assert (found - merged).norm() <= 1e-6 * merged.norm()


@pytest.mark.parametrize("targets", KINDS.values(), ids=KINDS)
def test_at_rank_r_it_loses_what_the_best_lora_must_lose(targets, tmp_path):
    folder = dora(tmp_path / "a", targets)
    ours = pipeline.read_adapter(folder, base=base())
    lost, size, least = 0.0, 0.0, {}
    for name, (weight, merged) in merged_by_peft(folder).items():
        update, rank = merged - weight, ours.modules[name].rank
        assert rank == min(4, *update.shape)
        squares = torch.linalg.svdvals(update).square()
        found = (update - ours.modules[name].delta()).norm() / update.norm()
        least[name] = float((squares[rank:].sum() / squares.sum()).sqrt())
        assert float(found) == pytest.approx(least[name], abs=1e-5)
        lost, size = lost + float(squares[rank:].sum()), size + float(squares.sum())
    about = ours.stands_for
    assert about.lost == pytest.approx((lost / size) ** 0.5, abs=1e-5)
    assert about.worst == pytest.approx(max(least.values()), abs=1e-5)
    assert about.worst == pytest.approx(least[about.worst_module], abs=1e-5)
    higher = pipeline.read_adapter(folder, base=base(), dora_rank=8).stands_for
    assert higher.lost < about.lost or about.lost < 1e-6


def test_a_fresh_dora_is_its_lora(tmp_path):
    """Magnitudes equal to the norms of the rows: nothing is rescaled, nothing lost."""
    folder = dora(tmp_path / "a")
    lora = {key: tensor for key, tensor in load_file(folder / WEIGHTS).items() if "magnitude" not in key}
    config = json.loads((folder / CONFIG).read_text())
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / CONFIG).write_text(json.dumps({**config, "use_dora": False}))
    save_file(lora, tmp_path / "plain" / WEIGHTS)
    plain = pipeline.read_adapter(tmp_path / "plain")
    norms = {f"base_model.model.{name}.lora_magnitude_vector": (menagerie.model().get_submodule(name).weight.double()
             + module.delta()).norm(dim=1).float().detach() for name, module in plain.modules.items()}  # fmt: skip
    save_file({**lora, **norms}, folder / WEIGHTS)
    ours = pipeline.read_adapter(folder, base=base())
    assert ours.stands_for.lost < 1e-5
    for name, module in ours.modules.items():
        torch.testing.assert_close(module.delta(), plain.modules[name].delta(), rtol=0, atol=1e-6)


def test_the_merge_that_keeps_the_task_alone_answers_as_the_dora_adapter(tmp_path):
    """Read at full rank, merge, export, read back by PEFT, run."""
    task, domain = dora(tmp_path / "t"), dora(tmp_path / "d", seed=2)
    merged = merge(pipeline.read_pair(task, domain, base=base(), dora_rank=FULL), recipe=IDENTITY)
    assert pipeline.export(merged, tmp_path / "out").holds
    torch.testing.assert_close(output(loaded(tmp_path / "out")), output(loaded(task)), rtol=0, atol=5e-6)


def test_the_bases_files_do_as_well_as_the_base_in_memory(tmp_path):
    folder = dora(tmp_path / "a", (*LINEAR, "c_fc", "embed_tokens", "mix"))
    wanted = pipeline.read_adapter(folder, base=base())
    longer = filed(tmp_path / "longer", lambda name: f"model.{name}")
    shards = filed(tmp_path / "shards")
    whole = load_file(shards / "model.safetensors")
    places = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(sorted(whole))}
    for file in set(places.values()):
        save_file({name: whole[name] for name in whole if places[name] == file}, shards / file)
    (shards / "model.safetensors").unlink()
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    for where in (filed(tmp_path / "menagerie"), longer, shards):
        found = pipeline.read_adapter(folder, base=where)
        assert found.digest == wanted.digest
        for name, module in found.modules.items():
            assert torch.equal(module.up, wanted.modules[name].up)


def test_square_layers_of_conv1d_models_are_turned(tmp_path):
    weight = torch.randn(6, 6)
    for kind in ("gpt2", "llama"):
        folder = tmp_path / kind
        folder.mkdir()
        save_file({"h.0.attn.c_proj.weight": weight, "wte.weight": weight.clone()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        found = weights_of(folder)("transformer.h.0.attn.c_proj", ("linear", (), 6, 6))
        assert torch.equal(found, weight.mT if kind == "gpt2" else weight)
        assert torch.equal(
            weights_of(folder)("lm_head", ("linear", (), 6, 6)), weight
        )  # tied: kept once, as the embedding


def test_without_its_base_it_is_described_and_not_merged(pico, tmp_path, capsys):
    folder = pico_adapter(tmp_path / "dora", pico.base, seed=1, targets=("q_proj", "v_proj"), use_dora=True)
    assert cli.main(["passport", str(folder), str(pico.domain), "--json"]) == 0
    first, _ = json.loads(capsys.readouterr().out)
    assert first["fit"] == "fits with notes" and any("no LoRA equals it" in note for note in first["notes"])
    assert cli.main(["merge", "--task", str(folder), "--domain", str(pico.domain), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "--base" in said and "residual" in said and not (tmp_path / "out").exists()


def test_with_its_base_it_is_merged_and_every_door_says_what_was_lost(pico, tmp_path, capsys):
    folder = pico_adapter(tmp_path / "dora", pico.base, seed=1, use_dora=True)
    tensors = load_file(folder / WEIGHTS)
    save_file({k: t * 1.1 if "magnitude" in k else t for k, t in tensors.items()}, folder / WEIGHTS)
    where = ["--task", str(folder), "--domain", str(pico.domain), "--base", str(pico.base)]
    assert cli.main(["passport", str(folder), "--base", str(pico.base)]) == 0
    assert "DoRA, replaced by its best LoRA of its own rank on base: residual" in capsys.readouterr().out
    assert cli.main(["merge", *where, "--dora-rank", "9", "-o", str(tmp_path / "one")]) == 0
    recipe = json.loads((tmp_path / "one" / "recipe.json").read_text())
    kept = recipe["inputs"]["task"]["stands_for"]
    assert kept["rank"] == 9 and kept["base"] == "base" and 0 < kept["lost"] < kept["worst"] < 1
    assert "stands_for" not in recipe["inputs"]["domain"]
    again = ["--recipe", str(tmp_path / "one" / "recipe.json"), "-o", str(tmp_path / "two")]
    capsys.readouterr()
    assert cli.main(["merge", *where, *again]) == 0 and "note:" not in capsys.readouterr().err
    for name in (WEIGHTS, CONFIG, "recipe.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    pair = pipeline.read_pair(folder, pico.domain, base=pipeline.load_base(pico.base, device="cpu"), dora_rank=9)
    assert pair.task.digest == recipe["inputs"]["task"]["content_sha256"]  # from memory as from the files
    assert any(f"residual {kept['lost']:.1%} overall" in note for note in pair.problems)
    scored = ["--items", str(pico.items), "--adapter", f"dora={folder}", "--limit", "5", "--json"]
    assert cli.main(["evaluate", "--base", str(pico.base), *scored]) == 0


def test_another_base_is_noticed(pico, tmp_path):
    folder = dora(tmp_path / "a")
    other = base()
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.mul_(3)
    assert any(
        "make sure that it was trained on that base" in r
        for r in pipeline.read_adapter(folder, base=other).passport.remarks
    )
    assert not any("make sure" in r for r in pipeline.read_adapter(folder, base=base()).passport.remarks)
    with pytest.raises(MismatchError, match="has no such layer"):
        pipeline.read_adapter(folder, base=pipeline.load_base(pico.base, device="cpu"))
    with pytest.raises(MismatchError, match="has no weight of that name"):
        pipeline.read_adapter(folder, base=pico.base)
    wide = base()
    wide.model.layers[0].q_proj = torch.nn.Linear(12, 13)
    with pytest.raises(MismatchError, match="13x12 there"):
        pipeline.read_adapter(folder, base=wide)


def packed(folder):
    """A base whose weights are 8-bit numbers with scales elsewhere."""
    whole = load_file(folder / "model.safetensors")
    save_file({k: t.to(torch.uint8) for k, t in whole.items()}, folder / "model.safetensors")


BASES = {
    "quantised": (packed, "full precision"),
    "without weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no safetensors weights"),
    "damaged": (lambda folder: (folder / "model.safetensors").write_bytes(b"hello"), "cannot be read as safetensors"),
    "with an index of nothing": (
        lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
        "model.safetensors.index.json: names no shards",
    ),
}


@pytest.mark.parametrize(("harm", "says"), BASES.values(), ids=BASES)
def test_bases_that_cannot_serve_are_one_sentence(harm, says, tmp_path):
    folder, where = dora(tmp_path / "a"), filed(tmp_path / "base")
    harm(where)
    with pytest.raises(BaseError, match=says):
        pipeline.read_adapter(folder, base=where)
    with pytest.raises(BaseError, match="no such folder or file"):
        pipeline.read_adapter(folder, base=tmp_path / "nowhere")


FIRST = "base_model.model.layers.0.q_proj.lora_magnitude_vector"
BROKEN = {
    "without one magnitude": (lambda t: {k: v for k, v in t.items() if k != FIRST}, "has no lora_magnitude_vector"),
    "with no magnitudes": (lambda t: {k: v for k, v in t.items() if "magnitude" not in k}, "has no lora_magnitude_vector"),
    "with too few numbers": (lambda t: {**t, FIRST: t[FIRST][:-1].clone()}, "expected 12 numbers"),
    "with whole numbers": (lambda t: {**t, FIRST: t[FIRST].long()}, "I64 magnitudes"),
    "with NaN": (lambda t: {**t, FIRST: t[FIRST] * float("nan")}, "NaN or infinity"),
    "with biases of lora_B": (lambda t: {**t, FIRST.replace("magnitude_vector", "B.bias"): torch.ones(12)}, "lora_bias"),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "says"), BROKEN.values(), ids=BROKEN)
def test_broken_magnitudes_are_one_sentence(harm, says, tmp_path):
    folder = dora(tmp_path / "a")
    save_file(harm(load_file(folder / WEIGHTS)), folder / WEIGHTS)
    with pytest.raises(AdapterError, match=says):
        pipeline.read_adapter(folder, base=base())


def test_magnitudes_are_believed_whatever_the_config_says(tmp_path):
    folder = dora(tmp_path / "a")
    wanted = pipeline.read_adapter(folder, base=base())
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "use_dora": False}))
    assert pipeline.read_adapter(folder, base=base()).digest == wanted.digest
    with pytest.raises(AdapterError, match="is DoRA"):
        pipeline.read_adapter(folder)


def test_a_rank_that_is_none_is_refused(tmp_path):
    with pytest.raises(AdapterError, match="DoRA rank 0"):
        pipeline.read_adapter(dora(tmp_path / "a"), base=base(), dora_rank=0)


def test_the_digest_tells_ranks_and_bases_apart(tmp_path):
    folder, other = dora(tmp_path / "a"), base()
    with torch.no_grad():
        other.model.layers[2].q_proj.weight[0, 0] += 1e-4
    found = [pipeline.read_adapter(folder, base=one, dora_rank=rank).digest
             for one, rank in ((base(), None), (base(), 5), (other, None))]  # fmt: skip
    assert len(set(found)) == 3
    moved = pipeline.read_adapter(folder, base=base())
    assert replace(moved, label="b").digest == found[0]
