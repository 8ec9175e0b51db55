"""The command line: parses, calls the flow, prints the report. Exit 0 good, 2 the user's input, 1 our bug; messages on stderr.

A file for each group of commands: what they do, and their flags. Nothing heavy is imported before a command needs it.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from tada_studio.cli import completion, evaluate, folders, pair, rack, start, tune
from tada_studio.cli.parser import Parser, unknown_command, unknown_flag
from tada_studio.cli.settings import with_settings
from tada_studio.cli.together import together
from tada_studio.errors import TadaError
from tada_studio.glossary import glossary_lines
from tada_studio.uncollected import one_command, uncollected

COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "app": start.app,
    "passport": pair.passport,
    "probe": pair.probe,
    "merge": pair.merge,
    "report": pair.report,
    "evaluate": evaluate.evaluate,
    "tune": tune.tune,
    "rack": rack.rack,
    "verify": folders.verify,
    "sign": folders.sign,
    "push": folders.push,
    "samples": start.samples,
    "completion": completion.completion,
}

#: Those that work on adapters, with all of the package.
WORK = COMMANDS.keys() - {"app", "samples", "completion"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. An error that is not the user's keeps its traceback."""
    if argv is None:
        one_command()
    words = list(sys.argv[1:] if argv is None else argv)
    name = f"tada-studio {words[0]}" if words and words[0] in COMMANDS else "tada-studio"
    try:
        options = _options(words)
        with together(options):
            if options.command in WORK:
                with uncollected():
                    import_module("tada_studio.pipeline")
            return COMMANDS[options.command](options)
    except TadaError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: stopped; nothing half-written was left.", file=sys.stderr)
        return 2


def _options(words: list[str]) -> argparse.Namespace:
    """What was typed, with what tada.toml adds. Raises InputError for a word that means nothing here."""
    parser = _parser()
    known = parsers(parser)
    if words and not words[0].startswith("-") and words[0] not in known:
        raise unknown_command(words[0], known)
    if not (words and (words[0] in known or words[0] in ("-h", "--help", "--version"))):
        words = ["app", *words]
    options, rest = parser.parse_known_args(with_settings(words, known))
    if rest:
        raise unknown_flag(rest[0], known[options.command])
    return options


def _parser() -> Parser:
    from tada_studio import __doc__ as about
    from tada_studio import __version__

    parser = Parser(
        "tada-studio", description=(about or "").split("\n", 1)[0], formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["words:", *(f"  {line}" for line in glossary_lines()), "  All of them: docs/glossary.md"]),
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"tada-studio {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    start.add_app(commands)
    for group in (pair, evaluate, tune, rack, folders):
        group.add(commands)
    start.add_samples(commands)
    completion.add(commands)
    return parser


def parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by its name."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(commands.choices)
