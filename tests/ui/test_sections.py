"""What the sections under the map say and do, without a browser: on the pair whose conflicts are known."""

import json
from dataclasses import replace
from functools import partial

import pytest

from tada_studio import figures, report
from tada_studio.app import edits
from tada_studio.app.state import TabState
from tada_studio.app.tabs import help as help_tab
from tada_studio.app.tabs.inspect import (
    beside_panel,
    cell_panel,
    effect_panel,
    layer_panel,
    norms_panel,
    rank_panel,
    stability_panel,
)
from tada_studio.app.widgets.controls import follow, turn_linked
from tada_studio.app.widgets.task import running
from tada_studio.errors import InputError
from tada_studio.figures.sizes import _ticks
from tada_studio.recipe import Recipe
from tada_studio.sample_pairs import planted

measure = running(partial(effect_panel.measuring, ("layer", "projection")), ("parts", "each"))


@pytest.fixture
def state():
    """At layer 1 v_proj of the planted pair, where domain 0 opposes task 1, and domain 1 task 2; the task's go."""
    state = TabState()
    state.session.open_sample(planted().name)
    cell_panel.on_cell(state, "1:v_proj")
    yield state
    state.session.close()


def row_of(state):
    return [str(a) for a in state.session.pair.addresses.values()].index("layer 1 v_proj")


def at_cell(state):
    """(drops of the task, of the domain) in the shown cell."""
    drops, row = state.session.view.merged.how.drops, row_of(state)
    return drops.task[row].tolist(), drops.domain[row].tolist()


# -- conflict --------------------------------------------------------------------------------------------------------


def test_the_section_says_what_is_dropped_where(state):
    shown = cell_panel.show(state)
    message, heading = shown["message"], shown["heading"]
    drops = state.session.view.merged.how.drops
    state.cells = None
    cell = cell_panel.show(state)["cell"]
    assert f"removes {drops.count} of {drops.everything} directions" in message and "of domain and" in message
    assert "2 of 6 directions are dropped here: task 1, task 2" in heading
    assert "dropped: opposes domain 0" in shown["task"] and "kept, though it opposes task 1" in shown["domain"]
    assert cell["value"] == "1:v_proj"
    counts = [name.count("dropped") for name, _ in cell["choices"]]
    assert counts == sorted(counts, reverse=True) and len(counts) == len(state.session.pair.names)


def test_the_list_of_cells_is_sent_once_and_again_when_it_says_something_else(state):
    assert "choices" not in cell_panel.show(state)["cell"], "the fixture's page has it"
    edits.stroke(state, {"tool": "paint", "cells": [[0, 0]], "value": 0.5, "id": 1})
    moved = cell_panel.show(state)["cell"]
    assert moved["value"] == "0:q_proj" and "choices" not in moved
    cell_panel.on_threshold(state, 1000.0)
    assert not any("dropped" in name for name, _ in cell_panel.show(state)["cell"]["choices"])


def test_a_pick_goes_against_the_rule_and_a_second_one_back_to_it(state):
    before = at_cell(state)
    assert before == ([False, True, True], [False, False, False])
    edits.pick(state, row_of(state), "task", 1)
    assert at_cell(state)[0] == [False, False, True] and state.session.recipe.keep == ("layer 1 : v_proj : task 1",)
    assert "kept by hand" in cell_panel.show(state)["task"] and "kept by hand" in state.message
    edits.pick(state, row_of(state), "domain", 2)
    assert at_cell(state)[1] == [False, False, True] and "dropped by hand" in cell_panel.show(state)["domain"]
    edits.pick(state, row_of(state), "task", 1)
    edits.pick(state, row_of(state), "domain", 2)
    assert at_cell(state) == before and state.session.recipe == Recipe()
    edits.undo(state)
    assert state.session.recipe.discard == ("layer 1 : v_proj : domain 2",)


@pytest.mark.parametrize(
    "what",
    [
        (0, "both", 0),
        (0, None, 0),
        (0, "task", 99),
        (0, "task", -1),
        (0, "task", "x"),
        (None, "task", 0),
        (999, "task", 0),
        (-1, "task", 0),
    ],
)
def test_a_pick_that_names_no_direction_is_refused(state, what):
    with pytest.raises(InputError):
        edits.pick(state, *what)
    assert state.session.recipe == Recipe()


def test_a_pick_goes_to_the_module_it_was_made_in_whatever_is_shown_by_now(state):
    before = row_of(state)
    cell_panel.on_cell(state, "3:up_proj")
    edits.pick(state, before, "domain", 2)
    assert state.session.recipe.discard == ("layer 1 : v_proj : domain 2",)


def test_a_method_without_drops_offers_no_ticks_and_says_so(state):
    edits.turn(state, "linear", "method")
    shown = cell_panel.show(state)
    assert "keeps every direction" in shown["task"] and "drops no directions" in shown["message"]
    with pytest.raises(InputError, match="Choose the method tada"):
        edits.pick(state, row_of(state), "task", 1)


def test_the_price_of_a_threshold_is_told_at_once(state):
    drops = state.session.view.merged.how.drops
    assert f"removes {drops.count} of" in cell_panel.on_threshold(state, 8.5)["message"]
    assert "none of" in cell_panel.on_threshold(state, 1000.0)["message"] and "No directions conflict" in state.message


def test_a_linked_control_is_moved_only_when_it_shows_something_else(state):
    turn_linked(state, 12.0, "conflict_threshold")
    assert follow(state, "conflict_threshold") == {}
    edits.undo(state)
    assert follow(state, "conflict_threshold")["slider"]["value"] == 16.0
    assert follow(state, "conflict_threshold") == {}


@pytest.mark.parametrize(
    ("data", "means"),
    [
        (["task", 3, "kept", 7], (7, "task", 3)),
        (["domain", 0, "dropped", 0], (0, "domain", 0)),
        ([1, 2, -3.0], None),
        (["task", "3", "kept", 7], None),
        (None, None),
        ("task", None),
    ],
)
def test_only_clicks_on_bars_pick(data, means):
    assert beside_panel.bar(data) == means


def test_the_spectrum_shows_lines_hatches_and_dots(state):
    edits.pick(state, row_of(state), "domain", 2)
    traces = json.loads(beside_panel.show(state)["spectrum"])["figure"]["data"]
    bars = [trace for trace in traces if trace["type"] == "bar"]
    assert bars[0]["marker"]["pattern"]["shape"] == ["", "/", "/"]
    lines = [trace for trace in traces if trace.get("mode") == "lines"]
    assert [trace["x"] for trace in lines] == [[1, 0], [2, 1]]
    assert [trace["x"] for trace in traces if trace.get("meta") == "ink"] == [[], [2]]


def test_a_silenced_direction_looks_unlike_a_kept_and_a_dropped_one(state):
    near = state.session.view.module_detail(list(state.session.view.pair.addresses.values())[row_of(state)])
    assert all(one.kept is None for one in near.task)  # the pair was not probed with task inputs
    first, *rest = near.task
    quiet = replace(near, task=[replace(first, kept=(1.0, 0.6)), *rest])
    bars = figures.conflict_spectrum(quiet).plot.to_plotly_json()["data"][0]
    assert bars["marker"]["pattern"]["shape"] == [".", "/", "/"]
    assert "keeps 100% on its own inputs, 60% on the domain's" in bars["customdata"][0][4]
    assert report.direction_says(quiet.task[0], "domain") == "silenced: 60% left on domain inputs"


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([1.49, 5.6], [1, 2, 5, 10]), ([3.0], [2, 5]), ([0.02, 900.0], [0.01, 0.1, 1, 10, 100, 1000])],
)
def test_norms_stand_between_ticks(values, ticks):
    assert _ticks(values) == pytest.approx(ticks)


def test_how_sure_each_cell_is_has_a_scale_on_both_axes():
    state = TabState()
    state.session.open_sample("minerals-tiny")
    view = state.session.view
    layout = figures.cell_bands(view.stability, view.gates).plot.layout
    assert (
        layout.xaxis.ticktext[0] == "1" and layout.xaxis.ticktext[-1] == "42" and 5 <= len(layout.xaxis.tickvals) <= 8
    )
    assert list(layout.yaxis.tickvals) == [0, 0.25, 0.5, 0.75, 1]
    state.session.close()


# -- the whole merge -------------------------------------------------------------------------------------------------


def test_the_rank_advisor_offers_ranks_that_servers_take_and_one_click_sets_it(state):
    shown = rank_panel.show(state)
    choice = shown["ranks"]
    assert "keeps" in shown["message"] and shown["curve"] is not None
    view = state.session.view
    offered = [rank for _, rank in choice["choices"]]
    assert offered == sorted({8, view.ranks.smallest(0.99)}) and choice["value"] is None
    edits.turn(state, 8, "rank")
    shown = rank_panel.show(state)
    assert shown["ranks"]["value"] == 8 and "100.00%" in shown["message"]


def test_balance_is_told_in_the_norms(state):
    turn_linked(state, 1.0, "balance")
    figure = json.loads(norms_panel.show(state)["lines"])["figure"]
    solid = {trace["name"]: trace["y"] for trace in figure["data"] if "after" in trace["name"]}
    squares = [sum(value**2 for value in values if value) for values in solid.values()]
    assert squares[0] == pytest.approx(squares[1])


def test_a_layer_is_chosen_from_the_list_and_the_cell_follows(state):
    shown = layer_panel.on_layer(state, "layer 3")
    assert shown["layer"]["value"] == "layer 3" and state.cell[0] == 3 and "of 7 projections" in shown["message"]
    assert layer_panel.on_layer(state, "<b>")["layer"]["value"] == "layer 3"


# -- help ------------------------------------------------------------------------------------------------------------


def test_the_help_example_is_live_and_is_what_its_text_says():
    """Gate .5: the task's two go; at .3 the domain's; past 96 one pair counts, past 192 none."""
    state = TabState()

    def message(*turned):
        return help_tab.on_turn(state, *turned)["sentence"]

    assert "2 of 6 directions are dropped here: task 1, task 2" in message(0.5, 8.0, 3)
    assert "2 of 6 directions are dropped here: domain 0, domain 1" in message(0.3, 8.0, 3)
    assert "1 of 6 directions is dropped here: task 1" in message(0.5, 97.0, 3)
    assert "Nothing is dropped here" in message(0.5, 193.0, 3)
    assert "Rank 6 keeps 100.0%" in message(0.5, 8.0, 6)
    assert "overrides += layer 1 : v_proj : 0.35" in help_tab.on_turn(state, 0.35, 8, 3)["recipe"]


def test_the_example_leaves_the_desk_as_it_is():
    state = TabState()
    assert len(help_tab.on_turn(state, 0.5, 8.0, 3)) == 4 and state.session.pair is None


# -- stability -------------------------------------------------------------------------------------------------------


def test_the_stability_section_waits_for_readings_and_then_judges_them(state):
    shown = stability_panel.show(state)
    assert "Probe on the Open tab" in shown["message"] and shown["curve"] is None and shown["bands"] is None
    state.session.open_sample("smollm2-minerals")
    shown = stability_panel.show(state)
    message, curve, bands = (shown[name] for name in ("message", "curve", "bands"))
    assert "two halves of them rank the cells" in message and "no gate moves by more than" in message
    assert len(json.loads(bands)["figure"]["data"][0]["y"]) == 210
    assert json.loads(curve)["figure"]["data"][0]["x"] == [4, 8, 16]


# -- effect ----------------------------------------------------------------------------------------------------------


def test_effects_stream_in_beside_the_energy_and_age_with_the_recipe(state):
    with pytest.raises(InputError, match="sample's items"):
        list(measure(state, 4))
    state.session.open_sample("vit-glyphs")
    first, *_, last = list(measure(state, 4))
    assert not first["parts"]["interactive"] and first["stop"]["interactive"] and last["parts"]["interactive"]
    layers = len(state.session.view.gates.layers)
    bars = json.loads(last["layers"])["figure"]["data"]
    assert {trace["name"] for trace in bars} == {"both items", "task items", "share of the energy"}
    assert len(bars[0]["y"]) == layers and last["cells"] is None and "Measured on 8" in last["message"]
    state.session.turn(strength=0.5)
    assert "The recipe has changed since" in effect_panel.show(state)["message"]
