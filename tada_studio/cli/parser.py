"""The parser of every command: short errors with a suggestion, examples under each help."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from tada_studio.errors import InputError


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is answered in one line and not with a page of usage, and flags are written out."""

    def __init__(self, *names: Any, **how: Any) -> None:
        super().__init__(*names, **{"allow_abbrev": False, **how})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. `{self.prog} --help` lists every flag.\n")


def command(
    commands: Any, name: str, says: str, examples: Sequence[str], answers: bool = True
) -> argparse.ArgumentParser:
    """A command with the flags that all of them take.

    examples: lines as they are typed, without ``tada-studio``; answers: whether it prints something when it is done
    """
    parser = commands.add_parser(
        name, help=says, description=f"{says[0].upper()}{says[1:]}.", formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["examples:", *(f"  tada-studio {line}".rstrip() for line in examples)]),
    )  # fmt: skip
    parser.set_defaults(examples=tuple(examples))
    if answers:
        parser.add_argument("--json", action="store_true", help="machine-readable output on stdout")
        parser.add_argument(
            "-q", "--quiet", action="store_true", help="no progress and no notes on stderr, only errors"
        )
    says = "flags by name, for a project; usual: tada.toml of this folder, if there is one"
    parser.add_argument("--config", metavar="FILE.toml", help=says)
    return parser


def flags(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Long flag without its dashes -> what argparse knows of it; positional arguments and --help are left out."""
    return {
        option[2:]: action
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }


def unknown_command(word: str, names: Iterable[str]) -> InputError:
    """What to answer to a mistyped command."""
    return InputError(f"{word}: no such command{suggestion(word, names)} There are: {', '.join(names)}.")


def unknown_flag(word: str, parser: argparse.ArgumentParser) -> InputError:
    """What to answer to a word that no flag takes."""
    if not word.startswith("-"):
        return InputError(f"{word}: one word too many. `{parser.prog} --help` shows what is taken.")
    names = [f"--{name}" for name in flags(parser)]
    return InputError(
        f"{word}: no such flag{suggestion(word.split('=')[0], names)} `{parser.prog} --help` lists every flag."
    )


def suggestion(word: str, names: Iterable[str]) -> str:
    """The end of a sentence: "; did you mean probe?", or a full stop."""
    near = difflib.get_close_matches(word, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else "."
