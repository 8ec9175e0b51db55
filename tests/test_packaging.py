"""The built wheel: small, as PyPI wants it, and it works away from the checkout."""

import email
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: object, **how) -> str:
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Both files that a release uploads; the wheel is built from the source distribution."""
    out = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", out, ROOT)
    return out


@pytest.fixture(scope="module")
def wheel(dist):
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel's package; what it depends on is the tests' own."""
    target = tmp_path_factory.mktemp("installed")
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", target, wheel)
    return target


def test_the_wheel_is_small_and_holds_what_it_needs(wheel, dist):
    assert wheel.stat().st_size < 10_000_000
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
    assert not [
        name for name in names if "smollm2-minerals" in name or "__pycache__" in name or name.startswith("tests")
    ]
    files = [file for file in (ROOT / "tada_studio").rglob("*") if file.is_file() and file.suffix != ".pyc"]
    own = {file.relative_to(ROOT).as_posix() for file in files}
    assert len(own) > 100 and own - set(names) == set()
    (sources,) = dist.glob("*.tar.gz")
    with tarfile.open(sources) as packed:
        inside = {name.partition("/")[2] for name in packed.getnames()}
    assert sources.stat().st_size < 10_000_000 and own <= inside and "hatch_build.py" in inside


def test_pypi_would_take_both_and_show_the_readme(dist, wheel):
    run("-m", "twine", "check", "--strict", *dist.iterdir())
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [one for one in packed.namelist() if one.endswith(".dist-info/METADATA")]
        about = email.message_from_bytes(packed.read(name))
    urls = dict(line.split(", ") for line in about.get_all("Project-URL"))
    text = about.get_payload()
    assert text.startswith("# TaDA Studio") and about["Description-Content-Type"] == "text/markdown"
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", text)
    assert len(pictures) > 3 and all(one.startswith(urls["Source"] + "/raw/main/") for one in pictures)
    assert len(links) > 10 and all(one.startswith(urls["Source"] + "/blob/main/") for one in links)
    assert all((ROOT / one.split("/main/")[1]).exists() for one in (*pictures, *links))


#: The command line and the app as it opens by itself, in one process: importing torch takes as long as all the rest.
TRIES = """
import json, sys
from pathlib import Path
from gradio_client import Client
from tada_studio import app, cli
from tada_studio.errors import InputError
from tada_studio.sample_pairs import sample, samples

home = Path(sys.argv[1])
found = sample("minerals-tiny")
assert home in Path(app.__file__).parents and home in found.task.parents and home in Path(found.base).parents
assert set(samples()) == {"minerals-tiny", "vit-glyphs"}
pair = ["--task", str(found.task), "--domain", str(found.domain), "--base", found.base]
assert cli.main(["merge", *pair, "-q", "-o", "merged"]) == 0
assert json.loads(Path("merged/certificate.json").read_text())["verdict"] == "pass"

_, url, _ = app.launch(prevent_thread_lock=True, quiet=True)
made = Client(url, verbose=False).predict(pair={"sample": "minerals-tiny"}, api_name="/merge")
assert made["verdict"] == "pass" and Path(made["file"]).read_bytes()[:2] == b"PK"
try:
    sample("smollm2-minerals")
except InputError as says:
    assert "in a checkout" in str(says)
else:
    raise AssertionError("it is not in the wheel")
"""


def test_the_wheel_opens_merges_and_exports_its_sample_away_from_the_checkout(installed, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(installed), "TADA_STUDIO_STATE": str(tmp_path / "state")}
    run("-c", TRIES, installed, cwd=tmp_path, env=env)


def test_the_big_sample_is_still_used_from_a_checkout():
    from tada_studio.sample_pairs import NOT_PACKAGED, samples

    assert set(NOT_PACKAGED) <= set(samples())
