"""The app's handlers without a browser: they are plain functions of a desk."""

import contextlib
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tada_studio.app import edits, sidebar
from tada_studio.app.page import Start, page
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.tabs.evaluate import flips_panel, history_panel, run_panel
from tada_studio.app.tabs.export import tab as export_tab
from tada_studio.app.tabs.inspect import (
    against,
    auto_panel,
    beside_panel,
    cell_panel,
    depth_panel,
    knob_column,
    layer_panel,
    map_panel,
    norms_panel,
    rank_panel,
)
from tada_studio.app.tabs.inspect import tab as inspect_tab
from tada_studio.app.tabs.open import tab as open_tab
from tada_studio.app.widgets import html
from tada_studio.app.widgets.cell_card import Facts, card
from tada_studio.app.widgets.controls import Controls, further_controls, main_controls
from tada_studio.app.widgets.gate_map import cell_facts, payload
from tada_studio.app.widgets.messages import user_errors
from tada_studio.app.widgets.task import in_turn, steps
from tada_studio.base_model.inputs import read_inputs
from tada_studio.core.methods import METHODS
from tada_studio.errors import InputError, PickledError, RecipeError, Stopped
from tada_studio.evaluation import Item
from tada_studio.evaluation.shown import Shown
from tada_studio.lora import WEIGHTS
from tada_studio.pipeline import TURNED
from tada_studio.progress import Progress
from tada_studio.recipe import Recipe, knobs
from tada_studio.report.history import Flip
from tada_studio.session import Session


@pytest.fixture
def state(pico):
    state = Start(task=str(pico.task), domain=str(pico.domain), base=str(pico.base)).state()
    yield state
    state.session.close()


def news(**fields):
    return {"tool": "paint", "cells": [[0, 0]], "value": 1.0, "on": True, "id": 1, **fields}


# -- strokes ---------------------------------------------------------------------------------------------------------


def test_a_stroke_edits_the_recipe_and_is_acknowledged(state):
    edits.stroke(state, news(cells=[[0, 0], [1, 0]], value=0.25, id=7))
    view = state.session.view
    assert view.gates.values[:2, 0].tolist() == [0.25, 0.25]
    assert payload(view, state.ack)["ack"] == 7
    edits.undo(state)
    assert state.session.recipe == Recipe()


@pytest.mark.parametrize(
    "bad", [{"cells": "x"}, {"cells": [[0]]}, {"cells": None}, {"value": float("nan")}, {"value": 2}, {"value": "<b>"}]
)
def test_what_a_browser_sends_is_checked(state, bad):
    with pytest.raises(InputError):
        edits.stroke(state, news(**bad))
    assert state.session.recipe == Recipe()


def test_cells_that_do_not_exist_are_no_edit(state):
    edits.stroke(state, news(cells=[[99, 0], [-1, 2]]))
    assert state.session.recipe == Recipe()
    assert edits.shown_cell(state, state.session.view) == (0, 0)


def test_no_event_reports_its_progress_to_components(pico):
    """Or gradio's page copies every figure at every stroke, which took longer than the merge."""
    events = page(Start(task=str(pico.task), domain=str(pico.domain))).config["dependencies"]
    events = [event for event in events if event["backend_fn"] and event["outputs"]]  # a page that goes has no outputs
    shown = {event["api_name"] for event in events if event["show_progress_on"] != []}
    public = {event["api_name"] for event in events if event["api_visibility"] == "public"}
    assert events and shown <= public


def test_every_payload_is_new(state):
    """Gradio swallows an update that equals the last one; a refused stroke would then stay painted."""
    first, second = (payload(state.session.view, None) for _ in range(2))
    assert first["rev"] != second["rev"]
    assert json.dumps(first, allow_nan=False)


def test_locks_hold_against_strokes_and_are_one_step_to_undo(state):
    edits.stroke(state, news(tool="lock", cells=[[0, 0], [2, 0], [1, 3]]))
    assert int(state.session.view.gates.locked.sum()) == 3
    edits.stroke(state, news(cells=[[0, 0], [1, 0]], id=2))
    assert int(state.session.view.gates.edited.sum()) == 1
    edits.undo(state)
    edits.undo(state)
    assert state.session.recipe == Recipe()


# -- knobs -----------------------------------------------------------------------------------------------------------


def test_a_drag_through_many_values_is_one_step_to_undo(state):
    for value in (1.1, 1.2, 1.3):
        edits.turn(state, value, "sharpness")
    assert state.session.recipe.sharpness == 1.3
    edits.undo(state)
    assert state.session.recipe.sharpness == Recipe().sharpness


def test_a_refused_value_in_a_drag_keeps_the_last_good_one(state):
    edits.turn(state, 1.5, "sharpness")
    with pytest.raises(RecipeError):
        edits.turn(state, 99.0, "sharpness")
    assert state.session.recipe.sharpness == 1.5


def test_smoothing_averages_with_the_layers_next_to_it_and_is_a_line_of_the_recipe(state):
    edits.stroke(state, news(cells=[[1, 0]], value=0.8))
    edits.stroke(state, news(tool="smooth", cells=[[0, 0], [1, 0]], id=2))
    first = state.session.view.gates.values[:, 0].tolist()
    assert first == pytest.approx([(0.5 + 0.8) / 2, (0.5 + 0.8 + 0.5) / 3, 0.5])
    assert state.session.recipe.overrides[-1] == "layers 0-1 : q_proj : smooth"
    edits.stroke(state, news(cells=[[1, 0]], value=0.1, id=3))
    assert state.session.view.gates.values[:, 0].tolist() == pytest.approx([first[0], 0.1, 0.5])


def test_lines_are_checked_while_they_are_written_and_added_together_or_not_at_all(state):
    edits.stroke(state, news(tool="lock", cells=[[0, 0]]))
    written = "layers 0-1 : attn : 0.7\n\nq,k : +0.1\nlayer 9 : * : 1\nlayer 0 : q : unlock"
    found = edits.preview(state, written)
    assert [one.touched is not None for one in found] == [True, True, False, True]
    assert [int(one.touched.sum()) for one in found if one.touched is not None] == [7, 5, 1]
    assert found[0].held == 1 and "selects no cell" in found[2].problem
    shown = inspect_tab.on_line(state, written)
    assert shown["check"].count("<li") == 4 and "1 locked stay" in shown["check"] and not shown["add"]["visible"]
    pointed = json.loads(shown["map"]["preview"])
    assert [0, 0] in pointed and [2, 2] not in pointed
    before = state.session.recipe
    with pytest.raises(RecipeError):
        edits.add_lines(state, written)
    assert state.session.recipe == before
    edits.add_lines(state, "layers 0-1 : attn : 0.7\nq,k : +0.1")
    assert state.session.recipe.overrides[-2:] == ("layers 0-1 : attn : 0.7", "q,k : +0.1")
    edits.undo(state)
    assert state.session.recipe == before


def test_presets_of_ones_own_are_kept_used_and_forgotten(state):
    edits.stroke(state, news(cells=[[0, 0]], value=0.3))
    own = edits.save_preset(state, " My  start ", {"broken": 3})
    assert own == {"My start": ["layer 0 : q_proj : 0.3"]}
    edits.clear(state)
    assert state.session.recipe == Recipe()
    edits.preset(state, "My start", own)
    assert float(state.session.view.gates.values[0, 0]) == 0.3
    assert ("My start (yours)", "My start") in knob_column.presets(own)["choices"]
    assert edits.forget_preset(state, "My start", own) == {}
    for wrong in ("", "even", "x" * 99):
        with pytest.raises(InputError):
            edits.save_preset(state, wrong, own)


def test_the_log_says_what_was_done_in_order_and_the_export_keeps_it(state, tmp_path):
    edits.stroke(state, news(cells=[[0, 0]], value=0.3))
    edits.stroke(state, news(cells=[[0, 0], [1, 0]], value=0.6, id=2))
    edits.turn(state, 1.5, "strength")
    edits.undo(state)
    edits.turn(state, 5, "rank")
    log = ["+ layer 0 : q_proj : 0.3", "+ layers 0-1 : q_proj : 0.6, - layer 0 : q_proj : 0.3", "rank automatic to 5"]
    assert list(state.session.log) == log
    state.session.export(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["log"] == log
    assert knob_column.log(state).index("rank automatic") < knob_column.log(state).index("layers 0-1")


def test_other_readings_are_drawn_beside_those_in_force_and_taken_away(state, pico, tmp_path):
    state.session.probe(read_inputs(pico.inputs))
    folder = tmp_path / "a", tmp_path / "b"
    state.session.readings.save(tmp_path / "generic.json")
    for place, kind in zip(
        folder, (".json", ".safetensors"), strict=True
    ):  # as uploads lie: each in a folder of its own
        place.mkdir()
        (tmp_path / "generic").with_suffix(kind).rename(place / f"generic{kind}")
    files = [str(folder[0] / "generic.json"), str(folder[1] / "generic.safetensors")]
    with pytest.raises(InputError, match="two files"):
        edits.compare(state, files[:1])
    edits.compare(state, files)
    edits.stroke(state, news())
    shown = depth_panel.show(state)
    assert "generic: " in shown["message"] and '"name":"generic"' in shown["profile"] and shown["drop"]["visible"]
    edits.forget_compared(state)
    assert depth_panel.show(state)["message"] == ""


def test_ten_desks_that_work_at_once_do_not_mix(pico):
    desks = [Start(task=str(pico.task), domain=str(pico.domain)).state() for _ in range(10)]

    def work(number):
        for k in range(20):
            edits.stroke(desks[number], news(cells=[[k % 3, k % 7]], value=number / 10, id=k + 1))
            map_panel.show(desks[number])

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(work, range(10)))
    for number, one in enumerate(desks):
        gates = one.session.view.gates
        assert one.ack == 20 and int(gates.edited.sum()) == 20
        assert set(gates.values[gates.edited].tolist()) == {number / 10}
        one.session.close()


def test_the_card_on_a_cell_tells_readings_band_and_norms(state, pico):
    assert set(cell_facts(state.session.view)) == {"norm_task", "norm_domain"}
    state.session.probe(read_inputs(pico.inputs))
    assert "low" not in cell_facts(state.session.view)  # tada's shares are a hand's
    state.session.turn(method="gates")
    edits.stroke(state, news(cells=[[0, 0]], value=1.0))
    facts, gates = cell_facts(state.session.view), state.session.view.gates
    assert facts["low"][0][0] <= float(gates.computed[0, 0]) + 1e-5 and facts["high"][0][0] < 1
    name, place = list(state.session.pair.addresses.items())[-1]
    norm = float(state.session.pair.task.modules[name].delta().norm())
    assert facts["norm_task"][place.layer][gates.projections.index(place.projection)] == pytest.approx(norm, rel=1e-3)
    assert facts["task"][0][0] > 0 and len(facts["domain"]) == 3


def test_every_knob_has_a_control_or_a_box_of_lines():
    with gr.Blocks(analytics_enabled=False):
        shown = {**main_controls(Recipe()).by_name, **further_controls(Recipe()).by_name}
    lines = {name for name, spec in knobs().items() if "lines" in spec.metadata}
    assert set(shown) | lines == set(knobs())
    updates = Controls(shown).showing(Recipe(conflict_threshold=200.0))
    assert updates["conflict_threshold"]["value"] == 200.0 <= updates["conflict_threshold"]["maximum"]


@pytest.mark.parametrize("name", edits.PRESETS)
def test_presets_replace_all_edits(state, name):
    edits.stroke(state, news())
    edits.preset(state, name)
    values = state.session.view.gates.values
    expected = {"task": 0.0, "domain": 1.0, "even": 0.5, "readings": 0.5, "strength ramp": 0.5}
    if name == "ramp":
        assert values[:, 0].tolist() == [0.0, 0.5, 1.0]
    else:
        assert bool((values == expected[name]).all())


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_every_part_can_show_an_empty_desk():
    """Before anything is open each screen says what to do next, and nothing fails."""
    empty = TabState()
    tabs, panels = (
        (open_tab, run_panel, flips_panel, history_panel, export_tab, sidebar),
        (map_panel, depth_panel, beside_panel, auto_panel, cell_panel, rank_panel, norms_panel, layer_panel),
    )
    assert all(panel.show(empty) for panel in (*tabs, *panels))


def test_names_from_files_are_escaped():
    evil = "<img src=x onerror=alert(1)>"
    made = [
        html.note(evil, evil, [evil]), html.message(evil), html.cards([(evil, evil)]), html.heading(evil, evil),
        html.fact_table(evil, [(evil, evil)]), html.table([evil], [[evil]]), html.progress_bar(None, evil),
        html.empty(evil, evil), html.caption(evil), html.badge(evil, evil),
        html.prose(evil, [evil]), card(Facts((0, 0), evil, {evil: evil}), [Facts((0, 1), evil, {evil: evil})], False),
    ]  # fmt: skip
    assert not any("<img" in piece for piece in made)


def test_a_person_can_fix_becomes_a_message_and_a_bug_shows_no_trace(caplog):
    def wrong(state):
        raise InputError("<b>bold</b>")

    def bug(state):
        raise ZeroDivisionError("secret")

    with pytest.raises(gr.Error, match="&lt;b&gt;bold"):
        user_errors(wrong)(TabState())
    with pytest.raises(gr.Error) as caught:
        user_errors(bug)(TabState())
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text
    with pytest.raises(gr.Error, match="Reload"):
        user_errors(bug)(None)


# -- places ----------------------------------------------------------------------------------------------------------


def test_typed_paths_stay_under_the_root(tmp_path):
    inside, outside = tmp_path / "root" / "adapter", tmp_path / "other"
    inside.mkdir(parents=True)
    outside.mkdir()
    (tmp_path / "root" / "link").symlink_to(outside)
    paths = AllowedPaths.here(tmp_path / "root")
    assert paths.checked("adapter", "Task") == str(inside)
    assert paths.checked("owner/name", "Task") == "owner/name"
    for bad in (str(outside), "../other", "link", "~", ""):
        with pytest.raises(InputError):
            paths.checked(bad, "Task")


def test_a_public_server_takes_no_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "owner/space")
    with pytest.raises(InputError, match="public server"):
        AllowedPaths.here().checked(str(tmp_path), "Task")


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "x" * 200, "nul\0"])
def test_export_names_are_plain(name, tmp_path):
    with pytest.raises(InputError):
        AllowedPaths.here(tmp_path).output(name)


def test_an_export_goes_into_a_folder_of_ones_choice_but_on_a_public_server(tmp_path):
    here, root = AllowedPaths(), AllowedPaths.here(tmp_path)
    assert here.output("a", f'"{tmp_path}/x/"') == tmp_path / "x" / "a" and here.output("a", " ") == here.base / "a"
    assert root.output("a", "some/where") == tmp_path / "some" / "where" / "a"
    for outside in ("..", "/etc", "some/../../x"):
        with pytest.raises(InputError, match=r"In the folder: .* lies outside"):
            root.output("a", outside)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"is a file\. Give a folder"):
        root.output("a", "file")
    public = AllowedPaths.here(tmp_path, public=True)
    assert public.output("a", "/etc") == tmp_path / "a", "what a stranger names is not looked at"


def test_a_pickle_is_read_when_somebody_ticks_that_it_may_and_never_for_strangers(pico, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(pico.task, folder)
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()
    zips = [[shutil.make_archive(str(tmp_path / one.name), "zip", one)] for one in (folder, pico.domain)]
    state = Start().state()

    def opened(paths, *ticks, zips=(None, None)):
        found = {}
        with contextlib.suppress(PickledError):
            for news in open_tab.on_own(paths, state, str(folder), str(pico.domain), "", *zips, None, *ticks):
                found |= news
        return found

    refused = opened(AllowedPaths())
    assert (
        refused["pickled"]["visible"] and "the tick below the fields" in refused["error"] and state.session.pair is None
    )
    assert opened(AllowedPaths(), False, True)["pickled"]["visible"] and state.session.pair.task.label == "old"
    assert state.session.opened.allow_pickle
    assert opened(AllowedPaths(), False, False, zips=zips)["pickled"]["visible"]
    state.session.pair = None
    public = opened(AllowedPaths(hosted=True), False, True, zips=zips)
    assert "pickled" not in public and "is a pickle" in public["error"] and state.session.pair is None
    state.session.close()


def test_the_map_is_compared_with_the_pair_that_was_open_before(state, pico):
    def differences():
        found = payload(state.session.view, None, against.against(state))["difference"]
        return found["from"], [value for row in found["of"] for value in row]

    against.choose(state, "before")
    assert differences()[0] == "the plain sum", "nothing was open before"
    edits.stroke(state, news(cells=[[0, 0]], value=0.25))
    map_panel.show(state)
    left = state.session.view.contributions[:, 1]
    state.session.open(str(pico.domain), str(pico.task), str(pico.base))
    map_panel.show(state)
    assert ("pico-task and pico-domain, open before", "before") in against.choices(state)
    against.choose(state, "before")
    name, values = differences()
    assert name == "pico-task and pico-domain, open before"
    assert sum(values) == pytest.approx(float((state.session.view.contributions[:, 1] - left).sum()), abs=1e-3)


def test_every_method_can_be_ticked_and_the_recipes_own_stands_last():
    for method in ("tada", "ties"):
        names = run_panel.by_name(method)
        assert len(set(names)) == len(names) and names[-1] == method
        assert set(names) == {"base", "task", "domain", *TURNED, *METHODS} - {"linear"}
    assert run_panel.by_name("linear")[-1] == "linear"


def test_the_recipes_method_is_compared_with_all_others():
    assert run_panel.ordered(["tada", "base", "linear"], "tada") == ["base", "linear", "tada"]
    assert run_panel.ordered(["tada", "base", "linear"], "linear")[-1] == "linear"
    with pytest.raises(InputError):
        run_panel.ordered([], "tada")


def test_a_suggested_export_name_is_one_that_is_accepted(state, tmp_path):
    AllowedPaths.here(tmp_path).output(export_tab.suggested_name(state))
    strange = SimpleNamespace(task=SimpleNamespace(label="<b>/.."), domain=SimpleNamespace(label="ü ö"))
    state.session.pair = strange
    AllowedPaths.here(tmp_path).output(export_tab.suggested_name(state))


# -- history ---------------------------------------------------------------------------------------------------------


EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def ran(state):
    """A desk with two runs of a few items whose names are not to be trusted."""
    items = [Item(f"{EVIL} {i}", (EVIL, "b"), i % 2) for i in range(8)]
    for strength in (0.5, 1.0):
        state.session.turn(strength=strength)
        state.session.evaluate({EVIL: items}, ["task", "domain", "tada"], 8)
    return state


def test_the_history_shows_runs_and_escapes_what_it_shows(ran):
    html = history_panel.table(ran)["html"]
    assert html.count("<svg") == 2 and html.count("<rect") == 42 and "strength 0.5" in html and "<img" not in html


def test_flips_escape_what_they_show():
    asked = Shown(EVIL, EVIL, (EVIL, "b"), image="/gone.png")
    chosen = Flip(EVIL, 0, True, asked, (-2.0, -1.0), (-1.0, -2.0), -1.0, 1.0, ("b", EVIL))
    message = chosen._replace(before=(), after=(), won=False)
    page = flips_panel.page([chosen, message], [chosen, message], EVIL, "tada")
    assert "<img" not in page and page.count("&lt;img") >= 10


def test_a_flipped_image_is_shown(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "r.png")
    flip = Flip("both", 0, True, Shown("r.png", "a", image=str(tmp_path / "r.png")), (), (), None, None, ("b", "a"))
    assert 'src="data:image/png;base64,' in flips_panel.page([flip], [flip], "task", "tada")


def test_two_ticked_runs_are_compared_and_a_deleted_one_is_gone(ran):
    with pytest.raises(InputError, match="Tick two"):
        history_panel.on_compare(ran)
    history_panel.tick(ran, "1", True)
    history_panel.tick(ran, "2", True)
    told = history_panel.on_compare(ran)
    assert "What run 2 changes of run 1: strength 1.0." in told
    assert "run 2 (tada) against run 1 (tada)" in told
    history_panel.press(ran, "delete", "1")
    assert [run.number for run in ran.session.runs] == [2]
    history_panel.show(ran)
    assert ran.ticked == (2,)
    with pytest.raises(InputError, match="not in the history"):
        history_panel.press(ran, "restore", "1")


def test_restoring_an_old_recipe_is_one_step_to_undo(ran):
    before = ran.session.recipe
    history_panel.press(ran, "restore", 1)
    assert ran.session.recipe.strength == 0.5
    edits.undo(ran)
    assert ran.session.recipe == before


def test_a_long_map_is_a_small_picture():
    gates = tuple((i / 125, None if i == 3 else 0.5) for i in range(126))
    assert history_panel.thumbnail(gates).count("<rect") == 2 * 32
    assert history_panel.thumbnail(()) == ""


def test_the_bar_says_how_long_it_takes(monkeypatch):
    now = iter([0.0, 4.0, 4.0])
    monkeypatch.setattr(run_panel, "time", SimpleNamespace(monotonic=lambda: next(now)))  # not the server's clock too
    clock = run_panel.Clock()
    assert "left" not in clock.says(Progress("evaluate", 0, 100, "base"))
    assert clock.says(Progress("evaluate", 25, 100, "base")) == "base (25 of 100), about 12 s left"
    assert "left" not in clock.says(Progress("load base", 1, 2))


def test_work_of_another_tab_goes_first_and_this_one_says_so_and_can_be_stopped():
    first, second = Session(), Session()
    let_go, message = threading.Event(), []
    working = steps(in_turn(first, lambda told: (told(Progress("long", 1, 2)), let_go.wait(20))))
    next(working)
    waiting = steps(in_turn(second, lambda told: message.append("began")))
    assert "goes first" in html.progress_bar(next(waiting))
    second.stop()
    with pytest.raises(Stopped, match="while it waited"):
        list(waiting)
    assert message == []
    waiting = steps(in_turn(second, lambda told: message.append("began")))
    next(waiting)
    let_go.set()
    assert list(working)[-1] == (None, True)
    assert list(waiting)[-1] is None
    assert message == ["began"]


def test_exported_adapters_are_named_by_their_folders_and_stay_in_bounds(pico, tmp_path):
    paths = AllowedPaths.here(pico.task.parent)
    assert run_panel._folders(paths, f" {pico.task}\n\n") == {"pico-task": str(pico.task)}
    own = pico.task.parent / "task"
    assert run_panel._folders(paths, f"{own}") == {str(own): str(own)}, "the task adapter that is open has this name"
    with pytest.raises(InputError, match="outside"):
        run_panel._folders(paths, "/etc")


def test_the_sources_of_probe_inputs_are_told_once_a_pair():
    """Told again, a choice made meanwhile would be lost."""
    from tada_studio.app.state import TabState
    from tada_studio.app.tabs.open.probe_box import sources

    state = TabState()
    state.session.open_sample("minerals-tiny")
    assert sources(state)["source"]["value"] == "sample" and sources(state) == {}
    sample = state.session.sample
    state.session.open(str(sample.task), str(sample.domain))
    assert sources(state)["source"]["value"] == "pasted" and sources(state) == {}
