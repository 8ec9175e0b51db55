"""A session on disk and back: nothing is lost, nothing foreign is trusted, and a crash at any moment leaves a whole session."""

import json
import os
import pickle
import shutil
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from pico import pico_adapter
from safetensors.torch import save_file

from tada_studio import files
from tada_studio.base_model.files import cache_folder
from tada_studio.errors import InputError, MismatchError, TadaError
from tada_studio.evaluation import Score, read_items
from tada_studio.evaluation.saved import FORMAT, item_schema, load_items, load_scores, save_scores, scores_schema
from tada_studio.evaluation.scores import Rates
from tada_studio.probing import read_inputs
from tada_studio.recipe import Recipe
from tada_studio.session import Session
from tada_studio.session import files as keep
from tada_studio.session.schema import session_schema
from tada_studio.session.store import DAYS, MOST, SessionStore, home

TAB, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def session(pico):
    session = Session()
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    yield session
    session.close()


@pytest.fixture(scope="module")
def worked(pico):
    """A session with everything in it: readings, edits, something to redo, two runs."""
    session = Session()
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    session.probe(read_inputs(pico.inputs))
    session.paint([(0, 1)], 0.9)
    session.evaluate({"domain": read_items(pico.items)}, ["base", "tada"], 20)
    session.turn(strength=1.5)
    session.evaluate({"domain": read_items(pico.items), "task": read_items(pico.items)[:5]}, ["tada"], 10)
    session.paint([(1, 1)], 0.2)
    session.undo()
    yield session
    session.close()


@pytest.fixture
def folder(worked, tmp_path):
    keep.write(worked.state, tmp_path / "kept")
    return tmp_path / "kept"


def same_score(a, b):
    for spec in fields(Score):
        one, other = getattr(a, spec.name), getattr(b, spec.name)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, spec.name


# -- one session -----------------------------------------------------------------------------------------------------


def test_everything_comes_back(worked, folder):
    session, remarks = keep.read(folder)
    assert remarks == []
    before, after = worked.state, session.state
    assert after.pair.task.digest == before.pair.task.digest and after.base_ref == before.base_ref
    assert (after.recipe, after.undo, after.redo) == (before.recipe, before.undo, before.redo) and after.redo
    assert after.readings.digest == before.readings.digest
    assert torch.equal(session.view.gates.values, worked.view.gates.values)
    for was, run in zip(before.runs, after.runs, strict=True):
        assert (run.number, run.recipe, run.limit, run.when, run.finished) == (
            was.number, was.recipe, was.limit, was.when, was.finished,
        )  # fmt: skip
        assert run.digest == was.digest != ""
        assert run.gates == was.gates and run.items == was.items and len(run.items["domain"][0].choices) == 4
        assert list(run.sides) == list(was.sides)
        for side, scores in was.sides.items():
            assert list(run.sides[side]) == list(scores)
            for name, score in scores.items():
                same_score(run.sides[side][name], score)
    session.redo()
    assert session.recipe == before.redo[-1]
    session.close()


def test_a_run_after_a_reload_takes_a_new_number(worked, folder, pico):
    session, _ = keep.read(folder)
    session.forget(2)
    run = session.evaluate({"domain": read_items(pico.items)}, ["base"], 5)
    assert run.number == 3 and [run.number for run in session.runs] == [1, 3]
    session.close()


def test_scores_of_any_kind_survive(tmp_path):
    words = Score("say <b>", None, torch.tensor([True, False]), None, 0.1, 0.9, replies=("rock", "ö"), kind="answer")
    texts = Score("text/0", None, None, 1.25, None, None, gold=torch.tensor([1.0, 1.5]), kind="text")
    odd = Score(
        "c", torch.tensor([[0.0, -torch.inf]]), torch.tensor([True]), 0.0, 0.2, 1.0, rates=Rates(0.5, None, 1.0)
    )
    path = tmp_path / "scores.safetensors"
    # the second side's scores are the first one's own objects, as those of equal items are
    save_scores({"a/b": {"say <b>": words, "c": odd}, "empty": {}, "t": {"text/0": texts}, "again": {"c": odd}}, path)
    sides = load_scores(path)
    assert list(sides) == ["a/b", "empty", "t", "again"] and sides["empty"] == {}
    for score in (words, odd):
        same_score(sides["a/b"][score.name], score)
    same_score(sides["t"]["text/0"], texts)


def test_nothing_that_is_no_longer_named_stays(worked, folder):
    state = worked.state
    keep.write(state._replace(runs=state.runs[:1]), folder)
    assert {path.name.split("-")[1] for path in folder.glob("run-*")} == {"1"}
    assert len(list(folder.glob("items-*"))) == 1 and not list(folder.glob(".new-*"))


def test_a_crash_in_the_middle_of_writing_leaves_the_session_before(worked, folder, monkeypatch):
    """Every write fails in turn, as if the power had: what is read is the old session or the new one, whole."""
    state = worked.state
    later = state._replace(recipe=Recipe(strength=3.0), runs=state.runs[1:])
    honest, counts = Path.replace, []
    for fails_at in range(12):
        done = []

        def replace(self, target, fails_at=fails_at, done=done):
            done.append(target)
            if len(done) > fails_at:
                raise OSError("the power failed")
            return honest(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        target = folder.with_name(f"crash-{fails_at}")
        shutil.copytree(folder, target)
        for file in target.glob("run-2*"):
            file.unlink()  # so that there is more than session.json to write
        keep_old = keep.read_index(target)["recipe"]
        try:
            keep.write(later, target)
        except OSError:
            assert keep.read_index(target)["recipe"] == keep_old
            counts.append(len(done))
        else:
            monkeypatch.setattr(Path, "replace", honest)
            assert keep.read(target)[0].recipe == later.recipe
            assert len(counts) >= 2
            return
    raise AssertionError("it never got through")


def test_uploads_are_copied_into_the_session(pico, tmp_path):
    archives = [
        shutil.make_archive(str(tmp_path / "upload" / role), "zip", folder)
        for role, folder in (("task", pico.task), ("domain", pico.domain))
    ]
    session = Session()
    session.open(*archives)
    keep.write(session.state, tmp_path / "kept")
    shutil.rmtree(tmp_path / "upload")
    moved = (tmp_path / "kept").rename(tmp_path / "elsewhere")
    again, _ = keep.read(moved, allowed=refuse_all)
    assert again.pair.task.digest == session.pair.task.digest
    keep.write(again.state, tmp_path / "project")
    assert (tmp_path / "project" / "task" / "task.zip").is_file()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_stands_in_for_dora_comes_back_at_its_rank(pico, tmp_path):
    dora = pico_adapter(tmp_path / "dora", pico.base, seed=3, targets=("q_proj", "v_proj"), use_dora=True)
    session = Session()
    session.open(str(dora), str(pico.domain), str(pico.base), dora_rank=9)
    keep.write(session.state, tmp_path / "kept")
    assert keep.read(tmp_path / "kept")[0].pair.task.digest == session.pair.task.digest


def refuse_all(ref):
    raise InputError(f"{ref} may not be opened here")


# -- what is not trusted ---------------------------------------------------------------------------------------------


def edited(folder, **changes):
    content = json.loads((folder / "session.json").read_text())
    (folder / "session.json").write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "tada-studio session 99"}, {"format": None}, {"opened": {"task": "x"}}, {"opened": {}}, {"runs": [{}]},
        {"recipe": {"shoe": 1}}, {"recipe": {"rank": 0}}, {"recipe": None}, {"undo": [1]}, {"runs_made": "x"},
        {"digests": {"task": "0", "domain": "0"}}, {"readings": "../readings"}, {"readings": "readings-none"},
        {"readings": 5}, {"runs": 3}, {"looks": 1},
    ],
)  # fmt: skip
def test_a_foreign_or_damaged_session_is_refused_in_words(folder, change):
    edited(folder, **change)
    with pytest.raises(TadaError) as caught:
        keep.read(folder)
    assert len(str(caught.value)) < 500


def test_a_session_of_version_one_gives_the_weights_that_it_gave_and_says_how(folder):
    """Strength 2 was as trained, tada meant gates, and a share was a weight."""
    content = json.loads((folder / "session.json").read_text())

    def as_then(recipe):
        old = {name: value for name, value in recipe.items() if name != "weights"}
        return {**old, "method": "tada", "strength": 2 * recipe["strength"]}

    for run in content["runs"]:
        run["recipe"] = as_then(run["recipe"])
    steps = {name: [as_then(recipe) for recipe in content[name]] for name in ("undo", "redo")}
    edited(folder, format=keep.FORMAT_1, recipe=as_then(content["recipe"]), runs=content["runs"], **steps)
    session, remarks = keep.read(folder)
    assert [one.weights for one in (session.recipe, *session.state.undo, *session.state.redo)].count("0.1") > 2
    assert {run.recipe.weights for run in session.runs} == {"0.1"}
    share = session.view.gates.at(list(session.pair.addresses.values()))
    torch.testing.assert_close(
        session.view.how.weights, 2 * session.recipe.strength * torch.stack((1 - share, share), 1)
    )
    assert session.recipe.strength == 1.5 and session.recipe.method == "gates" and "of version 0.1" in remarks[-1]
    session.close()


def scores_file(path, rows, tensors):
    save_file(
        tensors, path, metadata={"format": FORMAT, "sides": rows if isinstance(rows, str) else json.dumps({"s": rows})}
    )
    return path


@pytest.mark.parametrize(
    ("rows", "tensors"),
    [
        ([{"nll": 1.0}], {}), ([{"name": 5}], {}), ([{"name": "a"}], {}), ([{"name": "a", "rates": [1.0]}], {}), ("[" * 9999, {}),
        ([{"name": "a", "cut": -1}], {}), ("5", {}), ("{", {}), ([5], {}),
        ([{"name": "a"}], {"correct": torch.ones(2)}), ([{"name": "a"}], {"gold": torch.ones(())}),
        ([{"name": "a"}], {"gold": torch.ones(2), "correct": torch.ones(3, dtype=torch.bool)}),
        ([{"name": "a", "replies": "no list"}], {"gold": torch.ones(2)}),
    ],
)  # fmt: skip
def test_scores_that_are_none_are_refused_in_one_line(tmp_path, rows, tensors):
    path = scores_file(
        tmp_path / "scores.safetensors", rows, {f"0/0/{name}": tensor for name, tensor in tensors.items()}
    )
    with pytest.raises(InputError, match="holds no scores that could be read") as caught:
        load_scores(path)
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_scores_of_version_0_1_and_of_a_later_one_are_read(tmp_path):
    rows = [{"name": "a", "said": ["x", "y"], "nll": float("nan"), "rates": [0.5, None, None], "mood": "later"}]
    path = scores_file(tmp_path / "s.safetensors", rows, {"0/0/gold": torch.ones(2), "0/0/later": torch.ones(3)})
    score = load_scores(path)["s"]["a"]
    assert score.replies == ("x", "y") and score.rates == Rates(0.5) and score.n == 2 and score.nll != score.nll


@pytest.mark.parametrize(
    "line", ["{", "[]", "5", '{"prompt": "a"}', '{"prompt": 1, "right": "", "choices": [], "image": null}', "[" * 9999]
)
def test_items_that_are_none_are_refused_in_one_line(tmp_path, line):
    (tmp_path / "items.jsonl").write_text(line)
    with pytest.raises(InputError, match="holds no items that could be read") as caught:
        load_items(tmp_path / "items.jsonl")
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)
    with pytest.raises(InputError):
        load_items(tmp_path / ("x" * 400))


def test_what_is_written_fits_the_schemas(folder):
    """Every name that a file holds is in the JSON schema of its kind, and every name that is required is in the file."""
    schema, content = session_schema(), keep.read_index(folder)
    assert set(schema["required"]) <= set(content) == set(schema["properties"])
    run = schema["$defs"]["SavedRun"]
    assert set(run["required"]) <= set(content["runs"][0]) == set(run["properties"])
    item = json.loads(next(folder.glob("items-*")).read_text().splitlines()[0])
    assert set(item) == set(item_schema()["properties"])
    assert set(scores_schema()["$defs"]["SavedScore"]["properties"]) >= {"name", "nll", "note", "kind"}


def test_a_session_that_is_edited_is_refused_where_it_is_wrong(folder):
    for change, where in (
        ({"undo": [1]}, "undo.0"), ({"runs_made": -1}, "runs_made"), ({"readings": "a" * 300}, "readings"),
        ({"looks": {"x": "y"}}, "looks.x"),
    ):  # fmt: skip
        honest = (folder / "session.json").read_text()
        edited(folder, **change)
        with pytest.raises(InputError, match=rf"is damaged \({where}"):
            keep.read(folder)
        (folder / "session.json").write_text(honest)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 9999, pickle.dumps({"format": keep.FORMAT})])
def test_what_is_no_session_at_all_is_refused(tmp_path, content):
    (tmp_path / "session.json").write_bytes(content)
    with pytest.raises(InputError, match="not a saved session"):
        keep.read(tmp_path)


def test_a_damaged_run_is_left_out_and_said_and_the_rest_goes_on(folder):
    next(folder.glob("run-1-*")).write_bytes(b"no tensors")
    session, remarks = keep.read(folder)
    assert [run.number for run in session.runs] == [2]
    assert len(remarks) == 1 and remarks[0].startswith("Run 1 was left out")


def test_damaged_readings_are_noticed(folder):
    file = next(folder.glob("readings-*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        keep.read(folder)


def test_an_adapter_that_was_trained_on_is_not_mistaken_for_the_old_one(pico, tmp_path):
    shutil.copytree(pico.task, tmp_path / "task")
    session = Session()
    session.open(str(tmp_path / "task"), str(pico.domain))
    keep.write(session.state, tmp_path / "kept")
    shutil.copy(pico.domain / "adapter_model.safetensors", tmp_path / "task")
    shutil.copy(pico.domain / "adapter_config.json", tmp_path / "task")
    os.utime(tmp_path / "task" / "adapter_model.safetensors")
    with pytest.raises(TadaError, match="not the one that this session was about"):
        keep.read(tmp_path / "kept")


def test_paths_that_may_not_be_opened_here_are_not(folder):
    with pytest.raises(InputError, match="may not be opened here"):
        keep.read(folder, allowed=refuse_all)


def test_readings_of_another_pair_do_not_slip_in(folder, pico, tmp_path):
    session = Session()
    session.open(str(pico.domain), str(pico.task), str(pico.base))
    keep.write(session.state, tmp_path / "other")
    for file in folder.glob("readings-*"):
        shutil.copy(file, tmp_path / "other")
    edited(tmp_path / "other", readings=keep.read_index(folder)["readings"])
    with pytest.raises(MismatchError):
        keep.read(tmp_path / "other")


# -- many sessions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return SessionStore(tmp_path / "state")


def saved_strokes(store, tab):
    return len(keep.read_index(store.place / "sessions" / tab)["undo"])


def test_changes_are_on_disk_soon_and_by_themselves(store, session):
    store.keep(session, TAB)
    session.paint([(0, 0)], 1.0)
    for _ in range(100):
        if (store.place / "sessions" / TAB / "session.json").exists():
            break
        time.sleep(0.05)
    assert saved_strokes(store, TAB) == 1


def test_a_session_goes_on_under_its_tab_only(store, session):
    store.keep(session, TAB)
    session.paint([(0, 0)], 1.0)
    assert store.resume(OTHER) is None
    again, _ = store.resume(TAB)
    assert again.recipe == session.recipe and again is not session


def test_the_page_that_came_last_has_the_session(store, session):
    """The old page of a reloaded tab may still hold its session: it must not write over the new one's."""
    old = store.keep(session, TAB)
    session.paint([(0, 0)], 1.0)
    again, _ = store.resume(TAB)
    new = store.keep(again, TAB, resumed=True)
    session.paint([(0, 1), (2, 3)], 1.0)
    old.save()
    again.turn(strength=0.5)
    new.save()
    assert saved_strokes(store, TAB) == 2 and list(store.live.values()) == [new]
    with pytest.raises(InputError, match="another tab"):
        old.again()


def test_a_tab_that_lost_its_connection_goes_on(store, session):
    keeper = store.keep(session, TAB)
    session.paint([(0, 0)], 1.0)
    keeper.stop()
    again, new = keeper.again()
    assert again.recipe == session.recipe and store.live == {TAB: new}


def test_opening_another_pair_keeps_the_work_on_the_last(store, session, pico):
    keeper = store.keep(session, TAB)
    session.paint([(0, 0)], 1.0)
    keeper.save()
    session.open(str(pico.domain), str(pico.task))
    keeper.save()
    [earlier] = store.recent()
    assert (earlier.edits, earlier.title) == (1, "task + domain")
    assert store.open(earlier.key)[0].recipe.overrides == ("layer 0 : q_proj : 1",)
    assert saved_strokes(store, TAB) == 0


def test_a_full_disk_does_not_end_the_work(store, session, monkeypatch, caplog):
    keeper = store.keep(session, TAB)
    monkeypatch.setattr("tada_studio.session.store.write", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    session.paint([(0, 0)], 1.0)
    keeper.save()
    assert "no space left" in keeper.problem and session.can_undo


@pytest.mark.parametrize("tab", ["", "../x", "A" * 32, "a/b", "a" * 200, "short"])
def test_a_tab_cannot_name_a_folder(store, session, tab):
    with pytest.raises(InputError):
        store.keep(session, tab)
    with pytest.raises(InputError):
        store.resume(tab)


def test_a_damaged_session_is_refused_once_and_the_tab_starts_anew(store, session):
    store.keep(session, TAB).save()
    (store.place / "sessions" / TAB / "session.json").write_text("{")
    store.live.clear()
    with pytest.raises(InputError):
        store.resume(TAB)
    assert store.resume(TAB) is None


def test_projects_have_names_that_are_taken_once(store, session):
    session.paint([(0, 0)], 1.0)
    store.save_as(session, "  Rocks,  v1 ")
    assert [saved.name for saved in store.projects()] == ["Rocks, v1"] and session.project == "Rocks, v1"
    session.paint([(1, 0)], 1.0)
    store.save_as(session, "Rocks, v1")
    assert store.projects()[0].edits == 2
    other, _ = store.open("projects/Rocks, v1")
    assert other.recipe == session.recipe and other.project == "Rocks, v1"
    other.project = None
    with pytest.raises(InputError, match="already"):
        store.save_as(other, "Rocks, v1")
    assert "is deleted" in store.delete("projects/Rocks, v1")
    assert store.projects() == [] and len(store.recent()) == 1


@pytest.mark.parametrize("name", ["", "..", "a/b", "<b>", "x" * 61, "nul\0", "ends.", ".hidden"])
def test_project_names_are_plain(store, session, name):
    with pytest.raises(InputError):
        store.save_as(session, name)
    assert session.project is None and not (store.place / "projects").exists()


@pytest.mark.parametrize("key", ["", "projects/", "projects/../sessions", "sessions/x", "etc/passwd", "projects/gone"])
def test_only_what_is_in_the_list_can_be_opened(store, key):
    with pytest.raises(InputError):
        store.open(key)


def test_strangers_see_nothing_of_each_other(tmp_path, session):
    store = SessionStore(tmp_path, shared=True)
    store.keep(session, TAB)
    session.paint([(0, 0)], 1.0)
    assert store.resume(TAB)[0].recipe == session.recipe
    assert store.recent() == store.projects() == []
    for wrong in (
        lambda: store.open(f"sessions/{TAB}"),
        lambda: store.save_as(session, "x"),
        lambda: store.delete("x"),
    ):
        with pytest.raises(InputError, match="public server"):
            wrong()


def test_old_sessions_are_thrown_away_by_age_and_number_and_projects_are_not(store, session):
    store.save_as(session, "mine")
    store.keep(session, TAB).save()
    for i in range(MOST + 5):
        place = store.place / "sessions" / f"{i:032d}"
        place.mkdir(parents=True)
        (place / "session.json").write_text("{}")
        age = (DAYS + 1) * 24 * 3600 if i == 7 else 60 * i
        os.utime(place / "session.json", (time.time() - age,) * 2)
    store.prune()
    left = {path.name for path in (store.place / "sessions").iterdir()}
    assert len(left) == MOST + 1 and TAB in left and f"{7:032d}" not in left and f"{0:032d}" in left
    assert [saved.name for saved in store.projects()] == ["mine"]


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A user without any folder named, at home in an empty one."""
    for name in ("TADA_STUDIO_STATE", "TADA_STUDIO_CACHE", "XDG_STATE_HOME", "XDG_CACHE_HOME", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    files._temporary.cache_clear()
    yield tmp_path
    files._temporary.cache_clear()


def test_where_the_state_lies(nowhere, monkeypatch):
    assert home() == nowhere / ".local/state/tada-studio"
    assert cache_folder() == nowhere / ".cache/tada-studio/bases"
    monkeypatch.setenv("XDG_STATE_HOME", str(nowhere / "y"))
    assert home() == nowhere / "y/tada-studio"
    monkeypatch.setenv("SPACE_ID", "o/n")
    assert home().name == "tada-studio-state"
    monkeypatch.setenv("TADA_STUDIO_STATE", str(nowhere / "x"))
    monkeypatch.setenv("TADA_STUDIO_CACHE", str(nowhere / "z"))
    assert home() == nowhere / "x" and cache_folder() == nowhere / "z/tada-studio/bases"


def test_what_version_0_1_kept_is_still_found_on_a_system_with_another_place_for_it(nowhere, monkeypatch):
    elsewhere = nowhere / "Library" / "tada-studio"
    monkeypatch.setattr(files.platformdirs, "user_state_path", lambda *_, **__: elsewhere)
    assert home() == elsewhere
    (nowhere / ".local/state/tada-studio").mkdir(parents=True)
    assert home() == nowhere / ".local/state/tada-studio"


def test_nobody_s_home_is_a_temporary_folder_and_said(nowhere, monkeypatch, caplog):
    """As in a container whose user has no entry in the list of users."""

    def nobody(*_):
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(sys.modules["pwd"], "getpwuid", nobody)
    place = home()
    assert place.is_dir() and place == home() and cache_folder() != place
    assert "Set TADA_STUDIO_STATE to keep it" in caplog.text
    monkeypatch.setenv("TADA_STUDIO_STATE", "~/state")
    with pytest.raises(InputError, match="no home folder"):
        home()


def test_a_home_that_cannot_be_written_to_is_no_home(nowhere, monkeypatch):
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    assert home().name.startswith("tada-studio-state-") and home().is_dir()


def test_what_a_killed_process_was_writing_goes_when_an_hour_has_passed(store, session):
    store.keep(session, "a" * 16).save()
    folder, project = store.place / "sessions" / ("b" * 16), store.place / "projects" / "mine"
    for place in (folder, project):
        place.mkdir(parents=True)
        (place / ".new-1-session.json").write_text("{")
        (place / ".new-readings").mkdir()
        (place / ".new-readings" / "x").write_text("x")
        (place / "session.json").write_text("{}")
    store.prune()
    assert len(list(folder.iterdir())) == 3, "it may be somebody's who writes now"
    for path in (*folder.glob(".new-*"), *project.glob(".new-*")):
        os.utime(path, (1, 1))
    store.prune()
    assert [path.name for place in (folder, project) for path in place.iterdir()] == ["session.json"] * 2
