"""The one-file report: all of it is in there, escaped, and the command line writes the same page."""

import json
import re

import pytest

from tada_studio import cli
from tada_studio.base_model.inputs import read_inputs
from tada_studio.evaluation import Score
from tada_studio.evaluation.effect import Change, Effects, Part
from tada_studio.figures import standalone
from tada_studio.html_report import html_report
from tada_studio.recipe import Recipe, knobs
from tada_studio.sample_pairs import planted
from tada_studio.session import Run, Session

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def session():
    session = Session()
    session.open_sample(planted().name)
    yield session
    session.close()


def without_plotly(page):
    return page.replace(standalone.plotly_js().read_text(encoding="utf-8"), "")


def figures_in(page):
    return re.findall(r"<figure><header><span>([^<]*)</span>", page)


def test_every_figure_table_and_verdict_is_in_it(session):
    session.turn(keep=("layer 1 : v_proj : task 1",))
    page = without_plotly(html_report(session.view, "planted"))
    shown = figures_in(page)
    assert {"Gate map", "Depth profile", "Energy dropped, of the task", "Energy against rank", "Norms by layer"} <= set(
        shown
    )
    assert len([name for name in shown if name.startswith("Conflict spectrum, layer")]) == 3
    assert len(re.findall('<div class="caption">.{40}', page)) == len(shown)
    assert all(f"<td>{name}</td>" in page for name in knobs()) and "layer 1 : v_proj : task 1" in page
    drops = session.view.merged.how.drops
    assert f"removes {drops.count} of {drops.everything} directions" in page and "Nothing was evaluated" in page
    assert session.pair.task.digest in page


def test_how_sure_the_gates_are_and_what_parts_do_are_in_it_once_they_are_known(session):
    page = without_plotly(html_report(session.view, "planted"))
    assert "Effect" not in page
    effects = Effects(Recipe(strength=0.5), "some items")
    for layer in session.view.gates.layers:
        part = Part("layer", f"layer {layer}", ())
        effects = effects.and_also(part, {EVIL: Change(-0.5 + layer, -1.0, 0.0, None)}, 0.25)
    page = without_plotly(html_report(session.view, "planted", effects=effects))
    assert "Effect of each layer, beside its energy" in figures_in(
        page
    ) and "Effect of each projection" not in figures_in(page)
    assert "Without layer 0 the right answers lose most" in page and "of an earlier recipe (strength 0.5)" in page
    assert EVIL not in page


def test_how_sure_the_gates_are_is_in_it_where_inputs_were_read(pico, session):
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    assert "Stability" not in html_report(session.view, "pico")
    session.probe(read_inputs(pico.inputs))
    page = without_plotly(html_report(session.view, "pico"))
    assert {"Gates from fewer inputs", "How sure each cell is"} <= set(figures_in(page))
    assert 'href="#stability"' in page and "two halves of them" in page


def test_what_files_and_people_write_stays_text(session, monkeypatch):
    import torch

    # put back afterwards: what was read of a file is kept for other sessions
    monkeypatch.setitem(session.pair.passports[0].facts, "note", EVIL)
    monkeypatch.setitem(session.pair.task.__dict__, "label", EVIL)
    score = Score(EVIL, torch.zeros(1, 2), torch.tensor([True]), 0.5, 0.0, 1.0)
    run = Run(1, session.recipe, None, 5, sides={EVIL: {EVIL: score}}, finished=True, digest=session.digest)
    written = {"verdict": EVIL, "outputs": {EVIL: EVIL}}
    page = without_plotly(html_report(session.view, EVIL, [run], written, certified=session.digest))
    assert "<img" not in page and page.count("&lt;img") > 6
    assert "Run 1, with this recipe" in page and "Certificate" in page


def test_what_was_measured_or_certified_of_another_recipe_is_called_so(session):
    import torch

    was, score = session.digest, Score("tada", torch.zeros(1, 2), torch.tensor([True]), 0.5, 0.0, 1.0)
    run = Run(1, session.recipe, None, 5, sides={"task": {"tada": score}}, finished=True, digest=was)
    passed = {"verdict": "pass", "outputs": {"adapter_model.safetensors": "0" * 64}}
    page = without_plotly(html_report(session.view, "now", [run], passed, certified=was))
    assert "Verdict: pass" in page and "with this recipe" in page and "0" * 64 in page
    session.turn(strength=1.1)
    page = without_plotly(html_report(session.view, "later", [run], passed, certified=was))
    assert "Verdict" not in page and "0" * 64 not in page and "An earlier recipe was exported" in page
    assert "Run 1, of an earlier recipe" in page and "with this recipe" not in page


def test_a_method_that_drops_nothing_has_a_report_too(session):
    session.turn(method="linear")
    page = without_plotly(html_report(session.view, "linear"))
    assert "drops no directions" in page and "Energy dropped" not in str(figures_in(page))


def test_the_command_line_writes_the_page(session, tmp_path, capsys):
    pair = ["--task", str(planted().task), "--domain", str(planted().domain)]
    out = tmp_path / "report.html"
    assert cli.main(["report", *pair, "--title", "planted", "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == out.stat().st_size
    assert out.read_text(encoding="utf-8") == html_report(session.view, "planted")
    assert cli.main(["report", *pair, "-o", str(tmp_path / "report.pdf")]) == 2
    assert "ends in .html" in capsys.readouterr().err
