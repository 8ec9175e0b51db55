"""The folder that comes out: PEFT loads it, it is the merge, and nothing half-written stays."""

import errno
import json
import os
import sys

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tada_studio import pipeline
from tada_studio.errors import ExportError
from tada_studio.exporting.certify import CARD, CERTIFICATE, RECIPE, changed_files
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.probing import read_inputs
from tada_studio.recipe import Recipe


@pytest.fixture(scope="module")
def base(pico):
    return pipeline.load_base(pico.base, device="cpu")


@pytest.fixture(scope="module")
def merged(pico, base):
    pair = pipeline.read_pair(pico.task, pico.domain)
    return merge(pair, pipeline.probe(pair, base, read_inputs(pico.inputs)), Recipe(rank=5))


def test_peft_loads_the_folder_and_its_logits_are_those_of_the_merge(merged, base, pico, tmp_path):
    certificate = pipeline.export(merged, tmp_path / "out", base=base)
    assert (
        certificate.holds and certificate.logit_error <= 1e-4 and not certificate.missing and not certificate.unexpected
    )
    ids = torch.tensor([base.tokenizer("what is the hard red metal in water ?").input_ids])
    with base.with_adapter(merged):
        ours = base.model(input_ids=ids).logits
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(pico.base), tmp_path / "out").eval()
    torch.testing.assert_close(theirs(input_ids=ids).logits, ours, rtol=0, atol=1e-4)


def test_the_folder_is_as_every_server_wants_it(merged, tmp_path):
    pipeline.export(merged, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [CONFIG, WEIGHTS, RECIPE, CERTIFICATE, CARD]
    )
    config = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"], config["rank_pattern"], config["bias"]) == (
        5,
        5,
        False,
        {},
        "none",
    )
    tensors = load_file(tmp_path / "out" / WEIGHTS)
    assert {t.shape[0] if "lora_A" in k else t.shape[1] for k, t in tensors.items()} == {5}
    assert len(tensors) == 2 * 21 and {t.dtype for t in tensors.values()} == {torch.float32}
    assert (tmp_path / "out" / WEIGHTS).stat().st_mode & 0o044


def test_equal_recipes_give_equal_bytes_in_every_file(merged, base, pico, tmp_path):
    pair = pipeline.read_pair(pico.task, pico.domain)
    again = merge(pair, pipeline.probe(pair, base, read_inputs(pico.inputs)), Recipe(rank=5))
    pipeline.export(merged, tmp_path / "a", base=base)
    pipeline.export(again, tmp_path / "b", base=base)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_a_folder_that_is_not_ours_is_never_replaced_and_ours_is(merged, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(ExportError, match="not written by TaDA Studio"):
        pipeline.export(merged, mine)
    assert [file.name for file in mine.iterdir()] == ["thesis.tex"]
    pipeline.export(merged, tmp_path / "ours")
    first = (tmp_path / "ours" / WEIGHTS).read_bytes()
    pipeline.export(merged, tmp_path / "ours")
    assert (tmp_path / "ours" / WEIGHTS).read_bytes() == first and len(list(tmp_path.iterdir())) == 2


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_sentence_and_leaves_nothing(merged, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["tada_studio.exporting.folder"], "write_stream", full_disk)
    with pytest.raises(ExportError, match="No space left"):
        pipeline.export(merged, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_that_does_not_hold_raises_and_leaves_nothing(merged, tmp_path, monkeypatch):
    module = sys.modules["tada_studio.exporting.folder"]
    honest = module._numbers

    def quieter(*args):
        for key, tensor in honest(*args):
            yield key, tensor * (0.999 if "layers.1.mlp.down_proj.lora_B" in key else 1)

    monkeypatch.setattr(module, "_numbers", quieter)
    with pytest.raises(ExportError, match="not the merge"):
        pipeline.export(merged, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_verify_passes_on_what_was_written_and_names_what_was_changed(merged, base, tmp_path):
    pipeline.export(merged, tmp_path / "out", base=base)
    wrong, certificate = pipeline.verify(tmp_path / "out", base)
    assert wrong == [] and certificate.logit_error is not None
    config = json.loads((tmp_path / "out" / CONFIG).read_text())
    (tmp_path / "out" / CONFIG).write_text(json.dumps({**config, "lora_alpha": 10}))
    wrong, _ = pipeline.verify(tmp_path / "out")
    assert any(CONFIG in sentence for sentence in wrong)
    (tmp_path / "out" / CARD).unlink()
    assert CARD in changed_files(tmp_path / "out", {CARD: "0"})


def test_a_folder_without_a_certificate_cannot_be_verified(pico):
    with pytest.raises(ExportError, match="no certificate"):
        pipeline.verify(pico.task)


def test_the_base_is_as_it_was_after_a_certificate(merged, base, tmp_path):
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    pipeline.export(merged, tmp_path / "out", base=base)
    after = base.model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)


def test_the_recipe_that_was_written_says_what_went_in(merged, pico, tmp_path):
    pipeline.export(merged, tmp_path / "out")
    content = json.loads((tmp_path / "out" / RECIPE).read_text())
    assert Recipe.load(tmp_path / "out" / RECIPE) == Recipe(rank=5)
    assert content["inputs"]["task"]["content_sha256"] == pipeline.read_adapter(pico.task).digest
    assert set(content["inputs"]["task"]["files_sha256"]) == {CONFIG, WEIGHTS}
    assert str(tmp_path) not in (tmp_path / "out" / RECIPE).read_text()
