"""The TaDA paper's two settings, with your weights, adapters and data, and our table beside the paper's figures.

    python examples/paper/run.py examples/paper/llama2_7b.yaml [--limit 200] [--out results.json] [--device cuda]

Only the public names of tada_studio are used. Each set that is done is kept in the results file: started again, a run that was
stopped goes on with the next one.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rows import items_file

import tada_studio as tada

#: What is compared: the base and both parents as they are, and merges by the recipe that makes them.
PARENTS = ("base", "task", "domain")
MERGES = {
    "average": {"method": "linear", "strength": 0.5},
    "sum": {"method": "linear"},
    "ties": {"method": "ties"},
    "dare_ties": {"method": "dare_ties"},
    "tada": {"method": "tada"},
}
#: What one set may say for itself instead of taking it from the top of the file.
OWN = ("base", "task", "domain", "probe")


class Setting(NamedTuple):
    """A settings file: what is run, and the paper's own mean accuracies by variant."""

    title: str
    sets: dict[str, dict[str, Any]]
    recipe: dict[str, Any]
    n: int
    paper: dict[str, float]
    home: Path


def read_setting(path: Path) -> Setting:
    """A settings file. Raises tada.InputError."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        shared = {key: content[key] for key in OWN if content.get(key)}
        sets = {str(name): {**shared, **one} for name, one in content["sets"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise tada.InputError(f"{path}: cannot be read as a settings file ({error}). See llama2_7b.yaml.") from error
    for name, one in sets.items():
        if missing := [key for key in (*OWN, "items") if not one.get(key)]:
            raise tada.InputError(
                f"{path}: {name} has no {' and no '.join(missing)}. Fill in what you have, or remove it."
            )
    home = path.resolve().parent
    return Setting(
        content.get("title", path.stem),
        sets,
        content.get("recipe") or {},
        content.get("n", 32),
        content.get("paper") or {},
        home,
    )


def place(home: Path, ref: str) -> str:
    """A path beside the settings file, or what was written: an absolute path or a Hub id."""
    beside = home / Path(ref).expanduser()
    return str(beside) if beside.exists() else str(ref)


# -- one set -------------------------------------------------------------------------------------------------------


def variants(pair: tada.Pair, readings: tada.Readings, recipe: Mapping[str, Any]) -> dict[str, tada.Adapter | None]:
    """Base, parents, and every merge at the same rank; the settings' own knobs are those of ``tada`` alone."""
    rank = {"rank": recipe["rank"]} if "rank" in recipe else {}
    recipes = {
        name: tada.Recipe(**{**rank, **(recipe if name == "tada" else {}), **knobs}) for name, knobs in MERGES.items()
    }
    plain: dict[str, tada.Adapter | None] = dict(zip(PARENTS, (None, pair.task, pair.domain), strict=True))
    return {**plain, **{name: tada.merge(pair, readings, one) for name, one in recipes.items()}}


def run_set(
    setting: Setting, one: Mapping[str, Any], bases: dict[str, tada.Base], options: argparse.Namespace
) -> dict[str, Any]:
    """Accuracy, interval and size by variant, on the items of one set."""
    ref, task, domain = (place(setting.home, one[key]) for key in ("base", "task", "domain"))
    if ref not in bases:
        bases.clear()  # one large base at a time
        bases[ref] = tada.load_base(ref, device=options.device)
    base = bases[ref]
    pair = tada.read_pair(task, domain, base=base)
    readings = tada.probe(pair, base, tada.read_inputs(items_file(one["probe"], setting.home)), setting.n, told)
    items = chosen(tada.read_items(items_file(one["items"], setting.home)), options.limit)
    scores = tada.evaluate(base, variants(pair, readings, setting.recipe), items, told)
    return {name: {"accuracy": s.accuracy, "low": s.low, "high": s.high, "n": s.n} for name, s in scores.items()}


def chosen(items: Sequence[Any], limit: int | None) -> list[Any]:
    """At most ``limit`` items, spread evenly over the file."""
    if limit is None or len(items) <= limit:
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def told(progress: tada.Progress) -> None:
    if sys.stderr.isatty():
        print(
            f"\r\033[K{progress.step} {progress.done}/{progress.total} {progress.note}",
            end="",
            file=sys.stderr,
            flush=True,
        )


def run(setting: Setting, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """(set, its scores) one by one; those in the results file, of the same settings and items, are not run again."""
    bases: dict[str, tada.Base] = {}
    kept = json.loads(options.out.read_text(encoding="utf-8")) if options.out and options.out.is_file() else {}
    for name, one in setting.sets.items():
        asked = json.dumps([one, setting.recipe, setting.n, options.limit, tada.__version__], sort_keys=True)
        mark = hashlib.sha256(asked.encode()).hexdigest()
        if kept.get(name, {}).get("settings") != mark:
            kept[name] = {"settings": mark, "scores": run_set(setting, one, bases, options)}
            if options.out:
                options.out.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        yield name, kept[name]["scores"]


# -- the table -----------------------------------------------------------------------------------------------------


def table(setting: Setting, done: Mapping[str, Mapping[str, Any]]) -> str:
    """Variants down, sets across; then our mean, and the paper's where it gave one."""
    rows = [["variant", *done, "mean", "paper"]]
    for variant in (*PARENTS, *MERGES):
        scores = [sets[variant]["accuracy"] for sets in done.values()]
        paper = setting.paper.get(variant)
        means = [sum(scores) / len(scores), *([] if paper is None else [paper])]
        rows.append([variant, *(f"{score:.3f}" for score in (*scores, *means))])
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    sizes = ", ".join(f"{name} {sets['base']['n']}" for name, sets in done.items())
    note = "The paper's sets, prompts and splits are not known to us; its column is its own and no like-for-like comparison."
    return "\n".join([setting.title, "", *lines, "", f"Items: {sizes}.", note])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one settings file and print the table; 0 good, 2 the user's input."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("settings", type=Path, help="llama2_7b.yaml, vit_l16.yaml, or one like them")
    parser.add_argument("--limit", type=int, help="at most so many items of each set")
    parser.add_argument("--out", type=Path, help="results as JSON, written set by set; a run goes on from there")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(argv)
    try:
        setting = read_setting(options.settings)
        print("\n" + table(setting, dict(run(setting, options))))
        return 0
    except tada.TadaError as error:
        print(f"{options.settings.name}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
