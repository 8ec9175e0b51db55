"""tada.toml: flags by name, so that the paths of a project are written once.

    task = "adapters/task"          # for every command that has such a flag
    domain = "adapters/domain"

    [merge]                         # for this command alone
    strength = 1.5
    overrides = ["layers 20-31 : attn : 0.7"]

A flag that is typed wins over the file. What decides whom to trust is typed, never read from a file that came with a folder.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tada_studio.cli.parser import flags, suggestion
from tada_studio.errors import InputError

NAME = "tada.toml"
#: Flags that let in what could do harm, or send something out: a stranger's folder must not switch them on.
TYPED_ONLY = frozenset(
    {
        "allow-pickle",
        "lm-eval",
        "public",
        "host",
        "root",
        "storage",
        "auth",
        "config",
        "engine",
        "engine-folder",
        "key",
        "sign-key",
    }
)


def with_settings(words: Sequence[str], parsers: Mapping[str, argparse.ArgumentParser]) -> list[str]:
    """``words`` (a command and its flags) with the flags of the settings file before them. Raises InputError."""
    command, *typed = words
    if command not in parsers or {"-h", "--help"} & set(typed):
        return list(words)
    path = _named(typed)
    if path is None and not Path(NAME).is_file():
        return list(words)
    content = _read(Path(NAME) if path is None else path)
    chosen = _of_command(content, command, parsers, path or Path(NAME))
    added = [word for name, value in chosen.items() if not _is_typed(name, parsers[command], typed)
             for word in _words(name, value, parsers[command])]  # fmt: skip
    if added and not {"-q", "--quiet"} & {*typed, *added}:
        print(f"note: {path or NAME} adds {' '.join(added)}", file=sys.stderr)
    return [command, *added, *typed]


def _named(typed: Sequence[str]) -> Path | None:
    for number, word in enumerate(typed):
        if word.startswith("--config="):
            return Path(word.partition("=")[2])
        if word == "--config" and number + 1 < len(typed):
            return Path(typed[number + 1])
    return None


def _read(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        from tomllib import loads
    else:
        from tomlkit import loads  # gradio brings it
    try:
        return dict(loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:  # both libraries' errors are ValueErrors
        raise InputError(
            f"{path}: cannot be read as settings ({error}). Write lines such as strength = 1.5."
        ) from error


def _of_command(
    content: Mapping[str, Any], command: str, parsers: Mapping[str, argparse.ArgumentParser], path: Path
) -> dict[str, Any]:
    """The settings that this command takes: those for all, and its own table, which wins."""
    everywhere = {name for parser in parsers.values() for name in flags(parser)}
    own = flags(parsers[command])
    shared = {name: value for name, value in content.items() if not isinstance(value, Mapping)}
    for name in shared:
        _check(name, everywhere, path)
    for table in content.keys() - shared.keys():
        if table not in parsers:
            raise InputError(f"{path}: [{table}] is no command{suggestion(table, parsers)}")
        for name in content[table]:
            _check(name, flags(parsers[table]), path)
    return {**{name: value for name, value in shared.items() if name in own}, **content.get(command, {})}


def _check(name: str, names: Any, path: Path) -> None:
    if name not in names:
        raise InputError(
            f"{path}: {name} is no flag of the command{suggestion(name, names)} Keys are flags without --."
        )
    if name in TYPED_ONLY:
        raise InputError(f"{path}: {name} is not taken from a file, since it decides whom to trust; type --{name}.")


def _is_typed(name: str, parser: argparse.ArgumentParser, typed: Sequence[str]) -> bool:
    options = flags(parser)[name].option_strings
    return any(word in options or word.partition("=")[0] in options for word in typed)


def _words(name: str, value: Any, parser: argparse.ArgumentParser) -> Iterator[str]:
    """A setting as it would be typed. Raises InputError for a value that the flag cannot take."""
    action = flags(parser)[name]
    if action.nargs == 0:  # a switch
        if not isinstance(value, bool):
            raise InputError(f"{NAME}: {name} = {value!r}: this flag is a switch; write true or false.")
        yield from [f"--{name}"] if value else []
        return
    if isinstance(value, list) and not isinstance(action, argparse._AppendAction):
        raise InputError(f"{NAME}: {name} = {value!r}: one value, not a list.")
    for each in value if isinstance(value, list) else [value]:
        yield f"--{name}={each}"
