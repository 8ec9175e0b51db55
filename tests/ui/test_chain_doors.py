"""A chain of three, with a probe at each step, by command line, API and screen: equal bytes, and the same three parents named."""

import json
import shutil
import zipfile

import pytest
from gradio_client import Client, handle_file
from pico import pico_adapter

from tada_studio import cli
from tada_studio.app.page import Start
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.tabs.open import tab as open_tab
from tada_studio.lora import CONFIG, RECIPE, WEIGHTS


def command(*words):
    assert cli.main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def chain(pico, root):
    """By the command line: task and domain, then that and birds; and the readings of both steps."""
    home = root / "chain"
    home.mkdir()
    birds = pico_adapter(home / "birds", pico.base, seed=77)
    ask = home / "task.txt"
    ask.write_text("a rock or iron\nis gold red\ntrue or false\n")
    pairs = [(pico.task, pico.domain, "mix"), (home / "mix", birds, "all")]
    for task, domain, out in pairs:
        words = ["--task", task, "--domain", domain, "--base", pico.base]
        given = ["--inputs", pico.inputs, "--task-inputs", ask, "-n", 3, "-o", home / f"{out}.json"]
        command("probe", *words, *given)
        command("merge", *words[:4], "--readings", home / f"{out}.json", "--rank", 6, "-o", home / out)
    return home


def made_of(folder):
    """What must be the same through every door."""
    said = json.loads((folder / RECIPE).read_text())
    parents = said["inputs"]["parents"]
    return (folder / WEIGHTS).read_bytes(), (folder / CONFIG).read_text(), said["recipe"], parents


def test_the_api_makes_the_same_bytes_and_names_the_same_parents(url, chain, pico, tmp_path):
    client = Client(url, verbose=False, download_files=tmp_path)
    pairs = [(str(pico.task), str(pico.domain), "mix"), (None, str(chain / "birds"), "all")]
    for task, domain, out in pairs:
        if task is None:  # the answer of the first step, uploaded as it came
            task = handle_file(shutil.copy(tmp_path / "mix.zip", tmp_path / "up" / "mix.zip"))
        readings = [handle_file(str(chain / f"{out}{suffix}")) for suffix in (".json", ".safetensors")]
        made = client.predict(
            pair={"task": task, "domain": domain}, readings=readings, recipe={"rank": 6}, api_name="/merge"
        )
        assert made["verdict"] == "pass" and made["merged_as"] == "tada"
        shutil.copy(made["file"], tmp_path / f"{out}.zip")
        (tmp_path / "up").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / f"{out}.zip") as packed:
            packed.extractall(tmp_path / out)
        assert made_of(tmp_path / out) == made_of(chain / out)
    parents = [one["label"] for one in made["certificate"]["inputs"]["parents"]]
    assert parents == [pico.task.name, pico.domain.name, "birds"]


def test_the_screen_makes_the_same_bytes_and_names_the_same_parents(chain, pico, tmp_path):
    state, paths = Start().state(), AllowedPaths.here()
    for task, domain, out in ((pico.task, pico.domain, "mix"), (tmp_path / "mix", chain / "birds", "all")):
        list(open_tab.on_own(paths, state, str(task), str(domain), str(pico.base)))
        open_tab.on_readings(state, [str(chain / f"{out}.json"), str(chain / f"{out}.safetensors")])
        state.session.turn(rank=6)
        assert state.session.export(tmp_path / out).holds
        assert made_of(tmp_path / out) == made_of(chain / out)
    assert [one["label"] for one in made_of(tmp_path / "all")[3]] == [pico.task.name, pico.domain.name, "birds"]
    state.session.close()
