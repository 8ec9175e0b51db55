"""What is done with an exported folder: verify, push."""

import argparse
from typing import Any

from tada_studio.cli.flags import add_base, answer
from tada_studio.cli.parser import command


def verify(options: argparse.Namespace) -> int:
    from tada_studio import pipeline

    base = pipeline.load_base(options.base, options.device, options.base_dtype) if options.base else None
    wrong, certificate = pipeline.verify(options.out, base)
    lines = [*certificate.sentences, *wrong, "FAIL" if wrong else "PASS"]
    answer(
        options,
        {"verdict": "fail" if wrong else "pass", "wrong": wrong, "certificate": certificate.to_dict()},
        "\n".join(lines),
    )
    return 2 if wrong else 0


def push(options: argparse.Namespace) -> int:
    from tada_studio import pipeline

    address = pipeline.push(options.out, options.repo, private=not options.public)
    seen = "public" if options.public else "private"
    answer(options, {"address": address, "private": not options.public}, f"Pushed to {address} ({seen}).")
    return 0


def add(commands: Any) -> None:
    """Their flags."""
    parser = command(commands, "verify", "re-check the certificate of an exported folder", ("verify out --base base",))
    parser.add_argument("out", help="folder that was exported")
    add_base(parser)

    says = "upload an exported folder to the Hub, as whom this machine is logged in"
    parser = command(
        commands, "push", says, ("push out your-name/minerals-merged", "push out your-name/minerals-merged --public")
    )
    parser.add_argument("out", help="folder that was exported")
    parser.add_argument("repo", help="owner/name")
    parser.add_argument(
        "--public", action="store_true", help="for everybody to see; a new repository is private otherwise"
    )
