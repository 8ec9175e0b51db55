"""What is done with an exported folder: verify, sign, push."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tada_studio.cli.flags import add_base, add_dora, add_pickle, add_same_base, answer, base_of, pair_settings
from tada_studio.cli.parser import command
from tada_studio.errors import InputError
from tada_studio.recipe import Recipe, read_recipe


def verify(options: argparse.Namespace) -> int:
    from tada_studio import pipeline

    base = base_of(options, options.base)
    signature = pipeline.signature(options.out, options.key)
    wrong, certificate = pipeline.verify(options.out, base, _made_again(options))
    wrong += [signature.says] if signature.holds is False else []
    signed = [] if signature.holds is False else [signature.says]
    lines = [*certificate.sentences, *signed, *wrong, "FAIL" if wrong else "PASS"]
    found = {"verdict": "fail" if wrong else "pass", "wrong": wrong, "signature": asdict(signature)}
    answer(options, {**found, "certificate": certificate.to_dict()}, "\n".join(lines))
    return 2 if wrong else 0


def sign(options: argparse.Namespace) -> int:
    from tada_studio import pipeline

    signature = pipeline.sign(options.out, options.key)
    answer(options, {"out": str(options.out), "signature": asdict(signature)}, signature.says)
    return 0


def _made_again(options: argparse.Namespace) -> Any:
    """The merge that recipe.json describes, of the parents that were given; None without them."""
    from tada_studio import pipeline
    from tada_studio.probing import Readings

    if not (options.task and options.domain):
        if options.task or options.domain or options.readings:
            raise InputError(
                "--task and --domain go together: with both, the merge is made again and its bytes compared."
            )
        return None
    content = read_recipe(Path(options.out) / "recipe.json")
    pair = pipeline.read_pair(options.task, options.domain, options.allow_pickle, **pair_settings(options, content))
    readings = Readings.load(options.readings) if options.readings else None
    if readings is None and (content.get("inputs") or {}).get("readings"):
        raise InputError("The merge was made with probe readings. Give them too: --readings readings.json.")
    return pipeline.Merge(pair, readings, Recipe.from_dict(content.get("recipe", {}))).adapter


def push(options: argparse.Namespace) -> int:
    from tada_studio import pipeline

    address = pipeline.push(options.out, options.repo, private=not options.public)
    seen = "public" if options.public else "private"
    answer(options, {"address": address, "private": not options.public}, f"Pushed to {address} ({seen}).")
    return 0


def add(commands: Any) -> None:
    """Their flags."""
    says, examples = (
        "re-check the certificate of an exported folder",
        ("verify out --base base", "verify out --key public.pem"),
    )
    parser = command(commands, "verify", says, examples)
    parser.add_argument("out", help="folder that was exported")
    add_base(parser)
    parser.add_argument(
        "--task", help="the task adapter: with both parents the merge is made again and its bytes compared"
    )
    parser.add_argument("--domain", help="the domain adapter")
    parser.add_argument("--readings", help="readings.json of the probe, if the merge was made with one")
    parser.add_argument("--key", metavar="PUBLIC.pem", help="whose signature it must bear (extra sign)")
    add_pickle(parser)
    add_dora(parser)
    add_same_base(parser)

    says = "sign an exported folder, certificate and all, with a private key of your own (extra sign)"
    parser = command(commands, "sign", says, ("sign out --key key.pem",))
    parser.add_argument("out", help="folder that was exported")
    parser.add_argument(
        "--key", metavar="KEY.pem", required=True, help="private key on P-256, P-384 or P-521; stays here"
    )

    says = "upload an exported folder to the Hub, as whom this machine is logged in"
    parser = command(
        commands, "push", says, ("push out your-name/minerals-merged", "push out your-name/minerals-merged --public")
    )
    parser.add_argument("out", help="folder that was exported")
    parser.add_argument("repo", help="owner/name")
    parser.add_argument(
        "--public", action="store_true", help="for everybody to see; a new repository is private otherwise"
    )
