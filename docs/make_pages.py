"""Writes the pages and tables that are made from the code: docs/cli.md, and the tables between marks in docs/ and README.md.

`python docs/make_pages.py` after a change of a flag, a knob or a method; tests/test_docs.py says when it is due.
"""

import argparse
from pathlib import Path

from tada_studio import cli, report
from tada_studio.cli.parser import flags

ROOT = Path(__file__).resolve().parent.parent

CLI_HEAD = """# Command line

Made from the parsers by `python docs/make_pages.py`. Every command answers `--help` with examples, takes `--json` for
machine-readable output on stdout and `--quiet` for silence on stderr, and ends with 0 (good), 2 (your input) or 1 (our
bug). Without a command, `tada-studio` opens the app on the embedded sample. `tada-studio --version` says which version it is.

## A project's flags: tada.toml

A file `tada.toml` in the folder where you work (or named with `--config`) holds flags by name, without dashes. Keys at the
top count for every command that has such a flag, keys in a table for that command alone; what is typed wins.

```toml
task = "adapters/task"
domain = "adapters/domain"
base = "HuggingFaceTB/SmolLM2-135M-Instruct"

[merge]
readings = "readings.json"
strength = 1.8
overrides = ["layers 20-31 : attn : 0.7"]
```

Flags that decide whom to trust (`allow-pickle`, `lm-eval`, `public`, `host`, `root`, `auth`, `storage`) are never read from a file.
"""


def cli_page() -> str:
    """docs/cli.md, from the parsers themselves."""
    sections = [_command(name, parser) for name, parser in cli.parsers(cli._parser()).items()]
    return "\n".join([CLI_HEAD, *sections])


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    places = [action for action in parser._actions if not action.option_strings]
    rows = [f"| {_written(action)} | {_cell(action)} |" for action in (*places, *flags(parser).values())]
    examples = "\n".join(f"tada-studio {line}".rstrip() for line in parser.get_default("examples"))
    table = "\n".join(["| flag | what it does |", "| --- | --- |", *rows])
    return f"## {name}\n\n{parser.description}\n\n```bash\n{examples}\n```\n\n{table}\n"


def _written(action: argparse.Action) -> str:
    """The flag as it is typed, with what it takes."""
    names = ", ".join(action.option_strings)
    takes = str(action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper()))
    word = f"{names} {takes}" if names and action.nargs != 0 else names or takes
    return f"`{word}`".replace("|", "\\|") + (" (needed)" if action.required and names else "")


def _cell(action: argparse.Action) -> str:
    default = action.default
    shown = default not in (None, "", argparse.SUPPRESS, []) and not isinstance(default, bool)
    return str(action.help).replace("|", "\\|") + (f"; default `{default}`" if shown else "")


def tables() -> dict[str, str]:
    """Name of the marks -> what stands between them."""
    return {"knobs": report.knob_table(), "methods": report.method_table()}


def filled(text: str) -> str:
    """A page with its tables as the code has them now."""
    for name, table in tables().items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin in text:
            text = f"{text.split(begin)[0]}{begin}\n{table}\n{end}{text.split(end, 1)[1]}"
    return text


def pages() -> dict[Path, str]:
    """Every page that is made or filled here, as it should be."""
    made = {ROOT / "docs" / "cli.md": cli_page()}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        if path not in made:
            made[path] = filled(path.read_text(encoding="utf-8"))
    return made


if __name__ == "__main__":
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")
