"""The app as a ZeroGPU Space runs it: the real `spaces`, only the Space's own files, the whole main job; on a CPU."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from hands import tab
from playwright.sync_api import expect

pytest.importorskip("spaces", reason="the package `spaces` is not installed: pip install -e '.[test]'")

ROOT = Path(__file__).parent.parent.parent
PAIR = {"sample": "minerals-tiny"}


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """What the Space said when it answered: its address, the scheduler's, the functions that run on a lent GPU."""
    folder = tmp_path_factory.mktemp("space")
    for name in ("app.py", "README.md", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "tada_studio", folder / "tada_studio", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("minerals-tiny", "planted-conflict"):
        shutil.copytree(ROOT / "sample_adapters" / name, folder / "sample_adapters" / name)
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "GRADIO_IS_E2E_TEST")}
    command = [sys.executable, str(Path(__file__).parent / "zero_space.py"), str(folder)]
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    lines = (line for line in running.stdout if line.startswith("{"))
    said = json.loads(next(lines, "{}"))
    assert said, (folder / "log").read_text()
    assert Path(said["package"]).is_relative_to(folder), "the Space must run on its own files"
    yield said
    running.stdin.close()
    running.wait(30)


@pytest.fixture(scope="module")
def client(space, tmp_path_factory):
    return Client(space["url"], verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


def calls(space):
    return json.load(urllib.request.urlopen(f"{space['scheduler']}/calls"))


@contextlib.contextmanager
def left(space, seconds):
    """What the scheduler has left to lend while the block runs."""
    for now in (seconds, 3600):
        urllib.request.urlopen(urllib.request.Request(f"{space['scheduler']}/left?seconds={now}", b"")).read()
        if now == seconds:
            yield


def test_all_that_runs_a_base_is_decorated_and_the_space_said_so_at_its_start(space):
    assert space["gpu"] == ["ask", "ask_all", "calibrate", "effects", "probe", "score", "search"]
    assert calls(space)[0] == {"call": "startup-report"}


def test_probe_and_evaluate_run_in_a_forked_process_and_answer_as_anywhere(space, client):
    from tada_studio.session import Session

    before = len(calls(space))
    probed = client.predict(pair=PAIR, n=8, api_name="/probe")
    asked = calls(space)[before:]
    assert [one["call"] for one in asked] == ["schedule", "allow", "release"] and asked[2]["fail"] == "false"
    assert 0 < int(asked[0]["durationSeconds"]) < 60 and int(asked[1]["pid"]) != space["pid"]
    scores = client.predict(pair=PAIR, variants=["base", "tada"], limit=12, api_name="/evaluate")
    here = Session()
    try:
        here.open_sample("minerals-tiny")
        run = here.evaluate(None, ["base", "tada"], 12)
    finally:
        here.close()
    assert {(s["side"], s["variant"]): pytest.approx(s["nll"], abs=1e-5) for s in scores} == {
        (side, name): score.nll for side, found in run.sides.items() for name, score in found.items()
    }
    assert probed["inputs"] == 8


def test_a_used_up_quota_is_one_sentence_and_the_weights_are_still_merged(space, client):
    with left(space, 0):
        with pytest.raises(AppError, match=r"lends no GPU for that now: .*limit.*merging by the weights"):
            client.predict(pair=PAIR, n=4, api_name="/probe")
        made = client.predict(pair=PAIR, recipe={"method": "linear"}, api_name="/merge")
    assert made["verdict"] == "pass"


def test_the_main_job_in_a_browser(space, browser):
    context = browser.new_context(reduced_motion="reduce", accept_downloads=True)
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(space["url"])
    expect(page.locator("#gates .gm-grid[data-ready='1']")).to_be_attached(timeout=90_000)
    tab(page, "open")
    page.click("#probe")
    expect(page.locator("#probe-bar")).to_contain_text("Probed with 32 inputs", timeout=120_000)
    tab(page, "evaluate")
    page.locator("#limit input").first.fill("8")
    page.click("#run")
    expect(page.locator("#eval-bar")).to_contain_text("Run 1 is done", timeout=120_000)
    tab(page, "export")
    page.click("#build")
    expect(page.locator("#certificate .note.good")).to_contain_text("Pass", timeout=60_000)
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename.endswith(".zip") and problems == []
    context.close()
