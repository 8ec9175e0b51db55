"""Damaged files for every reader: an answer or one printable sentence, soon and in little memory; never anything else.

    python benchmarks/fuzz.py                          # 20,000 inputs, as RESULTS.md has it
    python benchmarks/fuzz.py --inputs 500 --seed 7    # any number, any dice
    python benchmarks/fuzz.py --only recipe --seed 7   # one reader

Each input is a file that was valid, with bits, slices or values of its JSON replaced by what breaks readers. Exit 1 if anything but
an answer or a TadaError came out, took over five seconds of the processor, or the process grew to more than a gigabyte.
"""

import argparse
import json
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from common import machine, table, verdict, write_section
from pico import pico_adapter, pico_base, pico_inputs, pico_items

from tada_studio import pipeline
from tada_studio.base_model.files import parameters_of
from tada_studio.base_model.inputs import read_inputs
from tada_studio.cli import settings
from tada_studio.core.selectors import check
from tada_studio.errors import TadaError
from tada_studio.evaluation import read_items
from tada_studio.evaluation.harness import read_task
from tada_studio.evaluation.saved import load_items, load_scores
from tada_studio.exporting.card import card_facts, front_matter
from tada_studio.exporting.certificate import added_files, changed_files, read_certificate, tampered
from tada_studio.pipeline.ancestry import named
from tada_studio.pipeline.merge import Merge, merge
from tada_studio.pipeline.provenance import Provenance
from tada_studio.probing import Readings
from tada_studio.recipe import Recipe, read_auto, read_log, read_recipe, recipe_in
from tada_studio.session import Session
from tada_studio.session import files as session_files
from tada_studio.tuning.study import storage

#: Seconds of the processor for one input, and megabytes for all of them.
SECONDS, MEGABYTES = 5.0, 1000.0
#: The longest sentence that anybody should read.
LONGEST = 1000


class Reader(NamedTuple):
    """files: what is damaged, one of them each time, in a copy of ``valid``; read: what is asked of the copy."""

    valid: Path
    files: tuple[str, ...]
    read: Callable[[Path], object]


# -- what is read ----------------------------------------------------------------------------------------------------


def readers(place: Path) -> dict[str, Reader]:
    """Every reader of strangers' files, with a folder that it takes."""
    base = pico_base(place / "base")
    task, domain = (pico_adapter(place / name, base, seed=i) for i, name in enumerate(("task", "domain"), start=1))
    pair = pipeline.read_pair(task, domain)
    lines = pico_inputs(place / "lines.txt")
    readings = pipeline.probe(pair, pipeline.load_base(base, device="cpu"), read_inputs(lines), 4)
    pipeline.export(merge(pair, readings, Recipe(rank=4)), place / "merged")
    saved = _session(place, pair, readings)
    own = place / "own"
    own.mkdir()
    readings.save(own / "readings.json")
    _texts(own, task)
    weights, config = "adapter_model.safetensors", "adapter_config.json"
    return {
        "adapter": Reader(task, (config, weights), lambda f: pipeline.passports([f])),
        "pair": Reader(task, (config, weights, "README.md"), lambda f: _pair(f, domain)),
        "zip": Reader(own, ("adapter.zip",), lambda f: pipeline.read_adapter(f / "adapter.zip")),
        "zip of images": Reader(own, ("images.zip",), lambda f: read_items(f / "images.zip")),
        "base": Reader(base, ("config.json", "model.safetensors"), lambda f: parameters_of(str(f))),
        "recipe": Reader(place / "merged", ("recipe.json",), lambda f: _recipe(f / "recipe.json")),
        "certificate": Reader(place / "merged", ("certificate.json", "README.md"), _certificate),
        "readings": Reader(own, ("readings.json", "readings.safetensors"), lambda f: _readings(f, pair)),
        "inputs": Reader(own, ("inputs.txt", "inputs.jsonl"), _inputs),
        "items": Reader(own, ("items.jsonl", "answers.jsonl", "passages.jsonl", "labels.jsonl", "a.png"), _items),
        "task file": Reader(own, ("task.yaml", "items.jsonl"), lambda f: read_task(str(f / "task.yaml"))),
        "session": Reader(saved, tuple(sorted(file.name for file in saved.iterdir() if file.is_file())), _saved),
        "trials": Reader(own, ("trials.log",), lambda f: storage(f / "trials.log").get_all_studies()),
        "settings": Reader(own, ("tada.toml",), lambda f: settings._read(f / "tada.toml")),
        "lines": Reader(own, ("lines.txt",), lambda f: _lines(f / "lines.txt", pair)),
    }  # fmt: skip


def _session(place: Path, pair: Any, readings: Any) -> Path:
    session, folder = Session(), place / "session"
    session.open(str(place / "task"), str(place / "domain"), str(place / "base"))
    session.use_readings(readings)
    session.paint([(0, 0)], 0.9)
    session.evaluate({"domain": read_items(pico_items(place / "items.jsonl"))[:4]}, ["base", "tada"], 4)
    state = session.state
    assert state is not None
    folder.mkdir()
    session_files.write(state, folder)
    session.close()
    return folder


def _texts(own: Path, task: Path) -> None:
    """Valid files of all other kinds."""
    from PIL import Image

    pico_inputs(own / "inputs.txt")
    pico_inputs(own / "inputs.jsonl")
    pico_items(own / "items.jsonl", count=6)
    Image.new("RGB", (8, 8), "red").save(own / "a.png")
    rows = {
        "answers": {"question": "what is it ?", "answer": "rock salt"},
        "passages": {"text": "the rock is hard ."},
        "labels": {"image": "a.png", "label": "red"},
    }
    for name, row in rows.items():
        (own / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (own / "task.yaml").write_text(
        "task: mine\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: items.jsonl\noutput_type: multiple_choice\n"
    )
    (own / "tada.toml").write_text('strength = 1.5\n[merge]\noverride = ["layer 0 : q_proj : 0.5"]\n')
    (own / "lines.txt").write_text("layers 0-2 : attn : 0.7\nlayer 1 : * : lock\nlayer 2 : domain x -1\n")
    (own / "trials.log").write_text(
        json.dumps({"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [2]}) + "\n"
    )
    with zipfile.ZipFile(own / "adapter.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for file in task.iterdir():
            packed.write(file, f"task/{file.name}")
    with zipfile.ZipFile(own / "images.zip", "w") as packed:
        for label in ("red", "blue"):
            packed.write(own / "a.png", f"{label}/a.png")


def _pair(folder: Path, domain: Path) -> object:
    pair = pipeline.read_pair(folder, domain)
    merged = merge(pair)
    return named(pair.task), front_matter(card_facts(merged, {"task": pair.task}))


def _recipe(path: Path) -> object:
    content = read_recipe(path)
    Provenance.read(content)
    return Recipe.load(path), recipe_in(content), read_log(content), read_auto(content)


def _certificate(folder: Path) -> object:
    outputs = read_certificate(folder)["outputs"]
    return tampered(folder), changed_files(folder, outputs), added_files(folder, outputs)


def _readings(folder: Path, pair: Any) -> object:
    found = Readings.load(folder / "readings.json")
    found.belongs_to(pair)
    return Merge(pair, found).gates


def _inputs(folder: Path) -> object:
    return [read_inputs(folder / f"inputs.{kind}") for kind in ("txt", "jsonl")]


def _items(folder: Path) -> object:
    return [read_items(folder / f"{name}.jsonl") for name in ("items", "answers", "passages", "labels")]


def _saved(folder: Path) -> object:
    for file in folder.iterdir():
        if file.name.startswith("items-"):
            load_items(file)
        if file.name.startswith("run-"):
            load_scores(file)
    session, remarks = session_files.read(folder)
    session.close()
    return remarks


def _lines(path: Path, pair: Any) -> object:
    text = path.read_bytes().decode("utf-8", "replace")
    return check(Merge(pair).gates.cells(), text.splitlines())


# -- how it is damaged -----------------------------------------------------------------------------------------------

#: Texts that have broken readers of others.
NASTY = (
    "NaN", "1e999", "-1", "null", "true", '""', "[]", "{}", "[" * 20_000, '{"a":' * 20_000, "9" * 6_000, "0.1e-400", '"\\ud800"',
    '"\\u0000"', '"\x1b[2J"', '"' + "x" * 200_000 + '"', '"../../etc/passwd"', '"' + "/".join(["a"] * 3000) + '"',
    "!!python/name:os", "&a [*a]", "\r\n", "\x00", "\ufeff", "\u202e",
)  # fmt: skip
#: The same as values in a JSON document.
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, float("nan"), float("inf"), 10**400, "", "\x1b[2J\x07", "x" * 200_000, "a\x00b", "../..", "\ud800",
    [], {}, [[]], [None], {"": {}}, "/".join(["a"] * 3000), "LORA", 2**63, [1e999], {"a": None},
)  # fmt: skip


def damaged(content: bytes, dice: random.Random) -> bytes:
    """The content of a file after one to three accidents."""
    for _ in range(dice.choice((1, 1, 2, 3))):
        content = dice.choice(_ACCIDENTS)(content, dice)
    return content


def _flip(content: bytes, dice: random.Random) -> bytes:
    found = bytearray(content or b" ")
    for _ in range(dice.choice((1, 4, 30))):
        found[dice.randrange(len(found))] ^= 1 << dice.randrange(8)
    return bytes(found)


def _cut(content: bytes, dice: random.Random) -> bytes:
    a, b = sorted(dice.randrange(len(content) + 1) for _ in range(2))
    return dice.choice((content[:a], content[b:], content[:a] + content[b:], content + content[a:b]))


def _nasty(content: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + dice.choice(NASTY).encode("utf-8", "surrogatepass") + content[at + dice.choice((0, 1, 8)) :]


def _value(content: bytes, dice: random.Random) -> bytes:
    """Another value somewhere in a JSON document, or in the header of a safetensors file, which then says its new length."""
    start = 8 if content[8:9] == b"{" else 0
    end = 8 + struct.unpack("<Q", content[:8])[0] if start else len(content)
    with suppress(ValueError, RecursionError, IndexError):
        rows = content[start:end].split(b"\n") if b"\n{" in content else [content[start:end]]
        row = dice.randrange(len(rows))
        document = [json.loads(rows[row])]
        _replace_one(document, dice)
        rows[row] = json.dumps(document[0]).encode()
        made = b"\n".join(rows)
        return struct.pack("<Q", len(made)) + made + content[end:] if start else made
    return _flip(content, dice)


def _replace_one(document: Any, dice: random.Random) -> None:
    """One place in it, deep or not."""
    while True:
        key = dice.choice(list(document) if isinstance(document, dict) else range(len(document)))
        inner = document[key]
        if isinstance(inner, dict | list) and inner and dice.random() < 0.8:
            document = inner
            continue
        document[key] = dice.choice(VALUES)
        if isinstance(document, dict) and dice.random() < 0.2:
            document[str(dice.choice(VALUES))] = document.pop(key)
        return


def _long_header(content: bytes, dice: random.Random) -> bytes:
    return struct.pack("<Q", dice.choice((0, 1, 2**31, 2**63, len(content), 100_000_000))) + content[8:]


_ACCIDENTS = (_flip, _cut, _nasty, _value, _value, _value, _long_header)


# -- what came of it ---------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """reader -> how many were taken and how many refused; what must not be, with the seed that makes it again."""

    taken: Counter
    refused: Counter
    wrong: list[str]
    slowest: float = 0.0
    megabytes: float = 0.0


def fuzz(inputs: int, seed: int, only: Sequence[str] = ()) -> Found:
    """Damage so many files and read them, each reader in turn."""
    found = Found(Counter(), Counter(), [])
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        place = Path(folder)
        chosen = {name: one for name, one in readers(place).items() if not only or name in only}
        for one in chosen.values():
            one.read(one.valid)  # what is not damaged is taken
        for number in range(inputs):
            name = list(chosen)[number % len(chosen)]
            _one(name, chosen[name], place / "copy", f"{seed}:{number}", found)
    found.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return found


def _one(name: str, reader: Reader, copy: Path, seed: str, found: Found) -> None:
    dice = random.Random(seed)
    shutil.copytree(reader.valid, copy)
    file = copy / dice.choice(reader.files)
    with suppress(FileNotFoundError):  # a card that the adapter came without
        file.write_bytes(damaged(file.read_bytes(), dice))
    before = time.process_time()
    try:
        reader.read(copy)
        found.taken[name] += 1
    except TadaError as error:
        found.refused[name] += 1
        says = str(error)
        if not says.isprintable() or len(says) > LONGEST:
            found.wrong.append(f"{name} {seed}: the sentence is {says[:300]!r}, {len(says)} characters")
    except Exception as error:
        found.wrong.append(f"{name} {seed}: {file.name}: {type(error).__name__}: {str(error)[:200]}")
    finally:
        shutil.rmtree(copy)
    took = time.process_time() - before
    found.slowest = max(found.slowest, took)
    if took > SECONDS:
        found.wrong.append(f"{name} {seed}: {file.name}: took {took:.1f} s")


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--inputs", type=int, default=20_000)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--only", action="append", default=[])
    asked.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    options = asked.parse_args()
    found = fuzz(options.inputs, options.seed, options.only)
    names = sorted({*found.taken, *found.refused})
    rows = [[name, str(found.taken[name]), str(found.refused[name])] for name in names]
    held, code = verdict([
        ("foreign errors", len(found.wrong), "0", not found.wrong),
        ("slowest, s of the processor", round(found.slowest, 2), f"at most {SECONDS:g}", found.slowest <= SECONDS),
        ("memory, MB", round(found.megabytes), f"at most {MEGABYTES:g}", found.megabytes <= MEGABYTES),
    ])  # fmt: skip
    body = f"{held}\n\n{table(['reader', 'taken', 'refused in words'], rows)}"
    body += f"\n\n{options.inputs:,} inputs, seed {options.seed}. {machine('safetensors')}"
    print("\n".join(found.wrong[:40]), body, sep="\n")
    if options.record:
        write_section("fuzz", "Damaged files for every reader", body)
    return code


if __name__ == "__main__":
    sys.exit(main())
