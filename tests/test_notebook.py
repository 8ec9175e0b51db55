"""Values in a notebook: a line when printed, a small table when shown; and examples/merge.ipynb, run from top to bottom."""

import importlib.util
import json
from pathlib import Path

import pytest

import tada_studio as tada

ROOT = Path(__file__).parent.parent
NOTEBOOK = json.loads((ROOT / "examples" / "merge.ipynb").read_text(encoding="utf-8"))


def shown(notebook):
    """Cell by cell, the kinds of outputs."""
    codes = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [sorted(kind for out in cell["outputs"] for kind in out.get("data", {})) for cell in codes]


def test_the_notebook_runs_and_shows_what_it_holds(tmp_path, monkeypatch):
    place = importlib.util.spec_from_file_location("run_notebook", ROOT / "examples" / "run_notebook.py")
    runner = importlib.util.module_from_spec(place)
    place.loader.exec_module(runner)
    monkeypatch.chdir(tmp_path)
    made = runner.executed(NOTEBOOK)
    assert shown(made) == shown(NOTEBOOK), "run: python examples/run_notebook.py examples/merge.ipynb"
    kinds = [kind for cell in shown(made) for kind in cell]
    assert kinds.count("application/vnd.plotly.v1+json") == 2 and kinds.count("text/html") == 7
    assert [cell["source"] for cell in made["cells"]] == [cell["source"] for cell in NOTEBOOK["cells"]]
    assert '<td style="text-align: left">pass</td>' in made["cells"][-1]["outputs"][0]["data"]["text/html"][0]


@pytest.fixture(scope="module")
def pair(pico):
    return tada.read_pair(pico.task, pico.domain)


def test_values_are_one_line_and_a_table(pair, pico):
    base = tada.load_base(pico.base)
    readings = tada.probe(pair, base, tada.read_inputs(pico.inputs))
    merge = tada.Merge(pair, readings)
    score = tada.evaluate(base, {"me": merge.adapter}, tada.read_items(pico.items))["me"]
    for value in (pair, pair.task, readings, merge, merge.adapter, score):
        assert (
            repr(value).startswith(f"{type(value).__name__}(")
            and len(repr(value)) < 200
            and "tensor" not in repr(value)
        )
        assert value._repr_html_().startswith("<table>")
    assert "rank=3" in repr(pair.domain) and "me" in repr(score)


def test_names_from_files_are_text(pair):
    from dataclasses import replace

    assert "<b>" not in replace(pair.task, label="<b>bold</b>", passport=None)._repr_html_()


def test_the_map_of_a_merge_is_drawn_in_its_colours(pair):
    whole = tada.Merge(
        pair, recipe=tada.Recipe(method="gates", overrides=("layer 0 : v : domain", "layer 0 : q : task"))
    )
    text = whole._repr_html_()
    assert "rgba(230, 126, 34, 1.00)" in text and "rgba(52, 120, 214, 1.00)" in text and ">0.50<" in text
