"""One person's work without a screen: nothing is lost by a mistake, and every step can be undone."""

import itertools
import random

import pytest
import torch

from tada_studio.base_model.generate import Sampling
from tada_studio.errors import BaseError, InputError, MismatchError, RecipeError, Stopped
from tada_studio.evaluation import read_items
from tada_studio.evaluation.prompts import Question
from tada_studio.pipeline import Provenance
from tada_studio.pipeline import merge as merging
from tada_studio.pipeline.merge import Merge
from tada_studio.probing import read_inputs
from tada_studio.progress import stream
from tada_studio.recipe import Recipe, changes
from tada_studio.session import Session
from tada_studio.session.history import History
from tada_studio.tuning import Plan


@pytest.fixture
def session(pico):
    session = Session()
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    yield session
    session.close()


def test_painting_changes_just_those_cells_and_undo_brings_them_back(session):
    before = session.view.gates.values.clone()
    session.paint([(0, 1), (1, 1), (2, 4), (99, 0)], 0.9)
    after = session.view.gates
    changed = (after.values != before).nonzero().tolist()
    assert changed == [[0, 1], [1, 1], [2, 4]] and after.edited.sum() == 3
    assert session.recipe.overrides == ("layers 0-1 : k_proj : 0.9", "layer 2 : gate_proj : 0.9")
    session.undo()
    assert torch.equal(session.view.gates.values, before) and session.can_redo and not session.can_undo
    session.redo()
    assert torch.equal(session.view.gates.values, after.values)


def test_a_new_edit_after_undo_leaves_nothing_to_redo(session):
    session.turn(strength=0.5)
    session.undo()
    session.turn(strength=1.5)
    assert not session.can_redo
    session.redo()
    assert session.recipe.strength == 1.5


def test_painting_over_replaces_lines_and_erasing_removes_them(session):
    session.paint([(0, 0)], 0.2)
    session.paint([(0, 0), (0, 1)], 0.4)
    assert session.recipe.overrides == ("layer 0 : q_proj,k_proj : 0.4",)
    session.paint([(0, 0)], None)
    assert session.recipe.overrides == ("layer 0 : q_proj,k_proj : 0.4", "layer 0 : q_proj : reset")
    session.paint([(0, 0), (0, 1)], None)
    assert session.recipe.overrides == ()


def test_locked_cells_keep_their_value_under_the_brush(session):
    session.add_line("layer 1 : q_proj : 0.25")
    session.add_line("layer 1 : q_proj : lock")
    session.paint([(1, 0), (1, 1)], 1.0)
    assert session.view.gates.values[1, :2].tolist() == [0.25, 1.0]


def test_a_wrong_knob_or_line_changes_nothing(session):
    recipe, view = session.recipe, session.view
    for wrong in (
        lambda: session.turn(rank=0),
        lambda: session.add_line("layer 99 : * : 1"),
        lambda: session.turn(shoe=1),
    ):
        with pytest.raises(RecipeError):
            wrong()
    assert session.recipe == recipe and not session.can_undo and session.view.recipe == view.recipe


def test_a_slider_moves_the_merge_on_screen(session):
    before = session.view.merged.spectrum
    session.turn(strength=0.5)
    torch.testing.assert_close(session.view.merged.spectrum, before / 2)


def test_the_main_job_without_a_screen(session, pico, tmp_path):
    assert not session.view.probed
    session.probe(read_inputs(pico.inputs))
    assert session.view.probed and session.view.depths[""].interval is not None
    session.paint([(0, 0)], 1.0)
    run = session.evaluate({"domain": read_items(pico.items)}, ["base", "task", "domain", "linear", "tada"], 20)
    assert run.finished and list(run.sides["domain"]) == ["base", "task", "domain", "linear", "tada"]
    certificate = session.export(tmp_path / "out")
    assert certificate.holds and "## Measured" in (tmp_path / "out" / "README.md").read_text()
    session.turn(strength=0.5)
    session.restore(run.recipe)
    assert session.recipe == run.recipe


def test_stop_keeps_what_is_done_and_what_was_there(session, pico):
    def stop_after_base(progress):
        if progress.note == "task":
            session.stop()

    with pytest.raises(Stopped):
        session.evaluate({"x": read_items(pico.items)}, ["base", "task", "tada"], 13, stop_after_base)
    assert list(session.runs[-1].sides["x"]) == ["base"] and not session.runs[-1].finished
    session.probe(read_inputs(pico.inputs))
    readings = session.readings
    with pytest.raises(Stopped):
        session.probe(["quartz is hard"], progress=lambda progress: session.stop())
    assert session.readings is readings


def test_opening_another_pair_stops_the_work_on_the_one_before(session, pico):
    readings = session.readings
    with pytest.raises(Stopped):
        session.probe(
            read_inputs(pico.inputs), progress=lambda progress: session.open(str(pico.domain), str(pico.task))
        )
    assert session.readings is readings is None
    assert session.pair.task.label == "domain"


def test_what_is_missing_is_said(pico):
    session = Session()
    assert session.view is None
    for wrong in (lambda: session.probe(["a b"]), lambda: session.paint([(0, 0)], 1.0), lambda: session.export("x")):
        with pytest.raises(MismatchError, match="Nothing is open"):
            wrong()
    session.open(str(pico.task), str(pico.domain))
    with pytest.raises(BaseError, match="No base model was named"):
        session.probe(["quartz is hard"])
    with pytest.raises(InputError, match="No probe inputs"):
        session.probe([])
    with pytest.raises(InputError, match="No evaluation items"):
        session.evaluate(None, ["base"], 5)


def test_a_pair_that_cannot_be_opened_leaves_the_open_one(session, tmp_path):
    pair = session.pair
    with pytest.raises(Exception, match="no such folder"):
        session.open(str(tmp_path / "nowhere"), str(tmp_path / "nowhere"))
    assert session.pair is pair


def test_a_recipe_of_another_pair_that_does_not_fit_is_refused_and_not_kept(session):
    with pytest.raises(RecipeError, match="selects no cell"):
        session.restore(Recipe(overrides=("layer 77 : * : 1",)))
    assert session.recipe == Recipe()


def test_what_others_read_of_a_run_never_changes_under_their_hands(session, pico):
    """A screen draws the scores while they come; a mapping that grew meanwhile broke its figure."""
    seen = []

    def look(progress):
        if session.runs:
            sides = session.runs[-1].sides
            seen.append((sides, {side: list(scores) for side, scores in sides.items()}))

    items = read_items(pico.items)
    run = session.evaluate({"one": items, "two": items}, ["base", "task", "tada"], 9, look)
    assert len({str(names) for _, names in seen}) > 3 and run.scored == 6
    assert all({side: list(scores) for side, scores in sides.items()} == names for sides, names in seen)


def test_streams_give_progress_then_the_result_or_the_error(session, pico):
    *steps, result = stream(lambda progress: session.probe(read_inputs(pico.inputs), progress=progress))
    assert steps and steps[-1].done == steps[-1].total and result is session.readings
    with pytest.raises(InputError):
        list(stream(lambda progress: session.evaluate(None, ["base"], 5, progress)))


def test_a_search_is_limited_on_its_own_side_alone():
    from tada_studio.pipeline import items as asked
    from tada_studio.sample_pairs import sample

    whole, limited = (asked.to_tune(sample("minerals-tiny"), None, 0, most) for most in (None, 5))
    assert [len(items) for items in limited.search.values()] == [5, 5] and limited.held == whole.held


# -- a result belongs to a recipe ------------------------------------------------------------------------------------


def test_every_result_knows_the_recipe_that_it_is_of(session, pico, tmp_path):
    """Build, evaluate and measure, paint: all of it is of an earlier recipe; undo, and it is good again."""
    items = {"domain": read_items(pico.items)[:8]}
    results = [
        session.evaluate(items, ["base", "tada"], 8),
        session.measure_effects(("projection",), most=4, sides=items),
        session.tune(items, Plan(trials=2, seeds=1, chunks=1), most=4),
    ]
    assert session.exported is None
    session.export(tmp_path / "out")
    results.append(session.exported)
    assert session.exported.certificate.holds and session.exported.folder == tmp_path / "out"
    assert {result.digest for result in results} == {session.digest} and not any(map(session.stale, results))
    session.paint([(0, 0), (1, 1)], 1.0)
    assert all(map(session.stale, results))
    session.undo()
    assert not any(map(session.stale, results))
    session.probe(read_inputs(pico.inputs))
    assert all(map(session.stale, results)), "other readings make another merge"


def test_an_export_after_painting_does_not_carry_scores_of_before(session, pico, tmp_path):
    session.evaluate({"domain": read_items(pico.items)[:8]}, ["base", "tada"], 8)
    session.paint([(0, 0)], 1.0)
    session.export(tmp_path / "out")
    assert "Nothing was evaluated before this export." in (tmp_path / "out" / "README.md").read_text()


def test_opening_another_pair_leaves_nothing_of_the_former(session, pico, tmp_path):
    items = {"domain": read_items(pico.items)[:8]}
    run = session.evaluate(items, ["base", "tada"], 8)
    effects = session.measure_effects(("projection",), most=4, sides=items)
    session.ask(Question("gold is"), ("base",), Sampling(most=2))
    session.export(tmp_path / "out")
    exported, before = session.exported, session.digest
    session.open(str(pico.domain), str(pico.task), str(pico.base))
    assert (session.runs, session.answers) == ((), {}) and session.exported is session.effects is session.tuning is None
    assert session.digest != before and all(map(session.stale, (run, effects, exported)))
    assert not session.can_undo and session.log == ()


def test_what_comes_in_of_a_pair_that_is_no_longer_open_is_not_shown(session, pico):
    def another_pair_is_opened(progress):
        if progress.note == "task":
            session.open(str(pico.domain), str(pico.task), str(pico.base))

    with pytest.raises(Stopped):
        session.evaluate({"x": read_items(pico.items)}, ["base", "task"], 17, another_pair_is_opened)
    assert session.runs == ()


def test_a_knob_that_changes_nothing_makes_no_result_stale(session):
    session.turn(method="ties")
    before = session.digest
    session.turn(sharpness=3.0)
    session.paint([(0, 0)], 1.0)
    assert session.digest == before
    session.turn(density=0.4)
    assert session.digest != before


def test_a_search_stays_good_for_the_recipe_that_it_found(session, pico):
    items = {"domain": read_items(pico.items)[:12]}
    found = session.tune(items, Plan(trials=6, seeds=1, chunks=1))
    assert found.found is not None and found.digest == session.tuning.digest and session.tuning.judged is not None
    session.restore(found.found)
    assert not session.stale(found)
    again = session.tune(items, Plan(trials=0, seeds=1, chunks=1))  # judged once more, of the search that there is
    assert again.judged is not None and again.looks == 2 and again.digest == found.digest and not session.stale(again)
    session.turn(strength=0.3)
    assert session.stale(found)


def test_a_recipe_file_tells_what_it_was_made_of(session):
    view = session.view
    content = view.adapter.origin.to_dict()
    assert Provenance.read(content).digest == view.digest
    for lame in ({}, {"inputs": []}, {**content, "recipe": {"shoe": 1}}, {**content, "inputs": {"task": None}}):
        assert Provenance.read(lame) is None


def test_the_log_is_what_it_would_be_if_every_step_were_told_anew():
    dice, history = random.Random(0), History()
    for _ in range(300):
        what = dice.choice(["take", "take", "undo", "redo"])
        if what == "take":
            history.take(
                history.now.but(strength=round(dice.uniform(0.5, 2), 2), sharpness=float(dice.randrange(1, 9)))
            )
        else:
            getattr(history, what)()
        if dice.random() < 0.7:  # not always asked for
            steps = itertools.pairwise([*history.before, history.now])
            assert history.log == tuple(itertools.starmap(changes, steps))


def test_painting_does_not_ask_for_the_depth_profile_again(session, monkeypatch):
    readings = session.probe(["gold is", "iron is", "lead is", "zinc is"], 4)
    pair = session.pair
    first, made, profile = Merge(pair, readings, Recipe()).depths, [], merging.depth_profiles
    monkeypatch.setattr(merging, "depth_profiles", lambda *given: made.append(1) or profile(*given))
    painted = Recipe(overrides=("layer 0 : * : 1",))
    assert Merge(pair, readings, painted).depths is first, "tada's shares are a hand's"
    Merge(pair, readings, Recipe(seed=1)).depths  # noqa: B018
    assert len(made) == 1
    assert Merge(pair, readings, painted.but(method="gates")).depths[""].share[0] == 1 and len(made) == 2, (
        "it shows paint"
    )


def test_everybody_who_opens_a_sample_has_the_same_pair_and_readings():
    first, second = Session(), Session()
    for session in (first, second):
        session.open_sample("minerals-tiny")
    assert first.readings is second.readings and first.pair is second.pair, "a visitor more costs no memory"
    assert first.view.depths is second.view.depths
