"""The main job as a person does it: open, probe, paint five cells, evaluate fifty items, export, load with PEFT."""

import itertools
import re
import shutil
import threading
import zipfile

import pytest
import torch
from hands import edited, reload, settled, stroke, tab
from peft import PeftModel
from playwright.sync_api import expect
from transformers import AutoModelForCausalLM

from tada_studio import cli, pipeline
from tada_studio.app.work_queue import WORK_QUEUE
from tada_studio.evaluation import score
from tada_studio.pipeline import scoring
from tada_studio.session import Session


def open_pair(page, pico):
    tab(page, "open")
    page.locator("#task textarea, #task input").fill(str(pico.task))
    page.locator("#domain textarea, #domain input").fill(str(pico.domain))
    page.locator("#base textarea, #base input").fill(str(pico.base))
    page.click("#open-own")
    expect(page.locator(".plain-table caption", has_text="pico-domain")).to_be_visible()
    expect(page.locator("#probe-bar")).to_contain_text("Not probed")
    # all of this stood there before: that a pair of one's own brings no inputs is what opening it changes
    expect(page.locator("#probe-source").get_by_label("Pasted text")).to_be_checked()


def probe(page, pico):
    page.locator("#probe-source").get_by_label("A file").check()
    page.set_input_files("#probe-file input[type=file]", str(pico.inputs))
    expect(page.locator("#probe-file")).to_contain_text("probe")
    page.click("#probe")
    expect(page.locator("#probe-bar")).to_contain_text("Probed with 12 inputs", timeout=60_000)


def evaluate(page, pico):
    tab(page, "evaluate")
    expect(page.locator("#eval-estimate")).to_contain_text("A pair of your own brings no items")
    page.locator("#variants").get_by_label("sum (linear").uncheck()
    page.locator("#variants").get_by_label("average").check()
    page.click("#own-items > button")
    page.set_input_files("#domain-items input[type=file]", str(pico.items))
    expect(page.locator("#domain-items")).to_contain_text("items")
    page.click("#run")
    expect(page.locator("#eval-bar")).to_contain_text("Run 1 is done", timeout=120_000)
    rows = page.locator("#scores tbody tr")
    expect(rows).to_have_count(6)
    told = rows.locator("td:first-child").all_inner_texts()
    assert told == ["base", "task", "domain", "average", "tada", "blind: chance / commonest / longest"]
    expect(page.locator("#two-sides")).to_contain_text("domain gain, against task alone")
    expect(page.locator("#sentences")).to_contain_text("tada against base")
    expect(page.locator("#bars .pp-chart .bars .point").first).to_be_attached(timeout=30_000)


def export(page, root):
    tab(page, "export")
    page.locator("#export-name textarea, #export-name input").fill("from-the-screen")
    page.locator("#export-logits").get_by_role("checkbox").check()
    page.locator("#export-format").get_by_label("diffusers' LoRA file").check()
    page.click("#build")
    expect(page.locator("#export-bar")).to_contain_text("is no layer of a pipeline of diffusers", timeout=60_000)
    assert not (root / "from-the-screen").exists(), "what a format cannot hold is said, and nothing is written"
    page.locator("#export-format").get_by_label("llama.cpp's LoRA (GGUF)").check()
    page.click("#build")
    expect(page.locator("#certificate .note.good")).to_contain_text("Pass", timeout=60_000)
    expect(page.locator("#certificate")).to_contain_text("Logits differ")
    expect(page.locator("#certificate")).to_contain_text("adapter_model.gguf (llama.cpp's LoRA), read back, holds all")
    expect(page.locator("#certificate")).to_contain_text("llama.cpp: yes")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "from-the-screen.zip"
    return root / "from-the-screen"


def same_bytes_by_command_line(pico, folder, again):
    pair = ["--task", str(pico.task), "--domain", str(pico.domain), "--base", str(pico.base)]
    recipe = ["--inputs", str(pico.inputs), "--recipe", str(folder / "recipe.json")]
    assert cli.main(["merge", *pair, *recipe, "-o", str(again)]) == 0
    for name in ("adapter_model.safetensors", "adapter_config.json", "recipe.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


def test_open_probe_paint_evaluate_export(page, pico, root):
    open_pair(page, pico)
    probe(page, pico)
    tab(page, "inspect")
    gates = page.locator("#gates .gm-cell")
    expect(gates.first).to_have_accessible_name(re.compile("task response"))
    for layer, projection in ((0, "q_proj"), (1, "v_proj"), (2, "o_proj"), (0, "up_proj"), (2, "down_proj")):
        stroke(page, (layer, projection))
    settled(page, 5)
    expect(edited(page)).to_have_count(5)
    evaluate(page, pico)
    folder = export(page, root)
    same_bytes_by_command_line(pico, folder, root / "by-command-line")

    base = AutoModelForCausalLM.from_pretrained(pico.base)
    tokens = torch.tensor([[1, 5, 6, 7]])
    plain = base(tokens).logits
    merged = PeftModel.from_pretrained(base, folder)
    assert {path.name for path in folder.iterdir()} >= {
        "adapter_config.json",
        "recipe.json",
        "certificate.json",
        "README.md",
    }
    assert not torch.allclose(merged(tokens).logits, plain)

    tab(page, "evaluate")
    page.click("#section-history-button")
    page.get_by_role("button", name="Restore the recipe of run 1").click()
    expect(page.locator("#history-message")).to_contain_text("The recipe of run 1 is back")


@pytest.fixture
def held_scores(monkeypatch):
    """The app runs in this process: its scorer waits with the third variant for the stop button, and knows no score yet."""
    began, stopped, stop, begun = threading.Event(), threading.Event(), Session.stop, itertools.count()

    def held(*args):
        began.set()
        if next(begun) >= 4:  # two variants, on two sides
            assert stopped.wait(60)
        return score(*args)

    def stop_and_go(session):
        stop(session)
        if began.is_set():  # opening a pair stops what ran before
            stopped.set()

    monkeypatch.setattr(scoring, "score_items", held)
    monkeypatch.setattr(scoring, "_SCORES", pipeline.LruCache(1))
    monkeypatch.setattr(Session, "stop", stop_and_go)


def give_items(page, pico):
    tab(page, "evaluate")
    page.click("#own-items > button")
    for side in ("domain", "task"):
        page.set_input_files(f"#{side}-items input[type=file]", str(pico.items))
        expect(page.locator(f"#{side}-items")).to_contain_text("items")


def test_work_that_has_to_wait_says_so_and_can_be_given_up(page, pico):
    open_pair(page, pico)
    give_items(page, pico)
    bar = page.locator("#eval-bar")
    with WORK_QUEUE.turn("another tab", lambda place, seconds: None):
        page.click("#run")
        expect(bar).to_contain_text("other work on this machine goes first")
        page.click("#stop")
        expect(bar).to_contain_text("Stopped while it waited")
        page.click("#run")
        expect(bar).to_contain_text("goes first")
    expect(bar).to_contain_text("is done", timeout=60_000)


def test_a_stopped_run_stays_in_the_history_after_a_reload_and_its_recipe_comes_back(page, pico, held_scores, root):
    open_pair(page, pico)
    tab(page, "inspect")
    stroke(page, (1, "v_proj"))
    settled(page, 1)
    give_items(page, pico)
    page.click("#other-adapters > button")
    page.locator("#exported textarea").fill("pico-domain")
    page.click("#run")
    rows = page.locator("#scores tbody tr")
    expect(rows.nth(1)).to_contain_text("task", timeout=60_000)
    page.click("#stop")
    expect(page.locator("#run")).to_be_enabled(timeout=30_000)
    expect(page.locator("#eval-bar")).to_contain_text("Stopped")
    done = rows.count()
    assert 2 <= done < 8

    tab(page, "inspect")
    page.click("#undo")
    settled(page, 0)
    reload(page)
    expect(edited(page)).to_have_count(0)
    tab(page, "evaluate")
    expect(rows).to_have_count(done)
    page.click("#section-flips-button")
    flips = page.locator("#flips .flip")
    expect(flips.first).to_contain_text("question :")
    both = flips.count()
    page.locator("#flips-direction input").click()
    page.get_by_role("option", name="Wrong now").click()
    expect(page.locator("#flips .flip.won")).to_have_count(0)
    assert 0 < page.locator("#flips .flip.lost").count() < both
    page.locator("#flips-text input, #flips-text textarea").fill("no such words")
    expect(flips).to_have_count(0)
    page.locator("#flips-text input, #flips-text textarea").fill("question")
    expect(flips.first).to_be_visible()
    with page.expect_download() as download:
        page.click("#flips-csv")
    assert "margin_after" in download.value.path().read_text()

    page.click("#section-history-button")
    history = page.locator("#runs tbody tr")
    expect(history).to_have_count(1)
    expect(history).to_contain_text("stopped early")
    expect(history.locator("svg.thumb rect")).to_have_count(21)
    page.get_by_role("button", name="Restore the recipe of run 1").click()
    expect(page.locator("#history-message")).to_contain_text("The recipe of run 1 is back")
    tab(page, "inspect")
    settled(page, 1)
    tab(page, "evaluate")
    page.get_by_role("button", name="Delete run 1").click()
    expect(page.locator("#runs")).to_contain_text("No run yet")


def test_a_wrong_folder_is_refused_in_words_and_what_is_open_stays(page, pico, root):
    tab(page, "open")
    expect(page.locator(".plain-table caption", has_text="pico-task")).to_be_visible()
    page.locator("#task textarea, #task input").fill("/etc")
    page.locator("#domain textarea, #domain input").fill(str(pico.domain))
    page.click("#open-own")
    expect(page.locator("#own-error .note.bad")).to_contain_text("lies outside")
    expect(page.locator("[data-testid=toast-text]")).to_have_count(0)  # it would lie over the pair that is open
    expect(page.get_by_text(re.compile("pico-task and .*pico-domain are open. Fits"))).to_be_visible()
    expect(page.locator(".plain-table caption", has_text="pico-task")).to_be_visible()


def test_a_pair_can_be_opened_from_uploaded_zips(page, pico, root):
    tab(page, "open")
    page.click("#own-zips > button")
    for role, folder in (("task", pico.task), ("domain", pico.domain)):
        archive = shutil.make_archive(str(root / f"{role}-upload"), "zip", folder)
        page.set_input_files(f"#{role}-zip input[type=file]", archive)
        expect(page.locator(f"#{role}-zip")).to_contain_text(f"{role}-upload")
    page.click("#open-own")
    expect(page.locator(".plain-table caption", has_text="Domain adapter")).to_be_visible()
    expect(page.locator("body")).to_contain_text("Fits: 21 modules in both adapters")
    expect(page.locator(".plain-table caption", has_text="task-upload")).to_be_visible()
    same = page.locator("#passports details")
    expect(same.locator("summary")).to_contain_text("more facts are the same for both")
    expect(same.locator("table")).to_be_hidden()


def test_a_zip_that_holds_no_adapter_is_refused_by_its_own_name(page, pico, root):
    tab(page, "open")
    page.click("#own-zips > button")
    empty = root / "holiday.zip"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("beach.txt", "sun")
    page.set_input_files("#task-zip input[type=file]", str(empty))
    expect(page.locator("#task-zip")).to_contain_text("holiday")
    page.locator("#domain textarea, #domain input").fill(str(pico.domain))
    page.click("#open-own")
    error = page.locator("#own-error .note.bad")
    expect(error).to_contain_text("holiday")
    assert "/" not in error.inner_text().split("holiday")[0]


def test_an_export_name_cannot_leave_the_folder(page):
    tab(page, "export")
    page.locator("#export-name textarea, #export-name input").fill("../somewhere")
    page.click("#build")
    expect(page.locator("[data-testid=toast-text]")).to_contain_text("use letters")
    expect(page.locator("#build")).to_be_enabled()


def test_without_inputs_the_probe_says_what_to_give(page):
    tab(page, "open")
    page.locator("#probe-source").get_by_label("Pasted text").check()
    page.click("#probe")
    expect(page.locator("[data-testid=toast-text]")).to_contain_text("No probe inputs")
    expect(page.locator("#probe")).to_be_enabled()
