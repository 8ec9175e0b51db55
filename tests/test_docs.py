"""The README tells the truth: its tree, its knobs, its commands and its pictures are held to the code."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

import tada_studio as tada
from tada_studio import cli, report

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def make_pages():
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "docs" / "make_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_made_pages_are_as_the_code_is():
    """`python docs/make_pages.py` writes them anew."""
    due = [path.name for path, text in make_pages().pages().items() if path.read_text(encoding="utf-8") != text]
    assert due == []


def section(name: str) -> str:
    return README.split(f"<!-- {name}: begin -->")[1].split(f"<!-- {name}: end -->")[0].strip()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_knob_table_is_the_recipe():
    assert section("knobs") == report.knob_table()


def test_the_tree_names_the_folders_and_files_at_the_top_of_the_package():
    tree = section("tree")
    top = [path for path in (ROOT / "tada_studio").iterdir() if path.name[0] not in "_." and path.name != "py.typed"]
    rooms = {path.name + "/" * path.is_dir() for path in top}
    named = set(re.findall(r"(?<![\w/.])\w+(?:/|\.py)(?!\w)", tree.split("tada_studio/", 1)[1]))
    assert rooms - named == set()
    assert [
        name
        for name in named
        if name not in rooms and not (ROOT / name).exists() and name != "domain/" and name != "task/"
    ] == []


def test_every_command_in_the_readme_parses_and_every_command_is_in_it():
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("tada-studio")]
    pairs = {"$PAIR": ["--task", "t", "--domain", "d"], "$BASE": ["--base", "b"]}
    for line in lines:
        words = [part for word in shlex.split(line)[1:] for part in pairs.get(word, [word])]
        cli._parser().parse_args(words or ["app"])
    used = {shlex.split(line)[1] for line in lines if len(shlex.split(line)) > 1}
    assert {"probe", "merge", "evaluate", "verify"} <= used


def test_every_public_call_in_the_readme_exists():
    called = set(re.findall(r"tada\.(\w+)\(", "".join(blocks("python"))))
    assert called >= {"read_pair", "load_base", "probe", "merge", "export"} and called <= set(tada.__all__)


@pytest.mark.parametrize("picture", re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README))
def test_pictures_exist(picture):
    assert (ROOT / picture).stat().st_size > 10_000


def test_links_to_files_exist():
    links = [link for link in re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", README) if "://" not in link]
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_the_space_front_matter_says_what_a_space_needs():
    front = dict(re.findall(r"^(\w+): (.+)$", README.split("---")[1], re.MULTILINE))
    assert front["sdk"] == "gradio" and (ROOT / front["app_file"]).is_file() and len(front["short_description"]) <= 60
    assert f"gradio=={front['sdk_version']}" in (ROOT / "constraints.txt").read_text()
