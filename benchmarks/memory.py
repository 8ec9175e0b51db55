"""Claim: two 70B-class adapters merge, are certified and verified within 2 GB, whatever the number of layers.

    python benchmarks/memory.py                # Llama-2-7B at rank 16, a 70B-class base at rank 64; ~5 minutes, 5 GB of disk
    python benchmarks/memory.py --what 7b      # or 70b, tiny

Each command runs as a person runs it, in a process of its own, and is watched from outside: RssAnon of /proc is the memory
that is not pages of a file (those the system takes back when it wants to). Wall seconds are of the whole command, with the
imports of torch and PEFT and with the certificate. ``passport`` is judged by what it takes beyond ``import torch``.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from common import LLAMA_7B, LLAMA_70B, Shapes, llama_shapes, load, machine, synthetic_pair, table, write_section


class Job(NamedTuple):
    """A pair, and what each command may take: wall seconds, and MB that are not file pages."""

    title: str
    shapes: Shapes
    rank: int
    seconds: float
    megabytes: float
    passport: float = 100


JOBS = {
    "7b": Job("Llama-2-7B, rank 16", LLAMA_7B, 16, seconds=3, megabytes=1000),
    "70b": Job("70B-class (80 layers, hidden 8192), rank 64", LLAMA_70B, 64, seconds=60, megabytes=2000),
    "tiny": Job("2 narrow layers, rank 4", llama_shapes(2, 64, 128, 32), 4, seconds=120, megabytes=1000),
}


class Taken(NamedTuple):
    seconds: float
    megabytes: float


def watched(command: list[str]) -> Taken:
    """Wall seconds and the largest RssAnon of a process, asked a hundred times a second."""
    start, most = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        most = max(most, _anonymous(process.pid))
        time.sleep(0.01)
    taken = time.perf_counter() - start
    assert process.stderr is not None
    if process.returncode:
        raise SystemExit(process.stderr.read().decode())
    return Taken(taken, most / 1000)


def _anonymous(pid: int) -> int:
    """kB of a process that are no pages of a file; 0 when it is gone."""
    try:
        found = re.search(r"RssAnon:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def commands(folder: Path) -> dict[str, list[str]]:
    ours = [sys.executable, "-m", "tada_studio"]
    pair, out = ["--task", str(folder / "task"), "--domain", str(folder / "domain")], str(folder / "merged")
    return {
        "import torch": [sys.executable, "-c", "import torch"],
        "import peft": [sys.executable, "-c", "import peft"],
        "merge, certified": [*ours, "merge", *pair, "-o", out],
        "verify": [*ours, "verify", out],
        "passport": [*ours, "passport", str(folder / "task"), str(folder / "domain")],
    }


def run(name: str, folder: Path) -> tuple[str, bool]:
    """The table of one job, and whether all its goals hold."""
    job = JOBS[name]
    synthetic_pair(job.shapes, folder, job.rank)
    taken = {what: watched(command) for what, command in commands(folder).items()}
    torch_alone, rows, held = taken["import torch"].megabytes, [], True
    for what, found in taken.items():
        goals = []
        if what in ("merge, certified", "verify"):
            goals = [
                (f"{job.seconds:g} s", found.seconds <= job.seconds),
                (f"{job.megabytes:g} MB", found.megabytes <= job.megabytes),
            ]
        if what == "passport":
            goals = [(f"{job.passport:g} MB beyond torch", found.megabytes - torch_alone <= job.passport)]
        held &= all(kept for _, kept in goals)
        said = ", ".join(f"{goal}: {'held' if kept else 'missed'}" for goal, kept in goals)
        rows.append([what, f"{found.seconds:.1f} s", f"{found.megabytes:,.0f} MB", said])
    return table(["command", "wall", "RssAnon at most", "goal"], rows), held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=[*JOBS, "all"], default="all")
    asked = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    held = True
    for name in ("7b", "70b") if asked.what == "all" else [asked.what]:
        before = load()
        with tempfile.TemporaryDirectory() as folder:
            results, kept = run(name, Path(folder))
        held &= kept
        title = f"Whole commands, {JOBS[name].title}"
        body = f"{results}\n\nEach in a process of its own; {before}. {machine('peft', 'safetensors')}"
        print(f"{title}\n\n{body}\n")
        if name != "tiny":
            write_section(f"memory {name}", title, body)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
