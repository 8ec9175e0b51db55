"""What ``tada-studio evaluate --sample NAME`` says of an embedded sample, as docs/samples.md's table between its markers.

    python benchmarks/sample_tables.py minerals-tiny smollm2-minerals vit-glyphs [--tuned]

All held-out items of both sides, float32, the same items and batches for all variants. --tuned adds TIES and DARE-TIES with the
weights that do best on validation items, where a sample has such.
"""

import argparse
import contextlib
import io
import json
from pathlib import Path
from typing import Any

from tada_studio import cli
from tada_studio.report import markdown_table
from tada_studio.sample_pairs import sample

PAGE = Path(__file__).resolve().parent.parent / "docs" / "samples.md"
Row = dict[str, Any]


def evaluated(name: str, tuned: bool) -> list[Row]:
    """The command's own answer: a row for each side and variant."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.main(["evaluate", "--sample", name, "--json", *(["--tuned"] if tuned else [])])
    if code:
        raise SystemExit(code)
    return json.loads(printed.getvalue())


def table(rows: list[Row]) -> str:
    """A line for each variant: accuracy with its 95 % interval on each side, their mean, the mean of free answers and of the right
    answers' negative log-likelihood, and tada against it: the verdict's word, items won and lost, McNemar's corrected p."""
    sides = list(dict.fromkeys(row["side"] for row in rows))
    found = {(row["side"], row["name"]): row for row in rows}
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows):
        scores = [found[side, name] for side in sides]
        shown = f"**{name}**" if name == "tada" else name
        accuracies = ("{accuracy:.3f} ({low:.3f} to {high:.3f})".format(**one) for one in scores)
        means = (_mean(scores, key) for key in ("accuracy", "accuracy_free", "nll"))
        lines.append([shown, *accuracies, *means, _against(scores[0]["compared"])])
    return markdown_table(["variant", *sides, "mean", "free answers", "NLL", "tada against it"], lines)


def _mean(scores: list[Row], key: str) -> str:
    known = [score[key] for score in scores if score[key] is not None]
    return f"{sum(known) / len(known):.3f}" if known else ""


def _against(compared: Row | None) -> str:
    if compared is None or compared["won"] is None:
        return ""
    return "{word}: {won} won, {lost} lost, p {p_right:.2g}".format(**compared)


def put(path: Path, section: str, text: str) -> None:
    """Replace what stands between a section's markers."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--tuned", action="store_true")
    options = parser.parse_args()
    for name in options.names:
        text = table(evaluated(name, options.tuned and bool(sample(name).validation)))
        print(text, flush=True)
        put(PAGE, f"results {name}", text)


if __name__ == "__main__":
    main()
