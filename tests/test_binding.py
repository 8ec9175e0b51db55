"""A merge is bound to what was read: a file that is written over, cut short or removed changes nothing unsaid."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from tada_studio import pipeline
from tada_studio.errors import AdapterError
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.read import binding, read_adapter

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def folder(pico, tmp_path):
    return shutil.copytree(pico.task, tmp_path / "task")


def over(folder):
    """Other numbers in the same file, in place."""
    held = {key: tensor + 1 for key, tensor in load_file(folder / WEIGHTS).items()}
    save_file(held, folder / "other")
    content = (folder / "other").read_bytes()
    (folder / "other").unlink()
    with (folder / WEIGHTS).open("r+b") as file:
        file.write(content)


def shorter(folder):
    os.truncate(folder / WEIGHTS, 5000)


def another_config(folder):
    (folder / CONFIG).write_text((folder / CONFIG).read_text() + " ")


@pytest.mark.parametrize("harm", [over, shorter, another_config])
def test_an_export_of_a_file_that_changed_is_refused_and_nothing_is_written(harm, folder, pico, tmp_path):
    merged = merge(pipeline.read_pair(folder, pico.domain))
    harm(folder)
    with pytest.raises(AdapterError, match=r"was changed after task was opened\. Open the pair again"):
        pipeline.export(merged, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("harm", [over, shorter])
def test_what_was_read_stays_what_it_was(harm, folder, pico):
    adapter = read_adapter(folder)
    harm(folder)
    assert adapter.digest == read_adapter(pico.task).digest


def test_files_that_are_gone_are_still_what_was_read(folder, pico, tmp_path):
    """An unpacked zip may be swept away while its pair is open."""
    merged = merge(pipeline.read_pair(folder, pico.domain))
    shutil.rmtree(folder)
    assert pipeline.export(merged, tmp_path / "out").holds


def test_a_large_file_stays_mapped_and_is_asked_for_before_it_is_used(folder, pico, monkeypatch, tmp_path):
    monkeypatch.setattr(binding, "IN_MEMORY", 1000)
    pair = pipeline.read_pair(folder, pico.domain)
    shorter(folder)
    with pytest.raises(AdapterError, match="was changed after"):  # not a signal that ends the process
        pipeline.Merge(pair).merged.spectrum.sum()


def test_a_file_that_is_cut_short_never_kills_the_process(folder, pico, tmp_path):
    """In a process of its own: were the file mapped, reading behind its end would be SIGBUS."""
    code = (
        "import os, sys; from tada_studio import pipeline; from tada_studio.errors import TadaError\n"
        "pair = pipeline.read_pair(sys.argv[1], sys.argv[2]); merged = pipeline.Merge(pair).adapter\n"
        "os.truncate(sys.argv[1] + '/adapter_model.safetensors', 100); print(pair.task.digest)\n"
        "try: pipeline.export(merged, sys.argv[3])\n"
        "except TadaError as error: print('refused', error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, folder, pico.domain, tmp_path / "out"], capture_output=True, text=True
    )
    assert run.returncode == 0 and "refused" in run.stdout, run.stderr


def test_copies_hold_the_numbers_of_the_file(folder):
    held = load_file(folder / WEIGHTS)
    for name, module in read_adapter(folder).modules.items():
        assert torch.equal(module.up, held[f"base_model.model.{name}.lora_B.weight"])
