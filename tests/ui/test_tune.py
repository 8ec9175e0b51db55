"""Auto-tune on the screen: the handlers without a browser, and the tab in one."""

import re
import sys
import time

import pytest
from hands import tab
from playwright.sync_api import expect

from tada_studio.app.page import Start
from tada_studio.app.state import TabState
from tada_studio.app.tabs import tune as tune_tab
from tada_studio.app.widgets.task import running
from tada_studio.errors import InputError
from tada_studio.pipeline import tuning
from tada_studio.recipe import Recipe

STARTS = ("search", "judge")
search = running(tune_tab.searching, STARTS)


@pytest.fixture
def state(pico):
    state = Start(task=str(pico.task), domain=str(pico.domain), base=str(pico.base)).state()
    yield state
    state.session.close()


@pytest.fixture
def few(monkeypatch):
    """Two baselines: the others are measured elsewhere."""
    two = {"average": Recipe(method="linear", strength=0.5), "sum": Recipe(method="linear")}
    monkeypatch.setattr(tuning, "baselines", lambda rank: two)


def test_a_search_streams_in_is_judged_and_can_be_taken_and_undone(state, pico, few):
    files = (str(pico.items), None)
    first, *_, last = list(search(state, 4, None, 1, 12, *files))
    assert [first[name]["interactive"] for name in ("search", "judge", "stop")] == [False, False, True]
    assert [last[name]["interactive"] for name in ("search", "take", "judge")] == [True, True, False]
    assert (
        last["picture"] and "On the untouched items" in last["verdict"] and "tuned against default" in last["verdict"]
    )
    found = state.session.tuning
    assert len(found.trials) == 4 and found.split.counts == (12, 25) and found.looks == 1
    *_, again = list(running(tune_tab.judging, STARTS)(state, 4, None, 1, 12, *files))
    assert "This is look 2 at these items" in again["verdict"]
    before, found = state.session.recipe, state.session.tuning
    assert found.found not in (None, before) and "auto-tune" in tune_tab.on_take(state)["bar"]
    assert state.session.recipe == found.found
    state.session.undo()
    assert state.session.recipe == before


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ((4, None, 1, None, None, None), "No items to tune on"),
        (("x", None, 1, None, None, None), "must be numbers"),
        ((4, -1, 1, None, None, None), "minutes"),
        ((4, None, 99, None, None, None), "seeds"),
        ((4, None, 1, "x", None, None), "whole number"),
    ],
)
def test_what_cannot_be_searched_is_said_and_the_button_is_free_again(state, asked, says):
    shown = {}
    with pytest.raises(InputError, match=says):
        for update in search(state, *asked):
            shown |= update
    assert says in shown["bar"] and shown.get("search", {}).get("interactive", True)
    assert not shown.get("judge", {}).get("interactive", False), "there is nothing to judge"


def test_nothing_to_take_before_a_search():
    with pytest.raises(InputError, match="Nothing was searched"):
        tune_tab.on_take(TabState())
    shown = tune_tab.show(TabState())
    assert shown["picture"] is None and "Nothing was searched yet" in shown["verdict"]
    assert not shown["take"]["interactive"] and not shown["judge"]["interactive"]


def test_what_beats_nothing_cannot_be_taken(state, pico, few):
    """With no trial finished the recipe on screen, painted by hand, was once offered as what had been found."""
    state.session.paint([(0, 0)], 1.0)
    *_, last = list(search(state, 4, 1e-6, 1, 12, str(pico.items), None))
    assert not last["take"]["interactive"] and not last["judge"]["interactive"]
    assert "No trial has finished" in last["verdict"]
    with pytest.raises(InputError, match="Nothing better"):
        tune_tab.on_take(state)


def test_search_stop_judge_and_take(page, pico, few, monkeypatch):
    tab(page, "tune")
    page.click("#tune-own > button")
    page.set_input_files("#tune-domain input[type=file]", str(pico.items))
    expect(page.locator("#tune-domain")).to_contain_text("items")
    page.locator("#tune-most input").fill("16")
    module, honest = (
        sys.modules["tada_studio.evaluation.benchmark"],
        sys.modules["tada_studio.evaluation.benchmark"].score,
    )
    monkeypatch.setattr(module, "score", lambda *args: time.sleep(0.05) or honest(*args))
    page.click("#tune")
    expect(page.locator("#tune-bar")).to_contain_text(re.compile(r"trial [4-9]"), timeout=120_000)
    page.click("#tune-stop")
    expect(page.locator("#tune-bar")).to_contain_text("Stopped", timeout=60_000)
    expect(page.locator("#tune-verdict")).to_contain_text("No verdict yet")
    expect(page.locator("#tune-picture .pp-chart .points .point").first).to_be_attached(timeout=60_000)
    page.click("#tune-judge")
    expect(page.locator("#tune-verdict")).to_contain_text("tuned against default", timeout=120_000)
    expect(page.locator("#tune-take")).to_be_enabled()
    page.click("#tune-take")
    expect(page.locator("#tune-bar")).to_contain_text("Undo", timeout=30_000)
