"""The main job on images: open the vision sample, probe with uploaded images, paint, evaluate, export, load with PEFT."""

import json
import re

import torch
from hands import edited, settled, stroke, tab
from peft import PeftModel
from playwright.sync_api import expect
from transformers import AutoModelForImageClassification

from tada_studio.base_model.images import image_files
from tada_studio.pipeline import load_base
from tada_studio.sample_pairs import sample


def test_open_probe_paint_evaluate_and_export_images(page, root):
    glyphs = sample("vit-glyphs")
    tab(page, "open")
    page.click("#open-vit-glyphs")
    expect(page.locator("#probe-bar")).to_contain_text("Probed with 32 inputs", timeout=30_000)
    expect(page.locator("body")).to_contain_text("Fits, with notes: 24 modules in both adapters")

    page.locator("#probe-source").get_by_label("A file").check()
    page.set_input_files("#probe-file input[type=file]", [str(file.path) for file in image_files(glyphs.probe)[:6]])
    expect(page.locator("#probe-file")).to_contain_text("005")
    page.click("#probe")
    expect(page.locator("#probe-bar")).to_contain_text("Probed with 6 inputs", timeout=60_000)

    tab(page, "inspect")
    gates = page.locator("#gates .gm-cell")
    expect(gates).to_have_count(24)
    expect(gates.first).to_have_accessible_name(re.compile("task response"))
    for layer, projection in ((0, "q_proj"), (1, "v_proj"), (3, "fc2")):
        stroke(page, (layer, projection))
    settled(page, 3)
    expect(edited(page)).to_have_count(3)

    tab(page, "evaluate")
    page.click("#run")
    expect(page.locator("#eval-bar")).to_contain_text("Run 1 is done", timeout=120_000)
    first = page.locator("#scores tbody tr td:first-child")
    names = first.all_inner_texts()
    assert names[:3] == ["base", "task", "domain"] and "tada" in names
    expect(page.locator("#sentences")).to_contain_text("tada against base: better")
    expect(page.locator("#sentences")).to_contain_text("base answers with the head of task (10 labels)")

    tab(page, "try")
    page.click("#ask")  # the image that is suggested
    expect(page.locator("#ask-bar")).to_contain_text("All have answered", timeout=60_000)
    expect(page.locator("#answers .answer.merge .odds li").first).to_contain_text(re.compile(r"\d+%"))

    tab(page, "export")
    expect(page.locator("#export-summary")).to_contain_text("Carries classifier whole, the task adapter's, 10 labels")
    page.locator("#export-name textarea, #export-name input").fill("glyphs-from-the-screen")
    page.locator("#export-logits").get_by_role("checkbox").check()
    page.click("#build")
    expect(page.locator("#certificate .note.good")).to_contain_text("Pass", timeout=60_000)
    expect(page.locator("#certificate")).to_contain_text("Logits differ")
    expect(page.locator("#certificate")).to_contain_text("is the task adapter's, kept whole in modules_to_save")
    loads_with_peft(root / "glyphs-from-the-screen", glyphs)


def loads_with_peft(folder, glyphs):
    labels = json.loads((folder / "labels.json").read_text())["labels"]
    base = AutoModelForImageClassification.from_pretrained(
        glyphs.base, num_labels=len(labels), ignore_mismatched_sizes=True
    )
    merged = PeftModel.from_pretrained(base, folder).eval()
    letter = glyphs.items["task"] / "K"
    with torch.inference_mode():
        answers = merged(pixel_values=load_base(glyphs.base).tokenizer(image_files(letter))).logits.argmax(1)
    assert [labels[i] for i in answers].count("K") >= 15
