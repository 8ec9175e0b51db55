"""The sample with both probes: who speaks on which inputs, cell by cell and over depth, and what a hand makes of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hands import cell, settled, stroke, tab, tool, typed
from playwright.sync_api import Page, expect

from tada_studio import app, cli
from tada_studio.pipeline.calibration import CANDIDATES
from tada_studio.sample_pairs import DEFAULT, sample

SLOW = 60_000


@pytest.fixture(scope="module")
def url(looked_up: list[str], root: Path) -> Iterator[str]:
    """The app as `tada-studio` starts it, with a place for exports."""
    demo = app.build(sample=DEFAULT, root=root)
    _, local_url, _ = app.launch(demo, prevent_thread_lock=True, quiet=True)
    yield local_url.rstrip("/")
    demo.close()
    assert looked_up == []


def gates(page: Page, layer: int, projection: str) -> tuple[float, float]:
    """(on domain inputs, on task inputs) as a cell says them."""
    name = cell(page, layer, projection).get_attribute("aria-label") or ""
    found = re.search(r"gate (\d\.\d+) on domain inputs, (\d\.\d+) on task inputs", name)
    assert found, name
    return float(found[1]), float(found[2])


def test_the_split_map_shows_both_gates_and_follows_a_hand(page):
    expect(page.locator("#shows").get_by_label("Split")).to_be_checked()
    before = gates(page, 1, "up_proj")
    assert before[0] > before[1]  # the domain speaks more on its own inputs
    assert "linear-gradient" in cell(page, 1, "up_proj").evaluate("cell => cell.style.background")
    cell(page, 1, "up_proj").hover()
    tip = page.locator("#gates .gm-tip")
    for says in ("on domain inputs", "on task inputs", "the first less the second", "task keeps", "on the domain"):
        expect(tip).to_contain_text(says)
    whole = re.compile("task keeps ?100% on its own inputs, 100%")
    expect(tip).not_to_contain_text(whole)
    expect(page.locator("#verdict")).to_contain_text(re.compile(r"As trained: layers? \d.* lean"))
    expect(page.locator("#verdict")).to_contain_text("is the domain's on domain inputs and")
    expect(page.locator("#gates .gm-what")).to_have_text("the brush sets")
    page.locator("#shows").get_by_label("Share", exact=True).check()
    expect(page.locator("#gates .gm-hint")).to_contain_text("Shares are even until a hand sets one")
    expect(page.locator("#gates .gm-what")).to_be_hidden()
    page.locator("#shows").get_by_label("Split").check()
    expect(page.locator("#verdict")).to_contain_text(re.compile(r"with depth \(rho [+-]\d\.\d\d, 95 % .* over inputs"))

    with page.expect_download() as download:  # both halves of each cell go home
        page.click("#gates [data-save=csv]")
    head, *rows = download.value.path().read_text().splitlines()
    assert head == "tower,layer,projection,on task inputs,on domain inputs,set by hand,locked" and len(rows) == 42
    [row] = [row.split(",") for row in rows if row.startswith(",1,up_proj")]
    assert (round(float(row[4]), 2), round(float(row[3]), 2)) == before
    with page.expect_download() as download:
        page.click("#gates [data-save=svg]")
    assert download.value.path().read_text().count('data-index="') >= 42

    page.locator("#paints").get_by_label("Separation").check()
    brush = page.locator("#brush input[type=number]")
    brush.fill("0")
    brush.press("Enter")
    stroke(page, (1, "up_proj"))
    settled(page, 1)
    expect(cell(page, 1, "up_proj")).to_have_accessible_name(re.compile(r"share 0\.50, separation 0\.00"))
    expect(tip).to_contain_text(whole)  # the plain sum silences nobody
    page.click("#undo")
    settled(page, 0)
    assert gates(page, 1, "up_proj") == before
    line = page.locator("#line textarea")
    line.fill("layers 0-5 : attn : sep 0.5")
    line.press("Shift+Enter")
    settled(page, 24)
    expect(cell(page, 5, "q_proj")).to_have_accessible_name(re.compile(r"separation 0\.50"))


def test_a_word_is_explained_where_it_stands_and_leads_to_the_glossary(page):
    word = page.locator("#verdict .term").first
    expect(word).to_have_attribute("title", re.compile(r"\w+ .*\."))
    assert "dotted" in word.evaluate("word => getComputedStyle(word).textDecorationStyle")
    word.click()
    expect(page.locator("#glossary")).to_be_in_viewport()
    tab(page, "try")
    expect(page.locator("#prompt textarea")).to_have_value(re.compile(r"\w"))  # of the sample that is open


def test_over_depth_both_gates_are_drawn_and_the_asymmetry_is_a_view_of_its_own(page):
    depth = page.locator("#depth")
    expect(depth.locator(".pp-title")).to_have_text("Who speaks on which inputs, over depth", timeout=SLOW)
    expect(depth.locator(".legendtext")).to_have_text(["on domain inputs", "on task inputs"])
    expect(depth.locator(".annotation-text")).to_contain_text(re.compile(r"separation: rho .\d"))
    page.set_viewport_size({"width": 900, "height": 700})
    page.set_viewport_size({"width": 1280, "height": 900})
    drawn = depth.locator(".main-svg").first
    expect(drawn).to_have_attribute("height", "270")
    assert drawn.bounding_box()["height"] == 270
    page.locator("#depth-kind").get_by_label("The paper's asymmetry").check()
    expect(depth.locator(".pp-title")).to_have_text("Depth profile")
    expect(depth.locator(".pp-caption")).to_contain_text("above the dashed line the domain has the larger share")
    expect(page.locator("#compared-depth")).to_contain_text("The domain's share")
    page.locator("#depth-kind").get_by_label("Projection by projection").check()
    expect(depth.locator(".annotation-text")).to_have_text(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    page.locator("#shows").get_by_label("Asymmetry").check()
    expect(page.locator("#gates .gm-hint")).to_contain_text("which adapter, as trained, reacts more")


def apart(first: dict, second: dict) -> bool:
    """Whether two boxes of the page do not meet."""
    beside = first["x"] + first["width"] <= second["x"] or second["x"] + second["width"] <= first["x"]
    return beside or first["y"] + first["height"] <= second["y"] or second["y"] + second["height"] <= first["y"]


def test_a_look_opens_the_cell_beside_the_map_and_cells_are_compared(page):
    expect(page.locator("#gates .gm-name[data-row]")).to_have_text(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    expect(cell(page, 1, "up_proj")).to_have_text(re.compile(r"^[+\u2212]0\.\d\d$"))  # as wide as its number
    cell(page, 5, "down_proj").hover()
    boxes = [page.locator(where).bounding_box() for where in ("#gates .gm-tip", "#gates .gm-scroll")]
    assert apart(*boxes), boxes

    tool(page, "Look")
    cell(page, 2, "up_proj").click()
    title = page.locator("#cell-card .cell-title")
    expect(title).to_have_text("Layer 2 · up_proj")
    expect(page.locator("#spectrum .pp-chart[data-ready='1'] .main-svg").first).to_be_visible(timeout=SLOW)
    grid, pane = (page.locator(where).bounding_box() for where in ("#gates", "#beside"))
    assert pane["x"] >= grid["x"] + grid["width"] and pane["y"] < grid["y"] + 40
    for says in ("gate on domain inputs", "separation", "task keeps", "merged energy"):
        expect(page.locator("#cell-card")).to_contain_text(says)
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text("Layer 3 · up_proj")
    page.get_by_role("button", name="Pin to compare").click()
    expect(page.get_by_role("button", name="Unpin", exact=True)).to_be_visible()
    page.get_by_role("button", name="the next layer").click()
    expect(title).to_have_text("Layer 4 · up_proj")
    expect(page.get_by_role("button", name="the next layer")).to_be_focused()
    expect(cell(page, 4, "up_proj")).to_have_class(re.compile("selected"))
    expect(page.locator("#cell-card thead th")).to_have_text(["", "this", re.compile("Layer 3 · up_proj")])
    page.get_by_role("button", name="unpin Layer 3").click()
    expect(page.locator("#cell-card thead")).to_have_count(0)
    settled(page, 0)


def test_groups_fold_colours_are_fitted_and_another_recipe_is_compared(page):
    page.get_by_role("button", name="attention").click()
    expect(cell(page, 0, "q_proj")).to_be_hidden()
    whole = page.get_by_label(re.compile("^attention, layer 0: mean"))
    whole.click()
    settled(page, 4)
    page.click("#undo")
    settled(page, 0)
    page.get_by_role("button", name="attention").click()
    page.get_by_role("button", name="deep third").click()
    expect(cell(page, 3, "q_proj")).to_be_visible()
    expect(cell(page, 4, "q_proj")).to_be_hidden()
    cell(page, 0, "gate_proj").focus()
    for key in ("End", "ArrowRight"):  # the last that is in sight, after which there is nothing to go to
        page.keyboard.press(key)
        expect(cell(page, 3, "gate_proj")).to_be_focused()
    page.get_by_role("button", name="deep third").click()

    page.locator("#shows").get_by_label("In the merge").check()
    before = cell(page, 1, "up_proj").evaluate("cell => cell.style.background")
    page.get_by_label("fit colours to this map").check()
    expect(page.locator("#gates .gm-fitted")).to_contain_text(re.compile(r"colours fitted: full at 0\.\d+ from 0\.5"))
    full = "() => [...document.querySelectorAll('#gates .gm-cell')].some((cell) => cell.style.background.includes(' 100%'))"
    assert page.evaluate(full) and cell(page, 1, "up_proj").evaluate("cell => cell.style.background") != before
    page.get_by_label("fit colours to this map").uncheck()
    expect(page.locator("#gates .gm-fitted")).to_be_hidden()

    page.locator("#shows").get_by_label("Difference").check()
    expect(page.locator("#gates .gm-hint")).to_contain_text("Compared with the plain sum.")
    expect(cell(page, 1, "up_proj")).to_have_text(re.compile(r"^.0\.\d\d$"))
    page.click("#compare > button")
    page.locator("#differs-from input").click()
    page.get_by_role("option", name="the usual recipe").click()
    expect(page.locator("#gates .gm-hint")).to_contain_text("Compared with the usual recipe.")
    expect(page.locator("#gates .gm-cell", has_text="+0.00")).to_have_count(42)


def test_ridge_separation_auto_and_an_export_that_the_command_line_repeats(page, root):
    before = gates(page, 3, "gate_proj")
    ridge = page.locator("#knob-ridge input[type=range]")
    expect(ridge).to_be_enabled()
    typed(page, "ridge", "0.2")
    expect(cell(page, 3, "gate_proj")).not_to_have_accessible_name(
        re.compile(f"gate {before[0]:.2f} on domain inputs, {before[1]:.2f} on")
    )
    page.locator("#paints").get_by_label("Separation").check()
    page.locator("#brush input[type=number]").fill("0.5")
    page.locator("#brush input[type=number]").press("Enter")
    stroke(page, (4, "q_proj"))
    settled(page, 1)

    page.click("#section-auto-button")
    expect(page.locator("#auto-message")).to_contain_text("reads no answer key")
    page.click("#auto")
    expect(page.locator("#auto-bar")).to_contain_text("Auto has chosen", timeout=120_000)
    expect(page.locator("#auto-table tbody tr")).to_have_count(len(CANDIDATES))
    expect(page.locator("#auto-table tbody tr", has_text="chosen")).to_have_count(1)
    expect(page.locator("#auto-message")).to_contain_text(re.compile(r"it took [\d.]+ s"))
    expect(page.locator("#knob-ridge input[type=number]")).not_to_have_value("0.2")
    expect(cell(page, 4, "q_proj")).to_have_accessible_name(re.compile("separation 0.50"))  # what a hand set stays

    tab(page, "evaluate")
    page.locator("#limit input[type=number]").fill("10")
    page.locator("#limit input[type=number]").press("Enter")
    page.click("#run")
    expect(page.locator("#eval-bar")).to_contain_text("Run 1 is done", timeout=120_000)
    expect(page.locator("#scores")).to_contain_text("free")

    tab(page, "export")
    page.locator("#export-name textarea, #export-name input").fill("auto-from-the-screen")
    page.click("#build")
    expect(page.locator("#certificate .note.good")).to_contain_text("Pass", timeout=SLOW)
    repeated(root / "auto-from-the-screen", root / "auto-again")


def repeated(folder: Path, again: Path) -> None:
    """What auto chose, and from which inputs, is in the recipe; the command line makes the same bytes of it."""
    says = json.loads((folder / "recipe.json").read_text())
    assert says["auto"]["chosen"] in CANDIDATES and set(says["auto"]["inputs_sha256"]) == {"domain", "task"}
    assert "layer 4 : q_proj : sep 0.5" in says["recipe"]["overrides"]
    here = sample(DEFAULT)
    flags = {
        "task": here.task, "domain": here.domain, "base": here.base, "inputs": here.probe, "task-inputs": here.task_probe,
        "recipe": folder / "recipe.json",
    }  # fmt: skip
    assert (
        cli.main(["merge", *(str(x) for name, value in flags.items() for x in (f"--{name}", value)), "-o", str(again)])
        == 0
    )
    for name in ("adapter_model.safetensors", "adapter_config.json", "recipe.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name
