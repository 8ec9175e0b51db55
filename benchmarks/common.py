"""What the benchmarks share: synthetic adapters, the shapes of bases, interleaved timing, sections in RESULTS.md."""

import json
import os
import platform
import re
import statistics
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from tada_studio.exporting.stream import Outline, write_stream

RESULTS = Path(__file__).with_name("RESULTS.md")
Shapes = dict[str, tuple[int, int]]  # module name -> (d_out, d_in)


def llama_shapes(layers: int, hidden: int, inner: int, keys: int) -> Shapes:
    """The seven projections of every layer of a Llama-like base; ``keys`` is the width of k_proj and v_proj."""
    sizes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    return {f"model.layers.{i}.{name}": size for i in range(layers) for name, size in sizes.items()}


SMOLLM2 = llama_shapes(layers=30, hidden=576, inner=1536, keys=192)
LLAMA_7B = llama_shapes(layers=32, hidden=4096, inner=11008, keys=4096)
ONE_LAYER = llama_shapes(layers=1, hidden=4096, inner=11008, keys=4096)
LLAMA_70B = llama_shapes(layers=80, hidden=8192, inner=28672, keys=1024)


def synthetic_pair(shapes: Shapes, folder: Path, rank: int = 16, seed: int = 0) -> tuple[Path, Path]:
    """Two PEFT folders in float16 with decaying spectra, written a module at a time.

    Of the domain's directions a quarter oppose the task's (alignment -.8), a quarter agree (+.8), half do not meet.
    """
    return tuple(_write(shapes, folder / role, rank, seed) for role in ("task", "domain"))  # type: ignore[return-value]


def _factors(name: str, size: tuple[int, int], rank: int, seed: int, role: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    strength = torch.logspace(0, -1.5, rank)
    up, down = (_directions(generator, width, rank) for width in size)
    if role == "domain":
        likeness = torch.zeros(rank)
        likeness[: rank // 2] = 0.8**0.5
        up, down = (
            likeness * mine + (1 - likeness**2).sqrt() * _directions(generator, len(mine), rank) for mine in (up, down)
        )
        up[:, : rank // 4] *= -1
    return {"lora_A.weight": down.mT.half().contiguous(), "lora_B.weight": (up * strength).half().contiguous()}


def _directions(generator: torch.Generator, width: int, rank: int) -> Tensor:
    return torch.randn(width, rank, generator=generator) / width**0.5


def _write(shapes: Shapes, folder: Path, rank: int, seed: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    outlines = {
        f"base_model.model.{name}.{key}": Outline(torch.float16, shape)
        for name, (d_out, d_in) in shapes.items()
        for key, shape in (("lora_A.weight", (rank, d_in)), ("lora_B.weight", (d_out, rank)))
    }

    def numbers() -> Iterator[tuple[str, Tensor]]:
        for name in sorted(shapes):
            for key, tensor in _factors(name, shapes[name], rank, seed, folder.name).items():
                yield f"base_model.model.{name}.{key}", tensor

    write_stream(folder / "adapter_model.safetensors", outlines, numbers())
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": None,  # PEFT would look up a name on the Hub when it saves
        "task_type": None,
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted({name.rpartition(".")[2] for name in shapes}),
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def interleaved(
    contestants: Mapping[str, Callable[[], object]], repeats: Mapping[str, int], after: Callable[[], object]
) -> dict[str, list[float]]:
    """Wall seconds of each contestant: round after round, all in one process, so that a busy moment hits all alike.

    The first round is a warm-up and not counted; who is to run only once is spared it. ``after`` cleans up, untimed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(max(repeats.values()) + 1):
        for name, work in contestants.items():
            if turn > repeats[name] or (turn == 0 and repeats[name] == 1):
                continue
            start = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - start)
            after()
    return seconds


def median(values: list[float]) -> float:
    return statistics.median(values)


def readable(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def verdict(rows: list[tuple[str, object, str, bool]]) -> tuple[str, int]:
    """Of (what, figure, goal, whether it is reached) a Markdown table with a closing line, and the exit code."""
    missed = [what for what, _, _, reached in rows if not reached]
    body = table(
        ["what must hold", "figure", "goal", ""],
        [[what, str(figure), goal, "held" if reached else "**missed**"] for what, figure, goal, reached in rows],
    )
    closing = f"Missed: {', '.join(missed)}." if missed else "All holds."
    return f"{body}\n\n{closing} Exit code {int(bool(missed))}.", int(bool(missed))


def load() -> str:
    """How busy the machine is now: figures hold for a quiet one."""
    return f"load average {os.getloadavg()[0]:.1f} at the start"


def machine(*packages: str) -> str:
    """One line: processor, cores, threads, versions."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    cpu = found[1] if found else platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *packages))
    return f"{cpu}, {torch.get_num_threads()} threads{gpu}; Python {platform.python_version()}, {versions}."


def write_section(name: str, title: str, body: str) -> None:
    """Replace (or append) one script's section of RESULTS.md, which stands between two markers."""
    start, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{start}\n## {title}\n\n{body.strip()}\n{end}"
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Benchmark results\n"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}\n"
    RESULTS.write_text(text, encoding="utf-8")
