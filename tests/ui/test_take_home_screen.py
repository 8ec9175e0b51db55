"""The sections under the map in a real browser, and what can be taken home from the screen: pictures, pages, the report."""

import itertools
import re

import pytest
from hands import cell, settled, stroke, tab
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


def test_the_list_of_cells_is_whole_after_strokes_and_on_a_page_that_began_elsewhere(page, pico):
    def listed():
        page.locator("#cell input").click()
        expect(page.get_by_role("option")).to_have_count(21)
        page.keyboard.press("Escape")

    for layer in (0, 1):
        stroke(page, (layer, "v_proj"))
    settled(page, 2)
    expect(page.locator("#cell input")).to_have_value("layer 1 v_proj")
    listed()
    page.locator("#gates .gm-tick[data-column='0']").click()  # a whole layer: what is looked at stays
    settled(page, 2 + 7 - 1)
    expect(cell(page, 1, "v_proj")).to_have_class(re.compile("selected"))
    expect(page.locator("#cell input")).to_have_value("layer 1 v_proj")
    tab(page, "open")
    for field, folder in (("task", pico.domain), ("domain", pico.task)):
        page.locator(f"#{field}").get_by_role("textbox").fill(str(folder))
    page.click("#open-own")
    expect(page.locator("#side")).to_contain_text("pico-domain")
    tab(page, "inspect")
    listed()
    # and the map can be compared with that of the pair before
    page.locator("#shows").get_by_label("Difference").check()
    page.click("#compare > button")
    page.locator("#differs-from input").click()
    page.get_by_role("option", name="open before").click()
    expect(page.locator("#gates .gm-hint")).to_contain_text("Compared with pico-task and pico-domain, open before.")


def test_a_series_that_is_switched_off_stays_at_home(page, tmp_path):
    section(page, "norms", "norms")
    whole = saved(page, "#norms [data-save=csv]", tmp_path).read_text()
    page.locator("#norms .legendtoggle").first.click(force=True)
    page.wait_for_function(
        "() => document.querySelector('#norms .pp-chart').data.some((one) => one.visible === 'legendonly')"
    )
    less = saved(page, "#norms [data-save=csv]", tmp_path).read_text()
    gone = set(whole.splitlines()) - set(less.splitlines())
    assert gone and len({row.partition(",")[0] for row in gone}) == 1, "one series, and all of it"


def test_the_scale_of_how_directions_meet_is_small_and_stands_clear(page):
    drawn(page, "overlap")
    marks = page.locator("#overlap .colorbar text:visible")
    expect(marks.filter(has_text=re.compile(r"^0 x$"))).to_have_count(1)  # of chance
    size = "text => parseFloat(getComputedStyle(text).fontSize)"
    assert max(marks.nth(i).evaluate(size) for i in range(marks.count())) <= 12
    boxes = sorted((marks.nth(i).bounding_box() for i in range(marks.count())), key=lambda box: box["y"])
    assert all(one["y"] + one["height"] <= next_["y"] + 1 for one, next_ in itertools.pairwise(boxes)), boxes


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
    page.locator("#picture-width input").press("Tab")  # into the fonts, whose list opens and covers no button
    fonts, make = (page.locator(where).bounding_box() for where in ("ul[role=listbox]", "#make-kit"))
    assert fonts["y"] + fonts["height"] <= make["y"] or fonts["y"] >= make["y"] + make["height"]
    page.locator("#picture-font input").click()
    page.get_by_role("option", name="Times New Roman").click()
    expect(page.locator("#picture-font input")).to_have_value("Times New Roman")
    tab(page, "inspect")
    chosen = saved(page, "#rank-curve [data-save=svg]", tmp_path).read_text()
    assert 'width="700"' in chosen and width != "700" and "Times New Roman" in chosen and "Times" not in drawing
    alone = offline(saved(page, "#rank-curve [data-save=html]", tmp_path), "dark")
    expect(alone.locator("figure .caption")).to_contain_text("Share of energy that each rank keeps")
    expect(alone.locator(".main-svg").first).to_be_visible()


@pytest.mark.parametrize("view", ["Share", "Strength", "In the merge", "Conflict", "Difference"])
def test_every_view_of_the_map_goes_home_as_it_is_shown(page, tmp_path, view):
    drawn(page, "depth")
    stroke(page, (1, "v_proj"))
    settled(page, 1)
    page.locator("#shows").get_by_label(view, exact=True).check()
    page.evaluate("window.tadaPicture = { width: 640, font: 'Times New Roman' }")
    file = saved(page, "#gates [data-save=svg]", tmp_path)
    svg = file.read_text()
    assert file.name == f"tada-studio-map-{view.lower().replace(' ', '-')}.svg"
    assert 'width="640"' in svg and "Times New Roman" in svg and f"Map, {view.lower()}" in svg
    told = re.sub(r"<[^>]*>", " ", svg)  # a caption is broken into lines
    assert (
        "v_proj" in told
        and re.search(r"pico-task +\+ +\S*pico-domain +recipe +[0-9a-f]{8}", told)
        and "Click a cell" not in told
    )
    assert "var(" not in svg and "oklab" not in svg, "other programs do not know the page's colours"
    is_marked = view != "Strength"  # which no hand set
    assert ("●" in svg.replace("A dot: set by hand", "")) == is_marked
    rows = saved(page, "#gates [data-save=csv]", tmp_path).read_text().splitlines()
    assert len(rows) == 1 + 21 and rows[0].startswith("tower,layer,projection,")
    [painted] = [row for row in rows if row.startswith(",1,v_proj")]
    assert painted.endswith(f",{str(is_marked).lower()},false")
    assert view != "Share" or painted == ",1,v_proj,1,true,false"
    assert saved(page, "#gates [data-save=png]", tmp_path).read_bytes()[:4] == b"\x89PNG"


def test_a_page_of_the_map_opens_anywhere(page, offline, tmp_path):
    drawn(page, "depth")
    alone = offline(saved(page, "#gates [data-save=html]", tmp_path), "dark")
    expect(alone.locator("figure .caption")).to_contain_text("A dot: set by hand.")
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
