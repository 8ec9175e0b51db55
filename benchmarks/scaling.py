"""Claim: the cost of a merge grows like the adapters do: in step with layers and width, no faster with rank than its cube.

    python benchmarks/scaling.py              # ~2 minutes
    python benchmarks/scaling.py --tiny       # two small points a line, to see that it runs

File to file, one thing doubled at a time, the others held; medians. The exponent is the slope of a straight line through the
logarithms: 1 means twice as much takes twice as long.
"""

import argparse
import math
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

from common import interleaved, llama_shapes, load, machine, median, readable, synthetic_pair, table, write_section

from tada_studio.exporting.folder import write_adapter
from tada_studio.pipeline.merge import merge
from tada_studio.read import pair_up, read_adapter

PLOT = Path(__file__).parent.parent / "assets" / "scaling.svg"


class Size(NamedTuple):
    layers: int = 8
    width: int = 2048
    rank: int = 16


#: What is doubled, and the largest exponent that is allowed for it.
LINES = {
    "layers": ([Size(layers=n) for n in (4, 8, 16, 32)], 1.15),
    "width": ([Size(width=n) for n in (1024, 2048, 4096, 8192)], 1.15),
    "rank": ([Size(layers=4, rank=n) for n in (8, 16, 32, 64)], 2.5),
}
TINY = {"layers": ([Size(layers=n, width=64, rank=2) for n in (1, 2)], 10.0)}


def file_to_file(folder: Path, out: Path) -> None:
    write_adapter(merge(pair_up(read_adapter(folder / "task"), read_adapter(folder / "domain"))), out)


def seconds(sizes: list[Size], folder: Path, repeats: int) -> list[float]:
    """Median wall seconds of each size, interleaved."""
    contestants = {}
    for i, size in enumerate(sizes):
        here = folder / str(i)
        synthetic_pair(llama_shapes(size.layers, size.width, 2 * size.width, size.width), here, size.rank)
        contestants[str(i)] = partial(file_to_file, here, folder / "out")
    found = interleaved(
        contestants, dict.fromkeys(contestants, repeats), partial(shutil.rmtree, folder / "out", ignore_errors=True)
    )
    return [median(found[name]) for name in contestants]


def slope(amounts: list[float], taken: list[float]) -> float:
    """Least squares through the logarithms."""
    x, y = [math.log(a) for a in amounts], [math.log(t) for t in taken]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)


def plot(lines: dict[str, tuple[list[float], list[float]]], file: Path) -> None:
    """The lines as a small SVG with both axes logarithmic; each starts at 1, 1."""
    width, height, edge, colours = 560, 360, 50, ("#2f6fb0", "#c2572b", "#3d8b53", "#8259a8")
    tops = [max(v / values[0] for v in values) for pair in lines.values() for values in pair]
    far = math.log(max(tops))

    def at(amount: float, taken: float) -> str:
        x = edge + (width - 2 * edge) * math.log(amount) / far
        return f"{x:.1f},{height - edge - (height - 2 * edge) * math.log(taken) / far:.1f}"

    diagonal = f"{at(1, 1)} {at(math.exp(far), math.exp(far))}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<polyline points="{diagonal}" stroke="#999" stroke-dasharray="4" fill="none"/>',
        f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle">times as much (logarithmic)</text>',
        f'<text x="16" y="{height / 2}" text-anchor="middle" transform="rotate(-90 16 {height / 2})">times as long</text>',
    ]
    for i, (name, (amounts, taken)) in enumerate(lines.items()):
        points = " ".join(at(a / amounts[0], max(t / taken[0], 1e-9)) for a, t in zip(amounts, taken, strict=True))
        parts.append(f'<polyline points="{points}" stroke="{colours[i]}" stroke-width="2" fill="none"/>')
        parts.append(f'<text x="{edge + 10}" y="{edge + 18 * i}" fill="{colours[i]}">{name}</text>')
    file.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args()
    rows, lines, held, before = [], {}, True, load()
    for name, (sizes, most) in (TINY if asked.tiny else LINES).items():
        with tempfile.TemporaryDirectory() as folder:
            taken = seconds(sizes, Path(folder), asked.repeats)
        amounts = [float(getattr(size, name)) for size in sizes]
        lines[name] = amounts, taken
        found = slope(amounts, taken)
        held &= found <= most
        steps = ", ".join(f"{amount:g}: {readable(one)}" for amount, one in zip(amounts, taken, strict=True))
        rows.append([name, steps, f"{found:.2f}", f"{most:g}: {'held' if found <= most else 'missed'}"])
    body = f"{table(['doubled', 'file to file', 'exponent', 'at most'], rows)}\n\n{before}. {machine('safetensors')}"
    print(body)
    if not asked.tiny:
        plot(lines, PLOT)
        write_section(
            "scaling", "How the cost of a merge grows", f"{body}\n\n![cost against size](../assets/scaling.svg)"
        )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
