"""What strangers published: every file ends in "loaded, and PEFT computes the same" or in one sentence; nothing in between.

The files carry no licence of their own and are not in the repository; without them this file has nothing to read.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tada_studio import cli, pipeline
from tada_studio.errors import AdapterError
from tada_studio.exporting.readback import loaded_by_peft, skeleton
from tada_studio.pipeline.merge import merge
from tada_studio.read import look, read_adapter
from tada_studio.read.config import judge
from tada_studio.read.files import parse_json

ROOT = Path(__file__).resolve().parent.parent
WILD = next((found for up in ROOT.parents if (found := up / "shared" / "data" / "wild").is_dir()), None)
pytestmark = pytest.mark.skipif(
    WILD is None, reason="no shared/data/wild beside the repository: strangers' files are not ours to ship"
)

ADAPTERS = sorted((WILD / "adapters").iterdir()) if WILD else []
CONFIGS = sorted(WILD.glob("configs*/*.json")) if WILD else []

#: Configs that no LoRA comes from, by a piece of the file's name, and what the sentence about them must say.
REFUSED = {
    "0xchips__Grad_project": "is no adapter's config",
    "Inishpy__lerobot-libero": "is no adapter's config",
    "danabindra__postgres": "MLX-LM",
    "kushagrasaxena28__mini-siri": "MLX-LM",
    "Faizanyousaf140__VLM": "Git-LFS pointer",
    "lora-llama-3.2-3B-rank32-kasa": "kasa_config",
}


def names(paths):
    return [path.stem if path.suffix == ".json" else path.name for path in paths]


@pytest.mark.parametrize("path", CONFIGS, ids=names(CONFIGS))
def test_every_config_is_a_lora_or_one_sentence(path):
    kind = "LORA"
    try:
        config = parse_json(path.read_bytes(), path.name)
        kind = config.get("peft_type", "LORA")
        judge(config, path.name)
    except AdapterError as refused:
        says = str(refused)
        assert says.startswith(f"{path.name}: ") and says.endswith(".") and "\n" not in says and len(says) < 500
        wanted = next((words for piece, words in REFUSED.items() if piece in path.name), None)
        assert (wanted in says) if wanted else (kind != "LORA" and kind in says), says
    else:
        assert kind == "LORA" and not any(piece in path.name for piece in REFUSED)


def test_there_are_the_files_that_this_is_about():
    assert len(CONFIGS) >= 99 and len(ADAPTERS) >= 11


@pytest.mark.parametrize("folder", ADAPTERS, ids=names(ADAPTERS))
def test_every_adapter_is_what_peft_makes_of_it(folder):
    ours, manifest = read_adapter(folder), look(folder)
    written = {
        manifest.modules[name].written: replace(m, name=manifest.modules[name].written)
        for name, m in ours.modules.items()
    }
    whole = {
        name: tensor for name, tensor in ours.whole.items() if not name.startswith("decode_head.linear_projections")
    }
    with loaded_by_peft(folder, skeleton(replace(ours, modules=written, whole=whole))) as (model, missing, _):
        assert missing == ()
        for name, module in written.items():
            layer = model.base_model.model.get_submodule(name)
            theirs = layer.get_delta_weight("merged")
            theirs = (theirs.mT if layer.fan_in_fan_out else theirs).double()
            assert (module.delta() - theirs).norm() <= 1e-6 * theirs.norm()
        inside = {k.replace(".modules_to_save.merged.", "."): t for k, t in model.base_model.model.state_dict().items()}
        assert all(torch.equal(inside[name], tensor) for name, tensor in whole.items())


@pytest.mark.parametrize("folder", ADAPTERS, ids=names(ADAPTERS))
def test_every_tensor_is_used_or_named_as_left_out(folder):
    manifest = look(folder)
    used = {key for m in manifest.modules.values() for key in m.keys.values()} | {
        key for key, _ in manifest.whole.values()
    }
    assert used | set(manifest.ignored) == set(manifest.entries) and not used & set(manifest.ignored)
    if manifest.ignored:
        assert any(
            f"{len(manifest.ignored)} tensors repeat" in remark for remark in read_adapter(folder).passport.remarks
        )


@pytest.mark.parametrize("folder", ADAPTERS, ids=names(ADAPTERS))
def test_what_is_left_out_repeats_what_is_kept(folder):
    """Only copies may be ignored: the trained tensor under its wrapper's name, or the base's own as it was."""
    from safetensors.torch import load_file

    manifest, tensors = look(folder), load_file(folder / "adapter_model.safetensors")
    for key in manifest.ignored:
        if ".modules_to_save." in key:
            assert torch.equal(tensors[key], tensors[key.replace(".modules_to_save.", ".")])
        else:
            assert ".original_module." in key


def adapter(piece):
    return next(str(folder) for folder in ADAPTERS if piece in folder.name)


PAIRS = {
    "GPT-2": ("gpt2-tigrinya", "psuedo-to-code", "fits"),
    "GPT-2, partly shared": ("gpt2-tigrinya", "FMI-ChatBot", "fits with notes"),
    "DistilBERT, heads of 2 and 6": ("lora-imdb", "emotion-classification", "fits with notes"),
    "Gemma, spelled differently": ("LLM-Homework", "DengCong3", "fits with notes"),
    "two bases": ("gpt2-tigrinya", "lora-imdb", "does not fit"),
}


@pytest.mark.parametrize(("task", "domain", "word"), PAIRS.values(), ids=PAIRS)
def test_the_passport_command_says_whether_two_fit(task, domain, word, capsys):
    code = cli.main(["passport", adapter(task), adapter(domain), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [one["fit"] for one in found] == [word, word] and code == (2 if word == "does not fit" else 0)
    assert all(one["norm"] > 0 and one["rank"] and one["base"] for one in found)
    assert (word == "fits") == (found[0]["notes"] == []) or word == "does not fit"


def test_a_pair_whose_norms_differ_several_fold_is_told_about_the_balance_knob(capsys):
    assert cli.main(["passport", adapter("psuedo-to-code"), adapter("FMI-ChatBot")]) == 0
    assert "task adapter is 7.55 times as large" in capsys.readouterr().out
    pair = pipeline.read_pair(adapter("FMI-ChatBot"), adapter("psuedo-to-code"))
    assert any("domain adapter is 7.55 times" in note and "balance" in note for note in pair.problems)


MERGED = [("gpt2-tigrinya", "FMI-ChatBot"), ("lora-imdb", "emotion-classification"), ("segformer", "segformer"),
          ("LLM-Homework", "DengCong3"), ("RoBERTa", "RoBERTa"), ("Bert_Fine", "Bert_Fine")]  # fmt: skip


@pytest.mark.parametrize("roles", MERGED)
def test_wild_pairs_merge_into_folders_whose_certificates_hold(roles, tmp_path):
    pair = pipeline.read_pair(*map(adapter, roles))
    certificate = pipeline.export(merge(pair), tmp_path / "out")
    assert certificate.holds, certificate.sentences
    again = read_adapter(tmp_path / "out")
    assert set(again.whole) == set(pair.task.whole) | set(pair.domain.whole)
    assert all(torch.equal(again.whole[name], tensor) for name, tensor in pair.task.whole.items())
