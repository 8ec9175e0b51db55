"""The take-home kit: every figure with pair and recipe in it, its numbers as CSV, one file name a thing, at every door."""

import csv
import io
import json

import plotly.io
import pytest

import tada_studio as tada
from tada_studio import cli, pipeline, take_home
from tada_studio.errors import ExportError
from tada_studio.figures import images
from tada_studio.probing import Readings
from tada_studio.sample_pairs import sample


@pytest.fixture(scope="module")
def view():
    """The default sample, probed, one cell painted."""
    chosen = sample("minerals-tiny")
    pair = pipeline.read_pair(str(chosen.task), str(chosen.domain))
    return tada.Merge(
        pair, Readings.load(chosen.readings), tada.Recipe(method="gates", overrides=("layer 1 : v_proj : 0.9",))
    )


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_tables_hold_the_numbers_of_the_figures(view):
    tables = {name: rows(text) for name, text in take_home.tables_of(view).items()}
    assert set(tables) == {"gates", "weights", "conflicts", "depth", "readings"}
    [painted] = [row for row in tables["gates"] if (row["layer"], row["projection"]) == ("1", "v_proj")]
    assert painted["share"] == "0.9" and painted["edited"] == "True" and painted["computed"] != "0.9"
    assert len(tables["gates"]) == len(tables["weights"]) == 42 and len(tables["depth"]) == 6
    assert [float(row["share"]) for row in tables["depth"]] == pytest.approx(view.depths[""].share.tolist())
    [weights] = [row for row in tables["weights"] if (row["layer"], row["projection"]) == ("1", "v_proj")]
    index = list(view.pair.addresses).index(weights["module"])
    assert float(weights["domain weight"]) == view.how.weights[index, 1].item()
    assert sum(float(row["task energy dropped"]) for row in tables["conflicts"]) == pytest.approx(
        float(view.dropped_energy[:, 0].sum())
    )
    assert len(tables["readings"]) == 42 * 32
    assert float(tables["readings"][32]["domain response"]) == view.readings.domain[1, 0].item()


def test_a_kit_has_one_name_a_thing_and_each_page_says_of_what(view, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "can_draw", lambda: False)
    written = take_home.write_kit(tmp_path / "kit", view, names=("chat/task", "bio/task")).files
    names = {path.name for path in written}
    assert {"gate-map.html", "depth-profile.html", "norms.html", "gates.csv", "readings.csv"} <= names
    assert len({name.partition(".")[0] for name in names}) == len(names), "no two files of one name"
    page = (tmp_path / "kit" / "gate-map.html").read_text(encoding="utf-8")
    assert f"Of chat/task (task) and bio/task (domain), recipe {view.digest[:8]} (gates)." in page
    assert "scores" not in " ".join(names), "nothing was evaluated"
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        take_home.write_kit(tmp_path / "file" / "kit", view)


def test_a_picture_stands_for_itself(view):
    figure = take_home.figures_of(view)["gate-map"]
    plot = images.captioned(figure, take_home.about(view), width=500)
    assert plot.layout.title.text == figure.title and plot.layout.height > figure.plot.layout.height + 60
    caption = plot.layout.annotations[-1].text
    assert (
        caption.startswith("Each cell is one") and f"recipe {view.digest[:8]}" in caption and caption.count("<br>") >= 3
    )
    drawn, note = plot.layout, plot.layout.annotations[-1]
    assert 0 < drawn.margin.b + note.yshift - 14 * (caption.count("<br>") + 1), (
        "all of it stands above the picture's edge"
    )
    assert not figure.plot.layout.annotations, "the figure on the screen stays as it is"


def test_a_kit_shows_the_gates_that_its_method_computes(view):
    """Where shares are a hand's, they are even until it sets one: no map to take home."""
    own = tada.Merge(view.pair, view.readings, tada.Recipe())
    assert list(take_home.figures_of(view))[:4] == ["gate-map", "depth-profile", "split-map", "split-profile"]
    assert list(take_home.figures_of(own))[:4] == ["split-map", "split-profile", "asymmetry-map", "asymmetry-profile"]
    on_domain, on_task = take_home.figures_of(own)["split-map"].plot.data
    assert on_domain.z[0][1] == pytest.approx(own.separation.on_domain[1, 0].item())
    assert (
        on_task.z[0][1] == pytest.approx(own.separation.on_task[1, 0].item()) and on_task.z[0][1] != on_domain.z[0][1]
    )
    painted = own.recipe.but(overrides=("layer 1 : v_proj : 0.9",))
    assert "gate-map" in take_home.figures_of(tada.Merge(view.pair, view.readings, painted))
    assert tada.figures.gate_map(own).title == "Gates on each kind of inputs"


def test_without_kaleido_a_picture_names_what_would_work(view, tmp_path, monkeypatch):
    figure = take_home.figures_of(view)["gate-map"]
    monkeypatch.setattr(images, "can_draw", lambda: False)
    with pytest.raises(ExportError, match="pip install kaleido"):
        images.save_image(figure, tmp_path / "x.png")
    with pytest.raises(ExportError, match=r"ends in \.png, \.svg, \.pdf"):
        images.save_image(figure, tmp_path / "x.gif")


def test_width_and_font_go_to_every_picture_and_a_width_that_none_can_have_is_refused(view, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(take_home, "save_images", lambda pictures, *look: drawn.append((list(pictures), *look)))
    files, lacks = take_home.write_kit(tmp_path / "kit", view, width=640, font="serif")
    assert not lacks
    [(paths, says, *look)] = drawn  # one start of the browser for all
    assert look == [640, "serif"] and says == take_home.about(view)
    assert len(paths) == 3 * len(take_home.figures_of(view)) and set(paths) < set(files)
    assert images.captioned(take_home.figures_of(view)["rank"], width=640, font="serif").layout.font.family == "serif"
    with pytest.raises(ExportError, match="width = 20: give one from 200 to 4000 pixels"):
        take_home.write_kit(tmp_path / "other", view, width=20)
    assert not (tmp_path / "other").exists()


def test_kaleido_without_a_browser_leaves_the_pages_and_says_so(view, tmp_path, monkeypatch):
    def no_browser(*args, **how):
        raise RuntimeError("Kaleido requires Google Chrome to be installed.")

    monkeypatch.setattr(images, "can_draw", lambda: True)
    monkeypatch.setattr(plotly.io, "write_images", no_browser)
    kit = take_home.write_kit(tmp_path / "kit", view)
    assert {path.suffix for path in kit.files} == {".html", ".csv"} and all(path.is_file() for path in kit.files)
    assert "It needs a Chromium; BROWSER_PATH names one" in kit.lacks and "saves its own as PNG or SVG" in kit.lacks


def test_kaleido_draws_where_it_is_there(view, tmp_path):
    pytest.importorskip("kaleido")
    figure = take_home.figures_of(view)["gate-map"]
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<svg"), ("pdf", b"%PDF")):
        images.save_image(figure, tmp_path / f"map.{kind}", take_home.about(view))
        assert (tmp_path / f"map.{kind}").read_bytes().startswith(start)


def test_a_notebook_shows_the_map_of_a_merge_inline(view, monkeypatch):
    monkeypatch.setattr(plotly.io.renderers, "default", "plotly_mimetype")  # as in a notebook
    figure = tada.figures.gate_map(view)
    shown = figure._repr_mimebundle_()
    assert figure.title == "Gate map" and shown, "plotly's own bundle"


def test_the_command_writes_page_and_kit(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(images, "can_draw", lambda: False)
    chosen = sample("minerals-tiny")
    pair = [
        "report",
        "--task",
        str(chosen.task),
        "--domain",
        str(chosen.domain),
        "--readings",
        str(chosen.readings),
        "--json",
    ]
    assert cli.main([*pair, "--figures", str(tmp_path / "kit")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert str(tmp_path / "kit" / "gates.csv") in answer["figures"] and "out" not in answer
    assert "pip install kaleido" in answer["lacks"]
    assert cli.main(pair) == 2
    assert "--figures DIR" in capsys.readouterr().err
