"""What is done to adapters: passport, probe, merge, report."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tada_studio.cli.flags import (
    add_base,
    add_dora,
    add_knobs,
    add_pair,
    add_pickle,
    answer,
    command,
    dora_of,
    readings_of,
    recipe_of,
    teller,
)
from tada_studio.errors import InputError
from tada_studio.recipe import Recipe, read_log


def passport(options: argparse.Namespace) -> int:
    from tada_studio import report, studio

    if len(options.adapter) > 2:
        raise InputError(f"{len(options.adapter)} adapters were given; give one, or the two that are to be merged.")
    found, verdict = studio.passports(options.adapter, options.allow_pickle, **dora_of(options))
    judged = (
        {} if verdict is None else {"fit": verdict.word, "reasons": list(verdict.reasons), "notes": list(verdict.notes)}
    )
    says = [report.verdict_sentence(verdict)] if verdict else []
    answer(
        options,
        [
            {"name": p.label, **p.facts, "remarks": list(p.remarks), **judged, "verdict": says[0] if says else None}
            for p in found
        ],
        "\n\n".join([*(report.text_table(("adapter", p.label), report.passport_rows(p)) for p in found), *says]),
    )
    return 0 if verdict is None or verdict.fits else 2


def probe(options: argparse.Namespace) -> int:
    from tada_studio import report, studio
    from tada_studio.core.gates import depth_profile
    from tada_studio.probe import read_inputs

    inputs = read_inputs(options.inputs)
    pair = studio.read_pair(options.task, options.domain, options.allow_pickle, **dora_of(options))
    base = studio.load_base(options.base, options.device, options.base_dtype)
    readings = studio.probe(pair, base, inputs, options.n, teller(options))
    readings.save(_json_name(options.out))
    recipe = Recipe()
    depth = depth_profile(readings, studio.gates(readings, recipe), recipe)
    sentence = report.depth_sentence(depth, probed=True)
    answer(
        options,
        {"readings": str(options.out), "inputs": len(readings.tokens), "rho": depth.rho, "says": sentence},
        sentence,
    )
    return 0


def _json_name(path: str) -> Path:
    if not path.endswith(".json"):
        raise InputError(f"-o {path}: give a name that ends in .json; the tensors go beside it as .safetensors.")
    return Path(path)


def merge(options: argparse.Namespace) -> int:
    from tada_studio import report, studio

    pair, base, readings, recipe = _opened(options)
    merged = studio.merge(pair, readings, recipe)
    content = _recipe_file(options)
    if recipe == Recipe.from_dict(content.get("recipe", {})):  # else flags changed it, and the log would not tell how
        merged = studio.logged(merged, read_log(content))
    certificate = studio.export(merged, options.out, base=base, report=teller(options))
    gate_map = studio.gates(readings if readings is not None else studio.unprobed(pair), recipe)
    core = studio.merge_core(pair, gate_map, recipe, readings)
    lines = [
        report.conflict_sentence(core),
        report.rank_sentence(core),
        *certificate.sentences,
        f"Written to {options.out}.",
    ]
    answer(options, {"out": str(options.out), "verdict": "pass", "rank": core.rank, "says": lines}, "\n".join(lines))
    return 0


def report(options: argparse.Namespace) -> int:
    from tada_studio import studio
    from tada_studio.html_report import html_report
    from tada_studio.session import View

    out = Path(options.out)
    if out.suffix != ".html":
        raise InputError(f"-o {options.out}: give a name that ends in .html.")
    pair, _, readings, recipe = _opened(options)
    view = View(pair, readings if readings is not None else studio.unprobed(pair), recipe, readings is not None)
    page = html_report(view, options.title or f"{pair.task.label} and {pair.domain.label}")
    out.write_text(page, encoding="utf-8")
    answer(options, {"out": str(out), "bytes": out.stat().st_size}, f"Written to {out}; it opens offline.")
    return 0


def _opened(options: argparse.Namespace) -> tuple[Any, Any, Any, Recipe]:
    """(pair, base or None, readings or None, recipe) that a merge was asked for."""
    from tada_studio import studio

    recipe = recipe_of(options)
    content = _recipe_file(options)
    pair = studio.read_pair(options.task, options.domain, options.allow_pickle, **dora_of(options, content))
    base = studio.load_base(options.base, options.device, options.base_dtype) if options.base else None
    readings = readings_of(options, pair, base)
    for remark in studio.remarks_on_recipe(content, pair, readings) if content else ():
        print(f"note: {remark}", file=sys.stderr)
    return pair, base, readings, recipe


def _recipe_file(options: argparse.Namespace) -> dict[str, Any]:
    return json.loads(Path(options.recipe).read_text(encoding="utf-8")) if options.recipe else {}


# -- flags ---------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """The flags of all of them."""
    _add_passport(command(commands, "passport", "what one adapter is, or whether two fit"))
    _add_probe(command(commands, "probe", "run domain inputs through the base and write readings"))
    merging = command(commands, "merge", "merge two adapters into one PEFT folder, certified")
    _add_merge(merging, "folder to write")
    page = command(commands, "report", "everything about a merge as one HTML file that opens offline")
    _add_merge(page, "the .html file to write")
    page.add_argument("--title", help="what the page is called; otherwise after both adapters")


def _add_passport(one: argparse.ArgumentParser) -> None:
    one.add_argument("adapter", nargs="+", help="folder, zip or Hub id; one or two")
    add_pickle(one)
    one.add_argument("--base", help="base model, for DoRA: Hub id, folder or .gguf file")
    add_dora(one)


def _add_probe(one: argparse.ArgumentParser) -> None:
    add_pair(one)
    add_base(one, required=True)
    one.add_argument("--inputs", required=True, help=".txt or .jsonl of probe inputs, or a folder or zip of images")
    one.add_argument("-n", type=int, default=32, help="how many inputs to use")
    one.add_argument("-o", "--out", required=True, help="readings.json to write (tensors go beside it)")


def _add_merge(one: argparse.ArgumentParser, out: str) -> None:
    add_pair(one)
    one.add_argument("--readings", help="readings.json of a probe")
    add_base(one)
    one.add_argument("--inputs", help="probe inputs, instead of --readings")
    one.add_argument("-n", type=int, default=32, help="how many inputs to use")
    one.add_argument("--recipe", help="recipe.json to start from; the flags below change it")
    add_knobs(one)
    one.add_argument("-o", "--out", required=True, help=out)
