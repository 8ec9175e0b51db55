"""The main job on the sample that the app opens with: the story in figures, a gate turned, an export that PEFT loads."""

import re

import torch
from hands import edited, settled, stroke, tab
from playwright.sync_api import expect

from tada_studio.pipeline import load_base
from tada_studio.sample_pairs import sample


def scores(page) -> dict[str, list[float]]:
    """Variant -> the accuracies that its row shows, one for each side."""
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#scores tbody tr").all()]
    return {
        first: [float(found) for found in re.findall(r"(?<![\d.])[01]?\.\d+(?= \()", " ".join(rest))]
        for first, *rest in rows
    }


def test_a_visitor_sees_the_merge_keep_what_both_could_and_takes_it_home(page, root):
    tab(page, "open")
    page.click("#open-minerals-tiny")
    expect(page.locator("#probe-bar")).to_contain_text("Probed with 32 inputs", timeout=30_000)
    tab(page, "inspect")
    expect(page.locator("#gates .gm-cell")).to_have_count(42)
    expect(page.locator("#gates .gm-cell").first).to_have_accessible_name(re.compile("task response"))
    stroke(page, (1, "v_proj"))
    settled(page, 1)
    page.click("#undo")
    settled(page, 0)
    stroke(page, (5, "q_proj"))
    settled(page, 1)
    expect(edited(page)).to_have_count(1)

    tab(page, "evaluate")
    page.click("#run")
    expect(page.locator("#eval-bar")).to_contain_text("Run 1 is done", timeout=120_000)
    found = scores(page)
    for weaker, side in (("base", 0), ("base", 1), ("task", 0), ("domain", 1)):
        assert found["tada"][side] > found[weaker][side] + 0.2, (weaker, side, found)

    tab(page, "export")
    page.locator("#export-name textarea, #export-name input").fill("minerals-from-the-screen")
    page.locator("#export-within textarea, #export-within input").fill("a folder/of my own")
    page.click("#build")
    expect(page.locator("#certificate .note.good")).to_contain_text("Pass", timeout=60_000)
    expect(page.locator("#export-estimate")).to_contain_text("certificate included")
    loads_with_peft(
        page.locator("#certificate .load-it pre").inner_text(),
        root / "a folder" / "of my own" / "minerals-from-the-screen",
    )


def loads_with_peft(code, folder):
    """By the lines on the screen, as they stand; and it still answers with a letter."""
    assert repr(str(folder)) in code
    names: dict = {}
    exec(code, names)
    tokenizer, model = load_base(sample("minerals-tiny").base).tokenizer, names["model"]
    asked = "Question: what colour is grass?\nred (A)\ngreen (B)\nblue (C)\nblack (D)\nLetter"
    with torch.inference_mode():
        answer = model(**tokenizer(asked, return_tensors="pt")).logits[0, -1].argmax()
    assert re.fullmatch(r"\([A-D]\)", tokenizer.decode(answer).strip())
