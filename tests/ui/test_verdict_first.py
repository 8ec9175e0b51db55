"""Evaluate says the verdict first: one sentence, cards against anybody, bars, a table to take home, and rows that open."""

import csv
import json
import re
from pathlib import Path

import pytest
from hands import settled, tab
from playwright.sync_api import expect

from tada_studio import figures
from tada_studio.app.page import Start
from tada_studio.app.tabs.evaluate import flips_panel, run_panel, variant_box
from tada_studio.app.widgets.plot_panel import plot_panel
from tada_studio.errors import InputError
from tada_studio.evaluation import Item
from tada_studio.evaluation.shown import Shown
from tada_studio.pipeline.variants import variant_words
from tada_studio.report.history import Flip
from tada_studio.session.files import read, write

SLOW = 60_000


@pytest.fixture(scope="module")
def state(pico):
    """With a run of four variants; tests put the recipe back."""
    state = Start(task=str(pico.task), domain=str(pico.domain), base=str(pico.base)).state()
    items = [Item(f"question {i}", ("a", "b"), i % 2) for i in range(12)]
    state.session.evaluate({"domain": items, "task": items[:8]}, ["base", "task", "sum", "tada"], 12)
    yield state
    state.session.close()


def test_the_sentence_comes_first_and_the_cards_compare_with_whoever_is_chosen(state):
    [run] = state.session.runs
    shown = run_panel.results(state, run)
    assert next(iter(shown)) == "verdict" and "cannot be told from" in shown["verdict"].lower()
    assert shown["against"]["value"] == "task" and "task retention, against task alone" in shown["cards"]
    assert ("sum (linear, strength 1)", "sum") in shown["against"]["choices"]
    other = run_panel.on_against(state, "sum")
    assert "gain on task, against sum;" in other["cards"] and "nats" in other["cards"]
    assert run_panel.results(state, run)["against"]["value"] == "sum", "the choice stays"
    assert run_panel.on_against(state, "nobody")["against"]["value"] == "base"
    state.against = "task"


def test_the_table_goes_home_with_a_row_for_each_score(state):
    path = run_panel.results(state, state.session.runs[-1])["csv"]["value"]
    with Path(path).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["side"], row["variant"]) for row in rows] == [
        (side, name) for side in ("domain", "task") for name in ("base", "task", "sum", "tada")
    ]
    assert all(row["accuracy"] for row in rows)


def test_any_variant_becomes_the_recipe_and_undo_takes_it_back(state, tmp_path):
    session, [run] = state.session, state.session.runs
    assert [name for _, name in variant_box.choices(run)] == ["task", "sum", "tada"], "the base alone is no recipe"
    before = session.recipe
    variant_box.take(state, run, "sum")
    assert session.recipe.method == "linear" and session.recipe.strength == 1 and session.stale(run)
    session.undo()
    variant_box.take(state, run, "task")
    assert session.recipe.overrides == ("* : task",)
    session.undo()
    assert session.recipe == before
    with pytest.raises(InputError, match="the base alone"):
        variant_box.take(state, run, "base")
    write(session.state, tmp_path)
    again, remarks = read(tmp_path)
    assert remarks == [] and again.runs[0].recipes == run.recipes and set(run.recipes) == {"sum", "tada"}
    again.close()


def test_variants_are_called_what_the_knobs_call_them():
    assert variant_words("average") == "average (linear, strength 0.5)" and variant_words("svd") == "svd"
    assert variant_words("tada", "tada") == "tada (this recipe)" and variant_words("task") == "task adapter"


def test_every_bar_has_its_figure_behind_its_interval_whatever_its_length(state):
    plot = figures.score_bars(state.session.runs[-1].sides).plot
    bars, text = plot.data
    assert len(bars.x) == 8 and text.text[0].strip().endswith("% domain") and text.text[1].strip().endswith("% task")
    ends = [share + above for share, above in zip(bars.x, bars.error_x.array, strict=True)]
    assert list(text.x) == pytest.approx(ends) and plot.layout.height > 8 * 24
    assert list(plot.layout.yaxis.ticktext) == ["base", "task", "sum", "tada"]
    assert plot.layout.yaxis.tickvals[0] == pytest.approx(sum(bars.y[:2]) / 2)


def test_an_empty_panel_says_what_to_do():
    template = plot_panel(figures.SCORES, "Bars appear here.", "some-bars").html_template
    assert "Bars appear here." in template and ">None<" not in template


def flip(i):
    return Flip(
        "domain",
        i,
        i % 2 == 0,
        Shown(f"question {i}\nmore", "a", ("a", "b")),
        (-2.0, -1.0),
        (-1.0, -2.0),
        -1.0,
        1.0,
        ("b", "a"),
    )


def test_flips_are_paged():
    found = [flip(i) for i in range(60)]
    first = flips_panel.page(found, found, "task", "tada")
    assert first.count("<details") == 25 and "1 to 25 of 60" in first and "Further flips" in first
    assert "Earlier flips" not in first and "question 0 more" in first and "question 25" not in first
    last = flips_panel.page(found, found, "task", "tada", 2)
    assert last.count("<details") == 10 and "51 to 60 of 60" in last and "Further flips" not in last
    assert flips_panel.page(found, found, "task", "tada", 99) == last
    assert "of 3" not in flips_panel.page(found[:3], found[:3], "task", "tada")


def test_in_a_browser_the_verdict_a_row_and_a_variant(page, pico, tmp_path, monkeypatch):
    monkeypatch.setattr(flips_panel, "PER_PAGE", 1)
    tab(page, "evaluate")
    page.click("#own-items > button")
    items = tmp_path / "many.jsonl"
    items.write_text(
        "".join(
            json.dumps({"question": f"question {i}", "choices": ["a", "b"], "answer": i % 2}) + "\n" for i in range(50)
        )
    )
    page.set_input_files("#domain-items input[type=file]", str(items))
    expect(page.locator("#domain-items")).to_contain_text("many")
    names = page.locator("#variants label")
    few = ["base", "task adapter", "domain adapter", "average", "sum", "tada"]
    expect(names).to_have_text([re.compile(rf"^\s*{name}") for name in few])
    page.locator("#all-methods").get_by_role("checkbox").check()
    page.locator("#variants").get_by_label("svd").check()
    page.locator("#all-methods").get_by_role("checkbox").uncheck()
    expect(names).to_have_count(7)  # what is ticked stays
    page.locator("#variants").get_by_label("svd").uncheck()
    page.click("#run")
    expect(page.locator("#eval-bar")).to_contain_text("Run 1 is done", timeout=120_000)
    expect(page.locator("#scores .caption")).to_contain_text("NLL: how unlikely it finds the right answer")
    expect(page.locator("#eval-verdict .note")).to_contain_text("Paired tests on the same 50 items")
    # all at one moment: the page may still be scrolling to the bar
    where = "(places) => places.map((place) => document.querySelector(place).getBoundingClientRect().y)"
    top = page.evaluate(where, ["#eval-verdict", "#two-sides", "#bars", "#scores"])
    assert top == sorted(top)
    page.locator("#against input").click()
    page.get_by_role("option", name="domain adapter").click()
    expect(page.locator("#two-sides")).to_contain_text("against domain alone")
    with page.expect_download() as download:
        page.click("#scores-csv")
    assert "accuracy" in download.value.path().read_text()
    page.locator("#variant input").click()
    page.get_by_role("option", name="sum (linear").click()
    page.click("#variant-take")
    expect(page.locator("#eval-verdict")).to_contain_text("is of an earlier recipe", timeout=SLOW)
    expect(page.locator("#side dd").last).to_contain_text("linear")
    expect(page.locator("#steps")).to_contain_text("of an earlier recipe (run 1)")
    page.click("#section-flips-button")
    row = page.locator("#flips .flip").first
    expect(row.locator("table")).to_be_hidden()
    row.locator("summary").click()
    expect(row.locator("table")).to_be_visible()
    # it stays open when the list is drawn anew: filtered, emptied and filled again, and after an edit elsewhere
    place = page.locator(f"#flips [data-keep='{row.get_attribute('data-keep')}']")
    page.get_by_role("button", name="Further flips").click()
    expect(place).to_have_count(0)
    page.get_by_role("button", name="Earlier flips").click()
    expect(place.locator("table")).to_be_visible()
    search = page.locator("#flips-text input, #flips-text textarea")
    for text, rows in (("question", 1), ("no such words", 0), ("", 1)):
        search.fill(text)
        expect(place).to_have_count(rows)
    expect(place.locator("table")).to_be_visible()
    tab(page, "inspect")
    page.click("#undo")
    settled(page, 0)
    tab(page, "evaluate")
    expect(place.locator("table")).to_be_visible()
    place.locator("summary").click()
    search.fill("question")
    expect(page.locator("#flips .note")).to_contain_text("From")
    expect(place.locator("table")).to_be_hidden()
