"""The sample with both probes: who speaks on which inputs, cell by cell and over depth, and what a hand makes of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hands import cell, settled, stroke, tab, typed
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
    whole = re.compile("task keeps ?100 % on its own inputs, 100 %")
    expect(tip).not_to_contain_text(whole)
    expect(page.locator("#verdict")).to_contain_text("is the domain's on domain inputs and")
    expect(page.locator("#verdict")).to_contain_text(re.compile(r"with depth \(rho [+-]\d\.\d\d, 95 % .* over inputs"))

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


def test_over_depth_both_gates_are_drawn_and_the_asymmetry_is_a_view_of_its_own(page):
    depth = page.locator("#depth")
    expect(depth.locator(".pp-title")).to_have_text("Who speaks on which inputs, over depth", timeout=SLOW)
    expect(depth.locator(".legendtext")).to_have_text(["on domain inputs", "on task inputs"])
    expect(depth.locator(".annotation-text")).to_contain_text(re.compile(r"separation with depth: rho .\d"))
    page.set_viewport_size({"width": 900, "height": 700})
    page.set_viewport_size({"width": 1280, "height": 900})
    drawn = depth.locator(".main-svg").first
    expect(drawn).to_have_attribute("height", "270")
    assert drawn.bounding_box()["height"] == 270
    page.locator("#depth-kind").get_by_label("The paper's asymmetry").check()
    expect(depth.locator(".pp-title")).to_have_text("Depth profile")
    expect(depth.locator(".pp-caption")).to_contain_text("above the dashed line the domain has the larger share")
    expect(page.locator("#compared-depth")).to_contain_text("The domain's share")
    page.locator("#shows").get_by_label("Asymmetry").check()
    expect(page.locator("#gates .gm-hint")).to_contain_text("which adapter, as trained, reacts more")


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
