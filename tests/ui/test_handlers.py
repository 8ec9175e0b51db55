"""The app's handlers without a browser: they are plain functions of a desk."""

import json
from types import SimpleNamespace

import gradio as gr
import pytest

from tada_studio.app import edits, evaluate_tab, export_tab, open_tab, pieces, sidebar
from tada_studio.app.controls import Controls, further_controls, main_controls
from tada_studio.app.desk import Desk
from tada_studio.app.gate_map import payload
from tada_studio.app.inspect import cell_panel, depth_panel, layer_panel, map_panel, norms_panel, rank_panel
from tada_studio.app.page import Start
from tada_studio.app.places import Places
from tada_studio.app.spoken import spoken
from tada_studio.errors import InputError, RecipeError
from tada_studio.recipe import Recipe, knobs


@pytest.fixture
def desk(pico):
    desk = Start(task=str(pico.task), domain=str(pico.domain), base=str(pico.base)).desk()
    yield desk
    desk.session.close()


def news(**fields):
    return {"tool": "paint", "cells": [[0, 0]], "value": 1.0, "on": True, "id": 1, **fields}


# -- strokes ---------------------------------------------------------------------------------------------------------


def test_a_stroke_edits_the_recipe_and_is_acknowledged(desk):
    edits.stroke(desk, news(cells=[[0, 0], [1, 0]], value=0.25, id=7))
    view = desk.session.view
    assert view.gates.values[:2, 0].tolist() == [0.25, 0.25]
    assert payload(view, desk.ack)["ack"] == 7
    edits.undo(desk)
    assert desk.session.recipe == Recipe()


@pytest.mark.parametrize(
    "bad", [{"cells": "x"}, {"cells": [[0]]}, {"cells": None}, {"value": float("nan")}, {"value": 2}, {"value": "<b>"}]
)
def test_what_a_browser_sends_is_checked(desk, bad):
    with pytest.raises(InputError):
        edits.stroke(desk, news(**bad))
    assert desk.session.recipe == Recipe()


def test_cells_that_do_not_exist_are_no_edit(desk):
    edits.stroke(desk, news(cells=[[99, 0], [-1, 2]]))
    assert desk.session.recipe == Recipe()
    assert edits.shown_cell(desk, desk.session.view) == (0, 0)


def test_every_payload_is_new(desk):
    """Gradio swallows an update that equals the last one; a refused stroke would then stay painted."""
    first, second = (payload(desk.session.view, None) for _ in range(2))
    assert first["rev"] != second["rev"]
    assert json.dumps(first, allow_nan=False)


def test_locks_hold_against_strokes_and_are_one_step_to_undo(desk):
    edits.stroke(desk, news(tool="lock", cells=[[0, 0], [2, 0], [1, 3]]))
    assert int(desk.session.view.gates.locked.sum()) == 3
    edits.stroke(desk, news(cells=[[0, 0], [1, 0]], id=2))
    assert int(desk.session.view.gates.edited.sum()) == 1
    edits.undo(desk)
    edits.undo(desk)
    assert desk.session.recipe == Recipe()


# -- knobs -----------------------------------------------------------------------------------------------------------


def test_a_drag_through_many_values_is_one_step_to_undo(desk):
    for value in (1.1, 1.2, 1.3):
        edits.turn(desk, value, "sharpness")
    assert desk.session.recipe.sharpness == 1.3
    edits.undo(desk)
    assert desk.session.recipe.sharpness == Recipe().sharpness


def test_a_refused_value_in_a_drag_keeps_the_last_good_one(desk):
    edits.turn(desk, 1.5, "sharpness")
    with pytest.raises(RecipeError):
        edits.turn(desk, 99.0, "sharpness")
    assert desk.session.recipe.sharpness == 1.5


def test_every_knob_has_a_control_or_a_box_of_lines():
    with gr.Blocks(analytics_enabled=False):
        shown = {**main_controls(Recipe()).by_name, **further_controls(Recipe()).by_name}
    lines = {name for name, spec in knobs().items() if "lines" in spec.metadata}
    assert set(shown) | lines == set(knobs())
    updates = Controls(shown).showing(Recipe(conflict_threshold=200.0))
    at = list(shown).index("conflict_threshold")
    assert updates[at]["value"] == 200.0 <= updates[at]["maximum"]


@pytest.mark.parametrize("name", edits.PRESETS)
def test_presets_replace_all_edits(desk, name):
    edits.stroke(desk, news())
    edits.preset(desk, name)
    values = desk.session.view.gates.values
    expected = {"task": 0.0, "domain": 1.0, "even": 0.5, "readings": 0.5}
    if name == "ramp":
        assert values[:, 0].tolist() == [0.0, 0.5, 1.0]
    else:
        assert bool((values == expected[name]).all())


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_every_part_can_show_an_empty_desk():
    """Before anything is open each screen says what to do next, and nothing fails."""
    empty = Desk()
    tabs, panels = (
        (open_tab, evaluate_tab, export_tab, sidebar),
        (map_panel, depth_panel, cell_panel, rank_panel, norms_panel, layer_panel),
    )
    assert all(part.show(empty) for part in (*tabs, *panels))


def test_names_from_files_are_escaped():
    evil = "<img src=x onerror=alert(1)>"
    made = [
        pieces.note(evil, evil, [evil]), pieces.said(evil), pieces.cards([(evil, evil)]), pieces.heading(evil, evil),
        pieces.fact_table(evil, [(evil, evil)]), pieces.table([evil], [[evil]]), pieces.progress_bar(None, evil),
        pieces.empty(evil, evil), pieces.caption(evil), pieces.badge(evil, evil),
        pieces.prose(evil, [evil]),
    ]  # fmt: skip
    assert not any("<img" in piece for piece in made)


def test_a_person_can_fix_becomes_a_message_and_a_bug_shows_no_trace(caplog):
    def wrong(desk):
        raise InputError("<b>bold</b>")

    def bug(desk):
        raise ZeroDivisionError("secret")

    with pytest.raises(gr.Error, match="&lt;b&gt;bold"):
        spoken(wrong)(Desk())
    with pytest.raises(gr.Error) as caught:
        spoken(bug)(Desk())
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text
    with pytest.raises(gr.Error, match="Reload"):
        spoken(bug)(None)


# -- places ----------------------------------------------------------------------------------------------------------


def test_typed_paths_stay_under_the_root(tmp_path):
    inside, outside = tmp_path / "root" / "adapter", tmp_path / "other"
    inside.mkdir(parents=True)
    outside.mkdir()
    (tmp_path / "root" / "link").symlink_to(outside)
    places = Places.here(tmp_path / "root")
    assert places.checked("adapter", "Task") == str(inside)
    assert places.checked("owner/name", "Task") == "owner/name"
    for bad in (str(outside), "../other", "link", "~", ""):
        with pytest.raises(InputError):
            places.checked(bad, "Task")


def test_a_public_server_takes_no_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "owner/space")
    with pytest.raises(InputError, match="public server"):
        Places.here().checked(str(tmp_path), "Task")


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "x" * 200, "nul\0"])
def test_export_names_are_plain(name, tmp_path):
    with pytest.raises(InputError):
        Places.here(tmp_path).output(name)


def test_the_recipes_method_is_compared_with_all_others():
    assert evaluate_tab.ordered(["tada", "base", "linear"], "tada") == ["base", "linear", "tada"]
    assert evaluate_tab.ordered(["tada", "base", "linear"], "linear")[-1] == "linear"
    with pytest.raises(InputError):
        evaluate_tab.ordered([], "tada")


def test_a_suggested_export_name_is_one_that_is_accepted(desk, tmp_path):
    Places.here(tmp_path).output(export_tab.suggested_name(desk))
    strange = SimpleNamespace(task=SimpleNamespace(label="<b>/.."), domain=SimpleNamespace(label="ü ö"))
    desk.session.pair = strange
    Places.here(tmp_path).output(export_tab.suggested_name(desk))
