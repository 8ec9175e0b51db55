"""Claim: a turn of ridge or own_weight separates 224 modules at k = 32 anew in under 60 ms, so that both can be live sliders.

    python benchmarks/separation_cost.py            rows into RESULTS.md; --dry prints them

The cost does not depend on the width of the base: everything is k x k. Random moments of full rank, on one thread.
"""

import argparse
import time
from typing import NamedTuple

import torch
from common import machine, median, readable, table, write_section
from torch import Tensor

from tada_studio.core.factor import CoreSpace
from tada_studio.core.merge import recompress
from tada_studio.core.separation import BothMoments, Settings, separate

GOAL = 0.060


def space(modules: int, rank: int, seed: int = 0) -> CoreSpace:
    """The core space of two random adapters of this rank each, in layers of 512 x 512."""
    draw, width = torch.Generator().manual_seed(seed), 512
    up, down = torch.randn(2, modules, width, 2 * rank, generator=draw, dtype=torch.float64) / width**0.5
    names = tuple(f"model.layers.{i}.self_attn.q_proj" for i in range(modules))
    sizes = torch.full((modules, 2), float(width), dtype=torch.float64)
    return CoreSpace(
        names, sizes, rank, rank, up.mT @ up, down.mT @ down, torch.ones(modules, 2 * rank, dtype=torch.float64)
    )


def moment(modules: int, k: int, seed: int) -> Tensor:
    """E[z z^T] of 4 k random codes a module."""
    z = torch.randn(modules, 4 * k, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return z.mT @ z / (4 * k)


class Cost(NamedTuple):
    """Median seconds: of the separation on the clock and of the processor, and of the recompression to rank r that follows it."""

    wall: float
    cpu: float
    merging: float


def cost(modules: int, rank: int, repeats: int) -> Cost:
    """What one turn of a knob takes."""
    known = space(modules, rank)
    moments = BothMoments(moment(modules, 2 * rank, 1), moment(modules, 2 * rank, 2))
    weights = torch.ones(modules, 2, dtype=torch.float64)
    put_in, roots, found = known.squared_norms.sum(1).sqrt(), known.roots, list[Cost]()
    for turn in range(repeats + 1):  # the first warms up
        start, work = time.perf_counter(), time.process_time()
        mix = separate(known, moments, Settings(ridge=1.0 + turn / 10)).mix(known, weights)
        middle, worked = time.perf_counter(), time.process_time() - work
        recompress(roots, mix, rank, put_in)
        found += [Cost(middle - start, worked, time.perf_counter() - middle)] if turn else []
    return Cost(*(median(list(column)) for column in zip(*found, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--dry", action="store_true", help="print, and leave RESULTS.md as it is")
    options = parser.parse_args()
    rows = []
    for modules, rank in ((210, 8), (224, 16), (224, 32)):
        rows.append([str(modules), str(2 * rank), *map(readable, cost(modules, rank, options.repeats))])
    body = f"{machine()}\nGoal at 224 modules and k = 32: {readable(GOAL)}.\n\n" + table(
        ["modules", "k", "separation", "of the processor", "recompression to rank k / 2"], rows
    )
    print(body)
    if not options.dry:
        write_section("separation_cost", "The separation, turned live", body)


if __name__ == "__main__":
    main()
