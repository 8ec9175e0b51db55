"""What the merges of an embedded sample are worth: base, parents, average, sum and tada on all held-out items of both sides.

Prints the table of the README, writes it there between its markers, and the figures into the sample's sample.json. float32,
the same items and batches for all variants; intervals are Wilson's, p values exact McNemar over both sides, Holm-corrected.

    python benchmarks/sample_scores.py [smollm2-minerals]
"""

import argparse
import json
from pathlib import Path

from tada_studio import report, studio
from tada_studio.base import Base
from tada_studio.lora import Adapter, Pair
from tada_studio.probe import Readings
from tada_studio.recipe import Recipe
from tada_studio.samples import Sample, sample

FIGURES = ("accuracy", "low", "high", "n", "nll")
ROOT = Path(__file__).resolve().parent.parent
ONE_LINE = {
    "base": "the base model alone",
    "task": "task adapter alone",
    "domain": "domain adapter alone",
    "average": "plain average (`linear`, strength 1)",
    "sum": "plain sum (`linear`, strength 2)",
    "tada": "**`tada`, default recipe**",
}


def variants(pair: Pair, readings: Readings) -> dict[str, Adapter | None]:
    """All at the rank of the parents."""
    return {
        "base": None,
        "task": pair.task,
        "domain": pair.domain,
        "average": studio.merge(pair, None, Recipe(method="linear", strength=1.0)),
        "sum": studio.merge(pair, None, Recipe(method="linear", strength=2.0)),
        "tada": studio.merge(pair, readings, Recipe()),
    }


def measure(chosen: Sample, base: Base) -> tuple[studio.Sides, Readings]:
    """Scores of every variant on both sides, with readings probed afresh."""
    pair = studio.read_pair(chosen.task, chosen.domain)
    readings = studio.probe(pair, base, studio.sample_inputs(chosen))
    sides: studio.Sides = {}
    say = lambda progress: print(f"\r{progress.done}/{progress.total} {progress.note:10}", end="", flush=True)  # noqa: E731
    studio.score_sides(base, variants(pair, readings), studio.sample_items(chosen), sides, say)
    print()
    return sides, readings


def table(sides: studio.Sides) -> str:
    """The README's table and sentences."""
    headers, rows = report.score_table(sides)
    rows = [[ONE_LINE[row[0]], *row[1:]] for row in rows]
    sentences = [f"- {sentence}" for sentence in report.comparison_sentences(sides)]
    return report.markdown_table(headers, rows) + "\n\n" + "\n".join(sentences)


def figures(sides: studio.Sides) -> dict[str, dict[str, dict[str, float]]]:
    """Side -> variant -> figures, rounded, for sample.json."""
    return {
        side: {
            name: {k: round(v, 4) for k, v in score.to_dict().items() if k in FIGURES} for name, score in scores.items()
        }
        for side, scores in sides.items()
    }


def put(path: Path, section: str, text: str) -> None:
    """Replace what stands between a section's markers."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="smollm2-minerals")
    chosen = sample(parser.parse_args().name)
    base = studio.load_base(str(chosen.base), dtype="float32")
    sides, _ = measure(chosen, base)
    text = table(sides)
    print(text)
    put(ROOT / "README.md", f"results {chosen.name}", text)
    about = ROOT / "sample_adapters" / chosen.name / "sample.json"
    content = json.loads(about.read_text(encoding="utf-8"))
    content["measured"] = figures(sides)
    about.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
