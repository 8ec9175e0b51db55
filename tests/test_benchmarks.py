"""Every benchmark of merging runs on something small, prints its goals, and its exit code is what they come to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"scaling.py": ("--tiny", "--repeats", "1")}
SMALL_NIGHTLY = {
    "merge_vs_peft.py": ("--what", "tiny", "--repeats", "1"),
    "probe_overhead.py": ("--tiny", "--repeats", "1"),
}
SLOW = {"memory.py": ("--what", "tiny"), "startup.py": ("--times", "1", "--without-server")}


def run(script, *options):
    where = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", script, *options]
    return subprocess.run(command, cwd=ROOT / "benchmarks", env=where, capture_output=True, text=True)


@pytest.mark.parametrize(("script", "options"), SMALL.items())
def test_it_runs_small(script, options):
    results = (ROOT / "benchmarks" / "RESULTS.md").read_bytes()
    found = run(script, *options)
    assert found.returncode == 0 and ("held" in found.stdout or "reached" in found.stdout), found.stderr[-2000:]
    assert (ROOT / "benchmarks" / "RESULTS.md").read_bytes() == results


@pytest.mark.nightly
@pytest.mark.parametrize(("script", "options"), SMALL_NIGHTLY.items())
def test_these_run_small_too(script, options):
    test_it_runs_small(script, options)


@pytest.mark.nightly
def test_without_a_gpu_it_says_what_it_could_not():
    found = run("gpu.py", "--device", "cpu", "--tiny", "--repeats", "1")
    assert found.returncode == 0 and "goal 1.03 for a 7B on a GPU: not judged here" in found.stdout, found.stderr[
        -2000:
    ]
    assert "Could not be measured here: memory on the device; bfloat16" in found.stdout


@pytest.mark.nightly
@pytest.mark.parametrize("script", SLOW)
def test_it_runs_small_in_fresh_processes(script):
    found = run(script, *SLOW[script])
    assert found.returncode in (0, 1) and "held" in found.stdout, found.stderr[-2000:]


def test_a_goal_that_is_missed_is_the_exit_code():
    code = (
        "import sys, scaling; scaling.TINY['layers'] = (scaling.TINY['layers'][0], -9.0); "
        "sys.argv[1:] = ['--tiny', '--repeats', '1']; sys.exit(scaling.main())"
    )
    where = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}"}
    found = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, text=True)
    assert found.returncode == 1 and "-9: missed" in found.stdout, found.stderr[-2000:]
