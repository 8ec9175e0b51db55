"""What a new person does on the sample that the app opens with: every gesture of the instrument once, and undo through all."""

import re
from collections.abc import Iterator

import pytest
from hands import cell, edited, settled, stat, stroke, tab, tool, typed
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


def labelled(page: Page, layer: int, projection: str, says: str) -> None:
    expect(cell(page, layer, projection)).to_have_accessible_name(re.compile(says))


@pytest.mark.nightly  # half a minute; test_map has each gesture
def test_every_gesture_on_the_default_sample_and_undo_through_all_of_them(page, tmp_path):
    expect(page.locator("#message")).to_contain_text("Ctrl+Z")
    expect(page.locator("#verdict")).to_contain_text("is the domain's on domain inputs")
    dropped = stat(page, "dropped as conflict").inner_text()
    labelled(page, 5, "v_proj", r"task response 0\.\d+, domain response 0\.\d+")
    stroke(page, (0, "v_proj"), (3, "v_proj"))
    settled(page, 4)
    tool(page, "Rectangle")
    stroke(page, (2, "q_proj"), (4, "k_proj"))
    settled(page, 10)
    tool(page, "Lock")
    stroke(page, (5, "v_proj"))
    expect(stat(page, "1 locked")).to_have_text("10")
    line = page.locator("#line textarea")
    line.fill("layer 5 : attn : 0.7")
    expect(page.locator("#line-check")).to_contain_text("touches 3 cells; 1 locked stay")
    line.press("Shift+Enter")
    settled(page, 13)
    typed(page, "conflict_threshold", "4")
    expect(stat(page, "dropped as conflict")).not_to_have_text(dropped)
    name = page.locator(".directions .gone input").first
    expect(name).to_be_visible(timeout=SLOW)
    gone = name.get_attribute("aria-label")
    page.get_by_label(gone).check()
    expect(page.locator(".directions .badge.hand")).to_have_count(1)
    page.locator("#preset input").click()
    page.get_by_role("option", name="Task only").click()
    settled(page, 42)
    expect(stat(page, "energy is the domain's")).to_have_text("0%")

    for left in (13, 13, 13, 10, 10, 4, 0):
        page.click("#undo")
        settled(page, left)
    expect(page.locator("#undo")).to_be_disabled()
    expect(stat(page, "dropped as conflict")).to_have_text(dropped)
    for count in (4, 10, 10, 13, 13, 13, 42):
        page.click("#redo")
        settled(page, count)
    expect(page.locator("#redo")).to_be_disabled()

    tab(page, "export")
    page.click("#make-report")
    expect(page.locator("#report-message")).to_contain_text("opens offline", timeout=SLOW)
    with page.expect_download(timeout=SLOW) as download:
        page.click("#report")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    told = path.read_text(encoding="utf-8")
    assert "* : task" in told and "http://" not in re.sub(r"http://www\.w3\.org\S*", "", told.split("<script")[0])


def test_by_keyboard_alone_in_the_dark_on_a_phone(open_page):
    page = open_page("/?__theme=dark", width=420, height=860)
    expect(page.locator("body.dark")).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    cell(page, 0, "q_proj").focus()
    for key in ("End", "ArrowDown", "ArrowDown", "7", "Shift+Home", "Enter"):
        page.keyboard.press(key)
    settled(page, 6)
    labelled(page, 3, "v_proj", r"share 0\.70, set by hand")
    page.keyboard.press("Control+z")
    settled(page, 0)
    page.keyboard.press("Control+y")
    settled(page, 6)
    page.keyboard.press("Delete")
    expect(edited(page)).to_have_count(0)
