"""tune: search the knobs on some items, judge the find on the others."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tada_studio.cli.flags import (
    add_base,
    add_dora,
    add_engine,
    add_inputs,
    add_pickle,
    add_same_base,
    answer,
    answering_of,
    note,
    pair_settings,
    sample_readings,
    sides_of,
    teller,
)
from tada_studio.cli.parser import command
from tada_studio.errors import InputError
from tada_studio.files import plain_json
from tada_studio.recipe import Recipe

if TYPE_CHECKING:
    from tada_studio.tuning import Plan


#: What is said to a search on a server that has no readings.
UNREAD = (
    "an engine reads no inputs, so that only what the weights allow is searched. For separation by both sides' inputs probe once "
    "with a base (tada-studio probe; --device-map auto and --quantize help) and give --readings."
)


def tune(options: argparse.Namespace) -> int:
    from tada_studio import pipeline, report
    from tada_studio.sample_pairs import sample
    from tada_studio.tuning import QUICK_ITEMS, halves

    embedded = sample(options.sample) if options.sample else None
    if embedded is None and not (
        options.task
        and options.domain
        and (options.base or options.engine)
        and (options.items_domain or options.items_task)
    ):
        raise InputError(
            "Nothing to tune. Give --sample NAME; or --base (or --engine), --task, --domain and --items-domain and/or --items-task."
        )
    files = {"domain": options.items_domain, "task": options.items_task}
    own = sides_of([f"{side}={file}" for side, file in files.items() if file])
    start = Recipe.load(options.recipe) if options.recipe else Recipe()
    plan = _plan(options)
    split = halves(own, plan.seed) if own or embedded is None else pipeline.sample_split(embedded, plan.seed)
    split = split.limited(QUICK_ITEMS) if options.quick else split
    task, domain = (str(embedded.task), str(embedded.domain)) if embedded else (options.task, options.domain)
    base = answering_of(options, options.base or (embedded and embedded.base))
    pair = pipeline.read_pair(task, domain, options.allow_pickle, **pair_settings(options))
    readings = sample_readings(options, embedded, pair, None if options.engine else base)
    if options.engine and readings is None:
        note(options, UNREAD)
    found = pipeline.search(
        pair, base, readings, split, start=start, plan=plan, storage=options.storage, search_rank=options.search_rank,
        progress=teller(options),
    )  # fmt: skip
    if found.best is None or found.judged is None:
        raise InputError(
            "No trial has finished, so that nothing was found. Give more --minutes or --trials, or fewer items."
        )
    if options.out:
        content = pipeline.MergeOrigin(pair, readings, found.recipe).to_dict()
        Path(options.out).write_text(plain_json(content, indent=2) + "\n", encoding="utf-8")
    table = report.text_table(*report.score_table(found.judged.sides))
    sentences = "\n".join(report.search_sentences(found))
    kind = "Found" if found.found else "It stays as it was"
    answer(options, report.tuning_dict(found), f"{table}\n\n{sentences}\n{kind}: {report.knobs_turned(found.recipe)}.")
    return 0


def _plan(options: argparse.Namespace) -> "Plan":
    """How long and how often to search: what was asked for, the rest as usual. --minutes 0: no limit."""
    from tada_studio.tuning import QUICK, Plan

    given = {name: getattr(options, name) for name in ("trials", "seeds", "seed") if getattr(options, name) is not None}
    if options.minutes is not None:
        given["minutes"] = options.minutes or None
    return replace(QUICK if options.quick else Plan(), **given)


def add(commands: Any) -> None:
    """Its flags."""
    says = "search the knobs on some items and judge what was found on the others"
    examples = (
        "tune --sample minerals-tiny --quick",
        "tune --base base --task adapters/task --domain adapters/domain --items-domain domain.jsonl --items-task task.jsonl "
        "--minutes 10 --storage tune.log -o tuned.json",
        "tune --engine http://localhost:8000 --task adapters/task --domain adapters/domain --readings readings.json "
        "--items-domain domain.jsonl",
    )
    parser = command(commands, "tune", says, examples)
    parser.add_argument("--sample", help="an embedded sample, instead of --base, --task, --domain and items")
    add_base(parser)
    add_engine(parser)
    parser.add_argument("--task", help="task adapter: folder, zip or Hub id")
    parser.add_argument("--domain", help="domain adapter: folder, zip or Hub id")
    add_pickle(parser)
    add_dora(parser)
    add_same_base(parser)
    for side in ("domain", "task"):
        parser.add_argument(
            f"--items-{side}", metavar="FILE", help=f"{side} items; half of them are only for the verdict"
        )
    parser.add_argument("--readings", help="readings.json of a probe; a sample has its own")
    add_inputs(parser, "domain inputs, instead of --readings")
    parser.add_argument("--recipe", help="recipe.json to start from; what is not searched stays as it is there")
    parser.add_argument("--trials", type=int, help="how many points to try, of all seeds together; usual: 120")
    parser.add_argument(
        "--minutes", type=float, help="how long it may take in all, the verdict included; usual: 5, 0: no limit"
    )
    parser.add_argument("--seeds", type=int, help="independent searches; usual: 3")
    parser.add_argument("--seed", type=int, help="of the first search, and of the halves")
    parser.add_argument("--search-rank", action="store_true", help="search the rank as well")
    says = "file, or database URL, that keeps the trials: a stopped search goes on, and several processes join in"
    parser.add_argument("--storage", metavar="FILE|URL", help=says)
    parser.add_argument("--quick", action="store_true", help="a look at whether it works: 12 trials on few items")
    parser.add_argument("-o", "--out", help="recipe.json to write")
