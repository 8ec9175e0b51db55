"""What a sample's pair and its merges are worth: every variant on all items of both sides, with intervals and paired tests.

    python sample_adapters/make/measure.py SAMPLE_FOLDER [FOLDER_OF_ANOTHER_SEED ...] [--second] [--readings]

--readings takes the readings anew, and scores nothing.
--second measures the sample's second domain adapter with its task adapter, and writes the figures under "second_domain".
Probes the pair, keeps the readings beside it and writes the figures into its sample.json; those of other seeds, measured before,
are listed in it under "seeds". float32, the same items for all, exact McNemar tests over both sides, Holm-corrected.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch

from tada_studio import pipeline
from tada_studio.core import stats
from tada_studio.core.gates import depth_profiles
from tada_studio.core.gates import gates as gates_of
from tada_studio.lora import Adapter, Pair
from tada_studio.pipeline.merge import merge
from tada_studio.probing import Readings
from tada_studio.recipe import Recipe
from tada_studio.sample_pairs import Sample, read_sample, second

#: What ``tada`` must beat, and the sum, beside which it is always shown. All at the rank of the parents.
OTHERS = ("base", "task", "domain", "average", "ties", "dare_ties", "gates", "sum")


def variants(pair: Pair, readings: Readings) -> dict[str, Adapter | None]:
    """The merge with the default recipe, its parents and the baselines with their default knobs."""
    plain = {"ties": Recipe(method="ties"), "dare_ties": Recipe(method="dare_ties")}
    plain |= {name: Recipe(method="linear", strength=strength) for name, strength in (("average", 0.5), ("sum", 1.0))}
    merged = {name: merge(pair, None, recipe) for name, recipe in plain.items()}
    probed = {"gates": merge(pair, readings, Recipe(method="gates")), "tada": merge(pair, readings)}
    return {"base": None, "task": pair.task, "domain": pair.domain, **merged, **probed}


def measure(chosen: Sample, keep: Path | None = None) -> dict[str, Any]:
    """Probe and score a sample; its figures come back as they stand in sample.json. keep: where readings.json is written."""
    base = pipeline.load_base(str(chosen.base), dtype="float32")
    pair = pipeline.read_pair(chosen.task, chosen.domain)
    readings = probed(chosen, base, pair)
    if keep is not None:
        readings.save(keep)
    sides = pipeline.score_sides(base, variants(pair, readings), pipeline.sample_items(chosen))
    return {
        "both_skills": {name: round(both_skills(sides, name), 4) for name in (*OTHERS, "tada")},
        "tada_against": against(sides),
        "depth": depth(readings),
        "measured": {side: {name: _figures(score) for name, score in scores.items()} for side, scores in sides.items()},
    }


def probed(chosen: Sample, base: Any, pair: Pair) -> Readings:
    """Readings of the sample's inputs of both kinds."""
    return pipeline.probe(pair, base, pipeline.sample_inputs(chosen), task_inputs=pipeline.sample_task_inputs(chosen))


def take_readings(chosen: Sample, keep: Path) -> None:
    """The same, kept beside the sample, which is not scored."""
    base, pair = pipeline.load_base(str(chosen.base), dtype="float32"), pipeline.read_pair(chosen.task, chosen.domain)
    probed(chosen, base, pair).save(keep)


def _figures(score: Any) -> dict[str, float]:
    rounded = ("accuracy", "low", "high", "nll")
    return {"n": score.n} | {name: round(getattr(score, name), 4) for name in rounded}


def both_skills(sides: pipeline.Sides, name: str) -> float:
    """S: the mean of the accuracies on both sides."""
    return sum(scores[name].accuracy for scores in sides.values()) / len(sides)


def against(sides: pipeline.Sides) -> dict[str, dict[str, float]]:
    """For every other variant: items of both sides that only tada, or only the other, got right, and the corrected p."""
    correct = {name: torch.cat([scores[name].correct for scores in sides.values()]) for name in (*OTHERS, "tada")}
    splits = {name: (int((correct["tada"] & ~correct[name]).sum()), int((correct[name] & ~correct["tada"]).sum()))
              for name in OTHERS}  # fmt: skip
    p_values = stats.holm([stats.mcnemar(*split) for split in splits.values()])
    return {name: {"won": won, "lost": lost, "p": _two_digits(p)}
            for (name, (won, lost)), p in zip(splits.items(), p_values, strict=True)}  # fmt: skip


def _two_digits(p: float) -> float:
    return p if p == 0 else round(p, 1 - math.floor(math.log10(p)))


def depth(readings: Readings) -> dict[str, Any]:
    """How the domain's share of the default recipe's gates changes with depth."""
    found = depth_profiles(readings, gates_of(readings), Recipe())[""]
    low, high = found.interval or (None, None)
    rounded = lambda value: None if value is None else round(value, 3)  # noqa: E731
    return {
        "rho": rounded(found.rho),
        "low": rounded(low),
        "high": rounded(high),
        "thirds": [*map(rounded, found.thirds)],
    }


def update(folder: Path, more: dict[str, Any]) -> None:
    """Put values into a sample.json."""
    path = folder / "sample.json"
    content = json.loads(path.read_text(encoding="utf-8")) | more
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def one_seed(folder: Path) -> dict[str, Any]:
    """What a sample says about several seeds: a line for each."""
    about = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    taken = ("seed", "steps", "both_skills", "tada_against", "depth")
    return {name: about[name] for name in taken if name in about}


def table(about: dict[str, Any]) -> str:
    """A line for each variant."""
    lines = []
    for name, s in about["both_skills"].items():
        parts = [f"{side} {scores[name]['accuracy']:.3f}" for side, scores in about["measured"].items()]
        p = about["tada_against"].get(name)
        lines.append(
            f"{name:10} S {s:.3f}  {'  '.join(parts)}"
            + (f"  tada: {p['won']} won, {p['lost']} lost, p = {p['p']:.2g}" if p else "")
        )
    return "\n".join([*lines, f"depth asymmetry {about['depth']}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample", type=Path)
    parser.add_argument("others", type=Path, nargs="*")
    parser.add_argument("--second", action="store_true")
    parser.add_argument("--readings", action="store_true")
    options = parser.parse_args()
    folder = options.sample
    if options.readings:
        return take_readings(read_sample(folder), folder / "readings.json")
    if options.second:
        found = measure(second(read_sample(folder)))
        about = json.loads((folder / "sample.json").read_text(encoding="utf-8"))["second_domain"]
        update(folder, {"second_domain": about | found})
    else:
        found = measure(read_sample(folder), folder / "readings.json")
        update(folder, found)
    if options.others:
        update(folder, {"seeds": [one_seed(seed) for seed in (folder, *options.others)]})
    print(table(found))


if __name__ == "__main__":
    main()
