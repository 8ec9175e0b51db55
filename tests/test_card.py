"""The model card: read as the Hub reads it, no local path in it, and its snippet runs as it stands."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from huggingface_hub import ModelCard
from pico import pico_adapter
from PIL import Image

from tada_studio import pipeline
from tada_studio.evaluation.scores import Score
from tada_studio.exporting.card import is_hub_id
from tada_studio.exporting.certificate import CARD
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe

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
    kinds = {
        "same": ("mit", "mit"),
        "differ": ("mit", "cc-by-nc-4.0"),
        "none": ("mit", None),
        "nd": ("cc-by-nd-4.0",) * 2,
    }
    for case, licences in kinds.items():
        folders = [pico_adapter(tmp_path / case / role, pico.base, seed=i) for i, role in enumerate(("task", "domain"))]
        for folder, licence in zip(folders, licences, strict=True):
            (folder / CARD).write_text(
                f"---\nlicense: {licence}\n---\nhello\n" if licence else "---\n{{: broken\n---\n"
            )
        said[case] = card(merge(pipeline.read_pair(*folders)), tmp_path / case)
    assert said["same"].data.license == "mit" and "the base names none" in said["same"].text
    assert "domain allows no commercial use" in said["differ"].text
    assert "task and domain allows no derivatives" in said["nd"].text and "derivatives" not in said["same"].text
    assert said["differ"].data.license is None and "the domain adapter cc-by-nc-4.0" in said["differ"].text
    assert said["none"].data.license is None and "the domain adapter names none" in said["none"].text
    assert "Check them" in said["differ"].text and "Check them" in said["none"].text


def test_the_base_s_licence_counts_and_the_parents_datasets_are_named(pico, tmp_path):
    base = shutil.copytree(pico.base, tmp_path / "base")
    folders = [pico_adapter(tmp_path / role, base, seed=i) for i, role in enumerate(("task", "domain"))]
    fronts = ("license: mit\ndatasets: [allenai/sciq, /home/me/secret]", "license: mit\ndatasets: gsm8k")
    for folder, front in zip(folders, fronts, strict=True):
        (folder / CARD).write_text(f"---\n{front}\n---\n")
    loaded = pipeline.load_base(base, device="cpu")
    for licence, front in {"mit": "mit", "llama3.2": None}.items():
        (base / CARD).write_text(f"---\nlicense: {licence}\n---\n")
        found = card(merge(pipeline.read_pair(*folders)), tmp_path / licence, loaded)
        assert found.data.license == front and f"the base {licence}" in found.text
        assert ("Check them" in found.text) == (front is None) and found.data.datasets == ["allenai/sciq", "gsm8k"]
        assert "secret" not in str(found)


def test_what_was_measured_is_in_the_front_as_the_hub_reads_it(merged, pico, tmp_path):
    correct = torch.tensor([True] * 30 + [False] * 10)
    of = {"loglik": None, "correct": correct, "nll": 0.5, "low": 0.6, "high": 0.86}
    text = {
        "loglik": None,
        "correct": None,
        "nll": 1.0,
        "low": None,
        "high": None,
        "gold": torch.ones(3),
        "kind": "text",
    }
    sides = {"domain": {n: Score(n, **of) for n in ("task", "tada")}, "texts": {"tada": Score("tada", **text)}}
    pipeline.export(merged, tmp_path / "out", measured=sides)
    found = ModelCard.load(tmp_path / "out" / CARD).data.eval_results
    assert [(one.dataset_name, one.metric_type, one.metric_value) for one in found] == [
        ("domain", "accuracy", 0.75), ("texts", "perplexity", 2.7183)]  # fmt: skip
    assert "0.600 to 0.860, 40 items" in found[0].metric_name


def test_the_gates_are_pictures_and_what_is_dropped_is_said(pico, tmp_path):
    recipe = Recipe(method="gates", overrides=("layers 0 : * : 0", "layers 2 : * : 1"))
    found = card(merge(pipeline.read_pair(pico.task, pico.domain), recipe=recipe), tmp_path)
    assert "![Share of the domain" in found.text and "Nothing was dropped" in found.text
    image = Image.open(tmp_path / "out" / "gates.png").convert("RGB")
    top, middle, bottom = (image.getpixel((100, 32 + 16 * row)) for row in range(3))
    assert top == (47, 118, 196) and middle == (169, 169, 176) and bottom == (207, 99, 33)
    assert pipeline.verify(tmp_path / "out")[0] == []
    dropping = Recipe(method="gates", conflict_threshold=0.0)
    again = card(merge(pipeline.read_pair(pico.task, pico.domain), recipe=dropping), tmp_path / "b")
    assert "of 21 modules" in again.text and not (tmp_path / "b" / "out" / "gates.png").exists()


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
