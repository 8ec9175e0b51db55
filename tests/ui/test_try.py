"""Try it: the handlers without a browser, and the tab in one."""

import csv
import re
import sys
import time
from pathlib import Path

import pytest
from hands import tab
from PIL import Image
from playwright.sync_api import expect

from tada_studio.app.page import Start
from tada_studio.app.state import TabState
from tada_studio.app.tabs import try_it as try_tab
from tada_studio.app.widgets.task import running
from tada_studio.errors import InputError
from tada_studio.evaluation.prompts import CLASSES, Answer, Odds
from tada_studio.sample_pairs import sample

ALL = list(try_tab.VARIANTS)
ask = running(try_tab.asking, ("ask",))


@pytest.fixture
def state(pico):
    state = Start(task=str(pico.task), domain=str(pico.domain), base=str(pico.base)).state()
    yield state
    state.session.close()


def test_answers_stream_in_and_the_buttons_say_who_is_at_work(state):
    first, *_, last = list(ask(state, "gold is", None, "plain", ALL, 5, 0.0, 0))
    assert [first[name]["interactive"] for name in ("ask", "stop")] == [False, True]
    assert [last[name]["interactive"] for name in ("ask", "stop")] == [True, False]
    for name in ALL:
        assert f'class="answer {name}"' in last["answers"]
    assert "answering" not in last["answers"] and "All have answered" in last["bar"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("", None, "plain", ALL, 5, 0, 0), "empty"),
        (("gold", None, "chat", ALL, 5, 0, 0), "no chat template"),
        (("gold", None, "plain", [], 5, 0, 0), "Nobody is chosen"),
        (("gold", None, "plain", None, 5, 0, 0), "Nobody is chosen"),
        (("gold", None, "plain", ALL, None, 0, 0), "must be numbers"),
        (("gold", None, "plain", ALL, 5, 99, 0), "temperature"),
        (("gold", None, "plain", ALL, 5, 1, -3), "seed"),
    ],
)
def test_what_cannot_be_asked_is_said_and_the_button_is_free_again(state, asked, says):
    shown = {}
    with pytest.raises(InputError, match=says):
        for update in ask(state, *asked):
            shown |= update
    assert says in shown["bar"] and shown.get("ask", {}).get("interactive", True)


def test_whatever_a_model_says_is_text(state):
    evil = "<img src=x onerror=alert(1)>"
    shown = try_tab.cards(
        {"base": Answer(evil, [Odds(evil, 0.5, True)], done=True), "task": Answer(evil, [], done=True)}
    )
    assert "<img" not in shown and shown.count("&lt;img") == 3
    assert "the same words as base" in shown


def test_examples_come_from_every_side_and_bring_their_choices_only_word_by_word():
    state = TabState()
    assert try_tab.examples(state) == [] and try_tab.show(state)
    state.session.sample = sample("smollm2-minerals")
    keys = [key for _, key in try_tab.examples(state)]
    assert {key.split()[0] for key in keys} == {"domain", "task"} and len(keys) == 2 * try_tab.EXAMPLES
    prompt = try_tab.on_example(state, keys[0])["prompt"]
    assert try_tab._item(state, prompt, keys[0]).question == prompt
    assert try_tab._item(state, prompt + "!", keys[0]) is None
    assert try_tab.on_example(state, "no such key") == {}


def test_a_prompt_of_the_sample_is_suggested_once_and_never_over_what_was_written(state):
    assert "prompt" not in try_tab.show(state), "a pair of one's own brings none"
    state.session.open_sample("minerals-tiny")
    shown = try_tab.show(state)
    assert shown["prompt"] == try_tab._known(state)[shown["examples"]["value"]][1].question
    assert "prompt" not in try_tab.show(state) and "value" not in try_tab.show(state)["examples"]


def test_once_they_have_answered_it_is_known_how_long_that_takes(state, monkeypatch):
    monkeypatch.setattr(try_tab, "estimated", lambda session, kind, units, what: f"{units} of {kind}: {what}")
    asked = ("a prompt", None, "plain", ["base", "merge"], 5, 0, 0)
    try_tab.estimate(state, ["base", "merge"], 5)
    assert "10 of ask: 2 answers of 5 tokens" in try_tab.asking(state, *asked).show()["estimate"]
    many = try_tab.asking_all(state, "one\ntwo", "plain", ["base"], 5, 0, 0)
    assert "2 answers of 5 tokens" in many.show()["estimate"]


def test_ask_read_and_stop(page, monkeypatch):
    tab(page, "try")
    page.locator("#prompt textarea").fill("question : what is quartz ? answer :")
    page.click("#ask")
    expect(page.locator("#ask-bar")).to_contain_text("All have answered", timeout=60_000)
    expect(page.locator("#answers .answer")).to_have_count(4)
    message = page.locator("#answers .answer.merge .answer-text")
    expect(message).to_have_text(re.compile(r"\S"))
    page.click("#many-prompts > button")
    page.locator("#prompts textarea").fill("what is quartz ?\nwhat is gold ?")
    page.click("#ask-all")
    expect(page.locator("#ask-bar")).to_contain_text("All have answered all prompts", timeout=60_000)
    expect(page.locator("#answer-grid tbody tr")).to_have_count(2)
    with page.expect_download() as download:
        page.click("#answers-csv")
    assert download.value.path().read_text().startswith("prompt,base,task,domain,merge\nwhat is quartz ?,")
    module, honest = (
        sys.modules["tada_studio.base_model.generate"],
        sys.modules["tada_studio.base_model.generate"]._pick,
    )
    monkeypatch.setattr(module, "_pick", lambda *args: time.sleep(0.1) or honest(*args))
    page.locator("#most input[type=number]").fill("100")
    page.locator("#most input[type=number]").press("Enter")
    page.locator("#heat input[type=number]").fill("1.5")
    page.locator("#heat input[type=number]").press("Enter")
    page.click("#ask")
    expect(page.locator("#answers .answer.base .answer-text")).to_have_text(re.compile(r"\S+ \S+"), timeout=30_000)
    page.click("#ask-stop")
    expect(page.locator("#ask-bar")).to_contain_text("Stopped", timeout=30_000)
    expect(page.locator("#ask")).to_be_enabled()
    assert page.locator("#answers .answer").count() < 4


ask_all = running(try_tab.asking_all, ("all",))


def test_several_prompts_make_a_grid_that_goes_home(state):
    *_, last = ask_all(state, "gold is\n\n quartz is\n", "plain", ["base", "merge"], 4, 0.0, 0)
    assert "All have answered all prompts" in last["bar"] and last["grid"].count("<tr>") == 3
    with Path(last["csv"]["value"]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["prompt"] for row in rows] == ["gold is", "quartz is"] and set(rows[0]) == {"prompt", "base", "merge"}
    *_, one = ask(state, "quartz is", None, "plain", ["merge"], 4, 0.0, 0)
    assert rows[1]["merge"].strip() in str(one["answers"]).replace("&#39;", "'"), "the same answer as asked alone"
    with pytest.raises(InputError, match="one prompt a line"):
        list(ask_all(state, " \n", "plain", ["base"], 4, 0.0, 0))


def test_the_grid_says_when_its_merge_is_of_an_earlier_recipe_and_goes_with_the_pair(state):
    session = state.session
    list(ask_all(state, "gold is", "plain", ["base", "merge"], 2, 0.0, 0))
    assert "earlier recipe" not in try_tab.show(state)["grid"]
    session.turn(strength=1.5)
    assert "The merge of an earlier recipe" in try_tab.show(state)["grid"]
    session.open(session.opened.task, session.opened.domain, session.opened.base)
    shown = try_tab.show(state)
    assert shown["grid"] == "" and not shown["csv"]["visible"]


def test_a_classifier_shows_the_probabilities_of_its_classes():
    state = Start(sample="vit-glyphs").state()
    key = next(key for _, key in try_tab.examples(state))
    *_, last = ask(state, "", key, "plain", ["task", "merge"], 4, 0.0, 0)
    answers = state.session.answers
    assert list(answers) == ["task", "merge"] and "All have answered" in last["bar"]
    shares = [each.share for each in answers["task"].odds]
    assert shares == sorted(shares, reverse=True) and 0.5 < sum(shares) <= 1.0001 and len(shares) == CLASSES
    assert answers["task"].text == answers["task"].odds[0].choice
    image = str(try_tab._known(state)[key][1].content.path)
    list(ask(state, "ignored", None, "plain", ["task"], 4, 0.0, 0, image))
    assert [each.share for each in state.session.answers["task"].odds] == shares, "the same image, uploaded"
    with pytest.raises(InputError, match="Give an image"):
        list(ask(state, "a text", None, "plain", ["task"], 4, 0.0, 0))
    state.session.close()


def test_a_base_that_reads_texts_takes_no_image(state, tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "r.png")
    with pytest.raises(InputError, match="reads texts"):
        list(ask(state, "", None, "plain", ["base"], 4, 0.0, 0, str(tmp_path / "r.png")))
