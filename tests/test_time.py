"""Time: bytes while a base loads, an end to it between two tensors, and estimates that come from what was measured."""

import json
import threading
import time
from types import SimpleNamespace

import pytest
from pico import pico_adapter, pico_base, pico_items

from tada_studio.app.page import Start
from tada_studio.app.state import TabState
from tada_studio.app.tabs import tune
from tada_studio.app.tabs.evaluate import run_panel
from tada_studio.app.tabs.export import tab as export_tab
from tada_studio.app.tabs.inspect import effect_panel
from tada_studio.app.widgets import estimate, html
from tada_studio.app.widgets.estimate import UNKNOWN, Pace, Stopwatch, duration
from tada_studio.app.widgets.task import LEFT, Job, ask_to_stop, running
from tada_studio.base_model.loading import tensor_sizes
from tada_studio.base_model.model import load_base
from tada_studio.errors import Stopped
from tada_studio.progress import LOAD, Progress
from tada_studio.session.rates import Rates
from tada_studio.session.session import size_of_merge


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico_base(tmp_path_factory.mktemp("base") / "pico-base")


@pytest.fixture
def rates(monkeypatch, tmp_path):
    """Of a machine on which nothing was measured yet."""
    fresh = Rates(tmp_path / "rates.json")
    for module in (estimate, tune, export_tab):
        monkeypatch.setattr(module, "RATES", fresh)
    return fresh


# -- a base on its way -----------------------------------------------------------------------------------------------


def test_loading_a_base_counts_its_bytes_up_to_all_of_them(base):
    steps = []
    load_base(base, progress=steps.append)
    whole = sum(tensor_sizes(base).values())
    loaded = [step for step in steps if step.note.startswith("loading")]
    assert {step.step for step in steps} == {LOAD} and len(loaded) > 10
    assert [step.done for step in loaded] == sorted(step.done for step in loaded)
    assert (loaded[0].done, loaded[-1].done, loaded[-1].total) == (0, whole, whole)
    assert 0 < len({step.done for step in loaded}) > 10, "it counts on, tensor by tensor"
    assert html.progress_words(loaded[-1]) == f"loading pico-base: {whole / 1e6:,.0f} of {whole / 1e6:,.0f} MB"


def test_a_transformers_that_tells_nobody_how_far_it_is_loads_all_the_same(base, monkeypatch):
    monkeypatch.delattr("transformers.utils.logging.set_tqdm_hook")  # as transformers 5.0
    steps = []
    assert load_base(base, device="cpu", progress=steps.append).model is not None
    assert not [step for step in steps if 0 < step.done < step.total]


def test_a_base_stops_between_two_tensors_and_is_no_error_of_its_files(base):
    seen = []

    def stop(step):
        seen.append(step)
        if len(seen) == 3:
            raise Stopped("enough")

    with pytest.raises(Stopped, match="enough"):
        load_base(base, progress=stop)
    assert len(seen) == 3 and load_base(base).kind == "text", "the bar is given back"


# -- stop ------------------------------------------------------------------------------------------------------------


def test_stop_does_not_wait_for_work_that_reports_nothing():
    state, let_go, steps = TabState(), threading.Event(), []

    def deaf(progress):
        progress(Progress("pass", 0, 2))
        let_go.wait(60)
        progress(Progress("pass", 1, 2))
        steps.append("went on")

    handler = running(lambda state: Job(work=deaf), ("go",))(state)
    next(handler), next(handler)
    ask_to_stop(state)
    began = time.monotonic()
    *_, last = handler
    assert time.monotonic() - began < 20 and LEFT in last["bar"] and last["go"]["interactive"]
    let_go.set()
    again = running(lambda state: Job(work=lambda progress: 1), ("go",))(state)
    *_, last = again  # waits for the deaf one's turn to end
    assert 'data-outcome="done"' in last["bar"] and steps == [], "its next report ended it"


# -- estimates -------------------------------------------------------------------------------------------------------


def test_a_rate_is_kept_smoothed_and_taken_over_by_size(base, tmp_path):
    twice = tmp_path / "twice"
    pico_base(twice)
    rates = Rates(tmp_path / "kept" / "rates.json")
    assert rates.estimate("evaluate", str(base), 10) is None
    rates.note("evaluate", str(base), 10, 5.0)
    assert rates.estimate("evaluate", str(base), 100) == (50.0, True)
    rates.note("evaluate", str(base), 10, 15.0)
    again = Rates(tmp_path / "kept" / "rates.json")
    assert again.estimate("evaluate", str(base), 10) == (10.0, True)
    assert again.estimate("evaluate", str(twice), 10) == (pytest.approx(10.0), False), "as many bytes"
    assert again.estimate("evaluate", "nobody/knows", 10) is None and again.estimate("probe", str(base), 1) is None
    assert str(base) not in (tmp_path / "kept" / "rates.json").read_text(), "paths are nobody's business"
    for broken in ("{", "[]", json.dumps({"evaluate": {"x": 3}})):
        (tmp_path / "bad.json").write_text(broken)
        assert Rates(tmp_path / "bad.json").estimate("evaluate", str(base), 1) is None


def test_what_comes_out_of_a_cache_makes_nothing_faster(rates, base, monkeypatch):
    now = iter([0.0, 1.0, 2.0, 2.0, 3.0, 3.0])
    monkeypatch.setattr(
        estimate, "time", SimpleNamespace(monotonic=lambda: next(now))
    )  # the module's own, not everybody's
    watch = Stopwatch(Pace("evaluate", "evaluate", 100), str(base))
    for done, note in ((0, "base"), (10, "base"), (20, "base"), (80, "tada"), (90, "tada"), (100, "all")):
        watch.saw(Progress("evaluate", done, 100, note))
    watch.keep()
    # 30 answers in 3 seconds; the 60 from the cache, and the step to another variant, count for nothing
    assert rates.estimate("evaluate", str(base), 10).seconds == pytest.approx(1.0)


def test_evaluate_and_auto_tune_say_how_long_before_they_begin(base, tmp_path, rates):
    task, domain = (pico_adapter(tmp_path / name, base, seed=i) for i, name in enumerate(("task", "domain")))
    state, items = (
        Start(task=str(task), domain=str(domain), base=str(base)).state(),
        str(pico_items(tmp_path / "i.jsonl", 40)),
    )
    chosen = (["base", "task", "sum"], 20, items, None)
    assert UNKNOWN in run_panel.estimate(state, *chosen)["estimate"]
    rates.note("evaluate", str(base), 60, 30.0)
    assert "About 30 s for 3 variants on 20 items." in run_panel.estimate(state, *chosen)["estimate"]
    rates.note(LOAD, str(base), 1, 12.0)
    assert "after about 12 s to load the base" in run_panel.estimate(state, *chosen)["estimate"]
    without = run_panel.estimate(state, ["base"], 20, None, None)["estimate"]
    assert "brings no items" in without and "About" not in without, "without items it cannot begin"
    says = tune.estimate(state, 60, 5, 2, 0, items, None)["estimate"]
    assert "A whole trial takes about 10 s here" in says and "5 min hold about 15 of 60" in says
    assert "at most 10 min for 60 trials" in tune.estimate(state, 60, 0, 2, 0, items, None)["estimate"]
    assert tune.estimate(state, 60, 5, 2, 0, None, None)["estimate"] == ""
    state.items = (items, None)
    assert "A whole trial" in tune.estimate(state, 60, 5, 2, 0, None, None)["estimate"], "Evaluate's items are taken"
    pico = state.session.pair.addresses.values()  # three layers with seven projections
    parts, cells = len({a.row for a in pico}) + len({a.projection for a in pico}), len(pico)
    says = effect_panel.estimate(state, 5)["estimate"]
    like_evaluating = (
        f"Roughly {duration(5 * (parts + 1) / 2)} (judged by other work) for {parts} layers and projections"
    )
    assert like_evaluating in says
    rates.note("effect", str(base), 10, 20.0)
    says = effect_panel.estimate(state, 5)["estimate"]
    assert f"About {duration(10 * (parts + 1))} for {parts} layers and projections" in says
    assert f", {duration(10 * (cells + 1))} for {cells} cells, after about 12 s to load the base." in says
    state.items = (None, None)
    assert effect_panel.estimate(state, 5)["estimate"] == "", "without items it cannot begin"
    state.session.close()


def test_an_export_is_judged_by_exports_of_its_own_base_alone(base, tmp_path, rates):
    task, domain = (pico_adapter(tmp_path / name, base, seed=i) for i, name in enumerate(("task", "domain")))
    state = Start(task=str(task), domain=str(domain), base=str(base)).state()
    rates.note("export", str(pico_base(tmp_path / "other")), 1000, 60.0)
    assert UNKNOWN in export_tab.estimate(state)["estimate"], "of another base's size it would have been minutes"
    rates.note("export", str(base), size_of_merge(state.session.pair), 4.0)
    assert "About 4 s, certificate included." in export_tab.estimate(state)["estimate"]
    state.session.close()


@pytest.mark.parametrize(
    ("seconds", "says"), [(0.2, "a second"), (12.4, "12 s"), (83, "85 s"), (600, "10 min"), (7200, "2.0 h")]
)
def test_no_duration_is_finer_than_anybody_can_know(seconds, says):
    assert duration(seconds) == says
