"""completion: a script that makes bash, zsh or fish complete commands, flags and files."""

import argparse
from typing import Any

from tada_studio.cli.parser import command, flags
from tada_studio.recipe import knobs

SHELLS = ("bash", "zsh", "fish")
#: Flags and arguments that name a file or a folder.
_FILES = frozenset(
    "task domain base inputs task_inputs readings recipe out adapter items items_domain items_task validation root config".split()
)


def completion(options: argparse.Namespace) -> int:
    import shtab

    from tada_studio.cli import _parser, parsers

    parser = _parser()
    for each in parsers(parser).values():
        for name, action in flags(each).items():
            spec = knobs().get(name.replace("-", "_"))
            if spec is not None and "options" in spec.metadata:
                action.choices = spec.metadata["options"]
        for action in each._actions:
            if action.dest in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, options.shell))
    return 0


def add(commands: Any) -> None:
    """Its flag."""
    examples = (
        "completion bash > ~/.local/share/bash-completion/completions/tada-studio",
        "completion zsh > ~/.zfunc/_tada-studio",
        "completion fish > ~/.config/fish/completions/tada-studio.fish",
    )
    parser = command(commands, "completion", "print a script that completes commands and flags in your shell", examples)
    parser.add_argument("shell", choices=SHELLS, help="your shell")
