"""What a method does not read of the map is not taken silently: an error on the command line, a sentence on screen."""

import json

import pytest

from tada_studio import cli
from tada_studio.app import edits
from tada_studio.app.page import Start
from tada_studio.app.tabs.inspect import map_panel
from tada_studio.app.tabs.inspect.tab import on_line
from tada_studio.app.widgets.gate_map import cell_facts, chain, payload
from tada_studio.errors import InputError

APART = "layer 0 : q_proj : sep 0.5"


@pytest.fixture
def state(pico):
    state = Start(task=str(pico.task), domain=str(pico.domain), base=str(pico.base)).state()
    yield state
    state.session.close()


def test_the_command_line_refuses_a_line_that_the_method_does_not_read(pico, tmp_path, capsys):
    words = ["merge", "--task", str(pico.task), "--domain", str(pico.domain), "-o", str(tmp_path / "out")]
    assert cli.main([*words, "--method", "gates", "--overrides", APART]) == 2
    assert f"'{APART}' changes nothing: the method gates does not read the map's separation; tada does." in (
        capsys.readouterr().err
    )
    assert cli.main([*words, "--overrides", APART]) == 2  # tada without a probe separates nothing
    assert "Without readings of both kinds of inputs" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert cli.main([*words, "--method", "gates", "--overrides", "layer 0 : x 0.5"]) == 0


def test_the_screen_says_so_while_the_line_is_written_and_does_not_take_it(state):
    state.session.turn(method="gates")
    before = state.session.recipe
    shown = on_line(state, f"layer 0 : 0.7\n{APART}")
    assert "does not read the map" in str(shown["check"]) and not shown["add"]["visible"]
    assert on_line(state, "layer 0 : 0.7")["add"]["visible"]
    for act in (
        lambda: edits.add_lines(state, APART), lambda: edits.set_lines(state, APART, "overrides"),
        lambda: edits.preset(state, "mine", {"mine": [APART]}),
    ):  # fmt: skip
        with pytest.raises(InputError, match="does not read the map's separation; tada does"):
            act()
    assert state.session.recipe == before
    state.session.turn(method="linear")
    with pytest.raises(InputError, match="does not read the map's strength; tada and gates do"):
        edits.preset(state, "strength ramp")
    edits.clear(state)  # nothing set is nothing unread


def test_a_line_that_lost_its_method_is_named_on_screen_and_in_the_recipe(state, tmp_path):
    edits.add_lines(state, APART)  # tada reads it
    state.session.turn(method="gates")
    assert f"&#39;{APART}&#39; changes nothing" in map_panel.verdict(state.session.view)
    state.session.export(tmp_path / "out")
    said = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert f"overrides: {APART}" in str(said)
    edits.add_lines(state, "layer 1 : 0.7")  # the old line hinders nobody
    assert state.session.recipe.overrides == (APART, "layer 1 : 0.7")


def test_a_card_claims_a_ratio_only_where_it_gives_the_share(state, pico):
    state.session.probe(["what is the hard red metal", "iron or gold"], task_inputs=["a rock", "is it true"])
    assert state.session.recipe.method == "tada"
    facts, view = cell_facts(state.session.view), state.session.view
    assert "task" in facts and not {"even", "low", "where"} & facts.keys()
    assert not payload(view, None)["computes"] and "even until a hand sets it" in chain(view, 0, 0, 0)
    assert "before the two are separated" in chain(view, 0, 0, 0)
    state.session.turn(method="gates")
    facts, view = cell_facts(state.session.view), state.session.view
    assert {"even", "low", "where"} <= facts.keys() and payload(view, None)["computes"]
    place = next(iter(view.pair.addresses.values()))
    i, j = view.gates.layers.index(place.layer), view.gates.projections.index(place.projection)
    gate = float(view.gates.values[i, j])
    assert f"counts as even. So the gate is {gate:.2f}." in chain(view, 0, i, j)
