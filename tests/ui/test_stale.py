"""A result belongs to a recipe: whatever is shown against another one says so, and nothing of it can be taken home."""

import pytest
from hands import settled, stroke, tab
from pico import pico_adapter
from playwright.sync_api import expect

from tada_studio.app.page import Start
from tada_studio.app.state import TabState
from tada_studio.app.tabs import try_it, tune
from tada_studio.app.tabs.evaluate import run_panel
from tada_studio.app.tabs.export import tab as export_tab
from tada_studio.app.tabs.open import role_box
from tada_studio.base_model.generate import Sampling
from tada_studio.errors import InputError
from tada_studio.evaluation import Item
from tada_studio.evaluation.prompts import Question
from tada_studio.tuning import Plan

SLOW = 60_000


@pytest.fixture
def state(pico):
    state = Start(task=str(pico.task), domain=str(pico.domain), base=str(pico.base)).state()
    yield state
    state.session.close()


def test_scores_of_an_earlier_recipe_are_pale_and_named_so(state):
    items = [Item(f"question {i}", ("a", "b"), i % 2) for i in range(6)]
    state.session.evaluate({"domain": items}, ["base", "tada"], 6)
    run = state.session.runs[-1]
    assert "earlier recipe" not in str(run_panel.results(state, run))
    state.session.turn(strength=0.5)
    shown = run_panel.results(state, run)
    assert (
        "is of an earlier recipe" in shown["verdict"]
        and 'class="stale"' in shown["cards"]
        and 'class="stale"' in shown["table"]
    )
    assert '"title": "Accuracy, of an earlier recipe"' in shown["bars"] and '"opacity":0.35' in shown["bars"]
    state.session.undo()
    assert "earlier recipe" not in str(run_panel.results(state, run))


def test_a_certificate_is_shown_for_its_own_merge_only(state, tmp_path):
    assert not export_tab.built(state)["push"]["interactive"]
    state.session.export(tmp_path / "out")
    assert "Pass." in export_tab.built(state)["result"] and export_tab.built(state)["push"]["interactive"]
    state.session.paint([(0, 0)], 1.0)
    shown = export_tab.built(state)
    assert "Pass" not in shown["result"] and "Of an earlier recipe" in shown["result"]
    assert not shown["push"]["interactive"] and not shown["download"]["visible"]


def test_the_merge_that_answered_is_named_as_of_an_earlier_recipe_and_its_parents_are_not(state):
    asked = Question("what is iron")
    state.session.ask(asked, ["task", "merge"], Sampling(most=2))
    fresh = try_it.show(state)["answers"]
    assert "The merge on screen" in fresh and "stale" not in fresh
    state.session.turn(strength=0.5)
    shown = try_it.show(state)["answers"]
    assert "The merge of an earlier recipe" in shown and "The merge on screen" not in shown
    assert shown.count('class="stale"') == 1 and "Task adapter" in shown
    state.session.undo()
    assert "stale" not in try_it.show(state)["answers"]


def test_a_search_of_an_earlier_recipe_says_so(state):
    items = {side: [Item(f"question {i} {side}", ("a", "b"), i % 2) for i in range(16)] for side in ("domain", "task")}
    state.session.tune(items, Plan(trials=2, seeds=1), 4)
    shown = tune.pictures(state)
    assert "Of an earlier recipe" not in shown["verdict"] and "earlier recipe" not in shown["picture"]
    state.session.paint([(0, 0)], 1.0)
    shown = tune.pictures(state)
    assert "Of an earlier recipe" in shown["verdict"] and 'class="stale"' in shown["verdict"]
    assert '"title": "Retention against gain, of an earlier recipe"' in shown["picture"]


def test_build_paint_and_no_pass_no_zip_no_push_is_offered(page, pico):
    tab(page, "export")
    page.click("#build")
    expect(page.locator("#certificate .note.good")).to_contain_text("Pass.", timeout=SLOW)
    expect(page.locator("#download")).to_be_visible()
    expect(page.locator("#side .steps li").last).to_contain_text("at this recipe, certified", timeout=SLOW)
    tab(page, "inspect")
    stroke(page, (0, "v_proj"), (2, "v_proj"))
    settled(page, 3)
    expect(page.locator("#side .steps li").last).to_contain_text("of an earlier recipe", timeout=SLOW)
    tab(page, "export")
    expect(page.locator("#certificate")).to_contain_text("Of an earlier recipe", timeout=SLOW)
    expect(page.locator("#certificate .note.good")).to_have_count(0)
    expect(page.locator("#download")).to_be_hidden()
    page.click("#push-box > button")
    expect(page.locator("#push")).to_be_disabled()
    tab(page, "inspect")
    page.click("#undo")
    settled(page, 0)
    tab(page, "export")
    expect(page.locator("#certificate .note.good")).to_contain_text("Pass.", timeout=SLOW)  # the recipe is what it was
    expect(page.locator("#download")).to_be_visible()
    tab(page, "open")
    page.locator("#task").get_by_role("textbox").fill(str(pico.domain))
    page.locator("#domain").get_by_role("textbox").fill(str(pico.task))
    page.click("#open-own")
    expect(page.locator("#side dd", has_text="pico-domain").first).to_be_visible(timeout=SLOW)
    expect(page.locator("#side .steps li").last).to_contain_text("one PEFT folder", timeout=SLOW)
    tab(page, "export")
    expect(page.locator("#certificate")).to_contain_text("Nothing was built yet", timeout=SLOW)
    expect(page.locator("#download")).to_be_hidden()


# -- roles -----------------------------------------------------------------------------------------------------------


def test_an_adapter_twice_opens_as_siblings_and_the_right_merge_is_one_click(pico, tmp_path):
    again = pico_adapter(tmp_path / "again", pico.base, seed=1)
    state = Start(task=str(pico.task), domain=str(again)).state()
    before = state.session.recipe
    assert "both are the same adapter" in role_box.show(state)["roles"]["html"]
    assert state.session.recipe == before, "a role is never applied unasked"
    role_box.press(state, "recipe", "their average")
    assert (state.session.recipe.method, state.session.recipe.strength) == ("linear", 0.5)
    state.session.undo()
    assert state.session.recipe == before
    state.session.close()


def test_the_only_merge_that_fits_is_offered_until_it_is_taken(state):
    assert "Merge as:" not in role_box.show(state)["roles"]["html"], "a merge as usual is what was opened"
    role_box.press(state, "role", "stacked")
    assert "Merge as:" in role_box.show(state)["roles"]["html"]
    role_box.press(state, "recipe", "both, exactly")
    assert "Merge as:" not in role_box.show(state)["roles"]["html"]


def test_a_person_can_say_that_one_was_trained_on_top_of_the_other(state):
    role_box.press(state, "role", "stacked")
    assert "You say: stacked" in role_box.show(state)["roles"]["html"]
    role_box.press(state, "recipe", "both, exactly")
    pair = state.session.pair
    assert state.session.recipe.rank == pair.task.rank + pair.domain.rank
    for wrong in (("role", "<b>"), ("recipe", "nothing"), (None, None)):
        with pytest.raises(InputError):
            role_box.press(state, *wrong)
    with pytest.raises(InputError, match="Nothing is open"):
        role_box.press(TabState(), "role", "stacked")
