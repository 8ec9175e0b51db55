"""The digest of a base covers every byte of its files, and costs no second reading while they are the same."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from tada_studio import pipeline
from tada_studio.base_model import digests


@pytest.fixture
def folder(pico, tmp_path):
    return shutil.copytree(pico.base, tmp_path / "base")


def halved(folder):
    """All numbers of every tensor but the first sixteen."""
    held = load_file(folder / "model.safetensors")
    for tensor in held.values():
        tensor.flatten()[16:] *= 0.5
    save_file(held, folder / "model.safetensors", {"format": "pt"})


def last_bit(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def other_words(folder):
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n")


@pytest.mark.parametrize("harm", [halved, last_bit, other_words])
def test_any_other_byte_is_another_base(harm, folder):
    before = pipeline.load_base(folder, device="cpu").digest
    assert pipeline.load_base(folder, device="cpu").digest == before
    harm(folder)
    assert pipeline.load_base(folder, device="cpu").digest != before


def test_a_file_is_read_once_while_it_is_the_same(folder, tmp_path, monkeypatch):
    read, honest = [], digests.sha256
    monkeypatch.setattr(digests, "sha256", lambda file, *each: read.append(file.name) or honest(file, *each))
    memory = tmp_path / "kept" / "digests.json"
    first = digests.folder_digest(folder, memory)
    assert "model.safetensors" in read and "config.json" in read
    read.clear()
    assert digests.folder_digest(folder, memory) == first and read == []
    other_words(folder)
    assert digests.folder_digest(folder, memory) != first and read == ["tokenizer.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": [1, 2]}', "[" * 100_000])
def test_a_memory_that_is_not_ours_is_made_anew(content, folder, tmp_path):
    memory = tmp_path / "digests.json"
    memory.write_text(content)
    assert digests.folder_digest(folder, memory) == digests.folder_digest(folder)
    assert len(json.loads(memory.read_text())) > 2
