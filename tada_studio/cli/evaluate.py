"""evaluate: a pair, its merge and the baselines, or any adapters, on the same items."""

import argparse
import sys
from typing import Any

from tada_studio.cli.flags import (
    add_auto,
    add_base,
    add_dora,
    add_engine,
    add_inputs,
    add_pickle,
    add_same_base,
    answer,
    answering_of,
    auto_of,
    dora_of,
    pair_settings,
    sample_readings,
    sides_of,
    teller,
)
from tada_studio.cli.parser import command
from tada_studio.errors import InputError
from tada_studio.recipe import Recipe, read_recipe


def evaluate(options: argparse.Namespace) -> int:
    from tada_studio import pipeline, report
    from tada_studio.evaluation.compare import compared
    from tada_studio.pipeline.variants import weights_sentences

    base, variants, items, promised = _contest(options)
    sides = pipeline.score_sides(base, variants, items, teller(options))
    tasks = (
        pipeline.score_tasks(base, variants, options.lm_eval, options.limit, teller(options)) if options.lm_eval else {}
    )
    of_tasks = {
        task: {name: run.score for name, run in runs.items() if run.score is not None} for task, runs in tasks.items()
    }
    sides = {**sides, **of_tasks}
    kept = report.promise_sentence(sides, promised)
    sentences = [*report.comparison_sentences(sides), *weights_sentences(variants), *([kept] if kept else [])]
    if options.json and kept:
        print(kept, file=sys.stderr)
    against = {comparison.against: report.comparison_dict(comparison) for comparison in compared(sides)}
    rows = [
        {"side": side, **score.to_dict(), "compared": against.get(name)}
        for side, scores in sides.items()
        for name, score in scores.items()
    ]
    metrics_of = [
        (task, name, dict(result.metrics)) for task, results in tasks.items() for name, result in results.items()
    ]
    says = [f"{t}, {name}: {', '.join(f'{k} {v:.4g}' for k, v in metrics.items())}" for t, name, metrics in metrics_of]
    task_rows = [{"side": task, "name": name, "metrics": metrics} for task, name, metrics in metrics_of]
    answer(
        options,
        [*rows, *task_rows],
        "\n".join([report.text_table(*report.score_table(sides)), "", *sentences, *says]),
    )
    return 0


def _contest(options: argparse.Namespace) -> tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(base, variants, items by side, what the sample promises) of an ``evaluate``: of a pair, or of adapters as they are."""
    from tada_studio import pipeline
    from tada_studio.evaluation import choose
    from tada_studio.sample_pairs import sample

    embedded = sample(options.sample) if options.sample else None
    if not embedded and bool(options.task) != bool(options.domain):
        raise InputError("A pair needs both --task and --domain; or give --sample.")
    base_ref = options.base or (embedded.base if embedded else None)
    if not base_ref and not options.engine:
        raise InputError("No base model to run anything through. Give --base.")
    items = sides_of(options.items) or (pipeline.sample_items(embedded) if embedded and not options.lm_eval else {})
    if not items and not options.lm_eval:
        raise InputError(
            "Nothing to score. Give --items FILE, or SIDE=FILE several times, or --sample, or --lm-eval TASK."
        )
    base = answering_of(options, base_ref)
    named, dora = dict(_named(text) for text in options.adapter), dora_of(options)
    others = {name: pipeline.read_adapter(path, options.allow_pickle, **dora) for name, path in named.items()}
    chosen = {side: choose(some, options.limit) for side, some in items.items()}
    if not embedded and not options.task:
        return base, {"base": None, **others}, chosen, {}
    whole = embedded is not None and not options.items and options.limit is None and not options.recipe
    promised = embedded.about.get("measured", {}) if embedded and whole else {}
    return base, _pair_variants(options, embedded, base, others), chosen, promised


def _pair_variants(options: argparse.Namespace, embedded: Any, base: Any, others: dict[str, Any]) -> dict[str, Any]:
    """Base, parents, baselines and the recipe's merge, which is the last: the others are compared with it."""
    from tada_studio import pipeline
    from tada_studio.pipeline.variants import TUNED

    task, domain = (str(embedded.task), str(embedded.domain)) if embedded else (options.task, options.domain)
    content = read_recipe(options.recipe) if options.recipe else {}
    pair = pipeline.read_pair(task, domain, options.allow_pickle, **pair_settings(options, content))
    recipe = Recipe.load(options.recipe) if options.recipe else Recipe()
    local = None if options.engine else base
    readings = sample_readings(options, embedded, pair, local)
    auto = auto_of(options, recipe, pair, local, embedded)
    recipe = recipe if auto is None else auto.recipe
    names = options.variants.split(",") if options.variants else [*pipeline.by_name(recipe.method), *others]
    names = [name for name in dict.fromkeys(map(str.strip, names)) if name != recipe.method]
    names += list(TUNED) if options.tuned else []
    beside = pipeline.Beside(_validation(options, embedded, names), adapters=others)
    return pipeline.variants(
        pipeline.Merge(pair, readings, recipe), [*names, recipe.method], base, beside, teller(options)
    )


def _validation(options: argparse.Namespace, embedded: Any, names: list[str]) -> dict[str, Any] | None:
    """The items that tuned baselines are tuned on, if any is to be. Raises InputError."""
    from tada_studio import pipeline
    from tada_studio.pipeline.variants import TUNED

    if not set(names) & set(TUNED):
        return None
    if embedded is None and not options.validation:
        raise InputError("--tuned needs --validation SIDE=FILE: items that are not among those scored.")
    return sides_of(options.validation) or pipeline.sample_validation(embedded)


def _named(text: str) -> tuple[str, str]:
    name, mark, path = text.partition("=")
    if not (name and mark and path):
        raise InputError(f"--adapter {text}: write NAME=PATH, such as tada=out/.")
    return name, path


# -- flags ---------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Its flags."""
    says = "score a pair, its merge and the baselines, or any adapters, on the same items"
    examples = (
        "evaluate --sample minerals-tiny --limit 50",
        "evaluate --base base --items domain.jsonl --adapter task=adapters/task --adapter tada=out",
        "evaluate --base base --task adapters/task --domain adapters/domain --readings readings.json --items domain=domain.jsonl "
        "--variants base,task,domain,sum",
        "evaluate --engine http://localhost:8000 --items domain.jsonl --adapter task=adapters/task --adapter tada=out",
    )
    parser = command(commands, "evaluate", says, examples)
    _add_contest(parser)
    _add_merge(parser)
    _add_tasks(parser)


def _add_contest(parser: argparse.ArgumentParser) -> None:
    """What is scored, on what."""
    parser.add_argument("--sample", help="an embedded sample: its pair, base and items")
    parser.add_argument("--task", help="task adapter of a pair: folder, zip or Hub id")
    parser.add_argument("--domain", help="domain adapter of a pair")
    add_base(parser)
    add_engine(parser)
    parser.add_argument(
        "--items", action="append", default=[], metavar="[SIDE=]FILE",
        help=".jsonl, .csv, .tsv or .parquet of items, a data set's Hub id, or images by label; with SIDE= several times",
    )  # fmt: skip
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="NAME=PATH", help="a variant; give it several times"
    )
    add_pickle(parser)
    add_dora(parser)
    add_same_base(parser)


def _add_tasks(parser: argparse.ArgumentParser) -> None:
    """Tasks of lm-evaluation-harness, and how many items of anything."""
    parser.add_argument(
        "--lm-eval", action="append", default=[], metavar="TASK|FILE.yaml",
        help="a task of lm-evaluation-harness (pip install 'tada-studio[lm-eval]'), or a task file that you trust",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=int, help="score at most this many items a side, drawn by seed (a task's first ones)"
    )


def _add_merge(parser: argparse.ArgumentParser) -> None:
    """How the pair is merged, and what stands beside the merge."""
    parser.add_argument("--readings", help="readings.json of a probe of the pair")
    add_auto(parser)
    add_inputs(parser, "domain inputs, instead of --readings")
    parser.add_argument("--recipe", help="recipe.json of the merge; usual: the default recipe")
    parser.add_argument(
        "--variants", metavar="A,B,...", help="which of base, task, domain, average, sum and the methods"
    )
    parser.add_argument(
        "--tuned", action="store_true", help="also ties and dare_ties with weights chosen on validation items"
    )
    parser.add_argument(
        "--validation", action="append", default=[], metavar="SIDE=FILE", help="items for --tuned; a sample has its own"
    )
