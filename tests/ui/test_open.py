"""The Open tab: samples as cards, pairs of one's own, DoRA with and without its base."""

import base64
import json
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import gradio as gr
import pytest
import torch
from pico import pico_adapter
from playwright.sync_api import expect
from safetensors.torch import load_file, save_file

from tada_studio.app.page import Start
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.tabs.open import readings_box, sample_cards
from tada_studio.app.tabs.open import tab as open_tab
from tada_studio.app.tabs.open.sample_cards import card, measured_line
from tada_studio.app.widgets.messages import user_errors
from tada_studio.errors import AdapterError, InputError, MismatchError, OtherBaseError
from tada_studio.lora import CONFIG
from tada_studio.sample_pairs import samples

#: Milliseconds; a browser among other work is slow, never wrong for it.
SLOW = 120_000


def scores(**accuracy):
    return {name: {"accuracy": value} for name, value in accuracy.items()}


MEASURED = {
    "mean of two sides": (
        {"domain": scores(base=0.1, task=0.2, sum=0.8, tada=0.9), "task": scores(base=0.3, task=0.8, sum=0.7, tada=0.8)},
        "Both skills, mean accuracy: base .20, task alone .50, plain sum .75, tada .85.",
    ),
    "items that need both come first": (
        {"both": scores(base=0.28, tada=1.0), "task": scores(base=0.9, tada=0.9)}, "Items that need both: base .28, tada 1.00.",
    ),
    "a variant that one side lacks": ({"domain": scores(base=0.1, tada=0.5), "task": scores(tada=0.7)},
                                      "Both skills, mean accuracy: tada .60."),
    "one side": ({"domain": scores(tada=0.5)}, "Accuracy: tada .50."),
    "nothing": (None, ""),
    "something else": ("well", ""),
}  # fmt: skip


@pytest.mark.parametrize(("measured", "line"), MEASURED.values(), ids=MEASURED)
def test_a_card_says_what_was_measured(measured, line):
    assert measured_line({"measured": measured} if measured else {}) == line


def test_a_card_does_with_what_its_sample_says_and_escapes_it():
    sample = next(iter(samples().values()))
    bare = card(replace(sample, about={}, base=None, story="", title="<script>"), is_open=False)
    assert "no base: weights only" in bare and "&lt;script&gt;" in bare and "<script>" not in bare
    assert "open</span>" in card(sample, is_open=True) and "open</span>" not in bare


def opened(state, *fields, rank=None):
    """Whatever a person would see after the last update."""
    updates = list(open_tab.on_own(AllowedPaths.here(None), state, *map(str, fields), None, None, rank))
    return "".join(str(update) for update in updates[-1].values())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dora_opens_with_its_base_and_says_what_was_lost(pico, tmp_path):
    dora, state = (
        pico_adapter(tmp_path / "dora", pico.base, seed=3, targets=("q_proj", "v_proj"), use_dora=True),
        TabState(),
    )
    with pytest.raises(AdapterError, match="Give its base"):
        opened(state, dora, pico.domain, "")
    assert state.session.pair is None
    shown = opened(state, dora, pico.domain, pico.base)
    assert "DoRA, replaced by its best LoRA of its own rank on pico-base: residual" in shown
    assert state.session.pair.task.stands_for is not None
    whole = opened(state, dora, pico.domain, pico.base, rank=32)
    assert "by its best LoRA of rank 32" in whole and state.session.pair.task.stands_for.lost < 1e-6
    with pytest.raises(AdapterError, match="DoRA rank 0: give a whole number"):
        opened(state, dora, pico.domain, pico.base, rank=0)


def test_opening_a_sample_marks_its_card():
    state, name = TabState(), next(iter(samples()))
    update = open_tab.on_sample(name, state)
    marked = [key for key, shown in sample_cards.show(state).items() if ">open</span>" in shown]
    assert marked == [f"sample {name}"] and sample_cards.show(state).items() <= update.items()
    with pytest.raises(gr.Error, match="lost its session"):
        user_errors(partial(open_tab.on_sample, name))(None)


def of_two_bases(pico, tmp_path):
    """Both adapters, with configs that name different models."""
    for role, source, base in (("one", pico.task, "acme/base-1b"), ("other", pico.domain, "acme/other-1b")):
        folder = shutil.copytree(source, tmp_path / role)
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": base}))
    return str(tmp_path / "one"), str(tmp_path / "other")


def test_the_word_of_a_person_that_both_are_of_one_base_is_asked_for_and_kept(pico, tmp_path):
    state, fields, refused = TabState(), (*of_two_bases(pico, tmp_path), "", None, None, None), {}
    with pytest.raises(OtherBaseError, match="the tick on the Open tab"):
        for news in open_tab.on_own(AllowedPaths.here(None), state, *fields):
            refused |= news
    assert refused["vouch"]["visible"] and "the tick on the Open tab" in refused["error"]
    shown = list(open_tab.on_own(AllowedPaths.here(None), state, *fields, True))[-1]
    assert "since you said so" in str(shown["verdict"]) and shown["vouch"]["visible"]
    session = state.session
    assert session.opened.same_base and session.pair.same_base
    certificate = session.export(tmp_path / "out")
    assert certificate.inputs["same_base"] is True
    assert "one base on the word of whoever merged them" in (tmp_path / "out" / "README.md").read_text()


def test_one_click_on_a_card_opens_its_sample_and_typed_folders_open_a_pair(open_page, pico, root):
    page = open_page()
    page.set_default_timeout(SLOW)
    page.click("#tab-open-button")
    name = next(iter(samples()))
    chosen = page.locator(f"#sample-{name}")
    expect(chosen).to_be_visible(timeout=SLOW)
    assert not page.locator("#samples .badge.good").count()  # the pico pair is open
    chosen.click(position={"x": 40, "y": 60})  # anywhere on the card
    expect(chosen.locator(".badge.good")).to_have_text("open", timeout=SLOW)
    expect(page.locator("#side")).to_contain_text(samples()[name].title, timeout=SLOW)
    chosen.get_by_role("link", name="Look at its map").click()
    expect(page.locator("#tab-inspect-button")).to_have_attribute("aria-selected", "true")
    page.click("#tab-open-button")
    expect(page.get_by_role("link", name="Look at its map")).to_have_count(1)
    page.set_viewport_size({"width": 420, "height": 900})
    wide = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert wide, "the cards stretch a phone's page"
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator("#task").get_by_role("textbox").fill(str(pico.task))
    page.locator("#domain").get_by_role("textbox").fill("nowhere/at-all/here")
    page.click("#open-own")
    expect(page.locator("#own-error .note.bad")).to_contain_text("no such folder", timeout=SLOW)
    expect(chosen.locator(".badge.good")).to_have_text("open", timeout=SLOW)  # what was open stays
    expect(page.locator("#same-base")).to_be_hidden()  # it answers one refusal alone
    for box, folder in zip(("#task", "#domain"), of_two_bases(pico, root), strict=True):
        page.locator(box).get_by_role("textbox").fill(folder)
    page.click("#open-own")
    expect(page.locator("#same-base")).to_be_visible(timeout=SLOW)
    page.locator("#same-base").get_by_role("checkbox").check()
    page.click("#open-own")
    expect(page.get_by_text("since you said so").first).to_be_visible(timeout=SLOW)
    page.locator("#task").get_by_role("textbox").fill(str(pico.task))
    page.locator("#domain").get_by_role("textbox").fill(str(pico.domain))
    page.click("#open-own")
    expect(chosen.locator(".badge.good")).to_have_count(0, timeout=SLOW)
    expect(page.locator("#side")).to_contain_text("pico-task", timeout=SLOW)


# -- readings as files -----------------------------------------------------------------------------------------------


@pytest.fixture
def probed(pico):
    state = Start(task=str(pico.task), domain=str(pico.domain), base=str(pico.base)).state()
    state.session.probe(["what is the hard red metal", "iron or gold"])
    yield state
    state.session.close()


def test_readings_travel_from_one_desk_to_another(probed, pico, tmp_path):
    saved = readings_box.on_save(probed)["saved"]["value"]
    apart = []  # as a browser uploads them: each to a folder of its own
    for i, file in enumerate(saved):
        (tmp_path / str(i)).mkdir()
        apart.append(str(shutil.copy(file, tmp_path / str(i))))
    other = Start(task=str(pico.task), domain=str(pico.domain)).state()
    assert "Probed with 2 inputs" in open_tab.on_readings(other, apart[::-1])["bar"]
    assert other.session.readings.digest == probed.session.readings.digest
    assert torch.equal(other.session.view.gates.values, probed.session.view.gates.values)
    with pytest.raises(MismatchError, match="another task adapter"):
        open_tab.on_readings(Start(task=str(pico.domain), domain=str(pico.task)).state(), apart)
    other.session.close()


def test_readings_that_are_none_are_one_sentence(probed, pico, tmp_path):
    unprobed = Start(task=str(pico.task), domain=str(pico.domain)).state()
    with pytest.raises(InputError, match="no readings yet"):
        readings_box.on_save(unprobed)
    file, tensors = (tmp_path / name for name in ("readings.json", "readings.safetensors"))
    for given in (None, [str(file)], [str(file), str(file)]):
        with pytest.raises(InputError, match="both files"):
            open_tab.on_readings(unprobed, given)
    probed.session.readings.save(file)
    held, content = load_file(tensors), json.loads(file.read_text())
    wrong = {
        "of shape": {**held, "task": held["task"][:-1].clone()},
        "NaN": {**held, "domain": held["domain"] * torch.nan},
        "without a token": {**held, "tokens": held["tokens"] * 0},
        "other modules or ranks": {**held, "moment": held["moment"][:, 1:, 1:].contiguous()},
        "named twice": held,
        "no readings could be read": {"task": held["task"]},
    }
    for says, changed in wrong.items():
        save_file(changed, tensors)
        file.write_text(json.dumps({**content, "names": ["a", "a"]} if says == "named twice" else content))
        with pytest.raises((InputError, MismatchError), match=says):
            open_tab.on_readings(unprobed, [str(file), str(tensors)])
    assert unprobed.session.readings is None


def test_readings_are_saved_and_given_in_the_browser(open_page, pico, tmp_path):
    page = open_page()
    page.set_default_timeout(SLOW)
    page.click("#tab-open-button")
    page.locator("#probe-source").get_by_label("Pasted text").check()
    page.locator("#probe-text textarea").fill("what is the hard red metal\niron or gold")
    page.click("#probe")
    expect(page.locator("#probe-bar")).to_contain_text("Probed with 2 inputs", timeout=SLOW)
    page.click("#readings-box > button")
    page.click("#save-readings")
    links = page.locator("#saved-readings a[download]")
    expect(links).to_have_count(2, timeout=SLOW)
    files = []
    for i in range(2):
        with page.expect_download() as download:
            links.nth(i).click()
        files.append(tmp_path / download.value.suggested_filename)
        download.value.save_as(files[-1])
    fresh = open_page()
    fresh.set_default_timeout(SLOW)
    fresh.click("#tab-open-button")
    fresh.click("#readings-box > button")
    fresh.locator("#given-readings input[type=file]").set_input_files(files)
    expect(fresh.locator("#probe-bar")).to_contain_text("Probed with 2 inputs", timeout=SLOW)
    expect(fresh.locator("#side")).to_contain_text("2 inputs read", timeout=SLOW)


DROP = """async ({ files, onto }) => {
  const carried = new DataTransfer();
  for (const [name, bytes] of files) carried.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name));
  for (const kind of ['dragover', 'drop']) {
    document.querySelector(onto).dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
  }
}"""


def dropped(page, *paths):
    """Files let go over the samples' cards, far from every field."""
    files = [(path.name, base64.b64encode(path.read_bytes()).decode()) for path in paths]
    page.evaluate(DROP, {"files": files, "onto": "#samples"})


def test_adapters_and_readings_are_dropped_anywhere_on_open(open_page, probed, pico, tmp_path):
    page = open_page()
    page.set_default_timeout(SLOW)
    page.click("#tab-open-button")
    note = page.locator("#drop-note")
    other = tmp_path / "holiday.txt"
    other.write_text("sun")
    dropped(page, other)
    expect(note).to_contain_text("No adapter and no readings")
    zips = [
        Path(shutil.make_archive(str(tmp_path / name), "zip", folder))
        for name, folder in (("my-domain", pico.domain), ("my-task", pico.task))
    ]
    dropped(page, *zips)
    expect(note).to_contain_text("my-domain.zip: the domain adapter; my-task.zip: the task adapter")
    for role in ("task", "domain"):
        expect(page.locator(f"#{role}-zip")).to_contain_text(f"my-{role}", timeout=SLOW)
    page.click("#open-own")
    expect(page.locator("#side")).to_contain_text("my-domain", timeout=SLOW)
    saved = [Path(file) for file in readings_box.on_save(probed)["saved"]["value"]]
    dropped(page, *saved)
    expect(page.locator("#probe-bar")).to_contain_text("Probed with 2 inputs", timeout=SLOW)

    fresh = open_page()  # one after the other, as the files of a folder
    fresh.click("#tab-open-button")
    for folder, role in ((pico.task, "task"), (pico.domain, "domain")):
        dropped(fresh, *(folder / name for name in (CONFIG, "adapter_model.safetensors")))
        expect(fresh.locator(f"#{role}-zip")).to_contain_text("adapter_model", timeout=SLOW)
    fresh.click("#open-own")
    expect(fresh.locator("#side")).to_contain_text("domain-files", timeout=SLOW)


def test_both_passports_are_one_table_of_what_differs(pico):
    state = TabState()
    shown = opened(state, pico.task, pico.domain, "")
    table, _, folded = shown.partition("<details>")
    assert "Task adapter: pico-task and Domain adapter: pico-domain" in table
    assert re.search(r"<th[^>]*>rank</th><td>\d+</td><td>6</td>", table) and "scaling rule" not in table
    assert "more facts are the same for both" in folded and "scaling rule" in folded
    state.session.close()
