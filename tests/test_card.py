"""The model card: read as the Hub reads it, no local path in it, and its snippet runs as it stands."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from pico import pico_adapter

from tada_studio import pipeline
from tada_studio.exporting.card import is_hub_id
from tada_studio.exporting.certificate import CARD
from tada_studio.pipeline.merge import merge

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def merged(pico):
    return merge(pipeline.read_pair(pico.task, pico.domain))


def card(adapter, tmp_path, base=None):
    pipeline.export(adapter, tmp_path / "out", base)
    return ModelCard.load(tmp_path / "out" / CARD)


def test_an_id_of_the_hub_is_the_base_and_the_rest_is_said(merged, tmp_path):
    found = card(replace(merged, base="HuggingFaceTB/SmolLM2-135M"), tmp_path)
    said = found.data.to_dict()
    assert said["base_model"] == "HuggingFaceTB/SmolLM2-135M" and said["base_model_relation"] == "adapter"
    assert said["library_name"] == "peft" and said["pipeline_tag"] == "text-generation"
    assert {"lora", "peft", "merge", "tada-studio"} <= set(said["tags"])
    assert "vllm serve HuggingFaceTB/SmolLM2-135M --enable-lora --max-lora-rank 8 " in found.text


LOCAL = [
    "/home/me/secret/llama",
    "./secret/llama",
    "../secret/llama",
    "~/secret/llama",
    "C:\\secret\\llama",
    "a/secret/llama/",
]


@pytest.mark.parametrize("base", LOCAL)
def test_a_path_is_never_written(base, merged, tmp_path):
    found = card(replace(merged, base=base), tmp_path)
    assert found.data.base_model is None and "secret" not in str(found) and "base = 'llama'" in found.text


def test_a_folder_that_is_called_like_an_id_is_a_path_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("models/llama") and is_hub_id("gpt2")
    (tmp_path / "models" / "llama").mkdir(parents=True)
    assert not is_hub_id("models/llama")


@pytest.mark.parametrize("base", ["foo: bar", "my model #2", "- a", "a\nb: c", "'quoted", "<script>", "💥/x"])
def test_no_name_breaks_the_front(base, merged, tmp_path):
    found = card(replace(merged, base=base, label=base), tmp_path)
    assert found.data.base_model is None and found.data.library_name == "peft" and "<script>" not in str(found)


def test_licences_of_the_parents_are_named_and_where_they_agree_it_is_the_merges(pico, tmp_path):
    said = {}
    for case, licences in {"same": ("mit", "mit"), "differ": ("mit", "cc-by-nc-4.0"), "none": ("mit", None)}.items():
        folders = [pico_adapter(tmp_path / case / role, pico.base, seed=i) for i, role in enumerate(("task", "domain"))]
        for folder, licence in zip(folders, licences, strict=True):
            (folder / CARD).write_text(
                f"---\nlicense: {licence}\n---\nhello\n" if licence else "---\n{{: broken\n---\n"
            )
        said[case] = card(merge(pipeline.read_pair(*folders)), tmp_path / case)
    assert said["same"].data.license == "mit" and "Check them" not in said["same"].text
    assert said["differ"].data.license is None and "the domain adapter cc-by-nc-4.0" in said["differ"].text
    assert said["none"].data.license is None and "the domain adapter names none" in said["none"].text
    assert "Check them" in said["differ"].text and "Check them" in said["none"].text


def test_the_snippet_runs_as_it_stands(merged, pico, tmp_path):
    text = card(merged, tmp_path, pipeline.load_base(pico.base, device="cpu")).text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    (tmp_path / "out" / pico.base.name).symlink_to(pico.base)  # the card knows the base's name, not where it lies
    check = "\nassert any('lora_A' in name for name, _ in model.named_parameters())\nimport torch\n"
    check += "print(model(input_ids=torch.tensor([[1, 5, 6]])).logits.shape)"
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code + check], cwd=tmp_path / "out", env=env, capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout.startswith("torch.Size([1, 3,"), run.stderr
