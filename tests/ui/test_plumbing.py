"""How events are wired, without a browser: answers by name, and one way in which all long work runs, stops and ends."""

import json

import gradio as gr
import plotly.graph_objects as go
import pytest

from tada_studio import figures
from tada_studio.app.page import Start, page
from tada_studio.app.state import TabState
from tada_studio.app.widgets.gate_map import packed, payload
from tada_studio.app.widgets.panel import Panel, answering, together
from tada_studio.app.widgets.plot_panel import drawing
from tada_studio.app.widgets.task import Job, ask_to_stop, running
from tada_studio.errors import InputError, Stopped
from tada_studio.progress import Progress


@pytest.fixture(scope="module")
def config():
    return page(Start()).config


# -- answers by name -------------------------------------------------------------------------------------------------


def test_an_answer_goes_to_the_components_of_its_names_and_leaves_the_others_alone():
    with gr.Blocks(analytics_enabled=False):
        at = {"one": gr.HTML(), "two": gr.HTML()}
    assert answering(lambda: {"two": "x"}, at)() == {at["two"]: "x"}
    assert answering(dict, at)() == gr.skip(), "gradio would take an empty dict for a value"
    with pytest.raises(KeyError, match="three"):
        answering(lambda: {"three": "x"}, at)()


def test_a_generator_stays_one_under_whatever_is_wrapped_around_it():
    with gr.Blocks(analytics_enabled=False):
        at = {"one": gr.HTML()}

    def handler():
        yield {"one": 1}
        yield {"one": 2}

    assert list(answering(handler, at)()) == [{at["one"]: 1}, {at["one"]: 2}]


def test_panels_together_keep_their_names_apart():
    with gr.Blocks(analytics_enabled=False):
        first, second = gr.HTML(), gr.HTML()
    both = together(
        {"a": Panel({"x": first}, lambda state: {"x": 1}), "b": Panel({"x": second}, lambda state: {"x": 2})}
    )
    assert both.updates(TabState()) == {first: 1, second: 2}


# -- long work -------------------------------------------------------------------------------------------------------


def ended(work, **how):
    """The last answer of a job, and what it raised."""
    answers, raised = [], None
    try:
        for answer in running(lambda state: Job(work=work, **how), ("go",))(TabState()):
            answers.append(answer)
    except Exception as error:
        raised = error
    return answers[-1], raised


def stops(progress):
    raise Stopped("Stopped.")


def fails(progress):
    raise InputError("There are no items.")


def breaks(progress):
    raise ZeroDivisionError("secret")


@pytest.mark.parametrize(
    ("work", "outcome", "says"),
    [
        (lambda progress: 7, "done", "7 is done"),
        (stops, "stopped", "Stopped."),
        (fails, "failed", "There are no items."),
        (breaks, "failed", "It ended in an error."),
    ],
)
def test_long_work_ends_in_words_with_its_buttons_free_and_what_it_made_shown(work, outcome, says):
    last, raised = ended(work, done=lambda result: f"{result} is done", show=lambda: {"table": "so far"})
    assert f'data-outcome="{outcome}"' in last["bar"] and says in last["bar"] and "secret" not in last["bar"]
    assert last["go"]["interactive"] and not last["stop"]["interactive"] and last["table"] == "so far"
    assert (raised is None) == (outcome in ("done", "stopped"))


def test_what_cannot_begin_is_refused_and_leaves_the_buttons_as_they_are():
    def prepare(state):
        raise InputError("No variant is chosen.")

    answers = running(prepare, ("go", "judge"))(TabState())
    first = next(answers)
    assert (
        set(first) == {"bar"} and 'data-outcome="refused"' in first["bar"] and "No variant is chosen." in first["bar"]
    )
    with pytest.raises(InputError):
        next(answers)


def test_what_is_shown_is_sent_again_only_when_it_is_new(monkeypatch):
    monkeypatch.setattr("tada_studio.app.widgets.task.EVERY", 0)
    scored = []

    def work(progress):
        for step in range(6):
            if step == 3:
                scored.append(step)
            progress(Progress("score", step, 6))

    job = Job(work=work, mark=lambda: len(scored), show=lambda: {"table": len(scored)})
    answers = list(running(lambda state: job, ("go",))(TabState()))
    assert sum("table" in answer for answer in answers[:-1]) <= 1 and answers[-1]["table"] == 1
    assert all(not answer["go"]["interactive"] and answer["stop"]["interactive"] for answer in answers[:-1])


def test_all_eight_kinds_of_long_work_stop_in_the_same_way(config):
    buttons = {
        block["id"]: block["props"].get("elem_id") for block in config["components"] if block["type"] == "button"
    }
    stopping = {
        buttons[target] for event in config["dependencies"] for target, kind in event["targets"]
        if kind == "click" and event["api_name"].startswith(ask_to_stop.__name__) and target in buttons
    }  # fmt: skip
    assert stopping == {
        "probe-stop", "stop", "tune-stop", "ask-stop", "effect-stop", "build-stop", "auto-stop", "rack-stop",
    }  # fmt: skip


# -- figures ---------------------------------------------------------------------------------------------------------


def test_the_script_of_the_charts_is_not_in_the_page(config):
    scripts = [block["props"].get("js_on_load") or "" for block in config["components"]]
    charts = [script for script in scripts if "point_click" in script]
    assert len(charts) > 10 and max(map(len, charts)) < 2000 and not any("Plotly.react" in script for script in scripts)


def test_no_update_sets_a_style_sheet_anew_or_takes_the_map_in_parts(config):
    """Either made a stroke a third slower: gradio puts a component's own sheet back, and copies a value part by part."""
    assert not [one["props"].get("elem_id") for one in config["components"] if one["props"].get("css_template")]
    told = packed(payload(None, 3))
    assert isinstance(told, str) and json.loads(told)["ack"] == 3 and packed(None) is None


def test_a_figure_brings_its_title_to_the_panel():
    frame = figures.Figure("Energy", "How to read it.")
    assert drawing(frame) is None and drawing(None) is None
    sent = json.loads(drawing(figures.NORMS.of(go.Figure(), "layer <3>")))
    assert sent["title"] == "Norms by layer, layer <3>" and sent["figure"]["data"] == []
