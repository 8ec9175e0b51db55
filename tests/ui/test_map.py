"""The gate map under a hand: strokes, keys, undo, locks, refusals, two people at once."""

import re

from hands import PROJECTIONS, cell, edited, settled, stat, stroke, tool, typed
from playwright.sync_api import expect


def test_a_stroke_paints_every_cell_on_its_way_and_undo_takes_it_back(page):
    stroke(page, (0, "v_proj"), (2, "v_proj"))
    expect(edited(page)).to_have_count(3)
    settled(page, 3)
    page.click("#undo")
    expect(edited(page)).to_have_count(0)
    expect(page.locator("#undo")).to_be_disabled()
    page.click("#redo")
    expect(edited(page)).to_have_count(3)


def test_many_fast_strokes_all_stay(page):
    for projection in PROJECTIONS:
        for layer in (0, 2):
            stroke(page, (layer, projection))
    expect(edited(page)).to_have_count(14)
    settled(page, 14)
    expect(edited(page)).to_have_count(14)
    for left in range(13, -1, -1):
        page.click("#undo")
        settled(page, left)
    expect(page.locator("#undo")).to_be_disabled()


def test_keys_move_paint_reset_undo_and_redo(page):
    cell(page, 0, "q_proj").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(cell(page, 1, "k_proj")).to_have_class(re.compile("edited"))
    expect(cell(page, 1, "k_proj")).to_have_accessible_name(re.compile(r"layer 1 k_proj: gate 1\.00, set by hand"))
    settled(page, 1)
    page.keyboard.press("Control+z")
    settled(page, 0)
    page.keyboard.press("Control+Shift+z")
    settled(page, 1)
    page.keyboard.press("Delete")
    settled(page, 0)


def test_row_names_and_layer_numbers_paint_whole_lines(page):
    page.locator("#gates .gm-name[data-row='2']").click()
    settled(page, 3)
    page.locator("#gates .gm-tick[data-column='1']").click()
    settled(page, 3 + 7 - 1)


def test_locked_cells_stay_as_they_are(page):
    tool(page, "Lock")
    stroke(page, (1, "q_proj"))
    expect(cell(page, 1, "q_proj")).to_have_class(re.compile("locked"))
    expect(stat(page, "1 locked")).to_have_text("0")
    tool(page, "Paint")
    stroke(page, (0, "q_proj"), (2, "q_proj"))
    settled(page, 2)
    expect(cell(page, 1, "q_proj")).not_to_have_class(re.compile("edited"))


def test_the_brush_sets_the_gate(page):
    box = page.locator("#brush input[type=number]")
    box.fill("0.25")
    box.press("Enter")
    box.blur()
    stroke(page, (0, "o_proj"))
    settled(page, 1)
    expect(cell(page, 0, "o_proj")).to_have_accessible_name(re.compile(r"gate 0\.25"))


def test_a_click_with_the_inspect_tool_shows_that_cell_and_changes_nothing(page):
    tool(page, "Inspect")
    cell(page, 2, "up_proj").click()
    expect(page.locator(".heading", has_text="Layer 2 · up_proj")).to_be_visible()
    expect(page.locator("#spectrum .pp-chart[data-ready='1'] .main-svg").first).to_be_visible(timeout=30_000)
    settled(page, 0)


def test_a_knob_is_followed_and_is_one_step_to_undo(page):
    typed(page, "strength", "1.5")
    expect(page.locator("#said")).to_contain_text("strength is now 1.5")
    page.click("#undo")
    expect(page.locator("#knob-strength input[type=number]")).to_have_value("2")


def test_a_refused_knob_says_why_and_falls_back(page):
    typed(page, "rank", "5000")
    expect(page.locator("[data-testid=toast-text]")).to_contain_text("rank = 5000")
    expect(page.locator("#knob-rank input[type=number]")).to_have_value("")


def test_selector_lines_are_added_and_a_bad_one_is_refused_in_words(page):
    line = page.locator("#line textarea, #line input")
    line.fill("layers 1-2 : attn : 0.7")
    line.press("Enter")
    settled(page, 8)
    line.fill("layers 90 : <img src=x onerror=alert(1)> : 0.7")
    line.press("Enter")
    toast = page.locator("[data-testid=toast-text]")
    expect(toast).to_contain_text("<img src=x onerror=alert(1)>")
    expect(toast.locator("img")).to_have_count(0)
    settled(page, 8)


def test_two_pages_are_two_sessions(open_page):
    first, second = open_page(), open_page()
    stroke(first, (0, "q_proj"), (2, "q_proj"))
    settled(first, 3)
    expect(edited(second)).to_have_count(0)
    stroke(second, (1, "down_proj"))
    settled(second, 1)
    expect(edited(first)).to_have_count(3)


def test_dark_mode_repaints_map_and_charts(page):
    ready = page.locator("#depth .pp-chart[data-ready='1']")
    expect(ready).to_be_visible(timeout=30_000)
    background = "element => getComputedStyle(element).backgroundColor"
    ink = "element => element.querySelector('.xtick text').style.fill"
    before = cell(page, 0, "q_proj").evaluate(background), ready.evaluate(ink)
    page.click("#dark")
    expect(page.locator("body.dark")).to_be_attached()
    page.wait_for_timeout(500)
    after = cell(page, 0, "q_proj").evaluate(background), ready.evaluate(ink)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_phone_shows_the_map_without_scrolling_sideways(open_page):
    page = open_page(width=420, height=860)
    expect(cell(page, 0, "q_proj")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_the_map_can_show_conflict_instead_of_gates(page):
    page.locator("#shows").get_by_label("Conflict").check()
    expect(page.locator("#gates .gm-lost")).to_be_visible()
    expect(page.locator("#gates .gm-gate")).to_be_hidden()
