"""tune: search the knobs on some items, judge the find on the others."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from tada_studio.cli.flags import (
    add_base,
    add_dora,
    add_inputs,
    add_pickle,
    add_same_base,
    answer,
    command,
    pair_settings,
    sample_readings,
    sides_of,
    teller,
)
from tada_studio.errors import InputError
from tada_studio.files import plain_json
from tada_studio.recipe import Recipe


def tune(options: argparse.Namespace) -> int:
    from tada_studio import pipeline, report
    from tada_studio.sample_pairs import sample
    from tada_studio.tuning import QUICK, QUICK_ITEMS, Plan, halves

    one = sample(options.sample) if options.sample else None
    if one is None and not (
        options.task and options.domain and options.base and (options.items_domain or options.items_task)
    ):
        raise InputError(
            "Nothing to tune. Give --sample NAME; or --base, --task, --domain and --items-domain and/or --items-task."
        )
    files = {"domain": options.items_domain, "task": options.items_task}
    own = sides_of([f"{side}={file}" for side, file in files.items() if file])
    start = Recipe.load(options.recipe) if options.recipe else Recipe()
    usual = QUICK if options.quick else Plan()
    given = {name: getattr(options, name) for name in ("trials", "seeds", "seed") if getattr(options, name) is not None}
    plan = replace(usual, **given, minutes=options.minutes)
    split = halves(own, plan.seed) if own or one is None else pipeline.sample_split(one, plan.seed)
    split = split.limited(QUICK_ITEMS) if options.quick else split
    task, domain = (str(one.task), str(one.domain)) if one else (options.task, options.domain)
    base = pipeline.load_base(options.base or (one and one.base) or "", options.device, options.base_dtype)
    pair = pipeline.read_pair(task, domain, options.allow_pickle, **pair_settings(options))
    readings = sample_readings(options, one, pair, base)
    found = pipeline.search(
        pair, base, readings, split, start=start, plan=plan, storage=options.storage, search_rank=options.search_rank,
        progress=teller(options),
    )  # fmt: skip
    if options.out:
        content = pipeline.MergeOrigin(pair, readings, found.recipe).to_dict()
        Path(options.out).write_text(plain_json(content, indent=2) + "\n", encoding="utf-8")
    assert found.judged is not None, "a search that was not stopped has been judged"
    table = report.text_table(*report.score_table(found.judged.sides))
    sentences = "\n".join(report.search_sentences(found))
    answer(options, report.tuning_dict(found), f"{table}\n\n{sentences}\nFound: {report.knobs_turned(found.recipe)}.")
    return 0


def add(commands: Any) -> None:
    """Its flags."""
    one = command(commands, "tune", "search the knobs on some items and judge the find on the others")
    one.add_argument("--sample", help="an embedded sample, instead of --base, --task, --domain and items")
    add_base(one)
    one.add_argument("--task", help="task adapter: folder, zip or Hub id")
    one.add_argument("--domain", help="domain adapter: folder, zip or Hub id")
    add_pickle(one)
    add_dora(one)
    add_same_base(one)
    for side in ("domain", "task"):
        one.add_argument(f"--items-{side}", metavar="FILE", help=f"{side} items; half of them are only for the verdict")
    one.add_argument("--readings", help="readings.json of a probe; a sample has its own")
    add_inputs(one, "domain inputs, instead of --readings")
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
