"""The command line: parses, calls the flow, prints the report. Exit 0 good, 2 the user's input, 1 our bug; messages on stderr."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tada_studio.errors import InputError, TadaError
from tada_studio.recipe import Recipe, knobs, read_log


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. An error that is not the user's keeps its traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(
        words if words and words[0] in (*COMMANDS, "-h", "--help", "--version") else ["app", *words]
    )
    try:
        return COMMANDS[options.command](options)
    except TadaError as error:
        print(f"tada-studio {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"tada-studio {options.command}: stopped; nothing half-written was left.", file=sys.stderr)
        return 2


# -- the commands --------------------------------------------------------------------------------------------------


def app(options: argparse.Namespace) -> int:
    from tada_studio.samples import DEFAULT, sample

    if bool(options.task) != bool(options.domain):
        raise InputError("A pair needs both --task and --domain; or give --sample, or nothing for the usual sample.")
    name = None if options.task else sample(options.sample or DEFAULT).name

    from tada_studio.app import launch  # after the checks: gradio takes seconds

    launch(
        sample=name,
        task=options.task,
        domain=options.domain,
        base=options.base,
        host=options.host,
        port=options.port,
        open_browser=not options.no_browser,
        root=options.root,
    )
    return 0


def passport(options: argparse.Namespace) -> int:
    from tada_studio import report, studio

    if len(options.adapter) > 2:
        raise InputError(f"{len(options.adapter)} adapters were given; give one, or the two that are to be merged.")
    found, verdict = studio.passports(options.adapter, options.allow_pickle, **_dora(options))
    judged = (
        {} if verdict is None else {"fit": verdict.word, "reasons": list(verdict.reasons), "notes": list(verdict.notes)}
    )
    says = [report.verdict_sentence(verdict)] if verdict else []
    _out(
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
    pair = studio.read_pair(options.task, options.domain, options.allow_pickle, **_dora(options))
    base = studio.load_base(options.base, options.device, options.base_dtype)
    readings = studio.probe(pair, base, inputs, options.n, _teller(options))
    readings.save(_json_name(options.out))
    recipe = Recipe()
    depth = depth_profile(readings, studio.gates(readings, recipe), recipe)
    sentence = report.depth_sentence(depth, probed=True)
    _out(
        options,
        {"readings": str(options.out), "inputs": len(readings.tokens), "rho": depth.rho, "says": sentence},
        sentence,
    )
    return 0


def merge(options: argparse.Namespace) -> int:
    from tada_studio import report, studio

    pair, base, readings, recipe = _opened(options)
    merged = studio.merge(pair, readings, recipe)
    content = _recipe_file(options)
    if recipe == Recipe.from_dict(content.get("recipe", {})):  # else flags changed it, and the log would not tell how
        merged = studio.logged(merged, read_log(content))
    certificate = studio.export(merged, options.out, base=base, report=_teller(options))
    gate_map = studio.gates(readings if readings is not None else studio.unprobed(pair), recipe)
    core = studio.merge_core(pair, gate_map, recipe, readings)
    lines = [
        report.conflict_sentence(core),
        report.rank_sentence(core),
        *certificate.sentences,
        f"Written to {options.out}.",
    ]
    _out(options, {"out": str(options.out), "verdict": "pass", "rank": core.rank, "says": lines}, "\n".join(lines))
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
    _out(options, {"out": str(out), "bytes": out.stat().st_size}, f"Written to {out}; it opens offline.")
    return 0


def _opened(options: argparse.Namespace) -> tuple[Any, Any, Any, Recipe]:
    """(pair, base or None, readings or None, recipe) that a merge was asked for."""
    from tada_studio import studio

    recipe = _recipe(options)
    content = _recipe_file(options)
    pair = studio.read_pair(options.task, options.domain, options.allow_pickle, **_dora(options, content))
    base = studio.load_base(options.base, options.device, options.base_dtype) if options.base else None
    readings = _readings(options, pair, base)
    for remark in studio.remarks_on_recipe(content, pair, readings) if content else ():
        print(f"note: {remark}", file=sys.stderr)
    return pair, base, readings, recipe


def _recipe_file(options: argparse.Namespace) -> dict[str, Any]:
    return json.loads(Path(options.recipe).read_text(encoding="utf-8")) if options.recipe else {}


def evaluate(options: argparse.Namespace) -> int:
    from tada_studio import report, studio

    base, variants, items, promised = _contest(options)
    sides: studio.Sides = {}
    studio.score_sides(base, variants, items, sides, _teller(options))
    tasks = (
        studio.score_tasks(base, variants, options.lm_eval, options.limit, _teller(options)) if options.lm_eval else {}
    )
    sides |= {task: {n: r.score for n, r in found.items() if r.score is not None} for task, found in tasks.items()}
    kept = report.promise_sentence(sides, promised)
    said = [*report.comparison_sentences(sides), *([kept] if kept else [])]
    if options.json and kept:
        print(kept, file=sys.stderr)
    rows = [{"side": side, **score.to_dict()} for side, scores in sides.items() for score in scores.values()]
    results = [(task, name, dict(one.metrics)) for task, found in tasks.items() for name, one in found.items()]
    says = [f"{t}, {name}: {', '.join(f'{k} {v:.4g}' for k, v in metrics.items())}" for t, name, metrics in results]
    told = [{"side": task, "name": name, "metrics": metrics} for task, name, metrics in results]
    _out(options, [*rows, *told], "\n".join([report.text_table(*report.score_table(sides)), "", *said, *says]))
    return 0


def _contest(options: argparse.Namespace) -> tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(base, variants, items by side, what the sample promises) of an ``evaluate``: of a pair, or of adapters as they are."""
    from tada_studio import studio
    from tada_studio.evaluate import choose
    from tada_studio.samples import sample

    one = sample(options.sample) if options.sample else None
    if not one and bool(options.task) != bool(options.domain):
        raise InputError("A pair needs both --task and --domain; or give --sample.")
    base_ref = options.base or (one.base if one else None)
    if not base_ref:
        raise InputError("No base model to run anything through. Give --base.")
    items = _sides(options.items) or (studio.sample_items(one) if one and not options.lm_eval else {})
    if not items and not options.lm_eval:
        raise InputError(
            "Nothing to score. Give --items FILE, or SIDE=FILE several times, or --sample, or --lm-eval TASK."
        )
    base = studio.load_base(base_ref, options.device, options.base_dtype)
    named, dora = dict(_named(text) for text in options.adapter), _dora(options)
    others = {name: studio.read_adapter(path, options.allow_pickle, **dora) for name, path in named.items()}
    chosen = {side: choose(some, options.limit) for side, some in items.items()}
    if not one and not options.task:
        return base, {"base": None, **others}, chosen, {}
    whole = one is not None and not options.items and options.limit is None and not options.recipe
    promised = one.about.get("measured", {}) if one and whole else {}
    return base, _pair_variants(options, one, base, others), chosen, promised


def _sides(given: Sequence[str]) -> dict[str, list[Any]]:
    """Items by side: ``FILE`` alone is called items, ``SIDE=FILE`` by its side."""
    from tada_studio.evaluate import read_items

    sides = {}
    for text in given:
        name, mark, path = text.partition("=")
        side, file = (name, path) if mark and name.isidentifier() and not Path(text).exists() else ("items", text)
        if side in sides:
            raise InputError(f"--items {text}: two files for the side {side}. Write SIDE=FILE to tell them apart.")
        sides[side] = read_items(file)
    return sides


def _pair_variants(options: argparse.Namespace, one: Any, base: Any, others: dict[str, Any]) -> dict[str, Any]:
    """Base, parents, baselines and the recipe's merge, which is the last: the others are compared with it."""
    from tada_studio import studio

    task, domain = (str(one.task), str(one.domain)) if one else (options.task, options.domain)
    pair = studio.read_pair(task, domain, options.allow_pickle, **_dora(options))
    recipe = Recipe.load(options.recipe) if options.recipe else Recipe()
    readings = _sample_readings(options, one, pair, base)
    merged = studio.merge(pair, readings, recipe)
    asked = options.variants.split(",") if options.variants else [*TABLE, *others]
    names = [name for name in dict.fromkeys(map(str.strip, asked)) if name != recipe.method]
    found = studio.variants(pair, merged, recipe, names, others)
    for method in ("ties", "dare_ties") if options.tuned else ():
        if one is None and not options.validation:
            raise InputError("--tuned needs --validation SIDE=FILE: items that are not among those scored.")
        validation = _sides(options.validation) or studio.sample_validation(one)
        start = Recipe(method=method, rank=max(module.rank for module in merged.modules.values()))
        best = studio.tuned(base, pair, start, validation, report=_teller(options))
        found[f"{method} tuned (weights {best.strength / 2:g})"] = studio.merge(pair, None, best)
    return {**found, recipe.method: merged}


def _sample_readings(options: argparse.Namespace, one: Any, pair: Any, base: Any) -> Any:
    """Readings as asked for; of a sample else those that it ships, or a fresh probe."""
    from tada_studio import studio
    from tada_studio.probe import Readings

    if options.readings or options.inputs or one is None:
        return _readings(options, pair, base)
    if one.readings is not None:
        return Readings.load(one.readings)
    return studio.probe(pair, base, studio.sample_inputs(one), report=_teller(options))


#: What the table of a pair holds besides the recipe's own merge.
TABLE = (
    "base", "task", "domain", "average", "sum", "svd", "ties", "dare_ties", "knots_ties", "tsv", "ramp", "balanced",
)  # fmt: skip


def tune(options: argparse.Namespace) -> int:
    from tada_studio import report, studio, tuning
    from tada_studio.samples import sample
    from tada_studio.search import QUICK, QUICK_ITEMS, Plan, halves

    one = sample(options.sample) if options.sample else None
    if one is None and not (
        options.task and options.domain and options.base and (options.items_domain or options.items_task)
    ):
        raise InputError(
            "Nothing to tune. Give --sample NAME; or --base, --task, --domain and --items-domain and/or --items-task."
        )
    files = {"domain": options.items_domain, "task": options.items_task}
    own = _sides([f"{side}={file}" for side, file in files.items() if file])
    start = Recipe.load(options.recipe) if options.recipe else Recipe()
    usual = QUICK if options.quick else Plan()
    given = {name: getattr(options, name) for name in ("trials", "seeds", "seed") if getattr(options, name) is not None}
    plan = replace(usual, **given, minutes=options.minutes)
    split = halves(own, plan.seed) if own or one is None else tuning.sample_split(one, plan.seed)
    split = split.limited(QUICK_ITEMS) if options.quick else split
    task, domain = (str(one.task), str(one.domain)) if one else (options.task, options.domain)
    base = studio.load_base(options.base or (one and one.base) or "", options.device, options.base_dtype)
    pair = studio.read_pair(task, domain, options.allow_pickle, **_dora(options))
    readings = _sample_readings(options, one, pair, base)
    found = tuning.search(
        pair, base, readings, split, start=start, plan=plan, storage=options.storage, search_rank=options.search_rank,
        report=_teller(options),
    )  # fmt: skip
    if options.out:
        content = studio.MergeOrigin(pair, readings, found.recipe).to_dict()
        Path(options.out).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert found.judged is not None, "a search that was not stopped has been judged"
    table = report.text_table(*report.score_table(found.judged.sides))
    said = "\n".join(report.search_sentences(found))
    _out(options, report.tuning_dict(found), f"{table}\n\n{said}\nFound: {report.knobs_turned(found.recipe)}.")
    return 0


def verify(options: argparse.Namespace) -> int:
    from tada_studio import studio

    base = studio.load_base(options.base, options.device, options.base_dtype) if options.base else None
    wrong, certificate = studio.verify(options.out, base)
    lines = [*certificate.sentences, *wrong, "FAIL" if wrong else "PASS"]
    _out(
        options,
        {"verdict": "fail" if wrong else "pass", "wrong": wrong, "certificate": certificate.to_dict()},
        "\n".join(lines),
    )
    return 2 if wrong else 0


def push(options: argparse.Namespace) -> int:
    from tada_studio import studio

    address = studio.push(options.out, options.repo, private=not options.public)
    seen = "public" if options.public else "private"
    _out(options, {"address": address, "private": not options.public}, f"Pushed to {address} ({seen}).")
    return 0


def samples(options: argparse.Namespace) -> int:
    from tada_studio.samples import sample, samples

    if options.name:
        one = sample(options.name)
        paths = {
            "task": one.task,
            "domain": one.domain,
            "probe": one.probe,
            **{f"items_{k}": v for k, v in one.items.items()},
        }
        rows = {"name": one.name, "base": one.base, **{name: str(path) for name, path in paths.items()}}
        _out(options, rows, "\n".join(f"{name:13} {value}" for name, value in rows.items()))
        return 0
    found = list(samples().values())
    listed = [{"name": s.name, "title": s.title, "story": s.story, "base": s.base} for s in found]
    _out(options, listed, "\n".join(f"{s.name}\n    {s.title}\n    {s.story}" for s in found))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "app": app,
    "passport": passport,
    "probe": probe,
    "merge": merge,
    "report": report,
    "evaluate": evaluate,
    "tune": tune,
    "verify": verify,
    "push": push,
    "samples": samples,
}


# -- parsing -------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    from tada_studio import __doc__ as about

    parser = argparse.ArgumentParser("tada-studio", description=(about or "").split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    _app_options(commands.add_parser("app", help="open the studio in the browser (the default command)"))
    _pair_commands(commands)
    _result_commands(commands)
    return parser


def _app_options(one: argparse.ArgumentParser) -> None:
    for flag, says in (
        ("sample", "an embedded sample"),
        ("task", "task adapter"),
        ("domain", "domain adapter"),
        ("base", "base model"),
    ):
        one.add_argument(f"--{flag}", help=f"{says} to open at the start")
    one.add_argument("--host", default="127.0.0.1", help="address to listen on")
    one.add_argument("--port", type=int, default=7860, help="port to listen on")
    one.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    one.add_argument("--root", type=Path, help="folder that local paths must lie in")


def _pair_commands(commands: Any) -> None:
    """What is done to adapters: passport, probe, merge."""
    one = _command(commands, "passport", "what one adapter is, or whether two fit")
    one.add_argument("adapter", nargs="+", help="folder, zip or Hub id; one or two")
    _add_pickle(one)
    one.add_argument("--base", help="base model, for DoRA: Hub id, folder or .gguf file")
    _add_dora(one)

    one = _command(commands, "probe", "run domain inputs through the base and write readings")
    _add_pair(one)
    _add_base(one, required=True)
    one.add_argument("--inputs", required=True, help=".txt or .jsonl of probe inputs, or a folder or zip of images")
    one.add_argument("-n", type=int, default=32, help="how many inputs to use")
    one.add_argument("-o", "--out", required=True, help="readings.json to write (tensors go beside it)")

    for name, says, out in (
        ("merge", "merge two adapters into one PEFT folder, certified", "folder to write"),
        ("report", "everything about a merge as one HTML file that opens offline", "the .html file to write"),
    ):
        one = _command(commands, name, says)
        _add_pair(one)
        one.add_argument("--readings", help="readings.json of a probe")
        _add_base(one)
        one.add_argument("--inputs", help="probe inputs, instead of --readings")
        one.add_argument("-n", type=int, default=32, help="how many inputs to use")
        one.add_argument("--recipe", help="recipe.json to start from; the flags below change it")
        _add_knobs(one)
        one.add_argument("-o", "--out", required=True, help=out)
    one.add_argument("--title", help="what the page is called; otherwise after both adapters")


def _result_commands(commands: Any) -> None:
    """What is done with what came out: evaluate, verify; and the samples to try it on."""
    one = _command(
        commands, "evaluate", "score a pair, its merge and the baselines, or any adapters, on the same items"
    )
    one.add_argument("--sample", help="an embedded sample: its pair, base and items")
    one.add_argument("--task", help="task adapter of a pair: folder, zip or Hub id")
    one.add_argument("--domain", help="domain adapter of a pair")
    _add_base(one)
    one.add_argument(
        "--items", action="append", default=[], metavar="[SIDE=]FILE",
        help=".jsonl of items, or a folder or zip of images by label; with SIDE= several times",
    )  # fmt: skip
    one.add_argument(
        "--adapter", action="append", default=[], metavar="NAME=PATH", help="a variant; give it several times"
    )
    _add_pickle(one)
    _add_dora(one)
    one.add_argument("--readings", help="readings.json of a probe of the pair")
    one.add_argument("--inputs", help="probe inputs, instead of --readings")
    one.add_argument("-n", type=int, default=32, help="how many probe inputs to use")
    one.add_argument("--recipe", help="recipe.json of the merge; usual: the default recipe")
    one.add_argument("--variants", metavar="A,B,...", help="which of base, task, domain, average, sum and the methods")
    one.add_argument(
        "--tuned", action="store_true", help="also ties and dare_ties with weights chosen on validation items"
    )
    one.add_argument(
        "--validation", action="append", default=[], metavar="SIDE=FILE", help="items for --tuned; a sample has its own"
    )
    one.add_argument(
        "--lm-eval", action="append", default=[], metavar="TASK|FILE.yaml",
        help="a task of lm-evaluation-harness (pip install 'tada-studio[lm-eval]'), or a task file that you trust",
    )  # fmt: skip
    one.add_argument(
        "--limit", type=int, help="score at most this many items a side, drawn by seed (a task's first ones)"
    )

    _tune_options(_command(commands, "tune", "search the knobs on some items and judge the find on the others"))

    one = _command(commands, "verify", "re-check the certificate of an exported folder")
    one.add_argument("out", help="folder that was exported")
    _add_base(one)

    one = _command(commands, "push", "upload an exported folder to the Hub, as whom this machine is logged in")
    one.add_argument("out", help="folder that was exported")
    one.add_argument("repo", help="owner/name")
    one.add_argument(
        "--public", action="store_true", help="for everybody to see; a new repository is private otherwise"
    )

    one = _command(commands, "samples", "list the embedded samples, or print the paths of one")
    one.add_argument("name", nargs="?", help="a sample's name")


def _tune_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("--sample", help="an embedded sample, instead of --base, --task, --domain and items")
    _add_base(one)
    one.add_argument("--task", help="task adapter: folder, zip or Hub id")
    one.add_argument("--domain", help="domain adapter: folder, zip or Hub id")
    _add_pickle(one)
    _add_dora(one)
    for side in ("domain", "task"):
        one.add_argument(f"--items-{side}", metavar="FILE", help=f"{side} items; half of them are only for the verdict")
    one.add_argument("--readings", help="readings.json of a probe; a sample has its own")
    one.add_argument("--inputs", help="probe inputs, instead of --readings")
    one.add_argument("-n", type=int, default=32, help="how many inputs to use")
    one.add_argument("--recipe", help="recipe.json to start from; what is not searched stays as it is there")
    one.add_argument("--trials", type=int, help="how many points to try, of all seeds together; usual: 120")
    one.add_argument("--minutes", type=float, help="how long it may take in all, the verdict included")
    one.add_argument("--seeds", type=int, help="independent searches; usual: 3")
    one.add_argument("--seed", type=int, help="of the first search, and of the halves")
    one.add_argument("--search-rank", action="store_true", help="search the rank as well")
    says = "file, or database URL, that keeps the trials: a stopped search goes on, and several processes join in"
    one.add_argument("--storage", metavar="FILE|URL", help=says)
    one.add_argument("--quick", action="store_true", help="a look at whether it works: 12 trials on few items")
    one.add_argument("-o", "--out", help="recipe.json to write")


def _command(commands: Any, name: str, says: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=says)
    parser.add_argument("--json", action="store_true", help="machine-readable output on stdout")
    return parser


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", required=True, help="task adapter: folder, zip or Hub id")
    parser.add_argument("--domain", required=True, help="domain adapter: folder, zip or Hub id")
    _add_pickle(parser)
    _add_dora(parser)


def _add_dora(parser: argparse.ArgumentParser) -> None:
    says = "rank of the LoRA that stands in for DoRA, whose base --base must name; unset: the adapter's own"
    parser.add_argument("--dora-rank", type=int, metavar="1..4096", help=says)


def _add_pickle(parser: argparse.ArgumentParser) -> None:
    says = "also read an adapter_model.bin, as numbers only; a file from someone you trust"
    parser.add_argument("--allow-pickle", action="store_true", help=says)


def _add_base(parser: argparse.ArgumentParser, required: bool = False) -> None:
    parser.add_argument("--base", required=required, help="base model: Hub id, folder or .gguf file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument(
        "--base-dtype", default="auto", choices=("auto", "float32", "bfloat16"), help="number format of the base"
    )


def _add_knobs(parser: argparse.ArgumentParser) -> None:
    """One flag for every knob of the recipe; a line knob may be given several times."""
    for name, spec in knobs().items():
        flag, about = f"--{name.replace('_', '-')}", spec.metadata
        if "lines" in about:
            parser.add_argument(flag, action="append", metavar="LINE", help=about["says"])
        elif "options" in about:
            # not argparse's own choices: a wrong word gets the recipe's message, as from every other door
            parser.add_argument(flag, metavar="|".join(about["options"]), help=about["says"])
        else:
            parser.add_argument(flag, metavar=f"{about['low']:g}..{about['high']:g}", help=about["says"])


def _dora(options: argparse.Namespace, recipe: dict[str, Any] | None = None) -> dict[str, Any]:
    """What DoRA is read with; a recipe.json to be repeated says which rank was taken."""
    inputs = ((recipe or {}).get("inputs") or {}).values()
    kept = [one["stands_for"]["rank"] for one in inputs if isinstance(one, dict) and "stands_for" in one]
    rank = options.dora_rank if options.dora_rank is not None else next(iter(kept), None)
    return {"base": options.base, "dora_rank": rank, "report": _teller(options)}


def _recipe(options: argparse.Namespace) -> Recipe:
    start = Recipe.load(options.recipe) if options.recipe else Recipe()
    given = {name: getattr(options, name) for name in knobs() if getattr(options, name) is not None}
    return start.but(**given)


def _readings(options: argparse.Namespace, pair: Any, base: Any) -> Any:
    from tada_studio import studio
    from tada_studio.probe import Readings, read_inputs

    if options.readings and options.inputs:
        raise InputError("Give --readings or --inputs, not both: readings are what inputs were turned into.")
    if options.readings:
        readings = Readings.load(options.readings)
        readings.belongs_to(pair)
        return readings
    if options.inputs:
        if base is None:
            raise InputError(
                "--inputs needs --base, the model that they go through; or give --readings of an earlier probe."
            )
        return studio.probe(pair, base, read_inputs(options.inputs), options.n, _teller(options))
    return None


def _named(text: str) -> tuple[str, str]:
    name, mark, path = text.partition("=")
    if not (name and mark and path):
        raise InputError(f"--adapter {text}: write NAME=PATH, such as tada=out/.")
    return name, path


def _json_name(path: str) -> Path:
    if not path.endswith(".json"):
        raise InputError(f"-o {path}: give a name that ends in .json; the tensors go beside it as .safetensors.")
    return Path(path)


# -- printing ------------------------------------------------------------------------------------------------------


def _out(options: argparse.Namespace, content: Any, text: str) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False) if options.json else text)


def _teller(options: argparse.Namespace) -> Callable[..., None]:
    """Progress as one line that rewrites itself on a terminal; elsewhere a line for each new thing of an evaluation."""
    told: list[str] = []

    def tell(progress: Any) -> None:
        if sys.stderr.isatty():
            end = "\n" if progress.done == progress.total else ""
            print(
                f"\r\033[K{progress.step} {progress.done}/{progress.total} {progress.note}",
                end=end,
                file=sys.stderr,
                flush=True,
            )
        elif progress.step == "evaluate" and progress.note not in told:
            told.append(progress.note)
            print(f"evaluate {progress.done}/{progress.total} {progress.note}", file=sys.stderr, flush=True)

    return tell
