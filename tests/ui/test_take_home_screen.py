"""The sections under the map in a real browser, and what can be taken home from the screen: pictures, pages, the report."""

import re

import pytest
from hands import tab
from playwright.sync_api import expect

SLOW = 60_000


def section(page, name, panel):
    page.click(f"#section-{name}-button")
    drawn(page, panel)


def drawn(page, panel):
    expect(page.locator(f"#{panel} .pp-chart[data-draws] .main-svg").first).to_be_visible(timeout=SLOW)


def linked(page, name, value):
    box = page.locator(f"#linked-{name} input[type=number]")
    box.fill(value)
    box.press("Enter")
    box.blur()


def saved(page, button, folder):
    with page.expect_download(timeout=SLOW) as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


@pytest.fixture
def offline(browser):
    """Opens a saved page without any network, and checks that it asked for nothing and complained about nothing."""
    contexts, asked, problems = [], [], []

    def opened(path, scheme):
        context = browser.new_context(color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None
        )
        page.goto(path.as_uri())
        expect(page.locator("body[data-ready='1']")).to_be_attached(timeout=SLOW)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
    assert [url for url in asked if not url.startswith("file:")] == []


def test_conflict_is_told_picked_and_taken_back(page):
    drawn(page, "overlap")
    message = page.locator("#conflict-message")
    expect(message).to_contain_text("No directions conflict")
    linked(page, "conflict_threshold", "1")
    expect(message).to_contain_text(
        re.compile(r"removes \d+ of 210 directions, .* of domain and .* of task energy, in \d+ cells")
    )
    expect(page.locator("#knob-conflict_threshold input[type=number]")).to_have_value("1")
    page.locator("#cell input").click()
    option = page.get_by_role("option").filter(has_text="dropped").nth(1)
    layer, projection = re.search(r"layer (\d+) (\w+):", option.inner_text()).groups()
    option.click()
    expect(page.locator(".heading", has_text=f"Layer {layer} · {projection}")).to_contain_text("dropped here")

    ticks = page.locator("#task-directions input, #domain-directions input")
    expect(page.locator(".directions .gone").first).to_be_visible()
    name = page.locator(".directions .gone input").first.get_attribute("aria-label")
    row = page.locator(".directions tr", has=page.get_by_label(name))
    page.get_by_label(name).check()
    expect(row).to_contain_text("kept by hand")
    expect(page.get_by_label(name)).to_be_focused()
    page.click("#undo")
    expect(row).to_contain_text("dropped: opposes")
    expect(ticks.first).to_be_visible()

    page.click("#beside-near-button")
    drawn(page, "spectrum")
    page.locator("#spectrum .bars .point").first.click(force=True)
    expect(page.locator(".directions .badge.hand")).to_have_count(1)
    page.keyboard.press("Control+z")
    expect(page.locator(".directions .badge.hand")).to_have_count(0)


def test_the_rank_is_set_by_one_click_and_figures_are_saved_in_three_ways(page, offline, tmp_path):
    section(page, "rank", "rank-curve")
    page.locator("#ranks").get_by_label(re.compile(r"^\s*8: keeps")).check()
    expect(page.locator("#knob-rank input")).to_have_value("8")
    expect(page.locator("#rank-message")).to_contain_text("Rank 8 keeps")
    page.click("#undo")
    expect(page.locator("#knob-rank input")).to_have_value("")

    picture = saved(page, "#rank-curve [data-save=png]", tmp_path)
    assert picture.name == "tada-studio-energy-against-rank.png" and picture.read_bytes()[:4] == b"\x89PNG"
    drawing = saved(page, "#rank-curve [data-save=svg]", tmp_path).read_text()
    assert drawing.startswith("<svg") and "whole merge" in drawing and "Energy against rank" in drawing
    width = drawing.split('width="')[1].split('"')[0]
    tab(page, "export")
    page.locator("#picture-width input").fill("700")
    page.locator("#picture-font input").click()
    page.get_by_role("option", name="Times New Roman").click()
    expect(page.locator("#picture-font input")).to_have_value("Times New Roman")
    tab(page, "inspect")
    chosen = saved(page, "#rank-curve [data-save=svg]", tmp_path).read_text()
    assert 'width="700"' in chosen and width != "700" and "Times New Roman" in chosen and "Times" not in drawing
    alone = offline(saved(page, "#rank-curve [data-save=html]", tmp_path), "dark")
    expect(alone.locator("figure .caption")).to_contain_text("Share of energy that each rank keeps")
    expect(alone.locator(".main-svg").first).to_be_visible()


def test_the_report_opens_anywhere_and_the_help_is_live(page, offline, tmp_path):
    tab(page, "export")
    page.click("#make-report")
    expect(page.locator("#report-message")).to_contain_text("opens offline", timeout=SLOW)
    path = saved(page, "#report", tmp_path)
    inks = []
    for scheme in ("light", "dark"):
        report = offline(path, scheme)
        assert report.locator("figure").count() == report.locator("figure .main-svg:first-child").count() >= 5
        inks.append(report.locator("figure .xtick text").first.evaluate("element => element.style.fill"))
    assert inks[0] != inks[1]

    tab(page, "help")
    drawn(page, "help-spectrum")
    expect(page.locator("#help-message")).to_contain_text("task 1, task 2")
    box = page.locator("#help-gate input[type=number]")
    box.fill("0.3")
    box.press("Enter")
    box.blur()
    expect(page.locator("#help-message")).to_contain_text("domain 0, domain 1")
    expect(page.locator("#help-recipe")).to_contain_text("v_proj : 0.3")
    page.click("#dark")
    expect(page.locator("#help-spectrum .pp-chart")).to_have_attribute("data-draws", re.compile("[3-9]"))
    page.click("#dark")
