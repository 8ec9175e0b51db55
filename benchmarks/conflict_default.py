"""Where does the default threshold of conflicts belong, on top of the separation? Judged on validation items only.

    python benchmarks/conflict_default.py [--samples minerals-tiny,smollm2-birds] [--pairs FOLDER]

Rows are JSON lines: pair, how conflicts are dropped, how many directions go, accuracy and NLL of both sides. Beside thresholds in
units of chance it tries one in units of response: of two directions that cancel more than so many percent of what an adapter says
on its own inputs, the weaker goes. --pairs: a folder of pairs (task/, domain/) on the base of minerals-tiny, with its items.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tada_studio import pipeline
from tada_studio.core.conflict import Direction
from tada_studio.core.separation import sides
from tada_studio.pipeline.analysis import analysis
from tada_studio.pipeline.merge import Merge
from tada_studio.recipe import Recipe
from tada_studio.sample_pairs import Sample, sample

#: Two strengths of the separation: the default, and the one that auto chose most often.
STRENGTHS: dict[str, dict[str, Any]] = {"o2:k3": {}, "o1:k1": {"ridge": 1.0, "own_weight": 1.0}}


def cancelled(pair: Any, readings: Any) -> tuple[Tensor, Tensor]:
    """Of every two directions, the share of the task's response on task inputs, and of the domain's on domain inputs, that they
    add to (or, below 0, cancel): ``s_i s'_j (u_i . u'_j) E[(v_i . x) (v'_j . x)] / E|dW_a x|^2``"""
    known, t = analysis(pair), analysis(pair).space.rank_task
    found, space, moments = known.directions, known.space, readings.moments
    strength = found.task.strength[:, :, None] * found.domain.strength[:, None, :]
    shares = []
    for side, moment in zip(sides(space), (moments.task, moments.domain), strict=True):
        together = found.meet_up * strength * (found.task.down.mT @ moment[:, :t, t:] @ found.domain.down)
        scale = space.scale[:, side]
        own = (space.gram_up[:, side, side] * scale[:, :, None] * scale[:, None, :] * moment[:, side, side]).sum((1, 2))
        shares.append(torch.where(own > 0, 1 / own, 0)[:, None, None] * together)
    return shares[0], shares[1]


def dropped_by_response(pair: Any, readings: Any, percent: float) -> tuple[str, ...]:
    """The directions that go, as lines of a recipe."""
    found, places = analysis(pair).directions, list(pair.addresses.values())
    opposed = torch.minimum(*cancelled(pair, readings)) < -percent / 100
    weaker = found.task.strength[:, :, None] < found.domain.strength[:, None, :]
    gone = {"task": (opposed & weaker).any(2), "domain": (opposed & ~weaker).any(1)}
    return tuple(str(Direction(places[i], role, j)) for role, some in gone.items() for i, j in some.nonzero().tolist())


def recipes(pair: Any, readings: Any) -> dict[str, Recipe]:
    """Who is compared, by name."""
    by_response = {percent: dropped_by_response(pair, readings, percent) for percent in (3.0, 10.0)}
    found = {"sum": Recipe(method="linear")}
    for name, knobs in STRENGTHS.items():
        found[f"{name}, nothing dropped"] = Recipe(drop="none", **knobs)
        found |= {f"{name}, {times:g} times chance": Recipe(conflict_threshold=times, **knobs) for times in (8.0, 16.0)}
        found |= {f"{name}, {percent:g} % of response": Recipe(drop="none", discard=lines, **knobs)
                  for percent, lines in by_response.items()}  # fmt: skip
    return found


def rows(chosen: Sample) -> list[dict[str, Any]]:
    """A row for each recipe, on the validation items of a pair."""
    base, pair = pipeline.load_base(str(chosen.base), dtype="float32"), pipeline.read_pair(chosen.task, chosen.domain)
    inputs = pipeline.sample_inputs(chosen), pipeline.sample_task_inputs(chosen)
    readings = pipeline.probe(pair, base, inputs[0], task_inputs=inputs[1])
    found = []
    for name, recipe in recipes(pair, readings).items():
        merge = Merge(pair, readings, recipe)
        scores = pipeline.score_sides(base, {name: merge.adapter}, pipeline.sample_validation(chosen))
        drops = 0 if merge.how.drops is None else merge.how.drops.count
        sides = {side: {"accuracy": one[name].accuracy, "nll": one[name].nll} for side, one in scores.items()}
        found.append({"pair": chosen.name, "recipe": name, "dropped": drops, **sides})
        print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default="minerals-tiny,smollm2-minerals,smollm2-birds")
    parser.add_argument("--pairs", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [sample(name) for name in options.samples.split(",") if name]
    for folder in sorted(options.pairs.iterdir()) if options.pairs else []:
        if (folder / "domain").is_dir() and not (folder / "base").is_dir():
            chosen.append(
                replace(sample("minerals-tiny"), name=folder.name, task=folder / "task", domain=folder / "domain")
            )
    for one in chosen:
        rows(one)


if __name__ == "__main__":
    main()
