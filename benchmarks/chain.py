"""Three adapters of SmolLM2-135M-Instruct in one: letters, minerals and birds, merged two at a time and scored on all three sides.

    python benchmarks/chain.py [--folder OUT] [--limit N]

The first merge is the sample's pair with its readings; the second joins birds to it, probed with beginnings of sentences about
birds on one side and with the prompts of both former skills on the other. All test items, float32, the same items and batches for
every variant; the table goes into docs/samples.md. With --folder every merge is kept there as its PEFT folder.
"""

import argparse
import tempfile
from pathlib import Path

from sample_tables import PAGE, put

from tada_studio import pipeline
from tada_studio.base_model.inputs import read_inputs
from tada_studio.base_model.model import Base
from tada_studio.evaluation import Score, choose, read_items
from tada_studio.lora import Adapter
from tada_studio.pipeline import Sides
from tada_studio.probing import Readings
from tada_studio.recipe import Recipe
from tada_studio.report import markdown_table
from tada_studio.sample_pairs import sample

SAMPLE = sample("smollm2-minerals")
HOME = SAMPLE.task.parent
BIRDS = HOME / "domain-birds"
ITEMS = {"letters": HOME / "task.jsonl", "minerals": HOME / "domain.jsonl", "birds": HOME / "domain_birds.jsonl"}
#: Both steps of each chain by name: what is merged first, and what that is then merged into with birds.
CHAINS = {
    "sum of three, rank 16": (Recipe(method="linear"), Recipe(method="linear")),
    "sum of three, rank 48": (Recipe(method="linear", rank=32), Recipe(method="linear", rank=48)),
    "tada of three, rank 16": (Recipe(), Recipe()),
    "tada of three, rank 48": (Recipe(rank=32), Recipe(rank=48)),
}


def first_step(recipe: Recipe, out: Path) -> Path:
    """Letters and minerals in one folder."""
    pair = pipeline.read_pair(str(SAMPLE.task), str(SAMPLE.domain))
    readings = Readings.load(str(SAMPLE.readings))
    pipeline.export(pipeline.Merge(pair, readings, recipe).adapter, out)
    return out


def second_step(mix: Path, base: Base, recipe: Recipe, out: Path) -> Path:
    """That and birds in one folder, with the readings beside it."""
    pair = pipeline.read_pair(str(mix), str(BIRDS))
    before = [*read_inputs(HOME / "task_probe.jsonl"), *read_inputs(HOME / "probe.jsonl")]
    readings = pipeline.probe(pair, base, read_inputs(HOME / "probe_birds.jsonl"), len(before), task_inputs=before)
    readings.save(out.with_name(f"{out.name}-readings.json"))
    pipeline.export(pipeline.Merge(pair, readings, recipe).adapter, out)
    return out


def merges(home: Path, base: Base) -> dict[str, Adapter | None]:
    """Base, parents, the merge of two, and the chains of three."""
    folders = {"letters": SAMPLE.task, "minerals": SAMPLE.domain, "birds": BIRDS}
    for name, (first, second) in CHAINS.items():
        place = home / name.replace(", ", "-").replace(" ", "-")
        mix = first_step(first, place.with_name(f"{place.name}-two"))
        folders[name] = second_step(mix, base, second, place)
        if name == "tada of three, rank 16":
            folders["tada of letters and minerals, rank 16"] = mix
    return {"base": None, **{name: pipeline.read_adapter(folder) for name, folder in folders.items()}}


def table(sides: Sides) -> str:
    """A line for each variant: accuracy with its 95 % interval on each side, and their mean."""
    rows = []
    for name in next(iter(sides.values())):
        scores = [scores[name] for scores in sides.values()]
        accuracies = [float(score.accuracy or 0) for score in scores]
        rows.append([name, *map(_cell, scores), f"{sum(accuracies) / len(accuracies):.3f}"])
    return markdown_table(["variant", *sides, "mean"], rows)


def _cell(score: Score) -> str:
    return f"{score.accuracy:.3f} ({score.low:.3f} to {score.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder")
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    base = pipeline.load_base(SAMPLE.base)
    items = {side: choose(read_items(path), options.limit) for side, path in ITEMS.items()}
    with tempfile.TemporaryDirectory() as scratch:
        found = merges(Path(options.folder or scratch), base)
        print("\n".join(f"{name}: rank {one.rank}" for name, one in found.items() if one), flush=True)
        sides = pipeline.score_sides(base, found, items, each=lambda so_far: print(_last(so_far), flush=True))
    print(table(sides))
    if options.limit is None:
        put(PAGE, "results chain", table(sides))


def _last(sides: Sides) -> str:
    name = list(next(iter(sides.values())))[-1]
    return f"{name}: " + ", ".join(f"{side} {_cell(scores[name])}" for side, scores in sides.items() if name in scores)


if __name__ == "__main__":
    main()
