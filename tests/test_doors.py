"""The three doors give the same bytes, speak the same words, and open nothing that was not asked for."""

import gc
import json
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

import tada_studio
from tada_studio import cli, pipeline
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.probing import read_inputs
from tada_studio.recipe import Recipe
from tada_studio.session import Session


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_api_command_line_and_session_write_the_same_bytes(pico, tmp_path, capsys):
    base = pipeline.load_base(pico.base, device="cpu")
    pair = pipeline.read_pair(pico.task, pico.domain)
    line = "layers 1-2 : attn : 0.7"
    by_api = merge(pair, pipeline.probe(pair, base, read_inputs(pico.inputs)), Recipe(rank=5, overrides=(line,)))
    pipeline.export(by_api, tmp_path / "api", base=base)

    where = ("--task", pico.task, "--domain", pico.domain)
    assert run("probe", *where, "--base", pico.base, "--inputs", pico.inputs, "-o", tmp_path / "readings.json") == 0
    where = (*where, "--base", pico.base)  # its class decides how short the names in the config may be
    knobs = ("--rank", 5, "--overrides", line)
    assert run("merge", *where, "--readings", tmp_path / "readings.json", *knobs, "-o", tmp_path / "cli") == 0
    recipe = ("--recipe", tmp_path / "cli" / "recipe.json")
    assert run("merge", *where, "--readings", tmp_path / "readings.json", *recipe, "-o", tmp_path / "again") == 0

    session = Session()
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    session.probe(read_inputs(pico.inputs))
    session.turn(rank=5)
    session.add_line(line)
    session.export(tmp_path / "session")

    doors = ("api", "cli", "again", "session")
    for name in (WEIGHTS, CONFIG):
        files = [(tmp_path / door / name).read_bytes() for door in doors]
        assert files[1:] == files[:1] * 3, name
    recipes = [json.loads((tmp_path / door / "recipe.json").read_bytes()) for door in doors]
    assert len(recipes[-1].pop("log")) == 2  # what the session's hand did, in order; the other doors have no hand
    assert recipes[1:] == recipes[:1] * 3


#: The stages of a merge: module -> names in it that the flow calls.
STAGES = {
    "tada_studio.pipeline.opening": ("read_folder", "pair_up"),
    "tada_studio.pipeline.analysis": ("factor",),
    "tada_studio.pipeline.merge": ("mixed", "recompressed", "expanded", "merge_whole"),
    "tada_studio.core.gates": ("gates",),
    "tada_studio.cli.pair": ("read_recipe", "readings_of"),
}


@pytest.mark.parametrize("door", ["cli", "api"])
def test_a_merge_computes_each_stage_once(door, pico, tmp_path, monkeypatch):
    base = pipeline.load_base(pico.base, device="cpu")
    pair = pipeline.read_pair(pico.task, pico.domain)
    pipeline.probe(pair, base, read_inputs(pico.inputs)).save(tmp_path / "readings.json")
    (tmp_path / "recipe.json").write_text(json.dumps({"recipe": Recipe(rank=5, sharpness=2.0).to_dict()}))
    sys.modules["tada_studio.pipeline.opening"]._PAIRS.results.clear()  # as in a process of its own
    calls = Counter()
    for module, names in STAGES.items():
        for name in names:
            count(monkeypatch, sys.modules[module], name, calls)
    if door == "cli":
        given = ("--readings", tmp_path / "readings.json", "--recipe", tmp_path / "recipe.json")
        assert run("merge", "--task", pico.task, "--domain", pico.domain, *given, "-o", tmp_path / "out") == 0
    else:
        pair = tada_studio.read_pair(pico.task, pico.domain)
        recipe = Recipe.load(tmp_path / "recipe.json")
        merged = tada_studio.merge(pair, tada_studio.Readings.load(tmp_path / "readings.json"), recipe)
        tada_studio.export(merged, tmp_path / "out")
    once = {name for names in STAGES.values() for name in names}
    once -= set() if door == "cli" else set(STAGES["tada_studio.cli.pair"])
    assert calls == {name: 2 if name == "read_folder" else 1 for name in once}  # a pair has two adapters


def count(monkeypatch, module, name: str, calls: Counter) -> None:
    honest = getattr(module, name)

    def counted(*args, **options):
        calls[name] += 1
        return honest(*args, **options)

    monkeypatch.setattr(module, name, counted)


def test_the_main_job_by_command_line(pico, tmp_path, capsys):
    where = ("--task", pico.task, "--domain", pico.domain)
    assert run("merge", *where, "--base", pico.base, "--inputs", pico.inputs, "--json", "-o", tmp_path / "out") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "pass"
    adapters = ("--adapter", f"task={pico.task}", "--adapter", f"tada={tmp_path / 'out'}")
    assert run("evaluate", "--base", pico.base, "--items", pico.items, *adapters, "--limit", 10, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in scores] == ["base", "task", "tada"]
    assert all(row["n"] == 10 and row["low"] <= row["accuracy"] <= row["high"] for row in scores)
    assert run("verify", tmp_path / "out", "--base", pico.base) == 0
    assert capsys.readouterr().out.rstrip().endswith("PASS")


def test_verify_fails_on_a_changed_file(pico, tmp_path, capsys):
    run("merge", "--task", pico.task, "--domain", pico.domain, "-o", tmp_path / "out")
    with (tmp_path / "out" / "README.md").open("a") as card:
        card.write("buy now")
    assert run("verify", tmp_path / "out", "--json") == 2
    assert "README.md" in capsys.readouterr().out


def test_passport_and_samples_as_json(pico, capsys):
    assert run("passport", pico.task, pico.domain, "--json") == 0
    one, two = json.loads(capsys.readouterr().out)
    assert one["rank"] == "4" and two["rank"] == "3" and one["verdict"].startswith("Fits")
    assert run("samples", "--json") == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert "smollm2-minerals" in names
    assert run("samples", "smollm2-minerals", "--json") == 0
    paths = json.loads(capsys.readouterr().out)
    assert pipeline.read_pair(paths["task"], paths["domain"]).names


WRONG = {
    "no such folder": ("passport", "nowhere"),
    "rank = '0'": ("merge", "--task", "T", "--domain", "D", "--rank", "0", "-o", "O"),
    "method = 'magic'": ("merge", "--task", "T", "--domain", "D", "--method", "magic", "-o", "O"),
    "selects no cell": ("merge", "--task", "T", "--domain", "D", "--overrides", "layer 99 : * : 1", "-o", "O"),
    "--inputs needs --base": ("merge", "--task", "T", "--domain", "D", "--inputs", "I", "-o", "O"),
    "holds no probe input": (
        "probe",
        "--task",
        "T",
        "--domain",
        "D",
        "--base",
        "B",
        "--inputs",
        "EMPTY",
        "-o",
        "R.json",
    ),
    "ends in .json": ("probe", "--task", "T", "--domain", "D", "--base", "B", "--inputs", "I", "-o", "R"),
    "no such folder or file": ("merge", "--task", "T", "--domain", "D", "--base", "./none", "-o", "O"),
    "NAME=PATH": ("evaluate", "--base", "B", "--items", "ITEMS", "--adapter", "T"),
    "no certificate": ("verify", "T"),
    "no such sample": ("samples", "atlantis"),
    "atlantis": ("--sample", "atlantis"),
    "both --task and --domain": ("app", "--task", "T"),
    "No such": ("merge", "--task", "T", "--domain", "D", "--recipe", "nowhere.json", "-o", "O"),
}


@pytest.mark.parametrize(("says", "words"), WRONG.items(), ids=WRONG)
def test_a_users_mistake_is_one_sentence_on_stderr_and_exit_code_2(says, words, pico, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("\n")
    real = {"T": pico.task, "D": pico.domain, "B": pico.base, "I": pico.inputs, "ITEMS": pico.items,
            "O": tmp_path / "out", "EMPTY": tmp_path / "empty.txt", "R.json": tmp_path / "r.json", "R": tmp_path / "r"}  # fmt: skip
    assert run(*(real.get(word, word) for word in words)) == 2
    said = capsys.readouterr()
    assert says in said.err and said.out == "" and "Traceback" not in said.err
    assert not (tmp_path / "out").exists()


def test_without_a_command_the_app_opens_on_the_sample(monkeypatch):
    started = []
    monkeypatch.setitem(sys.modules, "tada_studio.app", SimpleNamespace(launch=lambda **how: started.append(how)))
    assert run("--no-browser", "--port", 7999) == 0 and run("app", "--task", "t", "--domain", "d") == 0
    assert [how["sample"] for how in started] == ["minerals-tiny", None]
    assert (started[0]["host"], started[0]["port"], started[0]["open_browser"]) == ("127.0.0.1", 7999, False)


def test_a_bug_keeps_its_traceback(pico, monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "samples", lambda options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("samples")


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


HEAVY = "import sys; print([m for m in ('gradio', 'plotly', 'transformers', 'peft', 'torch') if m in sys.modules])"


def test_importing_the_package_or_asking_for_help_loads_nothing_heavy():
    assert python(f"import tada_studio; {HEAVY}").strip() == "[]"
    shown = python(f"from tada_studio.cli import _parser; _parser().format_help(); {HEAVY}").strip()
    assert shown == "[]"


def test_the_core_runs_without_gradio_plotly_transformers_and_peft():
    blocked = "import sys; sys.modules.update(dict.fromkeys(('gradio', 'plotly', 'transformers', 'peft')))"
    assert python(f"{blocked}; import tada_studio.core.merge, tada_studio.pipeline; print('ran')").strip() == "ran"


def test_public_names_are_sorted_complete_and_what_they_say():
    assert list(tada_studio.__all__) == sorted(tada_studio.__all__)
    for name in tada_studio.__all__:
        found = getattr(tada_studio, name)
        assert name == "METHODS" or getattr(found, "__module__", found.__name__).startswith(
            "tada_studio"
        )  # or a module of it
    code = "import tada_studio.probing, tada_studio.evaluation.scores, tada_studio as t; print(t.probing, callable(t.probe))"
    assert python(code).startswith("<module 'tada_studio.probing'")
    assert {"read_pair", "load_base", "probe", "merge", "evaluate", "export", "gates"} <= set(tada_studio.__all__)


def test_the_app_is_imported_without_parsing_gradio_s_components_and_leaves_inspect_as_it_was():
    """Each is a file of thousands of characters that gradio parses to write an interface beside it."""
    code = """
import ast, inspect
parsed, parse = [], ast.parse
ast.parse = lambda source, *more, **how: parsed.append(len(str(source))) or parse(source, *more, **how)
import tada_studio.app
print(sum(length > 9000 for length in parsed), "tada" in inspect.getfile.__module__, callable(tada_studio.app.gr.Slider.change))
"""
    assert python(code).split() == ["0", "False", "True"]


def test_nothing_is_collected_before_the_server_answers_and_what_is_there_then_is_not_looked_at_again(monkeypatch):
    seen = []
    launch = SimpleNamespace(launch=lambda **how: seen.append(gc.isenabled()))
    monkeypatch.setitem(sys.modules, "tada_studio.app", launch)
    assert run("app", "--no-browser") == 0 and seen == [False] and gc.isenabled()
    settles = "import gc; gc.disable(); from tada_studio.app.shared_machine import settle; settle()"
    code = f"{settles}; print(gc.isenabled(), gc.get_freeze_count() > 9999)"
    assert python(code).split() == ["True", "True"]


def test_what_a_command_imports_is_not_looked_through_again_and_in_somebody_s_process_it_is(pico):
    code = """
import gc, sys
from tada_studio.cli import main
before = gc.get_freeze_count()
sys.argv = ["tada-studio", "passport", TASK, "--json", "-q"]
assert main(GIVEN) == 0
print("frozen", gc.get_freeze_count() - before > 100_000, gc.isenabled())
""".replace("TASK", repr(str(pico.task)))
    found = {given: python(code.replace("GIVEN", given)).split()[-2:] for given in ("", "sys.argv[1:]")}
    assert found == {"": ["True", "True"], "sys.argv[1:]": ["False", "True"]}
