"""What the commands share: flags, what is made of them, and how an answer is printed."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tada_studio.base_model.placement import Placement
from tada_studio.errors import InputError
from tada_studio.files import plain_json
from tada_studio.recipe import Recipe, knobs, recipe_in


def add_pair(parser: argparse.ArgumentParser, alone: bool = False) -> None:
    """alone: one adapter will do."""
    parser.add_argument("--task", required=True, help="task adapter: folder, zip or Hub id")
    says = "domain adapter: folder, zip or Hub id" + ("; without one the task adapter is taken alone" if alone else "")
    parser.add_argument("--domain", required=not alone, help=says)
    add_pickle(parser)
    add_dora(parser)
    add_same_base(parser)


def add_same_base(parser: argparse.ArgumentParser) -> None:
    says = "both adapters were trained on one base, though their configs name it differently; the recipe says that you said so"
    parser.add_argument("--same-base", action="store_true", help=says)


def add_dora(parser: argparse.ArgumentParser) -> None:
    says = "rank of the LoRA that stands in for DoRA, whose base --base must name; unset: the adapter's own"
    parser.add_argument("--dora-rank", type=int, metavar="1..4096", help=says)


def add_pickle(parser: argparse.ArgumentParser) -> None:
    says = "also read an adapter_model.bin, as numbers only; a file from someone you trust"
    parser.add_argument("--allow-pickle", action="store_true", help=says)


def add_base(parser: argparse.ArgumentParser, required: bool = False) -> None:
    parser.add_argument("--base", required=required, help="base model: Hub id, folder or .gguf file")
    add_placement(parser)


def add_placement(parser: argparse.ArgumentParser) -> None:
    """Where a base goes, and in which numbers."""
    for spec in fields(Placement):
        options, says = spec.metadata["options"] or None, spec.metadata["says"]
        parser.add_argument(f"--{_PLACED[spec.name]}", default=spec.default, choices=options, help=says)


def add_engine(parser: argparse.ArgumentParser) -> None:
    says = "score through a server that holds the base and loads LoRA while it runs (vLLM); --base then only names its tokenizer"
    parser.add_argument("--engine", metavar="URL", help=says)
    says = "folder that the engine sees under the same path, for the adapters it loads; usual: a temporary one of this machine"
    parser.add_argument("--engine-folder", metavar="DIR", help=says)


#: What the flags of a placement are called: --dtype is a knob of the recipe.
_PLACED = {
    spec.name: "base-dtype" if spec.name == "dtype" else spec.name.replace("_", "-") for spec in fields(Placement)
}


def add_inputs(parser: argparse.ArgumentParser, says: str) -> None:
    """Domain inputs, task inputs, and how many of each."""
    parser.add_argument("--inputs", help=says)
    parser.add_argument(
        "--task-inputs",
        help="prompts of the task as they come in use, without answers: what separates the two",
    )
    parser.add_argument("-n", type=int, default=32, help="how many inputs of each kind to use")


def add_auto(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-auto",
        action="store_true",
        help="keep the separation as it stands: no self-calibration by base and both inputs",
    )


def add_knobs(parser: argparse.ArgumentParser) -> None:
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


# -- what is made of them -----------------------------------------------------------------------------------------


def base_of(options: argparse.Namespace, ref: Any) -> Any:
    """The base of this name, where and in the numbers that the flags say; None without a name."""
    from tada_studio import pipeline

    if not ref:
        return None
    base = pipeline.load_base(ref, progress=teller(options), **_placed(options))
    if not base.whole:
        note(options, " ".join(base.says))
    return base


def answering_of(options: argparse.Namespace, ref: Any) -> Any:
    """Who scores: the server of --engine, else the base of this name. Raises InputError for what an engine does not do."""
    from tada_studio import pipeline

    if not options.engine:
        return base_of(options, ref)
    if here := next((name for name in ("inputs", "lm_eval") if getattr(options, name, None)), None):
        raise InputError(
            f"--{here.replace('_', '-')}: an engine reads no inputs and runs no tasks; it scores items. Probe with a base first, "
            "and give --readings."
        )
    return pipeline.open_engine(options.engine, ref, options.engine_folder)


def _placed(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, flag.replace("-", "_")) for name, flag in _PLACED.items()}


def runs_of(options: argparse.Namespace) -> Any:
    """Where the app is to run bases. Raises BaseError for a placement that means nothing, or what is no address."""
    from tada_studio.base_model.engine import Server
    from tada_studio.session.visitor import Runs

    if options.engine:
        Server.at(options.engine)
    return Runs(Placement(**_placed(options)), options.engine, options.engine_folder)


def dora_of(options: argparse.Namespace, recipe: dict[str, Any] | None = None) -> dict[str, Any]:
    """What DoRA is read with; a recipe.json to be repeated says which rank was taken."""
    inputs = (recipe or {}).get("inputs") or {}
    taken = [
        entry["stands_for"]["rank"] for entry in inputs.values() if isinstance(entry, dict) and "stands_for" in entry
    ]
    rank = options.dora_rank if options.dora_rank is not None else next(iter(taken), None)
    return {"base": options.base, "dora_rank": rank, "progress": teller(options)}


def pair_settings(options: argparse.Namespace, recipe: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a pair is read with; a recipe.json to be repeated also says whether somebody vouched for the base."""
    vouched = ((recipe or {}).get("inputs") or {}).get("same_base") is True
    return {**dora_of(options, recipe), "same_base": options.same_base or vouched}


def recipe_of(
    options: argparse.Namespace, content: dict[str, Any] | None = None, start: Recipe | None = None
) -> Recipe:
    """``start``, the recipe of a recipe.json that was read, or the usual one, with the knobs that flags turn."""
    start = start or recipe_in(content or {})
    given = {name: getattr(options, name) for name in knobs() if getattr(options, name) is not None}
    return start.but(**given)


def check_counts(options: argparse.Namespace, recipe: Recipe, readings: Any) -> None:
    """Raise InputError for a knob that was given as a flag and changes nothing, by this method or without readings."""
    from tada_studio import report
    from tada_studio.core.methods import ignored, unread_lines

    given = {name for name in knobs() if getattr(options, name) is not None}
    separable = readings is not None and readings.moments is not None
    idle = [name for name in ignored(recipe, readings is not None, given, separable) if name in given]
    if idle:
        raise InputError(report.ignored_sentence(idle, recipe.method))
    if unread := unread_lines(recipe.method, recipe.overrides if "overrides" in given else (), separable):
        raise InputError(report.unread_lines_sentence(unread, recipe.method))


def readings_of(options: argparse.Namespace, pair: Any, base: Any) -> Any:
    from tada_studio import pipeline
    from tada_studio.probing import Readings, read_inputs

    if options.task_inputs and not options.inputs:
        raise InputError("--task-inputs goes with --inputs: the domain's inputs and the task's are read together.")
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
        on_task = read_inputs(options.task_inputs) if options.task_inputs else None
        return pipeline.probe(pair, base, read_inputs(options.inputs), options.n, teller(options), on_task)
    return None


def auto_of(options: argparse.Namespace, recipe: Recipe, pair: Any, base: Any, embedded: Any = None) -> Any:
    """What auto makes of the recipe, written to stderr; None where it is off, a hand or a file set the separation, or it lacks a
    base or inputs of both kinds."""
    from tada_studio import pipeline, report
    from tada_studio.probing import read_inputs

    by_hand = [name for name in ("ridge", "own_weight", "whole", "recipe") if getattr(options, name, None) is not None]
    if options.no_auto or by_hand or recipe.method != "tada" or base is None or options.readings:
        return None
    sample = embedded if embedded is not None and not options.inputs else None
    inputs, on_task = (options.inputs, options.task_inputs) if sample is None else (sample.probe, sample.task_probe)
    if not inputs or not on_task or not base.family.answers:
        return None
    kinds = read_inputs(inputs), read_inputs(on_task)
    found = pipeline.calibrate(pair, base, *kinds, recipe=recipe, n=options.n, progress=teller(options))
    outcome = found.to_dict()
    note(
        options,
        "\n".join([report.calibration_sentence(outcome), report.text_table(*report.calibration_table(outcome))]),
    )
    return found


def sample_readings(options: argparse.Namespace, embedded: Any, pair: Any, base: Any) -> Any:
    """Readings as asked for; of a sample else those that it ships, or a fresh probe."""
    from tada_studio import pipeline
    from tada_studio.probing import Readings

    if options.readings or options.inputs or embedded is None:
        return readings_of(options, pair, base)
    if embedded.readings is not None:
        return Readings.load(embedded.readings)
    if base is None:
        return None
    on_task = pipeline.sample_task_inputs(embedded)
    return pipeline.probe(pair, base, pipeline.sample_inputs(embedded), progress=teller(options), task_inputs=on_task)


def sides_of(given: Sequence[str]) -> dict[str, list[Any]]:
    """Items by side: ``FILE`` alone is called items, ``SIDE=FILE`` by its side; a data set's Hub id stands for a file of it."""
    from tada_studio.evaluation import read_items
    from tada_studio.evaluation.hub_items import at_hand

    sides = {}
    for text in given:
        name, mark, path = text.partition("=")
        side, file = (name, path) if mark and name.isidentifier() and not Path(text).exists() else ("items", text)
        if side in sides:
            raise InputError(f"--items {text}: two files for the side {side}. Write SIDE=FILE to tell them apart.")
        sides[side] = read_items(at_hand(file))
    return sides


# -- printing ------------------------------------------------------------------------------------------------------


def note(options: argparse.Namespace, text: str) -> None:
    """A remark on stderr, unless --quiet."""
    if not options.quiet:
        print(f"note: {text}", file=sys.stderr)


def answer(options: argparse.Namespace, content: Any, text: str) -> None:
    print(plain_json(content, indent=2) if options.json else text)


def teller(options: argparse.Namespace) -> Callable[..., None]:
    """Progress as one line that rewrites itself on a terminal; elsewhere a line for each new thing of an evaluation. Nothing
    with --quiet."""
    seen: list[str] = []

    def show(progress: Any) -> None:
        if options.quiet:
            return
        if sys.stderr.isatty():
            end = "\n" if progress.done == progress.total else ""
            print(
                f"\r\033[K{progress.step} {progress.done}/{progress.total} {progress.note}",
                end=end,
                file=sys.stderr,
                flush=True,
            )
        elif progress.step == "evaluate" and progress.note not in seen:
            seen.append(progress.note)
            print(f"evaluate {progress.done}/{progress.total} {progress.note}", file=sys.stderr, flush=True)

    return show
