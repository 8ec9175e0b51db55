"""What a browser tab did is there again after a reload; tabs do not mix; projects have names."""

import gc
import re
import time
import weakref

from hands import cell, edited, reload, settled, stroke, tab
from playwright.sync_api import expect

from tada_studio.session import Session


def test_a_reload_brings_everything_back_and_undo_goes_on(page):
    stroke(page, (0, "q_proj"), (2, "q_proj"))
    settled(page, 3)
    stroke(page, (1, "v_proj"))
    settled(page, 4)
    page.click("#undo")
    settled(page, 3)
    reload(page)
    expect(edited(page)).to_have_count(3)
    expect(page.locator("#message")).to_contain_text("back as you left it")
    page.click("#redo")
    settled(page, 4)
    page.click("#undo")
    page.click("#undo")
    settled(page, 0)
    expect(page.locator("#undo")).to_be_disabled()


def test_a_new_tab_is_empty_and_a_duplicated_one_is_a_copy_that_goes_its_own_way(page, open_page, context):
    stroke(page, (0, "k_proj"))
    settled(page, 1)
    expect(edited(open_page())).to_have_count(0)
    with context.expect_page() as opened:
        page.evaluate("() => { window.open(location.href); }")  # copies sessionStorage, as duplicating a tab does
    linked = opened.value
    expect(edited(linked)).to_have_count(1)
    expect(linked.locator("#message")).to_contain_text("copy of the other")
    stroke(linked, (2, "down_proj"))
    settled(linked, 2)
    reload(page)
    expect(edited(page)).to_have_count(1)
    reload(linked)
    expect(edited(linked)).to_have_count(2)
    linked.close()


def test_a_closed_tab_frees_its_memory(open_page, monkeypatch):
    made = []
    honest = Session.__init__
    monkeypatch.setattr(
        Session, "__init__", lambda self, *args: (honest(self, *args), made.append(weakref.ref(self)))[0]
    )
    page = open_page()
    with_pair = [made_here for made_here in made if made_here() is not None and made_here().pair is not None]
    assert with_pair
    page.close()
    for _ in range(300):
        gc.collect()
        if all(session() is None or session().pair is None for session in with_pair):
            return
        time.sleep(0.1)
    raise AssertionError("a session of a closed tab is still in memory")


def test_a_project_is_saved_opened_and_deleted(open_page):
    page = open_page()
    stroke(page, (1, "up_proj"))
    settled(page, 1)
    page.click("#projects > button")
    page.locator("#project-name textarea, #project-name input").fill("My <first> try")
    page.click("#project-save")
    expect(page.locator("[data-testid=toast-text]")).to_contain_text("use up to 60 letters")
    page.locator("#project-name textarea, #project-name input").fill("My first try")
    page.click("#project-save")
    expect(page.locator("#saved")).to_contain_text("My first try")
    expect(page.locator("#side")).to_contain_text("My first try (your own pair)")

    other = open_page()
    stroke(other, (0, "o_proj"), (2, "o_proj"))
    settled(other, 3)
    other.click("#projects > button")
    other.get_by_role("button", name="Open My first try").click()
    expect(edited(other)).to_have_count(1)
    expect(cell(other, 1, "up_proj")).to_have_accessible_name(re.compile("set by hand"))
    expect(other.locator("#saved")).to_contain_text("1 edit")
    expect(other.locator("#project-state")).to_contain_text(
        "Project “My first try”"
    )  # all that opening changes is there
    other.get_by_role("button", name="Delete My first try").click()
    expect(other.locator("#project-state")).to_contain_text("is deleted")
    expect(other.locator("#saved")).to_contain_text("None yet")
    tab(other, "export")
