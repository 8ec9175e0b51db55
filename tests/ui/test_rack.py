"""Many adapters at a glance on the Open tab: right roles, and any pair a click away, while the base stays."""

import json
import shutil
from functools import partial

import pytest
import torch
from hands import tab
from playwright.sync_api import expect
from safetensors.torch import load_file, save_file

from tada_studio.app.page import Start
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.tabs.open import rack_box
from tada_studio.app.tabs.open import tab as open_tab
from tada_studio.errors import InputError
from tada_studio.figures import rack_map
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.progress import silent
from tada_studio.sample_pairs import sample

SLOW = 120_000
#: In the order of the map.
NAMES = ["blank", "dpo", "letters", "letters-copy", "letters-later", "minerals"]


def relative(source, folder, change, base=None):
    """A folder like ``source`` with other tensors."""
    folder.mkdir(parents=True)
    config = json.loads((source / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **({"base_model_name_or_path": base} if base else {})}))
    draw = torch.Generator().manual_seed(3)
    changed = {name: change(name, t, draw).contiguous() for name, t in load_file(source / WEIGHTS).items()}
    save_file(changed, folder / WEIGHTS, metadata={"format": "pt"})


def grown(name, t, draw):
    """Some hundred steps on."""
    return (
        1.3 * (t + 0.1 * t.float().std() * torch.randn(t.shape, generator=draw)).to(t.dtype) if "lora_B" in name else t
    )


@pytest.fixture(scope="module")
def shelf(root):
    """The default sample's two adapters, relatives of both, and an untrained one."""
    home, tiny = root / "shelf", sample("minerals-tiny")
    shutil.copytree(tiny.task, home / "letters")
    shutil.copytree(tiny.domain, home / "minerals")
    relative(tiny.task, home / "letters-copy", lambda name, t, draw: t.float())
    relative(tiny.task, home / "letters-later", grown)
    relative(tiny.domain, home / "dpo", lambda name, t, draw: t.flip(-1), base=str(home / "letters"))
    relative(tiny.domain, home / "blank", lambda name, t, draw: t * (0 if "lora_B" in name else 1))
    return home


def compared(state, *refs):
    rack_box.comparing(AllowedPaths.here(), state, "\n".join(map(str, refs)), None, "cosine").work(silent)
    return state.rack


def click(page, row, column):
    """The middle of a cell of the map."""
    box = page.locator("#rack-map .nsewdrag").first.bounding_box()
    across, down = ((i + 0.5) / len(NAMES) for i in (column, row))
    page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])


def test_a_rack_in_the_browser_tells_roles_and_opens_pairs_whose_merge_is_one_click(open_page, shelf):
    page = open_page()
    page.set_default_timeout(SLOW)
    tab(page, "open")
    page.click("#open-minerals-tiny")
    expect(page.locator("#sample-minerals-tiny .badge.good")).to_have_text("open", timeout=SLOW)
    page.click("#rack > button")
    page.locator("#rack-refs textarea").fill(str(shelf))
    page.click("#rack-compare")
    expect(page.locator("#rack-bar")).to_contain_text("Compared 6 adapters", timeout=SLOW)
    listed = page.locator("#rack-pairs li")
    for pair, role in {
        "letters and letters-copy": "siblings, the same adapter", "letters and letters-later": "siblings, checkpoints of one run",
        "dpo and letters": "stacked", "blank and minerals": "alone",
    }.items():  # fmt: skip
        expect(listed.filter(has_text=f"{pair}: {role}")).to_have_count(1)
    expect(listed.filter(has_text="letters and minerals")).to_have_count(0)  # simply independent
    expect(page.locator("#rack-sizes tbody tr")).to_have_count(6)
    page.locator("#rack-kind").get_by_label("conflict").check()
    expect(page.locator("#rack-map .pp-title")).to_have_text("Energy in conflict of every two")
    expect(page.locator("#rack-map .pp-chart[data-draws='2']")).to_be_visible()

    page.locator("#rack-map").scroll_into_view_if_needed()
    click(page, 2, 5)
    expect(page.locator("#roles")).to_contain_text("Independent: trained apart", timeout=SLOW)
    expect(page.locator("#side")).to_contain_text("letters", timeout=SLOW)
    expect(page.locator("#sample-minerals-tiny .badge.good")).to_have_count(0)
    one_click = {
        ("letters and letters-later", "Siblings: two checkpoints of one run"): "the domain adapter",
        ("letters and letters-copy", "Siblings: both are the same adapter"): "the domain adapter",
        ("dpo and letters", "Stacked: the task adapter was trained on top of the other"): "both, exactly",
    }
    for (pair, says), way in one_click.items():
        listed.filter(has_text=f"{pair}:").get_by_role("button").click()
        expect(page.locator("#roles")).to_contain_text(says, timeout=SLOW)
        page.locator("#roles").get_by_role("button", name=f"Take the recipe: {way}").click()
        expect(
            page.locator("#messages, .message-line").filter(has_text=f"The recipe is now: {way}").first
        ).to_be_attached()


@pytest.mark.parametrize(("many", "pixels"), [(6, 36), (30, 17)])
def test_cells_of_a_rack_keep_room_for_their_numbers_or_for_a_finger_at_any_width(many, pixels):
    plot = rack_map("cosine", [f"adapter-{i}" for i in range(many)], torch.zeros(many, many), {}).plot
    assert plot.layout.meta["least"] > many * pixels and plot.data[0].colorbar.orientation == "h"


def test_a_cell_opens_its_pair_and_the_base_in_memory_stays(shelf):
    state, paths = TabState(), AllowedPaths.here()
    state.session.open_sample("minerals-tiny")
    base = state.session.load_base()
    found = compared(state, shelf)
    assert list(found.adapters) == NAMES and state.session.sample is not None, "comparing opens nothing"
    open_tab.on_rack(paths, state, "", 5, 4)
    assert [state.session.pair.task.label, state.session.pair.domain.label] == ["minerals", "letters-later"]
    assert state.session.base is base and "the base stays" in state.message
    open_tab.on_rack(paths, state, "", 2, 2)
    assert state.session.pair.task.label == "letters" and state.session.opened.domain == ""
    assert state.session.base is base
    for wrong in ((6, 0), (None, 1), ("0", "1"), (0.5, 1)):
        with pytest.raises(InputError, match="Choose a cell"):
            rack_box.opening(state, *wrong)
    with pytest.raises(InputError, match="no rack yet"):
        rack_box.opening(TabState(), 0, 1)
    state.session.close()


def test_a_base_of_other_layers_does_not_stay_and_the_one_that_is_named_is_taken(pico, shelf):
    state = Start(task=str(pico.task), domain=str(pico.domain), base=str(pico.base)).state()
    compared(state, shelf)
    open_tab.on_rack(AllowedPaths.here(), state, "", 2, 5)
    assert state.session.base_ref is None and "stays" not in state.message
    open_tab.on_rack(AllowedPaths.here(), state, sample("minerals-tiny").base, 2, 5)
    assert state.session.base_ref == sample("minerals-tiny").base
    state.session.close()


def test_what_cannot_be_compared_is_named_and_a_rack_can_be_stopped(pico, shelf, tmp_path):
    state = TabState()
    (tmp_path / "<b>broken").mkdir()
    (tmp_path / "<b>broken" / CONFIG).write_text("{}")
    found = compared(state, shelf / "letters", shelf / "minerals", pico.task, tmp_path / "<b>broken")
    assert list(found.adapters) == ["letters", "minerals"] and len(found.left_out) == 2
    sizes = rack_box.show(state, "overlap")["rack sizes"]
    assert "&lt;b&gt;broken: " in sizes and "pico-task" in sizes and "<b>broken" not in sizes
    assert '"title": "Overlap of directions of every two"' in rack_box.show(state, "overlap")["rack map"]
    with pytest.raises(InputError, match="two adapters or more"):
        rack_box.comparing(AllowedPaths.here(), state, str(shelf / "letters"), None, "cosine")

    def stop(step):
        state.session.stop()

    job = partial(rack_box.comparing, AllowedPaths.here(), state, str(shelf), None, "cosine")()
    with pytest.raises(Exception, match="Stopped at read"):
        job.work(stop)
    assert state.rack is found, "what was there before stays"
    state.session.close()


def test_a_rack_reads_a_bin_file_only_after_the_tick(open_page, shelf, root):
    old = root / "old-shelf"
    for name in ("letters", "minerals"):
        shutil.copytree(shelf / name, old / name)
    torch.save(load_file(old / "minerals" / WEIGHTS), old / "minerals" / "adapter_model.bin")
    (old / "minerals" / WEIGHTS).unlink()
    shutil.copytree(shelf / "dpo", old / "dpo")
    page = open_page()
    page.set_default_timeout(SLOW)
    tab(page, "open")
    page.click("#rack > button")
    page.locator("#rack-refs textarea").fill(str(old))
    page.click("#rack-compare")
    expect(page.locator("#rack-bar")).to_contain_text("Compared 2 adapters", timeout=SLOW)
    expect(page.locator("#rack-sizes")).to_contain_text("minerals: ")
    expect(page.locator("#rack-sizes")).to_contain_text("tick")
    page.locator("#rack-pickled").get_by_role("checkbox").check()
    page.click("#rack-compare")
    expect(page.locator("#rack-bar")).to_contain_text("Compared 3 adapters", timeout=SLOW)


def test_no_stranger_says_that_a_bin_file_may_be_read(monkeypatch):
    state, given = TabState(), []
    monkeypatch.setattr(state.session, "rack", lambda refs, progress, allow_pickle: given.append(allow_pickle))
    for paths in (AllowedPaths(hosted=True), AllowedPaths()):
        rack_box.comparing(paths, state, None, ["a.zip", "b.zip"], "cosine", True).work(silent)
    assert given == [False, True]


def test_a_folder_is_searched_only_as_far_as_its_person_may_look(shelf, root, tmp_path):
    home = root / "links"
    home.mkdir()
    shutil.copytree(shelf / "letters", home / "letters")
    shutil.copytree(shelf / "minerals", tmp_path / "elsewhere")
    (home / "minerals").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="lies outside"):
        rack_box.named(AllowedPaths(root), str(home), None)
    assert len(rack_box.named(AllowedPaths(), str(home), None)) == 2
