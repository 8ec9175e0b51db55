"""Claim: a merge from file to file takes a small fraction of what PEFT's add_weighted_adapter takes for the same job.

    python benchmarks/merge_vs_peft.py                    # everything; ~15 minutes
    python benchmarks/merge_vs_peft.py --what smollm2     # or 7b, layer
    python benchmarks/merge_vs_peft.py --repeats 3

Both sides read two adapter folders and write one, interleaved in one process, imports excluded. PEFT gets a base whose
weights take no memory and are never loaded, so it is charged for adapters only, and it loads them the faster of its two
ways (low_cpu_mem_usage). Ours is the default recipe without readings: factor, singular directions, conflicts, merge,
recompression.
"""

import argparse
import math
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from common import (
    LLAMA_7B,
    ONE_LAYER,
    SMOLLM2,
    Shapes,
    interleaved,
    llama_shapes,
    load,
    machine,
    median,
    readable,
    synthetic_pair,
    table,
    write_section,
)
from peft import PeftModel
from torch import nn

from tada_studio.exporting.folder import export, write_adapter
from tada_studio.pipeline.merge import merge
from tada_studio.read import pair_up, read_adapter
from tada_studio.recipe import Recipe

OURS, CERTIFIED, FLOOR = "TaDA Studio", "TaDA Studio, certified", "reading both, writing one"


class Rival(NamedTuple):
    """One combination type of PEFT, how often it is worth repeating at most, and how much faster we mean to be."""

    combination: str
    goal: float
    most: int = 100
    full_matrices: bool = True  # PEFT's default for the svd types

    @property
    def label(self) -> str:
        svd = self.combination.endswith("svd")
        return f"PEFT {self.combination}" + ("" if not svd else " (default)" if self.full_matrices else " (reduced)")

    @property
    def options(self) -> dict[str, object]:
        density = {"density": 0.5} if "ties" in self.combination else {}
        return density | ({"svd_full_matrices": self.full_matrices} if self.combination.endswith("svd") else {})


class Job(NamedTuple):
    title: str
    shapes: Shapes
    rivals: tuple[Rival, ...]
    floor: float = math.inf  # times what reading both files and writing one takes, at most


JOBS = {
    "smollm2": Job(
        "SmolLM2-135M, 210 modules", SMOLLM2, (Rival("svd", 120), Rival("ties_svd", 300), Rival("linear", 12))
    ),
    "7b": Job("Llama-2-7B, 224 modules", LLAMA_7B, (Rival("linear", 4),), floor=2.5),
    "layer": Job("Llama-2-7B, one layer", ONE_LAYER, (Rival("svd", 5000, most=1, full_matrices=False),)),
    "tiny": Job("two narrow layers", llama_shapes(2, 64, 128, 32), (Rival("linear", 0),)),
}


def virtual_base(shapes: Shapes) -> nn.Module:
    """A tree of linear layers whose weights are one number, seen from everywhere: nothing to load, nothing to hold."""
    root = nn.Module()
    for name, (d_out, d_in) in shapes.items():
        *path, last = name.split(".")
        parent = root
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = getattr(parent, part)
        layer = nn.Linear(d_in, d_out, bias=False, device="meta")
        layer.weight = nn.Parameter(torch.zeros(1, dtype=torch.float16).expand(d_out, d_in), requires_grad=False)
        parent.add_module(last, layer)
    return root


def merge_with_peft(shapes: Shapes, rival: Rival, task: Path, domain: Path, out: Path) -> None:
    model = PeftModel.from_pretrained(virtual_base(shapes), str(task), adapter_name="task", low_cpu_mem_usage=True)
    model.load_adapter(str(domain), adapter_name="domain", low_cpu_mem_usage=True)
    model.add_weighted_adapter(
        ["task", "domain"], [1.0, 1.0], "merged", combination_type=rival.combination, svd_rank=None, **rival.options
    )
    model.save_pretrained(str(out), selected_adapters=["merged"])


def merge_with_ours(task: Path, domain: Path, out: Path) -> None:
    pair = pair_up(
        read_adapter(task), read_adapter(domain)
    )  # not pipeline.read_pair, which remembers the files it read
    write_adapter(merge(pair, None, Recipe()), out)


def merge_and_certify(task: Path, domain: Path, out: Path) -> None:
    """What a user waits for in a process that is warm: the Export button."""
    export(merge(pair_up(read_adapter(task), read_adapter(domain)), None, Recipe()), out)


def read_and_write(task: Path, domain: Path, out: Path) -> None:
    """No merge can take less: the bytes of both files in, as many as one of them out."""
    first, _ = ((folder / "adapter_model.safetensors").read_bytes() for folder in (task, domain))
    out.mkdir()
    (out / "adapter_model.safetensors").write_bytes(first)


def run(name: str, repeats: int, folder: Path) -> tuple[str, bool]:
    """Merge with everybody: a table of it, and whether all goals hold."""
    job, out = JOBS[name], folder / "merged"
    task, domain = synthetic_pair(job.shapes, folder)
    own = {OURS: merge_with_ours, CERTIFIED: merge_and_certify, FLOOR: read_and_write}
    contestants = {who: partial(work, task, domain, out) for who, work in own.items()}
    counts = dict.fromkeys(own, repeats)
    for rival in job.rivals:
        contestants[rival.label] = partial(merge_with_peft, job.shapes, rival, task, domain, out)
        counts[rival.label] = min(repeats, rival.most)
    # a new file each time: replacing one makes some file systems flush it first, whoever writes
    seconds = interleaved(contestants, counts, after=partial(shutil.rmtree, out))
    ours, floor = median(seconds[OURS]), median(seconds[FLOOR])
    kept = ours <= job.floor * floor
    goal = f"{job.floor:g}x the floor: {_word(kept)}" if job.floor < math.inf else ""
    rows = [[OURS, readable(ours), f"{ours / floor:.1f}x the floor", goal, str(len(seconds[OURS]))]]
    rows += [[who, readable(median(seconds[who])), f"{median(seconds[who]) / ours:,.1f}x", "", str(len(seconds[who]))]
             for who in (CERTIFIED, FLOOR)]  # fmt: skip
    held = kept
    for rival in job.rivals:
        theirs = median(seconds[rival.label])
        held &= theirs >= rival.goal * ours
        verdict = f"{rival.goal:,g}x: {_word(theirs >= rival.goal * ours)}"
        rows.append([rival.label, readable(theirs), f"{theirs / ours:,.1f}x", verdict, str(len(seconds[rival.label]))])
    return table(["who", "median", "as long as ours", "goal", "runs"], rows), held


def _word(kept: bool) -> str:
    return "reached" if kept else "missed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--what", choices=[*JOBS, "all"], default="all")
    asked = parser.parse_args()
    held = True
    for name in [job for job in JOBS if job != "tiny"] if asked.what == "all" else [asked.what]:
        before = load()
        with tempfile.TemporaryDirectory() as folder:
            results, kept = run(name, asked.repeats, Path(folder))
        held &= kept
        title = f"Merging, {JOBS[name].title}, rank 16"
        body = f"{results}\n\nFile to file, interleaved in one process; {before}. {machine('peft', 'safetensors')}"
        print(f"{title}\n\n{body}\n")
        if name != "tiny":
            write_section(f"merge_vs_peft {name}", title, body)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
