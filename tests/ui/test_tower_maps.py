"""A base of two towers on the screen: a map for each, one below the other, painted, read and undone like one map."""

import json
import re

import pytest
import torch
from hands import settled, tab
from playwright.sync_api import expect
from safetensors.torch import save_file

#: An encoder of 3 layers and a decoder of 5, which attends to itself and across.
STACKS = {"encoder": (3, ("self_attn",)), "decoder": (5, ("self_attn", "encoder_attn"))}


def two_towers(folder, seed):
    """An adapter of rank 1 on a base that is not there."""
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for tower, (layers, attentions) in STACKS.items():
        for i in range(layers):
            for name in (f"{attention}.{p}" for attention in attentions for p in ("q_proj", "v_proj")):
                start = f"base_model.model.model.{tower}.layers.{i}.{name}"
                tensors |= {
                    f"{start}.lora_{x}.weight": torch.randn(*s, generator=draw)
                    for x, s in (("A", (1, 4)), ("B", (4, 1)))
                }
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj", "v_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def towers(open_page, root):
    """The Inspect tab with a pair of two towers open."""
    page = open_page()
    tab(page, "open")
    for seed, role in enumerate(("task", "domain")):
        page.locator(f"#{role}").get_by_role("textbox").fill(str(two_towers(root / f"towers-{role}", seed)))
    page.locator("#base").get_by_role("textbox").fill("")
    page.click("#open-own")
    tab(page, "inspect")
    expect(page.locator("#gates .gm-tower")).to_have_count(2, timeout=30_000)
    return page


def cell(page, name):
    return page.locator(f"#gates [data-cell='{name}']")


def test_each_tower_is_a_map_of_its_own(towers):
    page = towers
    expect(page.locator("#gates .gm-tower-name")).to_have_text(["encoder", "decoder"])
    expect(page.locator("#gates .gm-tower").first.locator(".gm-cell")).to_have_count(3 * 2)
    expect(page.locator("#gates .gm-tower").last.locator(".gm-cell")).to_have_count(5 * 4)
    expect(page.locator("#gates .gm-cell.absent")).to_have_count(0)
    boxes = [page.locator("#gates .gm-tower").nth(k).bounding_box() for k in (0, 1)]
    assert boxes[0]["y"] + boxes[0]["height"] < boxes[1]["y"] and boxes[0]["width"] == boxes[1]["width"]
    # a stroke over a row stays within its tower, and says so
    page.locator("#gates .gm-tower").first.locator(".gm-name[data-row]").first.click()
    settled(page, 3)
    expect(page.locator("#gates .gm-tower").last.locator(".edited")).to_have_count(0)
    expect(cell(page, "encoder.2.q_proj")).to_have_accessible_name(
        re.compile(r"encoder layer 2 q_proj: share 1\.00, set by hand")
    )
    # keys go on from the last layer of one tower to the first of the next, onto a projection that it has
    cell(page, "encoder.0.q_proj").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    settled(page, 4)
    expect(page.locator("#gates .gm-tower").last.locator("[data-i='3'].edited")).to_have_count(1)
    page.click("#undo")
    settled(page, 3)
    # so do lines: what they would touch is pointed out
    page.locator("#line textarea").fill("decoder : layers 0-1 : attn : 0.25")
    expect(page.locator("#gates .gm-tower").last.locator(".previewed")).to_have_count(2 * 4)
    expect(page.locator("#gates .gm-tower").first.locator(".previewed")).to_have_count(0)
    expect(page.locator("#depth")).to_contain_text("decoder", timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
