"""The sample with both probes: who speaks on which inputs, cell by cell and over depth, and what a hand makes of it."""

import re
from collections.abc import Iterator

import pytest
from hands import cell, settled, stroke
from playwright.sync_api import Page, expect

from tada_studio import app
from tada_studio.sample_pairs import DEFAULT

SLOW = 60_000


@pytest.fixture(scope="module")
def url(looked_up: list[str]) -> Iterator[str]:
    """The app as `tada-studio` starts it."""
    demo = app.build(sample=DEFAULT)
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
