"""The gate map under a hand: strokes, keys, undo, locks, refusals, two people at once."""

import importlib
import json
import re
import threading
import time

import pytest
import torch
from hands import PROJECTIONS, cell, edited, middle, settled, stat, stroke, tab, tool, typed
from playwright.sync_api import expect
from safetensors.torch import save_file

from tada_studio.app import edits


def sized_adapter(folder, layers, projections, seed):
    """An adapter of rank 1 on a base that is not there, as wide as a hand."""
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for i in range(layers):
        for j in range(projections):
            name = f"base_model.model.layers.{i}.p{j}"
            tensors |= {
                f"{name}.lora_{x}.weight": torch.randn(*s, generator=draw) for x, s in (("A", (1, 4)), ("B", (4, 1)))
            }
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": [f"p{j}" for j in range(projections)]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


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


def came(page, event, seconds):
    """Whether it happens within so many seconds, in which the page goes on."""
    end = time.monotonic() + seconds
    while not event.is_set() and time.monotonic() < end:
        page.wait_for_timeout(20)
    return event.is_set()


def test_a_stroke_waits_until_what_a_change_shows_anew_is_on_its_way(page, monkeypatch):
    """Made from the state before the stroke and taken in any case, it would wipe the stroke if it came after its answer."""
    begun, goes_on, struck = threading.Event(), threading.Event(), threading.Event()
    whole_page = importlib.import_module("tada_studio.app.page")
    shown, painted = whole_page.all_updates, edits.stroke

    def slowly(panels, state):
        updates = shown(panels, state)
        begun.set()
        assert goes_on.wait(20)
        return updates

    monkeypatch.setattr(whole_page, "all_updates", slowly)
    monkeypatch.setattr(edits, "stroke", lambda state, news: (painted(state, news), struck.set()))
    page.click("#section-rank-button")
    page.locator("#ranks").get_by_label(re.compile(r"^\s*8: keeps")).check()
    assert came(page, begun, 20)
    stroke(page, (1, "v_proj"))
    assert not came(page, struck, 0.7)
    goes_on.set()
    settled(page, 1)
    expect(cell(page, 1, "v_proj")).to_have_class(re.compile("edited"))


def test_keys_move_paint_reset_undo_and_redo(page):
    cell(page, 0, "q_proj").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(cell(page, 1, "k_proj")).to_have_class(re.compile("edited"))
    expect(cell(page, 1, "k_proj")).to_have_accessible_name(re.compile(r"layer 1 k_proj: share 1\.00, set by hand"))
    settled(page, 1)
    expect(page.locator("#gates .gm-hint")).to_contain_text("Keys: arrows move")  # also after Python has answered
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
    expect(cell(page, 0, "o_proj")).to_have_accessible_name(re.compile(r"share 0\.25"))


def test_a_click_with_the_tool_look_shows_that_cell_and_changes_nothing(page):
    tool(page, "Look")
    cell(page, 2, "up_proj").click()
    expect(page.locator(".heading", has_text="Layer 2 · up_proj")).to_be_visible()
    expect(page.locator("#spectrum .pp-chart[data-ready='1'] .main-svg").first).to_be_visible(timeout=30_000)
    settled(page, 0)


def test_a_knob_is_followed_and_is_one_step_to_undo(page):
    typed(page, "strength", "1.5")
    expect(page.locator("#message")).to_contain_text("strength is now 1.5")
    page.click("#undo")
    expect(page.locator("#knob-strength input[type=number]")).to_have_value("1")


def test_a_refused_knob_says_why_and_falls_back(page):
    typed(page, "rank", "5000")
    expect(page.locator("[data-testid=toast-text]")).to_contain_text("rank = 5000")
    expect(page.locator("#knob-rank input[type=number]")).to_have_value("")


def test_selector_lines_are_checked_while_they_are_written_and_added_together(page):
    line, check = page.locator("#line textarea"), page.locator("#line-check")
    line.fill("layers 1-2 : attn : 0.7\nlayers 90 : <img src=x onerror=alert(1)> : 0.7")
    expect(check).to_contain_text("touches 8 cells")
    expect(check.locator(".bad")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(check.locator("img")).to_have_count(0)
    expect(page.locator("#gates .previewed")).to_have_count(8)
    expect(page.locator("#line-add")).to_have_count(0)
    line.press("Shift+Enter")
    expect(page.locator("[data-testid=toast-text]")).to_contain_text("<img src=x onerror=alert(1)>")
    settled(page, 0)
    line.fill("layers 1-2 : attn : 0.7\nlayer 0 : * : lock")
    page.click("#line-add")
    settled(page, 8)
    expect(line).to_have_value("")
    expect(page.locator("#gates .previewed")).to_have_count(0)
    expect(page.locator("#gates .gm-cell.locked")).to_have_count(7)


def test_every_tool_and_undo_and_redo_through_all_of_them(page):
    def gate(layer, projection, says):
        expect(cell(page, layer, projection)).to_have_accessible_name(re.compile(f"share {says}"))

    tool(page, "Rectangle")
    page.mouse.move(*middle(cell(page, 0, "q_proj")))
    page.mouse.down()
    page.mouse.move(*middle(cell(page, 2, "o_proj")), steps=3)
    expect(edited(page)).to_have_count(12)
    page.mouse.move(*middle(cell(page, 1, "k_proj")), steps=3)  # a smaller one gives the rest back
    page.mouse.up()
    settled(page, 4)
    tool(page, "Smooth")
    stroke(page, (1, "q_proj"))
    settled(page, 4)
    gate(1, "q_proj", "0\\.83")  # (1 + 1 + .5) / 3
    line = page.locator("#line textarea")
    line.fill("layer 2 : mlp : 0.1")
    expect(page.locator("#line-check")).to_contain_text("touches 3 cells")
    line.press("Shift+Enter")
    settled(page, 7)
    page.locator("#preset input").click()
    page.get_by_role("option", name="Ramp").click()
    settled(page, 21)
    page.click("#all-lines > button")
    expect(page.locator("#log li").first).to_contain_text("+ layer 0 : 0.00")
    for left in (7, 4, 4, 0):
        page.click("#undo")
        settled(page, left)
    expect(page.locator("#undo")).to_be_disabled()
    for count in (4, 4, 7, 21):
        page.click("#redo")
        settled(page, count)
    page.click("#clear")
    settled(page, 0)


def test_number_keys_and_the_wheel_set_the_brush_and_a_wheel_alone_scrolls_the_page(page):
    brush = page.locator("#brush input[type=number]")
    cell(page, 1, "v_proj").hover()
    page.keyboard.press("5")
    expect(brush).to_have_value("0.5")
    page.keyboard.down("Shift")
    page.mouse.wheel(0, -100)
    expect(brush).to_have_value("0.55")
    page.keyboard.up("Shift")
    page.mouse.wheel(0, 200)
    expect(brush).to_have_value("0.55")
    page.wait_for_function("() => [...document.querySelectorAll('*')].some((one) => one.scrollTop > 50)")
    cell(page, 1, "v_proj").hover()  # the map went away under the pointer
    page.keyboard.press("d")
    expect(brush).to_have_value("1")


def test_by_keyboard_alone_a_range_is_selected_painted_and_locked(page):
    cell(page, 0, "q_proj").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("3")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator("#gates .ranged")).to_have_count(4)
    page.keyboard.press("Enter")
    settled(page, 4)
    expect(cell(page, 1, "v_proj")).to_have_accessible_name(re.compile("share 0\\.30, set by hand"))
    page.keyboard.press("Control+ ")
    expect(page.locator("#gates .ranged")).to_have_count(7)
    page.keyboard.press("Delete")
    settled(page, 2)
    page.locator("#tool").get_by_label("Lock").focus()
    page.keyboard.press(" ")
    cell(page, 1, "v_proj").focus()
    page.keyboard.press("Shift+ ")
    page.keyboard.press("Enter")
    expect(page.locator("#gates .gm-cell.locked")).to_have_count(3)


def test_the_table_edits_the_same_cells_by_keyboard(page):
    page.locator("#shows").get_by_label("Table").check()
    field = page.get_by_label("layer 0 v_proj, even")
    field.fill("0.25")
    field.press("Enter")
    settled(page, 1)
    expect(page.get_by_label("layer 0 v_proj, set by hand")).to_have_value("0.25")
    below = page.get_by_label("layer 1 v_proj, even")
    expect(below).to_be_focused()
    below.fill("much")
    below.press("Enter")
    expect(below).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#gates .gm-hint")).to_contain_text("Type a gate from 0 to 1")
    below.fill("lock")
    below.press("Enter")
    expect(page.get_by_label("layer 1 v_proj, even, locked")).to_be_visible()
    page.keyboard.press("Control+z")
    expect(page.get_by_label("layer 1 v_proj, even, locked")).to_have_count(0)
    page.locator("#shows").get_by_label("Share", exact=True).check()
    expect(cell(page, 0, "v_proj")).to_have_accessible_name(re.compile(r"share 0\.25, set by hand"))


def test_a_finger_paints_on_a_phone_and_looks(open_page):
    page = open_page(width=420, height=860)
    hand = page.context.new_cdp_session(page)
    hand.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    cell(page, 0, "k_proj").hover()  # waits until the sidebar has folded and nothing moves
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    path = [middle(cell(page, layer, "k_proj")) for layer in (0, 1, 2)]
    grid = page.locator("#gates .gm-grid")

    def touch(kind, at=None):
        points = [{"x": at[0], "y": at[1]}] if at else []
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", path[0])  # one finger that does not rest scrolls, and paints nothing
    touch("touchMove", path[1])
    touch("touchEnd")
    expect(page.locator("#gates .gm-hint")).to_contain_text("Hold a cell")
    touch("touchStart", path[1])  # a tap reads, and what it has read stays until something else is touched
    touch("touchEnd")
    expect(page.locator("#gates .gm-tip")).to_contain_text("Layer 1 · k_proj")
    page.wait_for_timeout(300)
    expect(page.locator("#gates .gm-tip")).to_be_visible()
    expect(page.locator("#gates .gm-hint")).to_contain_text("Hold a cell")  # and not which keys there are
    touch("touchStart", middle(page.locator("#gates .gm-hint")))
    touch("touchEnd")
    expect(page.locator("#gates .gm-tip")).to_be_hidden()
    path = [middle(cell(page, layer, "k_proj")) for layer in (0, 1, 2)]  # the first touch brings the finger's switch
    touch("touchStart", path[0])
    expect(grid).to_have_class(re.compile("held"))
    touch("touchMove", path[1])
    touch("touchMove", path[2])
    touch("touchEnd")
    settled(page, 3)
    page.get_by_label("finger paints").check()
    cell(page, 1, "q_proj").hover()  # into sight
    touch("touchStart", middle(cell(page, 1, "q_proj")))
    touch("touchEnd")
    settled(page, 4)
    tool(page, "Look")
    x, y = middle(cell(page, 2, "v_proj"))
    hand.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator(".cell-title", has_text="Layer 2 · v_proj")).to_be_in_viewport(timeout=30_000)
    settled(page, 4)


def test_a_phone_names_no_keys_and_a_link_leads_to_the_beginning_of_a_tab(browser, url):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#gates .gm-grid[data-ready='1']")).to_be_attached(timeout=90_000)
    said = page.locator("#message .message-line")
    expect(said).to_have_text(
        re.compile(r"can be undone, with the button or Ctrl\+Z\.")
    )  # of the text; the eye is spared it
    expect(said.locator(".by-key")).to_be_hidden()
    page.evaluate("scrollTo(0, 700)")
    page.locator("#truth").get_by_role("link", name="Evaluate").tap()
    heading = page.locator(".heading", has_text="Every variant answers")
    expect(heading).to_be_in_viewport(ratio=1)
    page.wait_for_function("() => document.querySelector('#tab-evaluate-button').getBoundingClientRect().top >= 70")
    context.close()


def test_the_first_touch_beside_a_mouse_moves_nothing(open_page):
    page = open_page()
    hand = page.context.new_cdp_session(page)
    hand.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    cell(page, 1, "v_proj").hover()
    before = cell(page, 1, "v_proj").bounding_box()
    x, y = middle(cell(page, 1, "v_proj"))
    hand.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("#gates .gm")).to_have_attribute("data-pointer", "touch")
    expect(page.get_by_label("finger paints")).to_be_visible()
    assert cell(page, 1, "v_proj").bounding_box() == before


@pytest.mark.parametrize(("layers", "projections"), [(126, 12), (6, 2)])
def test_maps_of_any_size_are_painted_and_paged(open_page, root, layers, projections):
    page = open_page()
    folders = [sized_adapter(root / f"{role}-{layers}", layers, projections, seed) for seed, role in enumerate("td")]
    tab(page, "open")
    page.locator("#task textarea, #task input").fill(str(folders[0]))
    page.locator("#domain textarea, #domain input").fill(str(folders[1]))
    page.locator("#base textarea, #base input").fill("")
    page.click("#open-own")
    tab(page, "inspect")
    expect(page.locator("#gates .gm-cell")).to_have_count(layers * projections, timeout=30_000)
    last = layers - 1
    cell(page, last, "p1").scroll_into_view_if_needed()
    stroke(page, (last - 4, "p1"), (last, "p1"))
    settled(page, 5)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.locator("#shows").get_by_label("Table").check()
    expect(page.locator("#gates .gm-turner button")).to_have_count(-(-layers // 24) if layers > 24 else 0)
    if layers > 24:
        page.locator("#gates .gm-turner button").last.click()
    expect(page.get_by_label(f"layer {last} p1, set by hand")).to_have_value("1")
    assert page.locator("#gates .gm-value").count() <= 24 * projections


def test_row_names_of_gpt_2_are_whole_on_a_screen_and_on_a_phone(open_page, root):
    page, draw = open_page(), torch.Generator().manual_seed(5)
    names = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    for role in ("task", "domain"):
        folder = sized_adapter(root / f"gpt-{role}", 1, 1, 1)
        tensors = {
            f"base_model.model.transformer.h.{i}.{name}.lora_{x}.weight": torch.randn(*size, generator=draw)
            for i in range(3) for name in names for x, size in (("A", (1, 4)), ("B", (4, 1)))
        }  # fmt: skip
        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": names}))
    tab(page, "open")
    for role in ("task", "domain"):
        page.locator(f"#{role}").get_by_role("textbox").fill(str(root / f"gpt-{role}"))
    page.locator("#base").get_by_role("textbox").fill("")
    page.click("#open-own")
    tab(page, "inspect")
    rows = page.locator("#gates .gm-name[data-row]")
    for width in (1280, 420):
        page.set_viewport_size({"width": width, "height": 900})
        expect(rows).to_have_text(["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"])
        cut = "names => names.filter((one) => one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight + 1).length"
        assert rows.evaluate_all(cut) == 0, width


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


@pytest.mark.parametrize(("width", "height"), [(420, 900), (390, 844), (360, 740)])
def test_a_phone_shows_the_whole_map_at_once(open_page, width, height):
    page = open_page(width=width, height=height)
    expect(cell(page, 2, "down_proj")).to_be_in_viewport(ratio=1)
    assert cell(page, 0, "q_proj").bounding_box()["y"] < 450
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tabs = [page.locator(f"#tab-{name}-button").bounding_box()["y"] for name in ("open", "help")]
    assert tabs[0] == tabs[1], "all tabs in one line"


def test_the_map_can_show_conflict_instead_of_gates(page):
    page.locator("#shows").get_by_label("Conflict").check()
    expect(page.locator("#gates .gm-lost")).to_be_visible()
    expect(page.locator("#gates .gm-ticks span")).to_have_text(["0", "1%", "10%", "50%", "all"])  # of every map
    expect(page.locator("#gates .gm-gate")).to_be_hidden()
    cell(page, 2, "up_proj").click()  # what was painted here could not be seen, so that a click looks
    expect(page.locator(".heading", has_text="Layer 2 · up_proj")).to_be_visible(timeout=30_000)
    settled(page, 0)
    page.locator("#shows").get_by_label("Share", exact=True).check()
    expect(page.locator("#tool").get_by_label("Paint")).to_be_checked()


def test_strength_is_painted_for_one_adapter_and_what_the_method_does_not_read_is_closed(page):
    page.locator("#shows").get_by_label("Strength").check()
    page.locator("#whose").get_by_label("Domain").check()
    box = page.locator("#brush input[type=number]")
    box.fill("-1")
    box.press("Enter")
    stroke(page, (1, "v_proj"))
    settled(page, 1)
    expect(cell(page, 1, "v_proj")).to_have_accessible_name(re.compile(r"share 0\.50, strength task x 1, domain x -1"))
    page.click("#all-lines > button")
    expect(page.locator("#lines-overrides textarea")).to_have_value("layer 1 : v_proj : domain x -1")
    page.locator("#shows").get_by_label("Share", exact=True).check()
    page.locator("#knob-method input").click()
    page.get_by_role("option", name="linear").click()
    expect(page.locator("#gates .gm")).to_have_class(re.compile("unread"))
    expect(page.locator("#gates .gm-hint")).to_contain_text("linear does not read shares")
    expect(page.locator("#knob-sharpness input[type=number]")).to_be_disabled()
    expect(page.locator("#verdict")).to_contain_text("linear does not read it")
    before = page.locator("#lines-overrides textarea").input_value()
    stroke(page, (0, "q_proj"))  # a hand that cannot paint looks
    expect(page.locator(".heading", has_text="Layer 0 · q_proj")).to_be_visible(timeout=30_000)
    expect(page.locator("#lines-overrides textarea")).to_have_value(before)


def test_the_tip_under_a_resting_hand_says_what_the_stroke_made(page):
    place = cell(page, 1, "v_proj")
    place.hover()
    expect(page.locator("#gates .gm-tip")).to_contain_text("0.50, about even")
    place.click()
    settled(page, 1)
    expect(page.locator("#gates .gm-tip")).to_contain_text("1.00, leans to domain")


def test_a_burst_of_strokes_is_taken_in_the_order_of_the_hand(page):
    order = [(0, "o_proj"), (2, "q_proj"), (1, "v_proj"), (0, "k_proj"), (2, "up_proj"), (1, "down_proj")]
    for place in order:
        stroke(page, place)
    settled(page, len(order))
    page.click("#tab-export-button")
    shown = page.locator("#recipe")
    expect(shown).to_contain_text("down_proj : 1")
    lines = re.findall(r"layer (\d) : (\w+) : 1", shown.inner_text())
    assert [(int(layer), name) for layer, name in lines] == order
