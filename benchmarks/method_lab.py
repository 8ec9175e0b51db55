"""The method lab: does tada with auto beat the plain sum on pairs that nobody chose on? By the plan in docs/method-lab.md.

    python benchmarks/method_lab.py [--pairs mt21,vg21] [--only train|evaluate] [--variants sum,tada] [--work DIR]
    python benchmarks/method_lab.py --report

Trains each pair of ``lab_pairs.PAIRS`` that is not there, and scores each variant that has no result yet; what is done is not done
again, so a run that was stopped goes on. Results are small files in method_lab/, one a pair; --report writes the tables into
the plan's page. Of a pair only prompts reach the method: probe inputs without answers.
"""

import argparse
import json
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lab_pairs import PAIRS, LabPair, make
from lab_report import write_report

from tada_studio import __version__, pipeline
from tada_studio.evaluation import Score
from tada_studio.lora import Adapter
from tada_studio.pipeline.calibration import Calibration, calibrate
from tada_studio.pipeline.merge import merge
from tada_studio.pipeline.variants import TUNED, TURNED, tuned
from tada_studio.recipe import THRESHOLD_1, Recipe
from tada_studio.sample_pairs import Sample, read_sample

RESULTS = Path(__file__).with_name("method_lab")
#: In the order in which they are scored: first who the plan's question is about. ``tada`` is with auto, as the command line merges
#: with a base at hand; ``tada fixed`` is the default recipe as it stands.
VARIANTS = (
    "sum", "tada", "task", "domain", "gates", "ties", "dare_ties", "tada fixed", "base", "average", "lines", "regmean", "tsv",
    "knots_ties", "pico", "ctm", "core_tsv_iso", "core_ties", "core_dare", "placebo", "sum tuned", "ties tuned", "dare_ties tuned",
)  # fmt: skip
#: Baselines whose strength is chosen on validation items.
CHOSEN = {**TUNED, "sum tuned": "linear"}
#: Variants that are a method with other knobs than the default ones; gates as version 0.1 had them.
FIXED = {**TURNED, "tada fixed": Recipe(), "gates": Recipe(method="gates", conflict_threshold=THRESHOLD_1)}
#: A parent that is not so much above chance on its own validation items did not learn, and its pair is left out.
LEARNED = 0.3
#: Whose log-likelihoods are kept by item; of the others their mean.
BY_ITEM = ("sum", "tada", "tada fixed", "gates")


class Lab:
    """One pair, ready to be merged and scored; what takes long is done when it is first needed."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.pair = pipeline.read_pair(sample.task, sample.domain)
        self.inputs, self.task_inputs = pipeline.sample_inputs(sample), pipeline.sample_task_inputs(sample)

    @cached_property
    def base(self) -> Any:
        return pipeline.load_base(str(self.sample.base), device="cpu", dtype="float32")

    @cached_property
    def readings(self) -> Any:
        return pipeline.probe(self.pair, self.base, self.inputs, task_inputs=self.task_inputs)

    @cached_property
    def auto(self) -> Calibration:
        assert self.task_inputs is not None
        return calibrate(self.pair, self.base, self.inputs, self.task_inputs)

    def recipe(self, name: str) -> Recipe:
        """What a variant that is a merge is made by."""
        if name == "tada":
            return self.auto.recipe
        if name in CHOSEN:
            return tuned(self.base, self.pair, Recipe(method=CHOSEN[name]), pipeline.sample_validation(self.sample))
        return FIXED.get(name) or Recipe(method=name)

    def adapter(self, name: str) -> tuple[Adapter | None, Recipe | None]:
        """A variant, and its recipe if it is a merge."""
        parents: dict[str, Adapter | None] = {"base": None, "task": self.pair.task, "domain": self.pair.domain}
        if name in parents:
            return parents[name], None
        recipe = self.recipe(name)
        return merge(self.pair, self.readings, recipe), recipe


def evaluate(pair: LabPair, folder: Path, wanted: Sequence[str]) -> None:
    """Every variant that is wanted and has no result yet; the file is written anew after each."""
    path = RESULTS / f"{pair.name}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    missing = [name for name in wanted if name not in found.get("variants", {})]
    if not missing:
        return
    lab = Lab(read_sample(folder))
    found.setdefault("learned", learned(lab))
    items = pipeline.sample_items(lab.sample)
    for name in missing if all(one["right"] >= one["chance"] + LEARNED for one in found["learned"].values()) else ():
        start = time.monotonic()
        adapter, recipe = lab.adapter(name)
        heads = (
            {"task": lab.pair.task} if lab.base.classifies else {}
        )  # whoever has no head for the items borrows the task's
        sides = pipeline.score_sides(lab.base, {**heads, name: adapter}, items)
        result: dict[str, Any] = {side: kept(scores[name], name) for side, scores in sides.items()}
        if recipe is not None:
            turned = {knob: value for knob, value in recipe.to_dict().items() if value != Recipe().to_dict()[knob]}
            result["recipe"] = turned
        if name == "tada":
            result["auto"] = lab.auto.to_dict()
        found = {
            **header(pair, lab),
            "learned": found["learned"],
            "variants": {**found.get("variants", {}), name: result},
        }
        write(path, found)
        means = ", ".join(f"{side} {score[name].accuracy:.3f}" for side, score in sides.items())
        print(f"{pair.name}  {name}: {means}  ({time.monotonic() - start:.0f} s)", flush=True)


def learned(lab: Lab) -> dict[str, dict[str, float]]:
    """What each parent makes of its own side's validation items, where it has such; looked at before any merge is scored."""
    validation, parents = pipeline.sample_validation(lab.sample), {"task": lab.pair.task, "domain": lab.pair.domain}
    found = {}
    for role in validation.keys() & parents.keys():
        score = pipeline.score_sides(lab.base, {role: parents[role]}, {role: validation[role]})[role][role]
        assert score.accuracy is not None and score.rates is not None and score.rates.chance is not None
        found[role] = {"right": round(score.accuracy, 4), "chance": round(score.rates.chance, 4)}
    return dict(sorted(found.items()))


def write(path: Path, found: dict[str, Any]) -> None:
    """A line for each variant: results are added to one by one."""
    lines = (f" {json.dumps(name)}: {json.dumps(one)}" for name, one in found["variants"].items())
    variants = '"variants": {\n' + ",\n".join(lines) + "\n }"
    text = json.dumps({**found, "variants": 0}, indent=1).replace('"variants": 0', variants)
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".part").write_text(text + "\n", encoding="utf-8")
    path.with_suffix(".part").replace(path)


def header(pair: LabPair, lab: Lab) -> dict[str, Any]:
    """Which pair it is, of which bytes."""
    digests = {"task": lab.pair.task.digest, "domain": lab.pair.domain.digest, "base": lab.base.digest}
    return {"pair": pair._asdict(), "version": __version__, "torch": torch.__version__, "sha256": digests}


def kept(score: Score, name: str) -> dict[str, Any]:
    """Of a score: which items were right, as digits, chosen and freely said, and the log-likelihoods of the right answers."""
    assert score.correct is not None
    found: dict[str, Any] = {"n": score.n, "right": bits(score.correct), "nll": score.nll and round(score.nll, 5)}
    if score.free is not None:
        found["free"] = bits(score.free)
    if name in BY_ITEM and score.gold is not None:
        found["gold"] = [round(value, 3) for value in score.gold.tolist()]
    return found


def bits(hits: torch.Tensor) -> str:
    return "".join(str(int(hit)) for hit in hits.tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", help="names, with commas; all of them if not given")
    parser.add_argument("--only", choices=["train", "evaluate"], help="evaluate: those that are trained already")
    parser.add_argument("--variants", help="names, with commas; all of them if not given")
    parser.add_argument("--work", type=Path, default=Path("build") / "method-lab", help="adapters, bases, checkpoints")
    parser.add_argument(
        "--report", action="store_true", help="write the tables into docs/method-lab.md, and do nothing else"
    )
    options = parser.parse_args()
    if options.report:
        return write_report(RESULTS, PAIRS, VARIANTS)
    torch.set_num_threads(1)  # the same sums in the same order, whatever the machine
    names = options.pairs.split(",") if options.pairs else [pair.name for pair in PAIRS]
    wanted = options.variants.split(",") if options.variants else VARIANTS
    for pair in (next(one for one in PAIRS if one.name == name) for name in names):
        if options.only != "evaluate":
            make(pair, options.work)
        folder = options.work / pair.name
        if options.only != "train" and (folder / "sample.json").is_file():
            evaluate(pair, folder, wanted)


if __name__ == "__main__":
    main()
