"""README and docs/ tell the truth: tables, trees, commands, links and pictures are held to the code."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tada_studio as tada
from tada_studio import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_made_pages_are_as_the_code_is():
    """`python docs/make_pages.py` writes them anew. In a process of its own: the checks of shapes in tests change signatures."""
    command = [sys.executable, str(ROOT / "docs" / "make_pages.py"), "--check"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def section(name: str) -> str:
    return README.split(f"<!-- {name}: begin -->")[1].split(f"<!-- {name}: end -->")[0].strip()


def blocks(language: str, text: str) -> list[str]:
    """Every line of every block of code in this language."""
    return [line for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


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


def test_every_command_in_readme_and_docs_parses_and_every_command_is_there():
    pairs = {"$PAIR": ["--task", "t", "--domain", "d"], "$BASE": ["--base", "b"]}
    used = set()
    for page in PAGES:
        for line in blocks("bash", page.read_text(encoding="utf-8")):
            if line.startswith("tada-studio"):
                words = [part for word in shlex.split(line.split(" > ")[0])[1:] for part in pairs.get(word, [word])]
                used.add(cli._options(words).command)
    assert used == set(cli.COMMANDS)


def test_every_public_call_in_readme_and_docs_exists():
    texts = [line for page in PAGES for line in blocks("python", page.read_text(encoding="utf-8"))]
    called = set(re.findall(r"tada\.(\w+)\(", "\n".join(texts)))
    assert called >= {"read_pair", "load_base", "probe", "merge", "export"} and called <= set(tada.__all__)


def test_settings_in_docs_are_settings(tmp_path, monkeypatch):
    from tada_studio.cli.settings import with_settings

    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tada.toml").write_text(text)
    options = cli._options(with_settings(["merge", "-o", "out", "-q"], cli.parsers(cli._parser())))
    assert options.task == "adapters/task" and options.strength == "1.8" and len(options.overrides) == 1


def test_the_two_commands_are_one_line_each_and_ci_calls_the_second():
    commands = [line for line in blocks("bash", README) if "-m venv" in line]
    assert len(commands) == 2 and commands[0].endswith("/bin/tada-studio")
    assert commands[1].endswith("-m pytest -n 2 --dist loadfile")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -m1 '([^']+)' README.md", ci).group(1)
    assert [line for line in README.splitlines() if re.search(pattern, line)] == commands[1:]


def test_the_readme_is_short_enough_to_be_read():
    assert len(README.splitlines()) < 200


def test_the_command_of_the_docker_image_parses():
    command = re.search(r"^CMD (\[.*\])$", (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8"), re.MULTILINE)
    name, *words = json.loads(command.group(1))
    options = cli._options(words)
    assert name == "tada-studio" and options.public and options.host == "0.0.0.0" and options.no_browser


def test_the_oldest_versions_tested_are_those_that_are_allowed():
    from packaging.requirements import Requirement

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("\ndependencies = [")[1].split("\n]")[0]
    allowed = [Requirement(found) for found in re.findall(r'"([^"]+)"', text)]
    lines = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    for one in allowed:
        (floor,) = [spec.version for spec in one.specifier if spec.operator == ">="]
        assert pinned[one.name].startswith(floor), f"{one}: .ci/oldest.txt has another"


def test_messages_in_the_faults_page_are_messages_of_the_package():
    files = (ROOT / "tada_studio").rglob("*.py")
    source = " ".join(re.sub(r'"\s*f?"', "", file.read_text(encoding="utf-8")) for file in files)
    faults = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").split("| --- |", 1)[1]
    quoted = re.findall(r"\*([^*]{5,})\*", faults)
    assert len(quoted) > 8 and [says for says in quoted if says not in source] == []


def test_the_intervals_that_the_evaluation_page_names_are_those():
    from tada_studio.core.stats import wilson

    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    sentence = r"on (\d+) items is known to ± (\d+) points where it is (\.\d), and to ± (\d+) where it is (\.\d)"
    n, *told = map(float, re.findall(sentence, text)[0])
    for points, share in (told[:2], told[2:]):
        low, high = wilson(round(share * n), int(n))
        assert round(100 * (high - low) / 2) == points


def test_docs_build_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("nav:\n  -")[1]
    assert sorted(re.findall(r": (\S+\.md)", nav)) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


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


# -- CONTRIBUTING ------------------------------------------------------------------------------------------------------

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

#: What a newcomer sees of the method in each place that lists methods.
LOOKS = """
import json, sys
from tada_studio import cli, pipeline, report
from tada_studio.core.methods import METHODS
from tada_studio.recipe import Recipe, knobs

assert "loudest" in METHODS and "loudest" in knobs()["method"].metadata["options"] and Recipe(method="loudest")
assert "loudest" in cli.parsers(cli._parser())["merge"].format_help()
assert "loudest" in pipeline.by_name("tada")
from tada_studio.pipeline.variants import baselines
assert "loudest" in baselines(None)
assert "| `loudest` | the louder adapter has a module alone |" in report.method_table()
task, domain, out = sys.argv[1:]
assert cli.main(["merge", "--task", task, "--domain", domain, "--method", "loudest", "--strength", "0.5", "-q", "-o", out]) == 0
"""


def test_a_newcomer_adds_a_method_in_one_file_and_finds_it_everywhere(pico, tmp_path):
    (code,) = re.findall(r"<!-- method: begin -->\n```python\n(.*?)```", CONTRIBUTING, re.DOTALL)
    assert sum(bool(line.strip()) for line in code.split('"""', 2)[2].splitlines()) <= 10
    shutil.copytree(ROOT / "tada_studio", tmp_path / "tada_studio", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tada_studio" / "core" / "methods" / "loudest.py").write_text(code)
    command = [sys.executable, "-c", LOOKS, str(pico.task), str(pico.domain), str(tmp_path / "out")]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["recipe"]["method"] == "loudest"


def test_files_that_contributing_names_exist():
    named = set(re.findall(r"`((?:[\w.]+/)+(?:\w+\.\w+)?)`", CONTRIBUTING)) - {"core/methods/"}
    there = [name for name in named if (ROOT / name).exists() or (ROOT / "tada_studio" / name).exists()]
    assert len(named) > 15 and sorted(named - set(there)) == []
