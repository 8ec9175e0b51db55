"""Where one starts: the app in the browser, the embedded samples."""

import argparse
from pathlib import Path
from typing import Any

from tada_studio.cli.flags import add_engine, add_placement, answer, runs_of
from tada_studio.cli.parser import command
from tada_studio.errors import InputError
from tada_studio.uncollected import uncollected


def app(options: argparse.Namespace) -> int:
    from tada_studio.sample_pairs import DEFAULT, sample

    if bool(options.task) != bool(options.domain):
        raise InputError("A pair needs both --task and --domain; or give --sample, or nothing for the usual sample.")
    name = None if options.task else sample(options.sample or DEFAULT).name

    settings = {
        "sample": name,
        "task": options.task,
        "domain": options.domain,
        "base": options.base,
        "host": options.host,
        "port": options.port,
        "open_browser": not options.no_browser,
        "root": options.root,
        "public": options.public,
        "auth": _accounts(options.auth),
        "ends": True,
        "mcp": options.mcp,
    }
    with uncollected():  # until it serves
        from tada_studio.app import launch  # after the checks: gradio takes seconds

        launch(**settings, runs=runs_of(options))
    return 0


def _accounts(given: list[str]) -> list[tuple[str, str]] | None:
    """NAME:PASSWORD each, or @FILE with one a line. Raises InputError."""
    lines: list[str] = []
    for text in given:
        lines += _lines(Path(text[1:])) if text.startswith("@") else [text]
    accounts = [(name.strip(), password) for name, _, password in (line.partition(":") for line in lines)]
    if not all(name and password for name, password in accounts):
        raise InputError("--auth: give NAME:PASSWORD, or @FILE with one NAME:PASSWORD a line.")
    return accounts or None


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"--auth @{path}: cannot be read ({error}).") from error


def samples(options: argparse.Namespace) -> int:
    from tada_studio.sample_pairs import sample, samples

    if options.name:
        chosen = sample(options.name)
        paths = {
            "task": chosen.task,
            "domain": chosen.domain,
            "probe": chosen.probe,
            **{f"items_{k}": v for k, v in chosen.items.items()},
        }
        rows = {"name": chosen.name, "base": chosen.base, **{name: str(path) for name, path in paths.items()}}
        answer(options, rows, "\n".join(f"{name:13} {value}" for name, value in rows.items()))
        return 0
    found = list(samples().values())
    listed = [{"name": s.name, "title": s.title, "story": s.story, "base": s.base} for s in found]
    answer(options, listed, "\n".join(f"{s.name}\n    {s.title}\n    {s.story}" for s in found))
    return 0


def add_app(commands: Any) -> None:
    """The flags of app."""
    examples = (
        "", "app --sample vit-glyphs", "app --task adapters/task --domain adapters/domain --base base",
        "app --host 0.0.0.0 --auth @accounts.txt --no-browser", "app --mcp --no-browser",
    )  # fmt: skip
    parser = command(commands, "app", "open the studio in the browser (the default command)", examples, answers=False)
    for flag, says in (
        ("sample", "an embedded sample"),
        ("task", "task adapter"),
        ("domain", "domain adapter"),
        ("base", "base model"),
    ):
        parser.add_argument(f"--{flag}", help=f"{says} to open at the start")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--public", action="store_true", help="for strangers: no paths, visitors apart, limits for each"
    )
    parser.add_argument(
        "--auth", action="append", default=[], metavar="NAME:PASSWORD", help="who may sign in; again for more, or @FILE"
    )
    parser.add_argument(
        "--port", type=int, help="port to listen on; not given: the first one from 7860 on that is free"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    parser.add_argument(
        "--mcp", action="store_true", help="serve the API as MCP tools for agents, too (the extra `mcp`)"
    )
    add_placement(parser)
    add_engine(parser)
    parser.add_argument("--root", type=Path, help="folder that local paths must lie in")


def add_samples(commands: Any) -> None:
    """The flags of samples."""
    says = "list the embedded samples, or print the paths of one"
    parser = command(commands, "samples", says, ("samples", "samples minerals-tiny --json"))
    parser.add_argument("name", nargs="?", help="a sample's name")
