"""Items and adapters as people have them: tables with odd columns, refused rows, dropped files, paths with quotes."""

import re
from pathlib import Path

import pytest
from fake_data_sets import data_sets
from hands import tab
from playwright.sync_api import expect

from tada_studio.app.page import Start
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.tabs import try_it, tune
from tada_studio.app.tabs.inspect import effect_panel
from tada_studio.app.tabs.open import own_box
from tada_studio.app.tabs.open import tab as open_tab
from tada_studio.app.widgets import own_items
from tada_studio.errors import InputError

SLOW = 60_000


@pytest.fixture
def state(pico):
    state = Start(task=str(pico.task), domain=str(pico.domain), base=str(pico.base)).state()
    yield state
    state.session.close()


@pytest.fixture
def table(tmp_path):
    """Forty good rows, one without a right answer."""
    file = tmp_path / "quiz.csv"
    rows = "".join(f"question {i}?,yes,no,{'AB'[i % 2]}\n" for i in range(40))
    file.write_text(f"question,A,B,answer\n{rows}<b>which</b>?,yes,no,Q\n")
    return str(file)


def test_a_table_is_shown_with_its_first_items_and_its_refused_rows(state, table):
    shown = own_items.on_files(state, table, None)
    assert "domain: 40 items from quiz.csv" in shown["summary"] and "1 row refused" in shown["summary"]
    assert "line 42: answer = &#39;Q&#39; names none" in shown["summary"] and "yes | no" in shown["summary"]
    assert shown["question"]["choices"] == ["question", "A", "B", "answer"] and shown["side"] == "domain"
    found = own_items.own_items(state, *state.items)
    assert list(found) == ["domain"] and len(found["domain"]) == 40
    assert own_items.on_files(state, None, None)["summary"] == "" and own_items.own_items(state, *state.items) is None


def test_auto_tune_effect_and_try_take_the_same_items(state, table, monkeypatch):
    own_items.on_files(state, table, None)
    given = []
    monkeypatch.setattr(state.session, "tune", lambda sides, *rest: given.append(sides))
    monkeypatch.setattr(state.session, "measure_effects", lambda kinds, most, progress, sides: given.append(sides))
    tune.searching(state, 4, 5, 1, 0, None, None).work(None)
    effect_panel.measuring(("layer",), state, 8).work(None)
    assert [len(sides["domain"]) for sides in given] == [40, 40]
    labels = [label for label, _ in try_it.examples(state)]
    assert len(labels) == try_it.EXAMPLES and labels[0].startswith("domain: question ")


def test_columns_chosen_by_hand_are_used_everywhere_and_bad_ones_change_nothing(state, tmp_path):
    file = tmp_path / "odd.csv"
    file.write_text("frage;r1;r2;loesung\nWas rostet?;Eisen;Gold;Eisen\nWas glänzt?;Eisen;Gold;Gold\n")
    shown = own_items.on_files(state, None, str(file))
    assert "No row is an item. Choose columns by hand: frage, r1, r2, loesung." in shown["summary"]
    with pytest.raises(InputError, match=r"odd\.csv, line 2: expected"):
        own_items.own_items(state, *state.items)
    with pytest.raises(InputError, match="Choose a side"):
        own_items.on_columns(state, "domain", "frage", [], "loesung")
    assert "2 items" in own_items.on_columns(state, "task", "frage", ["r1", "r2"], "loesung")["summary"]
    assert [item.answer for item in own_items.own_items(state, *state.items)["task"]] == [0, 1]


def test_items_of_a_data_set_on_the_hub_fill_the_field_of_a_side(page, monkeypatch, tmp_path):
    rows = "".join(f'{{"question": "q {i}?", "choices": ["yes", "no"], "answer": {i % 2}}}\n' for i in range(12))
    tab(page, "evaluate")
    page.click("#own-items > button")
    page.locator("#hub-side").get_by_label("task").check()
    field, says = page.locator("#hub-items input, #hub-items textarea"), page.locator("#hub-fetched")
    with data_sets(monkeypatch, tmp_path, {"data/test.jsonl": rows.encode()}):
        field.fill("someone/quiz:train.jsonl")
        field.press("Enter")
        expect(says).to_contain_text("has no file train.jsonl; it holds data/test.jsonl")
        field.fill("someone/quiz")
        page.click("#hub-fetch")
        expect(says).to_contain_text("test.jsonl of someone/quiz is the file of task items now")
    expect(page.locator("#items-read")).to_contain_text("task: 12 items from test.jsonl")
    expect(page.locator("#task-items")).to_contain_text("test")


def test_columns_are_chosen_by_hand_in_a_browser(page, tmp_path):
    file = tmp_path / "odd.csv"
    file.write_text("frage;r1;r2;loesung\nWas rostet?;Eisen;Gold;Eisen\nWas glänzt?;Eisen;Gold;Gold\n")
    tab(page, "evaluate")
    page.click("#own-items > button")
    page.set_input_files("#task-items input[type=file]", str(file))
    expect(page.locator("#items-read")).to_contain_text(
        "No row is an item. Choose columns by hand: frage, r1, r2, loesung"
    )
    page.click("#columns-by-hand > button")
    page.locator("#columns-side").get_by_label("task").check()
    for field, *options in (("question", "frage"), ("choices", "r1", "r2"), ("answer", "loesung")):
        for option in options:
            page.locator(f"#columns-{field} input").click()
            page.get_by_role(
                "option", name=option, exact=True
            ).last.click()  # another field's list may still be closing
    page.keyboard.press("Escape")
    page.click("#use-columns")
    expect(page.locator("#items-read")).to_contain_text("task: 2 items from odd.csv")
    expect(page.locator("#items-read")).to_contain_text("Was rostet?")


def test_what_is_dropped_is_one_zip_or_all_files_of_a_folder(pico, tmp_path):
    files = sorted(str(path) for path in pico.task.iterdir() if path.is_file())
    assert own_box.dropped(None, "task") is None and own_box.dropped(["/x/a.zip"], "task") == "/x/a.zip"
    state = Start().state()
    for other in ([files[-1]], ["/x/a.zip", "/x/b.zip"], [*files, *files]):
        with pytest.raises(InputError, match="Drop one zip, or all files of one folder"):
            own_box.dropped(other, "task")
    copies = [tmp_path / file.rpartition("/")[2] for file in files]
    for file, copy in zip(files, copies, strict=True):
        copy.write_bytes(Path(file).read_bytes())
    *_, last = open_tab.on_own(AllowedPaths.here(None), state, None, str(pico.domain), "", list(map(str, copies)), None)
    assert "Fits" in str(last["verdict"]) and "task-files" in str(last["passports"])
    state.session.close()


def test_paths_come_as_people_copy_them(tmp_path):
    (tmp_path / "an adapter").mkdir()
    paths, wanted = AllowedPaths(tmp_path), str(tmp_path / "an adapter")
    for typed in (
        wanted,
        f'"{wanted}"',
        f"'{wanted}/'",
        f" {wanted}/ ",
        f"file://{wanted}",
        "an adapter/",
        '"an adapter"',
    ):
        assert paths.checked(typed, "Task") == wanted, typed
    assert AllowedPaths().checked('"owner/name/"', "Task") == "owner/name"
    with pytest.raises(InputError, match="there is no home folder"):
        paths.checked("~nobody-of-this-name/x", "Task")


def test_a_table_is_evaluated_in_a_browser_and_its_refused_row_named(page, table):
    tab(page, "evaluate")
    page.click("#own-items > button")
    page.set_input_files("#domain-items input[type=file]", table)
    expect(page.locator("#items-read")).to_contain_text("domain: 40 items from quiz.csv")
    expect(page.locator("#items-read")).to_contain_text("line 42")
    page.click("#run")
    expect(page.locator("#eval-bar")).to_contain_text("Run 1 is done", timeout=120_000)
    expect(page.locator("#eval-verdict")).to_contain_text("the same 40 items")
    expect(page.locator("#eval-estimate")).to_contain_text("5 variants on 40 items", timeout=SLOW)
    tab(page, "try")
    page.locator("#examples input").click()
    page.get_by_role("option").first.click()
    expect(page.locator("#prompt textarea")).to_have_value(re.compile(r"^question \d+\?$"))
