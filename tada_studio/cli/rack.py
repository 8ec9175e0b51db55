"""rack: many adapters of one base at a glance."""

import argparse
from typing import Any

from tada_studio.cli.flags import add_pickle, answer
from tada_studio.cli.parser import command


def rack(options: argparse.Namespace) -> int:
    from tada_studio import pipeline, report

    found = pipeline.read_rack(options.adapters, options.allow_pickle)
    rows = [[name, str(one.rank), str(one.modules), f"{one.norm:.3g}"] for name, one in found.adapters.items()]
    left_out = [f"Left out {ref}: {reason}" for ref, reason in found.left_out.items()]
    answer(options, found.to_dict(), "\n".join([report.rack_tables(rows, found.relations, found.roles), *left_out]))
    return 0


def add(commands: Any) -> None:
    says = "compare many adapters of one base with each other: cosines, conflicts, who is related to whom"
    parser = command(
        commands, "rack", says, ("rack adapters/task adapters/domain adapters/other", "rack adapters --json")
    )
    parser.add_argument("adapters", nargs="+", help="folders, zips or Hub ids; or a folder that holds several")
    add_pickle(parser)
