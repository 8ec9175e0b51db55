"""Writes the pages and tables that are made from the code: docs/cli.md, docs/api.md, docs/glossary.md, and tables between marks
elsewhere.

`python docs/make_pages.py` after a change of a flag, a knob, a method, a figure's caption or a public name; tests/test_docs.py
says when it is due.
"""

import argparse
import inspect
import json
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import tada_studio
from tada_studio import cli, figures, report
from tada_studio.app import api, api_models
from tada_studio.cli.parser import flags
from tada_studio.glossary import FIRST, GLOSSARY
from tada_studio.session.limits import PUBLIC

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

Flags that decide whom to trust (`allow-pickle`, `lm-eval`, `public`, `host`, `root`, `auth`, `storage`, `engine`,
`engine-folder`, `key`, `sign-key`) are never read from a file.
"""


GLOSSARY_HEAD = """# Words

The words of the screen, the figures, the command line and these pages; on the screen a dotted line stands under each where it first
comes up. Made from `glossary.py` by `python docs/make_pages.py`.
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


API_HEAD = """# API: Python, HTTP, MCP

Made from the package by `python docs/make_pages.py`. `import tada_studio as tada` costs next to nothing: a name is loaded
when it is first used, and `__init__.pyi` gives editors and type checkers every type. Errors that a person can act on are
`TadaError`; each says where, what was found and what would work.

```python
import tada_studio as tada

pair = tada.read_pair(task="path-or-hub-id", domain="path-or-hub-id")
base = tada.load_base("path-or-hub-id")
readings = tada.probe(pair, base, tada.read_inputs("probe.jsonl"))
merge = tada.Merge(pair, readings, tada.Recipe(rank=16))  # every stage, each computed once when it is asked for
merge.gates, merge.ranks, merge.depths
certificate = tada.export(merge.adapter, "out/", base=base)
scores = tada.evaluate(base, {"base": None, "merge": merge.adapter}, tada.read_items("items.jsonl"))
```

Values are immutable: a recipe is changed by `recipe.but(strength=1.5)`, which gives another one.

## Over HTTP

The app publishes [named endpoints](#endpoints) beside the screen; `/?view=api` and `/gradio_api/openapi.json` of a running app
describe them too. With `gradio_client`:

```python
from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")
pair = {"sample": "minerals-tiny"}  # or task, domain and base: a folder, a Hub id, handle_file("adapter.zip")
probed = client.predict(pair=pair, n=16, api_name="/probe")
readings = [handle_file(file) for file in probed["files"]]
made = client.predict(pair=pair, readings=readings, recipe={"rank": 8}, api_name="/merge")
print(made["verdict"], made["file"])  # a zip of a folder that PEFT loads, downloaded
```

With curl, ask and then read the answer:

```bash
URL=http://127.0.0.1:7860/gradio_api
EVENT=$(curl -s $URL/call/v2/merge -H 'Content-Type: application/json' -d '{"pair": {"sample": "minerals-tiny"}}' |
  sed 's/.*"event_id": *"\\([^"]*\\)".*/\\1/')
curl -sN $URL/call/merge/$EVENT | sed -n 's/^data: \\[/[/p' > merge.json
curl -s $URL/file=$(python -c 'import json; print(json.load(open("merge.json"))[0]["file"]["path"])') -o merged.zip
```

## For agents (MCP)

`tada-studio app --mcp` (with `pip install 'tada-studio[mcp]'`) serves the same endpoints as tools that answer JSON, at
`http://127.0.0.1:7860/gradio_api/mcp/`:

```json
{"mcpServers": {"tada-studio": {"url": "http://127.0.0.1:7860/gradio_api/mcp/"}}}
```

Files come as objects with a `url`; what one tool answered may be given to another, as the object or its url. Agents do not sign
in, so `--mcp` and `--auth` exclude each other. The extra asks for `mcp` itself: `gradio[mcp]` would hold pydantic under 2.12.6.
"""


def api_page() -> str:
    """docs/api.md: every endpoint, and every public name with its signature and what its docstring says."""
    endpoints = [_endpoint(one) for one in (*api.QUICK, *api.WORKING)]
    models = ["### What they take and answer", "", *(_model(one) for one in _models())]
    names = ["## Names", "", *(_name(name) for name in tada_studio.__all__)]
    return "\n".join([API_HEAD, "## Endpoints", "", *endpoints, *models, *names])


def _endpoint(endpoint: Callable) -> str:
    """One named endpoint: what it does, takes and answers."""
    says, given = inspect.getdoc(endpoint).partition("Args:")[0].strip(), api.arguments(endpoint)
    known = list(inspect.signature(endpoint, eval_str=True).parameters.values())[1:]
    default = {p.name: "needed" if p.default is p.empty else json.dumps(p.default) for p in known}
    rows = [f"| `{p.name}` | {_kind(p.annotation)} | {default[p.name]} | {given[p.name]} |" for p in known]
    table = ["| takes | type | default | what it is |", "| --- | --- | --- | --- |", *rows, ""] if rows else []
    answers = _kind(inspect.signature(endpoint, eval_str=True).return_annotation)
    return "\n".join([f"### /{api.name_of(endpoint)}", "", f"{says} Answers {answers}.", "", *table])


def _models() -> list[type[BaseModel]]:
    """Every pydantic model of the endpoints, in the order of the file."""
    found = [one for one in vars(api_models).values() if isinstance(one, type) and issubclass(one, BaseModel)]
    return [one for one in found if one.__module__ == api_models.__name__]


def _model(model: type[BaseModel]) -> str:
    rows = [f"| `{name}` | {_kind(one.annotation)} | {one.description} |" for name, one in model.model_fields.items()]
    table = "\n".join(["| field | type | what it is |", "| --- | --- | --- |", *rows])
    return f"#### {model.__name__}\n\n{inspect.getdoc(model)}\n\n{table}\n"


def _kind(annotation: Any) -> str:
    """A type as a reader writes it: without the modules that it lives in."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b(?:[a-z_0-9]+\.)+(?=[A-Za-z])", "", text).replace("~", "")
    return f"`{text}`".replace("|", "\\|")


def _name(name: str) -> str:
    value = getattr(tada_studio, name)
    if not callable(value):
        return f"### {name}\n\nThe methods by name: see [every method](method.md#every-method).\n"
    text = inspect.cleandoc(value.__doc__ or "")
    if isinstance(value, type):
        return "\n".join([f"### {name}", "", "```text", text, "```", "", *_members(value)])
    return "\n".join([f"### {name}", "", "```python", _signature(name, value), "```", "", "```text", text, "```", ""])


def _signature(name: str, value: Callable) -> str:
    """A call as it is written, with the type of every argument, one a line."""
    found = inspect.signature(value)
    kinds = [
        (p, "" if p.annotation is p.empty else f": {_kind(p.annotation)[1:-1]}") for p in found.parameters.values()
    ]
    defaults = {p.name: "" if p.default is p.empty else f" = {_default(p.default)}" for p, _ in kinds}
    stars = {inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.VAR_POSITIONAL: "*"}
    lines = [f"    {stars.get(p.kind, '')}{p.name}{kind}{defaults[p.name]}," for p, kind in kinds if p.name != "self"]
    ends = "" if found.return_annotation is found.empty else f" -> {_kind(found.return_annotation)[1:-1]}"
    inside = "\n".join(["", *lines, ""]) if lines else ""
    return f"{name}({inside}){ends}".replace("\\|", "|")


def _default(value: object) -> str:
    return value.__name__ if inspect.isfunction(value) else repr(value)


def _members(kind: type) -> list[str]:
    """The public methods and properties of a class that say what they do, in a table."""
    rows = {}
    for owner in reversed([one for one in kind.__mro__ if one.__module__.startswith("tada_studio")]):
        for name, member in vars(owner).items():
            inner = (
                getattr(member, "func", None) or getattr(member, "fget", None) or getattr(member, "__func__", member)
            )
            says = inspect.getdoc(inner) if inspect.isfunction(inner) else None
            if says and not name.startswith("_"):
                call = "()" if not isinstance(member, property | cached_property) else ""
                rows[name] = f"| `{name}{call}` | {' '.join(says.split(chr(10) * 2)[0].split())} |".replace("``", "`")
    return ["| member | what it is |", "| --- | --- |", *rows.values(), ""] if rows else []


def figure_list() -> str:
    """Every figure by its title, with the caption that is shown with it."""
    frames = [getattr(figures, name) for name in figures.__all__]
    families = [frame for family in frames if isinstance(family, dict) for frame in family.values()]
    made = [frame for frame in (*frames, *families) if isinstance(frame, figures.Figure)]
    return "\n".join(f"- **{frame.title}.** {frame.caption}" for frame in sorted(made))


def tables() -> dict[str, str]:
    """Name of the marks -> what stands between them."""
    return {
        "knobs": report.knob_table(),
        "methods": report.method_table(),
        "figures": figure_list(),
        "words": " ".join(f"**{name}**: {GLOSSARY[name]}" for name in FIRST),
        "limits": "\n".join(f"- {words}" for words in PUBLIC.in_words()),
    }


def filled(text: str) -> str:
    """A page with its tables as the code has them now."""
    for name, table in tables().items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin in text:
            text = f"{text.split(begin)[0]}{begin}\n{table}\n{end}{text.split(end, 1)[1]}"
    return text


def pages() -> dict[Path, str]:
    """Every page that is made or filled here, as it should be."""
    made = {ROOT / "docs" / "cli.md": cli_page(), ROOT / "docs" / "api.md": api_page()}
    made[ROOT / "docs" / "glossary.md"] = f"{GLOSSARY_HEAD}\n{report.glossary_table()}\n"
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        if path not in made:
            made[path] = filled(path.read_text(encoding="utf-8"))
    return made


def main() -> int:
    """Write what is due; with --check only say so, and return 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is due")
    check = parser.parse_args().check
    due = {
        path: text for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path, text in due.items():
        if not check:
            path.write_text(text, encoding="utf-8")
        print(f"{'due' if check else 'written'}: {path.relative_to(ROOT)}")
    return int(check and bool(due))


if __name__ == "__main__":
    raise SystemExit(main())
