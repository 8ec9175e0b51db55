"""The import contracts of pyproject.toml hold what they promise: a stray import breaks them in whichever module it is put."""

import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import grimp
import pytest
from importlinter.application.use_cases import read_user_options
from importlinter.configuration import configure
from importlinter.contracts.forbidden import ForbiddenContract

ROOT = Path(__file__).parent.parent
configure()
OPTIONS = read_user_options(config_filename=str(ROOT / "pyproject.toml"))
CONTRACTS = {contract["name"]: contract for contract in OPTIONS.contracts_options}
#: The library -> the contract that names its place, and that place.
PLACES = {
    "gradio": ("gradio only in app", "tada_studio.app"),
    "plotly": ("plotly only in figures", "tada_studio.figures"),
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of the package, read once."""
    return grimp.build_graph("tada_studio", include_external_packages=True, cache_dir=None)


def holds(graph: grimp.ImportGraph, contract: str) -> bool:
    """Whether the contract is kept by these imports, judged by import-linter itself. The graph is left as it is."""
    made = ForbiddenContract(contract, OPTIONS.session_options, CONTRACTS[contract])
    return made.check(deepcopy(graph), verbose=False).kept


@pytest.mark.parametrize("library", PLACES)
def test_a_stray_import_breaks_the_contract_in_every_module_but_the_named_ones(graph, library):
    contract, place = PLACES[library]
    assert holds(graph, contract)
    ours = sorted(module for module in graph.modules if module.split(".")[0] == "tada_studio")
    assert len(ours) > 100
    wrong = []
    for module in ours:
        with_it = deepcopy(graph)
        with_it.add_import(importer=module, imported=library)
        allowed = module == place or module.startswith(f"{place}.")
        if holds(with_it, contract) != allowed:
            wrong.append(module)
    assert wrong == []


def test_a_new_file_is_not_left_out(tmp_path):
    """The same with a real file that no list knows, through the command that CI runs."""
    shutil.copytree(ROOT / "tada_studio", tmp_path / "tada_studio", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tada_studio" / "core" / "brand_new.py").write_text("import gradio\nimport plotly\n")
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    environment = {"PYTHONPATH": str(tmp_path), "COLUMNS": "160"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    for contract, _ in PLACES.values():
        assert f"{contract} BROKEN" in done.stdout


def test_the_picture_in_contributing_is_the_contract():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"<!-- layers: begin -->\n```\n(.*?)```", text, re.DOTALL)
    drawn = [re.split(r"  +", line)[0] for line in picture.splitlines()]
    (stairs,) = (contract for contract in CONTRACTS.values() if contract["type"] == "layers")
    assert drawn == stairs["layers"]
