"""Whose an export is: signed offline by a key of one's own, and checked in words; by model-signing's own program too."""

import json
import random
import shutil
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tada_studio import cli, pipeline
from tada_studio.errors import InputError
from tada_studio.exporting.certificate import CARD, CERTIFICATE, SIGNATURE
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def write_pair(folder, name, private, password=None):
    """A private and a public key as PEM files."""
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    key, public = folder / f"{name}.pem", folder / f"{name}-public.pem"
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, spki))
    return key, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    write_pair(folder, "other", ec.generate_private_key(ec.SECP384R1()))
    write_pair(folder, "edwards", ed25519.Ed25519PrivateKey.generate())
    write_pair(folder, "locked", ec.generate_private_key(ec.SECP256R1()), b"secret")
    write_pair(folder, "mine", ec.generate_private_key(ec.SECP256R1()))
    return folder


@pytest.fixture(scope="module")
def plain(pico, tmp_path_factory):
    out = tmp_path_factory.mktemp("signing") / "merged"
    pipeline.export(merge(pipeline.read_pair(pico.task, pico.domain), None, Recipe(rank=5)), out)
    return out


@pytest.fixture(scope="module")
def signed(plain, keys, tmp_path_factory):
    out = shutil.copytree(plain, tmp_path_factory.mktemp("signed") / "out")
    assert pipeline.sign(out, keys / "mine.pem").holds
    return out


@pytest.fixture
def folder(signed, tmp_path):
    return shutil.copytree(signed, tmp_path / "renamed")


def run(*words):
    return cli.main([str(word) for word in words])


def test_verify_says_in_words_whose_a_folder_is(plain, folder, keys, capsys):
    (folder / ".gitattributes").write_text("what the Hub lays beside")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "CACHEDIR.TAG").write_text("and its client")
    assert pipeline.signature(folder, keys / "mine-public.pem").says.startswith("Signed by this key (SHA-256 ")
    shutil.rmtree(folder / ".cache")
    (folder / ".gitattributes").unlink()
    cases = [
        (folder, "mine-public.pem", 0, "Signed by this key (SHA-256 "),
        (folder, "other-public.pem", 2, "The signature does not hold: "),
        (folder, None, 0, f"{SIGNATURE} is there; whose it is was not checked: give --key."),
        (plain, "mine-public.pem", 2, f"Not signed: there is no {SIGNATURE}."),
        (plain, None, 0, "Not signed."),
    ]
    for out, key, code, says in cases:
        assert run("verify", out, *(["--key", keys / key] if key else [])) == code, (out, key)
        lines = capsys.readouterr().out.splitlines()
        assert any(line.startswith(says) for line in lines), lines
        assert lines[-1] == ("FAIL" if code else "PASS")


def test_any_flipped_bit_of_the_signature_or_of_what_it_signs_is_caught_in_words(folder, keys):
    key, draw = keys / "mine-public.pem", random.Random(0)
    for name, count in ((SIGNATURE, 300), (CERTIFICATE, 20), (WEIGHTS, 20), (CONFIG, 20), (CARD, 20)):
        content = (folder / name).read_bytes()
        for at in draw.sample(range(8 * len(content)), count):
            flipped = bytearray(content)
            flipped[at // 8] ^= 1 << at % 8
            (folder / name).write_bytes(flipped)
            found = pipeline.signature(folder, key)
            assert found.holds is False and found.says.startswith("The signature does not hold: "), (name, at)
            assert "\n" not in found.says and len(found.says) < 300
        (folder / name).write_bytes(content)
    assert pipeline.signature(folder, key).holds


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "null", '{"verificationMaterial": null}', "[" * 100_000, "\x00" * 2_000_000,
     '{"verificationMaterial": {"publicKey": {"hint": null}}}'],
    ids=["empty", "list", "object", "null", "no material", "nested", "huge", "no hint"],
)  # fmt: skip
def test_what_is_no_signature_is_said_to_be_none(content, folder, keys, capsys):
    (folder / SIGNATURE).write_text(content)
    found = pipeline.signature(folder, keys / "mine-public.pem")
    assert found.holds is False and "\n" not in found.says and len(found.says) < 300
    assert capsys.readouterr().out == ""


def test_an_added_file_is_not_signed(folder, keys):
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    assert "adapter_model.bin" in pipeline.signature(folder, keys / "mine-public.pem").says


def test_model_signings_own_program_checks_the_folder(folder, keys):
    told = [sys.executable, "-m", "model_signing", "verify", "key", str(folder), "--signature", str(folder / SIGNATURE)]
    told.append("--public_key")
    assert subprocess.run([*told, str(keys / "mine-public.pem")], capture_output=True).returncode == 0
    assert subprocess.run([*told, str(keys / "other-public.pem")], capture_output=True).returncode != 0


def test_merge_signs_what_it_wrote_and_asks_for_the_key_first(pico, keys, tmp_path, capsys):
    merging = ("merge", "--task", pico.task, "--domain", pico.domain, "--no-auto", "-o", tmp_path / "out", "--sign-key")
    for name in ("edwards.pem", "locked.pem", "mine-public.pem", "none.pem"):
        assert run(*merging, keys / name) == 2
        says = capsys.readouterr().err
        assert f"{name}: is no private key without a password on one of the curves P-256" in says, says
        assert not (tmp_path / "out").exists()
    assert run(*merging, keys / "mine.pem") == 0
    assert f"Signed: {SIGNATURE}, by the key whose public half is SHA-256 " in capsys.readouterr().out
    assert run("verify", tmp_path / "out", "--key", keys / "mine-public.pem", "--json") == 0
    assert json.loads(capsys.readouterr().out)["signature"]["holds"] is True


def test_what_is_not_as_it_was_certified_is_not_signed(plain, keys, tmp_path, capsys):
    out = shutil.copytree(plain, tmp_path / "out")
    (out / CARD).write_text("another card")
    assert run("sign", out, "--key", keys / "mine.pem") == 2
    assert "README.md), so it is not signed" in capsys.readouterr().err and not (out / SIGNATURE).exists()
    assert run("sign", tmp_path, "--key", keys / "mine.pem") == 2
    assert "no certificate could be read" in capsys.readouterr().err


def test_a_killed_signing_is_mended_by_the_next(folder, keys):
    (folder / f".new-{SIGNATURE}").write_text("half")
    assert f".new-{SIGNATURE} was not there" in " ".join(pipeline.verify(folder)[0])
    pipeline.sign(folder, keys / "mine.pem")
    assert pipeline.verify(folder)[0] == [] and pipeline.signature(folder, keys / "mine-public.pem").holds


def test_without_the_package_the_extra_is_named(folder, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    with pytest.raises(InputError, match=r"pip install 'tada-studio\[sign\]'"):
        pipeline.signature(folder, keys / "mine-public.pem")
    assert pipeline.signature(folder).holds is None
