"""A base that two processes share under torchrun, each with its slice of every layer: the numbers of one process, said once."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tada_studio import cli, pipeline
from tada_studio.base_model.placement import Placement, process, processes
from tada_studio.base_model.shared import check_cut, sharing_settings
from tada_studio.errors import BaseError
from tada_studio.probing import Readings

UNDER = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture
def torchrun(monkeypatch):
    """As torchrun sets the first of two processes up."""
    for name, value in UNDER.items():
        monkeypatch.setenv(name, value)


def run(*words, count=2):
    """A command of the command line in so many processes."""
    start = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(count),
        "--master-port",
        "0",
        "--standalone",
    ]
    where = {**os.environ, "OMP_NUM_THREADS": "1", "TADA_STUDIO_CACHE": os.environ["TADA_STUDIO_STATE"]}
    return subprocess.run([*start, "-m", "tada_studio", *map(str, words)], capture_output=True, text=True, env=where)


@pytest.mark.nightly  # two processes that import torch and transformers, twice
def test_two_processes_read_and_score_what_one_does(pico, tmp_path, capsys):
    pair = ["--task", pico.task, "--domain", pico.domain, "--base", pico.base]
    asked = ["probe", *pair, "--inputs", pico.inputs, "--task-inputs", tmp_path / "task.txt", "--json"]
    (tmp_path / "task.txt").write_text("is iron a metal ?\nwhat is the rock ?\nthe old gold\n")
    found = run(*asked, "-o", tmp_path / "shared.json")
    assert found.returncode == 0, found.stderr[-2000:]
    assert "shared by 2 processes" in found.stderr and len(json.JSONDecoder().raw_decode(found.stdout)) == 2
    assert found.stdout.count('"readings"') == 1, "one of the two prints"
    assert cli.main([*map(str, asked), "-o", str(tmp_path / "whole.json"), "-q"]) == 0
    shared, whole = (Readings.load(tmp_path / name) for name in ("shared.json", "whole.json"))
    for one, two in ((shared, whole), (shared.on_task, whole.on_task)):
        assert torch.equal(one.tokens, two.tokens)
        for name in ("task", "domain", "rms_task", "rms_domain", "moment"):
            torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=1e-3, atol=1e-7)
    capsys.readouterr()
    asked = ["evaluate", *pair, "--items", pico.items, "--variants", "base,task,domain,sum", "--json"]
    found = run(*asked, "--readings", tmp_path / "shared.json")
    assert found.returncode == 0, found.stderr[-2000:]
    assert cli.main([*map(str, asked), "--readings", str(tmp_path / "whole.json"), "-q"]) == 0
    rows, same = json.loads(found.stdout), json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [row["name"] for row in same] and len(rows) == 5
    for one, two in zip(rows, same, strict=True):
        assert one["nll"] == pytest.approx(two["nll"], rel=1e-3) and one["accuracy"] == two["accuracy"]


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for name in UNDER:
        monkeypatch.delenv(name, raising=False)
    assert (processes(), process(), Placement().usual) == (1, 0, True)


def test_under_torchrun_a_base_is_shared_unless_a_device_is_named(torchrun, pico):
    assert processes() == 2 and Placement().shared and not Placement(device="cpu").shared
    assert pipeline.load_base(pico.base, device="cpu").whole


@pytest.mark.parametrize("placed", [{"device_map": "auto"}, {"quantize": "8bit"}])
def test_a_base_is_not_shared_in_two_ways(placed, torchrun, pico):
    with pytest.raises(BaseError, match="leave out --device-map and --quantize, or torchrun"):
        pipeline.load_base(pico.base, **placed)


def test_heads_that_cannot_be_dealt_out_are_refused(torchrun, monkeypatch, pico):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(BaseError, match="2 key value heads cannot be shared by 4 processes alike"):
        pipeline.load_base(pico.base)


def test_several_machines_are_refused(torchrun, monkeypatch, pico):
    monkeypatch.setenv("WORLD_SIZE", "16")
    with pytest.raises(BaseError, match="on several machines"):
        pipeline.load_base(pico.base)


def test_what_is_cut_in_another_way_is_refused():
    class Cut:
        tp_size, tp_plan = 2, {"layers.*.mlp.gate_up_proj": "packed_colwise"}

    with pytest.raises(
        BaseError, match=r"Cut cannot be shared by processes here \(layers.*gate_up_proj as packed_colwise\)"
    ):
        check_cut(Cut())
    with pytest.raises(BaseError, match="Attention of another kind"):
        sharing_settings(Placement(), 10, {"n_head": 4})


def test_what_ends_by_the_clock_does_not_run_in_several_processes(torchrun, pico, capsys):
    assert cli.main(["tune", "--sample", "minerals-tiny"]) == 2
    assert "tune does not run under torchrun; probe, merge, evaluate do" in capsys.readouterr().err


def test_only_the_first_process_prints_and_writes(torchrun, monkeypatch, pico, tmp_path, capfd):
    words = ["merge", "--task", str(pico.task), "--domain", str(pico.domain), "-o", str(tmp_path / "out")]
    monkeypatch.setenv("RANK", "1")
    assert cli.main(words) == 0 and capfd.readouterr().out == "" and not (tmp_path / "out").exists()
    monkeypatch.setenv("RANK", "0")
    assert cli.main(words) == 0 and "Written to" in capfd.readouterr().out and (tmp_path / "out").is_dir()
