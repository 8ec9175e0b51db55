"""Flipped bits in every file of an export: each is found by verify, in words.

    python benchmarks/flips.py                  # 200 in each file, as RESULTS.md has it
    python benchmarks/flips.py --flips 20 --seed 7

The folder is exported with readings, verified with its base, and signed (extra `sign`). Exit 1 if a flip passed, or ended in
anything but sentences.
"""

import argparse
import random
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from common import machine, table, verdict, write_section
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pico import pico_adapter, pico_base, pico_inputs

from tada_studio import pipeline
from tada_studio.base_model.inputs import read_inputs
from tada_studio.base_model.model import Base
from tada_studio.errors import TadaError
from tada_studio.exporting.certificate import SIGNATURE
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe


def flips(count: int, seed: int) -> dict[str, Counter]:
    """File -> how many of its flips were listed by verify, refused by it, passed, or something else."""
    with tempfile.TemporaryDirectory(prefix="flips-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        home = Path(folder)
        base_folder = pico_base(home / "base")
        adapters = [
            pico_adapter(home / name, base_folder, seed=i) for i, name in enumerate(("task", "domain"), start=1)
        ]
        pair, base = pipeline.read_pair(*adapters), pipeline.load_base(base_folder, device="cpu")
        readings = pipeline.probe(pair, base, read_inputs(pico_inputs(home / "lines.txt")), 4)
        pipeline.export(merge(pair, readings, Recipe(rank=4)), home / "out", base)
        assert pipeline.verify(home / "out", base)[0] == []
        names = sorted(path.name for path in (home / "out").iterdir())
        found = {name: _flipped(home / "out" / name, base, count, random.Random(f"{seed} {name}")) for name in names}
        key, public = _keys(home)
        assert pipeline.sign(home / "out", key).holds and pipeline.signature(home / "out", public).holds
        dice = random.Random(f"{seed} {SIGNATURE}")
        return {**found, SIGNATURE: _flipped(home / "out" / SIGNATURE, base, count, dice, public)}


def _keys(home: Path) -> tuple[Path, Path]:
    """A private key and its public half."""
    private, key, public = ec.generate_private_key(ec.SECP256R1()), home / "key.pem", home / "public.pem"
    pem = serialization.Encoding.PEM
    key.write_bytes(
        private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    public.write_bytes(private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return key, public


def _flipped(file: Path, base: Base, count: int, dice: random.Random, key: Path | None = None) -> Counter:
    content, found = file.read_bytes(), Counter()
    for _ in range(count):
        at, harmed = dice.randrange(8 * len(content)), bytearray(content)
        harmed[at // 8] ^= 1 << at % 8
        file.write_bytes(harmed)
        found[_outcome(file.parent, base, key)] += 1
    file.write_bytes(content)
    return found


def _outcome(folder: Path, base: Base, key: Path | None) -> str:
    """key: the signature alone is asked, for verify without a key says nothing of it."""
    try:
        if key is not None:
            return "passed" if pipeline.signature(folder, key).holds else "listed"
        return "listed" if pipeline.verify(folder, base)[0] else "passed"
    except TadaError:
        return "refused"
    except Exception as error:
        return type(error).__name__


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--flips", type=int, default=200)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    options = asked.parse_args()
    found = flips(options.flips, options.seed)
    kinds = ["listed", "refused", *sorted({kind for one in found.values() for kind in one} - {"listed", "refused"})]
    body = table(["file", *kinds], [[name, *(str(one[kind]) for kind in kinds)] for name, one in found.items()])
    body += f"\n\n{options.flips} bits of each file, seed {options.seed}. {machine('peft', 'safetensors')}"
    caught = {name: one["listed"] + one["refused"] for name, one in found.items()}
    wanted = f"{options.flips} of {options.flips}"
    held, code = verdict(
        [(name, f"{some} of {options.flips}", wanted, some == options.flips) for name, some in caught.items()]
    )
    body = f"{held}\n\n{body}"
    print(body)
    if options.record:
        write_section("flips", "Flipped bits in an export", body)
    return code


if __name__ == "__main__":
    sys.exit(main())
