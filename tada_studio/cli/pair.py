"""What is done to adapters: passport, probe, merge, report."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tada_studio.cli.flags import (
    add_auto,
    add_base,
    add_dora,
    add_inputs,
    add_knobs,
    add_pair,
    add_pickle,
    add_same_base,
    answer,
    auto_of,
    base_of,
    check_counts,
    note,
    pair_settings,
    readings_of,
    recipe_of,
    teller,
)
from tada_studio.cli.parser import command
from tada_studio.errors import InputError
from tada_studio.recipe import read_auto, read_log, read_recipe, recipe_in


def passport(options: argparse.Namespace) -> int:
    from tada_studio import pipeline, report

    if len(options.adapter) > 2:
        raise InputError(f"{len(options.adapter)} adapters were given; give one, or the two that are to be merged.")
    found, verdict = pipeline.passports(options.adapter, options.allow_pickle, **pair_settings(options))
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
    fits = verdict is None or verdict.fits
    return 0 if fits and not any(p.refused for p in found) else 2


def probe(options: argparse.Namespace) -> int:
    from tada_studio import pipeline, report
    from tada_studio.base_model.inputs import generic_inputs
    from tada_studio.probing import read_inputs

    if not options.inputs and (options.task_inputs or not options.generic):
        raise InputError("Give --inputs, or --generic alone for the neutral lines that ship with TaDA Studio.")
    inputs = read_inputs(options.inputs) if options.inputs else generic_inputs()
    pair = pipeline.read_pair(options.task, options.domain, options.allow_pickle, **pair_settings(options))
    base = base_of(options, options.base)
    on_task = read_inputs(options.task_inputs) if options.task_inputs else None
    readings = pipeline.probe(pair, base, inputs, options.n, teller(options), on_task)
    readings.save(_json_name(options.out))
    merge, generic = pipeline.Merge(pair, readings), None
    if options.generic and options.inputs:
        generic = merge.depths_by(pipeline.probe(pair, base, generic_inputs(), options.n, teller(options)))
    depths = merge.depths
    counts = {
        "inputs": len(readings.tokens),
        "task_inputs": 0 if readings.on_task is None else len(readings.on_task.tokens),
    }
    sentence, fit = report.depth_sentences(depths, probed=True, generic=generic), report.inputs_sentence(readings)
    content = {"readings": str(options.out), **counts, **_rho(depths), "says": sentence, "inputs_say": fit}
    answer(options, content, f"{sentence}\n{fit}")
    return 0


def _rho(depths: Mapping[str, Any]) -> dict[str, Any]:
    """rho, and in a base of several towers that of each."""
    of_each = {tower: depth.rho for tower, depth in depths.items()}
    return {"rho": next(iter(of_each.values()))} if len(of_each) == 1 else {"rho": None, "rho_by_tower": of_each}


def _json_name(path: str) -> Path:
    if not path.endswith(".json"):
        raise InputError(f"-o {path}: give a name that ends in .json; the tensors go beside it as .safetensors.")
    return Path(path)


def merge(options: argparse.Namespace) -> int:
    from tada_studio import pipeline, report

    if options.sign_key:
        pipeline.check_key(options.sign_key)  # now, not after a long merge
    opened = _opened(options)
    merge, adapter = opened.merge, opened.merge.adapter
    if merge.recipe == recipe_in(opened.content):  # else flags changed it: the log would not tell how
        adapter = pipeline.logged(adapter, read_log(opened.content))
    if not opened.content or merge.recipe == recipe_in(opened.content):
        adapter = pipeline.calibrated_by(adapter, opened.auto)
    certificate = pipeline.export(
        adapter, options.out, base=opened.base, progress=teller(options), formats=options.format
    )
    signed = [pipeline.sign(options.out, options.sign_key).says] if options.sign_key else []
    core = merge.merged
    role = pipeline.role_of(merge.pair)
    lines = [
        *([] if role.why == "strangers" else [report.role_sentence(role.role, role.why, role.later, role.cosine)]),
        *filter(None, [report.missing_sentence(merge.missing, merge.recipe.method, merge.called)]),
        report.conflict_sentence(core),
        report.rank_sentence(core),
        *certificate.sentences,
        *signed,
        f"Written to {options.out}.",
    ]
    answer(
        options,
        {
            "out": str(options.out),
            "verdict": "pass",
            "merged_as": merge.called,
            "role": role.role,
            "rank": core.rank,
            "says": lines,
        },
        "\n".join(lines),
    )
    return 0


def report(options: argparse.Namespace) -> int:
    from tada_studio.html_report import html_report
    from tada_studio.take_home import write_kit

    out = Path(options.out) if options.out else None
    if out is None and not options.figures:
        raise InputError(
            "report: give -o FILE.html for one page, --figures DIR for every figure and table as a file, or both."
        )
    if out is not None and out.suffix != ".html":
        raise InputError(f"-o {options.out}: give a name that ends in .html.")
    merge, says, found = _opened(options).merge, [], {}
    if out is not None:
        page = html_report(merge, options.title or f"{merge.pair.task.label} and {merge.pair.domain.label}")
        out.write_text(page, encoding="utf-8")
        says, found = [f"Written to {out}; it opens offline."], {"out": str(out), "bytes": out.stat().st_size}
    if options.figures:
        look = {"width": options.width, "font": options.font}
        given = {name: value for name, value in look.items() if value is not None}
        kit = write_kit(options.figures, merge, **given)
        says.append(f"{len(kit.files)} files in {options.figures}. {kit.lacks}".strip())
        found = {**found, "figures": list(map(str, kit.files)), **({"lacks": kit.lacks} if kit.lacks else {})}
    answer(options, found, "\n".join(says))
    return 0


class _Opened(NamedTuple):
    """The merge that was asked for, the base if one was named, and what the recipe.json it starts from says."""

    merge: Any
    base: Any
    content: dict[str, Any]
    auto: Mapping[str, Any] | None


def _opened(options: argparse.Namespace) -> _Opened:
    """Opens, probes and, unless a hand or a file set the separation, lets auto choose it."""
    from tada_studio import pipeline

    content = read_recipe(options.recipe) if options.recipe else {}
    pair = pipeline.read_pair(options.task, options.domain, options.allow_pickle, **pair_settings(options, content))
    recipe = recipe_of(options, content, _of_role(options, pair))
    base = base_of(options, options.base)
    readings = readings_of(options, pair, base)
    check_counts(options, recipe, readings)
    for remark in pipeline.remarks_on_recipe(content, pair, readings) if content else ():
        note(options, remark)
    found = auto_of(options, recipe, pair, base)
    auto = read_auto(content) if found is None else found.to_dict()
    return _Opened(pipeline.Merge(pair, readings, recipe if found is None else found.recipe), base, content, auto)


def _of_role(options: argparse.Namespace, pair: Any) -> Any:
    """The usual recipe of the role that was asked for; None if none was."""
    from tada_studio import pipeline

    if options.role is None:
        return None
    if options.role not in pipeline.ROLES:
        raise InputError(f"--role {options.role}: give one of {', '.join(pipeline.ROLES)}.")
    if options.recipe:
        raise InputError("Give --role or --recipe, not both: each is a recipe to start from.")
    return next(iter(pipeline.recipes_for(pair, options.role, pipeline.role_of(pair).later).values()))


# -- flags ---------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """The flags of all of them."""
    says = "show what an adapter is, or whether two fit together"
    _add_passport(
        command(commands, "passport", says, ("passport adapters/task", "passport adapters/task adapters/domain"))
    )
    examples = (
        "probe --task adapters/task --domain adapters/domain --base base --inputs probe.jsonl -o readings.json",
    )
    _add_probe(command(commands, "probe", "run domain inputs through the base and write readings", examples))
    mergings = (
        "merge --task adapters/task --domain adapters/domain -o out",
        "merge --task adapters/task --domain adapters/domain --base base --readings readings.json --rank 16 -o out",
        "merge --task adapters/task --domain adapters/domain --overrides 'layers 20-31 : attn : 0.7' -o out",
    )
    merging = command(commands, "merge", "merge two adapters into one PEFT folder, certified", mergings)
    _add_merge(merging, "folder to write")
    merging.add_argument(
        "--format",
        action="append",
        default=[],
        choices=("gguf", "diffusers"),
        help="also write llama.cpp's LoRA (gguf) or diffusers' file into the folder, read back and certified",
    )
    merging.add_argument("--sign-key", metavar="KEY.pem", help="sign the folder with this private key (extra sign)")
    says = "write everything about a merge as one HTML file that opens offline"
    reports = (
        "report --task adapters/task --domain adapters/domain --readings readings.json -o merge.html",
        "report --task adapters/task --domain adapters/domain --readings readings.json --figures figures",
    )
    page = command(commands, "report", says, reports)
    _add_merge(page, "the .html file to write", required=False)
    page.add_argument(
        "--figures", metavar="DIR", help="folder for every figure and table: HTML, CSV; images with kaleido"
    )
    page.add_argument("--width", type=int, metavar="PIXELS", help="of the pictures that kaleido draws; otherwise 900")
    page.add_argument("--font", metavar="NAME", help="of those pictures; otherwise sans-serif")
    page.add_argument("--title", help="what the page is called; otherwise after both adapters")


def _add_passport(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", nargs="+", help="folder, zip or Hub id; one or two")
    add_pickle(parser)
    parser.add_argument("--base", help="base model, for DoRA: Hub id, folder or .gguf file")
    add_dora(parser)
    add_same_base(parser)


def _add_probe(parser: argparse.ArgumentParser) -> None:
    add_pair(parser)
    add_base(parser, required=True)
    add_inputs(parser, ".txt, .jsonl or .csv of domain inputs, or a folder or zip of images")
    says = "also probe with neutral lines and compare the trend over depth; without --inputs probe with them alone"
    parser.add_argument("--generic", action="store_true", help=says)
    parser.add_argument("-o", "--out", required=True, help="readings.json to write (tensors go beside it)")


def _add_merge(parser: argparse.ArgumentParser, out: str, required: bool = True) -> None:
    add_pair(parser, alone=True)
    says = "start from the recipe for what the two are to each other: stacked, siblings or alone; unset: independent"
    parser.add_argument("--role", metavar="independent|stacked|siblings|alone", help=says)
    parser.add_argument("--readings", help="readings.json of a probe")
    add_base(parser)
    add_inputs(parser, "domain inputs, instead of --readings")
    parser.add_argument("--recipe", help="recipe.json to start from; the flags below change it")
    add_auto(parser)
    add_knobs(parser)
    parser.add_argument("-o", "--out", required=required, help=out)
