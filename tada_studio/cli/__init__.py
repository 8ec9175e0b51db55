"""The command line: parses, calls the flow, prints the report. Exit 0 good, 2 the user's input, 1 our bug; messages on stderr.

A file for each group of commands: what they do, and their flags. Nothing heavy is imported before a command needs it.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from tada_studio.cli import evaluate, folders, pair, start, tune
from tada_studio.errors import TadaError

COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "app": start.app,
    "passport": pair.passport,
    "probe": pair.probe,
    "merge": pair.merge,
    "report": pair.report,
    "evaluate": evaluate.evaluate,
    "tune": tune.tune,
    "verify": folders.verify,
    "push": folders.push,
    "samples": start.samples,
}


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


def _parser() -> argparse.ArgumentParser:
    from tada_studio import __doc__ as about

    parser = argparse.ArgumentParser("tada-studio", description=(about or "").split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    start.add_app(commands.add_parser("app", help="open the studio in the browser (the default command)"))
    for group in (pair, evaluate, tune, folders):
        group.add(commands)
    start.add_samples(commands)
    return parser
