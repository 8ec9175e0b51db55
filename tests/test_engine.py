"""Scores and answers of a base that a server holds: the same as in this process, and nothing is left behind on the server."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from engine_server import Backend, served
from pico import pico_items

from tada_studio import cli, pipeline
from tada_studio.app import api
from tada_studio.app.visitors import Visitors
from tada_studio.base_model.answering import Answering, Sampling
from tada_studio.base_model.engine import KEY, Server
from tada_studio.errors import BaseError, InputError, MismatchError, Stopped
from tada_studio.evaluation import LabelItem, prompts, read_items
from tada_studio.evaluation.answers import ShortItem
from tada_studio.evaluation.passages import Passage
from tada_studio.pipeline.merge import merge
from tada_studio.probing import read_inputs
from tada_studio.recipe import Recipe
from tada_studio.session import Session
from tada_studio.session.limits import PUBLIC
from tada_studio.session.visitor import Runs
from tada_studio.tuning import Plan
from tada_studio.tuning.study import storage


@pytest.fixture(scope="module")
def backend(pico):
    return Backend(pico.base)


@pytest.fixture(scope="module")
def url(backend):
    with served(backend) as address:
        yield address


@pytest.fixture(scope="module")
def base(pico):
    return pipeline.load_base(pico.base, device="cpu")


@pytest.fixture
def engine(url, pico, backend, tmp_path):
    backend.requests.clear()
    backend.fails.clear()
    found = pipeline.open_engine(url, folder=tmp_path)
    assert found.served == "pico" and found.ref == str(pico.base), "the server names its base"
    yield found
    assert backend.loaded == {} and list(tmp_path.glob("engine-*")) == [], "nothing is left behind"


@pytest.fixture(scope="module")
def pair(pico):
    return pipeline.read_pair(pico.task, pico.domain)


@pytest.fixture(scope="module")
def variants(pair):
    return {"base": None, "task": pair.task, "domain": pair.domain, "sum": merge(pair, None, Recipe(method="linear"))}


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """Items of every kind that an engine scores; choices of several tokens, too."""
    items = read_items(pico_items(tmp_path_factory.mktemp("items") / "items.jsonl", 10))
    longer = [type(item)(item.question, tuple(f"{c} rock" for c in item.choices), item.answer) for item in items[:3]]
    words = [ShortItem("what is the rock", ("gold",)), ShortItem("is iron a metal ?", ("yes",))]
    texts = [Passage("the iron crystal of the rock is hard"), Passage("gold and salt and fire")]
    return {"choices": [*items, *longer], "words": words, "texts": texts}


def test_it_scores_as_the_scorer_of_this_process_does(engine, base, variants, sides, backend):
    here, there = pipeline.score_sides(base, variants, sides), pipeline.score_sides(engine, variants, sides)
    for name in variants:
        one, two = here["choices"][name], there["choices"][name]
        torch.testing.assert_close(two.loglik, one.loglik, rtol=0, atol=1e-4)
        assert (two.accuracy, two.accuracy_free, two.accuracy_norm) == (
            one.accuracy,
            one.accuracy_free,
            one.accuracy_norm,
        )
        assert there["words"][name].replies == here["words"][name].replies
        torch.testing.assert_close(there["texts"][name].gold, here["texts"][name].gold, rtol=0, atol=1e-4)
    assert not torch.equal(there["choices"]["task"].loglik, there["choices"]["base"].loglik), (
        "adapters reach the server"
    )
    asked = [content["model"] for path, content in backend.requests if path == "/v1/completions"]
    assert {name.rpartition("-")[0][:9] for name in asked} == {
        "",
        *(f"tada-{v.digest[:4]}" for v in variants.values() if v),
    }
    assert isinstance(engine, Answering) and isinstance(base, Answering)


def test_token_ids_are_taken_where_a_server_gives_them(engine, base, sides, backend):
    backend.by_id = True
    try:
        there = pipeline.evaluate(engine, {"base": None}, sides["choices"])["base"]
    finally:
        backend.by_id = False
    here = pipeline.evaluate(base, {"base": None}, sides["choices"])["base"]
    torch.testing.assert_close(there.loglik, here.loglik, rtol=0, atol=1e-4)
    assert there.free.equal(here.free), "though all words read alike"


def test_an_adapter_that_the_server_has_dropped_by_itself_costs_no_result(engine, variants, sides, backend):
    backend.fails["/v1/unload_lora_adapter"] = (500, "Failed to remove lora adapter")
    scores = pipeline.evaluate(engine, {"task": variants["task"]}, sides["choices"])
    backend.loaded.clear()
    backend.fails.clear()
    assert scores["task"].n == len(sides["choices"])


def test_it_answers_prompts(engine, base, variants):
    question, how = prompts.Question("the old rock"), Sampling(most=5)
    here, there = (prompts.ask(one, variants, question, how) for one in (base, engine))
    assert {name: a.text for name, a in here.items()} == {name: a.text.strip() for name, a in there.items()}
    grid = prompts.ask_all(engine, {"task": variants["task"]}, ["the old rock", "new salt"], False, how)
    assert [text.strip() for text in grid["task"]] == list(
        prompts.ask_all(base, {"task": variants["task"]}, ["the old rock", "new salt"], False, how)["task"]
    )


def test_many_requests_are_under_way_at_once(engine, backend, sides):
    backend.busy, backend.meet = 0, threading.Barrier(4)  # nobody gets an answer before four have asked
    try:
        pipeline.evaluate(engine, {"base": None}, sides["choices"][:4])
    finally:
        backend.meet = None
    assert backend.busy >= 4


@pytest.mark.parametrize("error", [Stopped("enough"), KeyboardInterrupt()])
def test_whatever_ends_the_work_nothing_stays_on_the_server(error, engine, variants, sides, backend):
    def stop(progress):
        if backend.loaded:
            raise error

    with pytest.raises(type(error)):
        pipeline.score_sides(engine, variants, sides, stop)
    assert [path for path, _ in backend.requests].count("/v1/unload_lora_adapter") == 1


def test_what_the_server_refuses_is_one_sentence(engine, variants, sides, backend):
    backend.fails["/v1/load_lora_adapter"] = (400, "LoRA rank 64 is greater than max_lora_rank 16")
    with pytest.raises(BaseError, match=r"answered 400 \(LoRA rank 64 is greater.*--max-lora-rank"):
        pipeline.evaluate(engine, {"task": variants["task"]}, sides["choices"])
    backend.fails.clear()
    backend.fails["/v1/completions"] = (500, "out of\nmemory")
    with pytest.raises(BaseError, match=r"/v1/completions: the engine answered 500 \(out of memory\)"):
        pipeline.evaluate(engine, {"task": variants["task"]}, sides["choices"])
    backend.fails.clear()


def test_a_server_that_echoes_nothing_cannot_score(engine, sides, backend, monkeypatch):
    monkeypatch.setattr(
        backend, "choice", lambda index, ids, model, content: {"index": index, "text": "", "logprobs": None}
    )
    with pytest.raises(BaseError, match=r"gave no log-likelihoods of the tokens of a prompt.*such as vLLM"):
        pipeline.evaluate(engine, {"base": None}, sides["choices"])


def test_what_no_engine_can_do_is_refused(engine, pair, sides):
    with pytest.raises(InputError, match="writes, and has no labels"):
        pipeline.evaluate(engine, {"base": None}, [LabelItem("rock", "hard")])
    headed = type(pair.task)(
        "headed", pair.task.modules, whole={"lm_head.weight": torch.zeros(2, 2)}, heads=("lm_head",)
    )
    with pytest.raises(MismatchError, match=r"headed: brings tensors of its own .*Score it without --engine"):
        pipeline.evaluate(engine, {"headed": headed}, sides["choices"])


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:8000", "http://", "http://a/?b=c", ""])
def test_what_is_no_web_address_is_not_opened(url):
    with pytest.raises(BaseError, match="is no address of a server"):
        Server.at(url)


def test_a_server_that_is_not_there_or_points_elsewhere(url, backend, monkeypatch):
    with pytest.raises(BaseError, match="cannot be reached"):
        pipeline.open_engine("http://127.0.0.1:1")
    monkeypatch.setitem(backend.fails, "/v1/models", (302, "elsewhere"))
    backend.requests.clear()
    with pytest.raises(BaseError, match="answered 302"):
        pipeline.open_engine(url)
    assert len(backend.requests) == 1, "nobody follows to where it points"


@pytest.fixture
def breaking():
    """A server that breaks the first connection and answers all others: (its address, paths asked)."""
    left, asked = [1], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            if left and left.pop():
                self.close_connection = True
                return self.connection.close()
            self.send_response(200)
            self.end_headers()
            return self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_a_question_is_asked_again_when_its_connection_breaks_and_nothing_is_loaded_twice(breaking):
    url, asked = breaking
    assert Server.at(url).ask("/v1/completions", {}) == {} and len(asked) == 2


def test_what_changes_the_server_is_asked_once(breaking):
    url, asked = breaking
    with pytest.raises(BaseError, match="cannot be reached"):
        Server.at(url).ask("/v1/load_lora_adapter", {})
    assert asked == ["/v1/load_lora_adapter"]


def test_another_base_than_the_one_that_was_asked_for_is_refused(url, tmp_path):
    with pytest.raises(BaseError, match="holds pico, and other/model was asked for"):
        pipeline.open_engine(url, "other/model")


def test_the_screen_asks_the_engine_that_it_was_started_with_and_no_visitor_names_one(
    url, backend, pico, base, sides, tmp_path
):
    visitor = Visitors(runs=Runs(engine=url, folder=str(tmp_path))).visitor("")
    session = Session(visitor)
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    run = session.evaluate({"items": sides["choices"]}, ["base", "task"], 6)
    session.ask(prompts.Question("the old rock"), ["task", "merge"], Sampling(most=4))
    assert session.base is None and run.finished and session.answers["merge"].done, "no weight was read here"
    assert (
        backend.loaded == {} and len([path for path, _ in backend.requests if path.endswith("/load_lora_adapter")]) >= 3
    )
    found = session.tune({"items": sides["choices"]}, Plan(trials=1, seeds=1))
    effects = session.measure_effects(["layer"], 4, sides={"items": sides["choices"]})
    assert len(found.trials) == 1 and len(effects.changes) == 3 and session.base is None and backend.loaded == {}
    session.probe(read_inputs(pico.inputs))
    assert session.base is not None, "a probe needs the base itself"
    session.close()
    strangers = Visitors(PUBLIC, apart=True)
    assert strangers.visitor("x").runs.engine is None
    asks = {
        name
        for endpoint in vars(api).values()
        if callable(endpoint)
        for name in getattr(endpoint, "__annotations__", {})
    }
    assert "pair" in asks and not {name for name in asks if "engine" in name}


def test_a_key_goes_to_the_engine_and_comes_from_its_own_variable_alone(monkeypatch):
    sent = []
    monkeypatch.setattr(
        "tada_studio.base_model.engine._OPENER.open",
        lambda request, timeout: sent.append(dict(request.header_items())) or (_ for _ in ()).throw(OSError("no")),
    )
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    for key in ("", "mine"):
        monkeypatch.setenv(KEY, key)
        with pytest.raises(BaseError):
            Server("http://127.0.0.1:1").ask("/v1/models")
    assert "Authorization" not in sent[0] and sent[1]["Authorization"] == "Bearer mine"


def test_the_command_line_scores_through_an_engine(url, backend, pico, tmp_path, capsys):
    words = ["evaluate", "--items", pico.items, "--limit", "8", "--adapter", f"task={pico.task}", "--json", "-q"]
    assert cli.main([*map(str, words), "--base", str(pico.base), "--device", "cpu"]) == 0
    here = json.loads(capsys.readouterr().out)
    assert cli.main([*map(str, words), "--engine", f"{url}/v1/", "--engine-folder", str(tmp_path)]) == 0
    there = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in there] == ["base", "task"] and backend.loaded == {}
    for one, two in zip(here, there, strict=True):
        assert (two["accuracy"], two["accuracy_free"]) == (one["accuracy"], one["accuracy_free"])
        assert two["nll"] == pytest.approx(one["nll"], abs=1e-4)
    assert cli.main([*map(str, words), "--engine", url, "--inputs", str(pico.inputs)]) == 2
    assert "reads no inputs" in capsys.readouterr().err


def loads(backend):
    return [
        content["lora_name"].split("-")[1] for path, content in backend.requests if path.endswith("/load_lora_adapter")
    ]


@pytest.fixture
def few(monkeypatch):
    """One baseline in place of all: each is an adapter that PEFT loads on the server."""
    monkeypatch.setattr("tada_studio.pipeline.tuning.baselines", lambda rank: {"sum": Recipe(method="linear")})


def test_a_search_tries_what_it_tries_in_this_process_and_loads_each_recipe_once(
    engine, base, pair, sides, backend, pico, few
):
    items, plan = {"domain": sides["choices"][:8], "task": sides["choices"][4:]}, Plan(trials=3, seeds=1, chunks=2)
    readings = pipeline.probe(pair, base, read_inputs(pico.inputs))
    here, there = (pipeline.search(pair, one, readings, items, plan=plan) for one in (base, engine))
    for one, two in zip(here.trials, there.trials, strict=True):
        assert (two.params, two.state) == (one.params, one.state) and two.value == pytest.approx(one.value, abs=1e-4)
    assert there.judged.sides.keys() == here.judged.sides.keys() and backend.loaded == {}
    travelled, judged = loads(backend), sum(map(len, there.judged.sides.values()))
    assert len(travelled) == len(set(travelled)) + judged, (
        "once for all chunks of all sides, and once a side for the verdict"
    )


def test_trials_kept_of_an_engine_are_gone_on_with_after_a_stop_and_not_mixed(
    engine, base, pair, sides, url, tmp_path, few
):
    def run(answering, trials):
        plan = Plan(trials=trials, seeds=1, chunks=1)
        return pipeline.search(
            pair, answering, None, {"items": sides["choices"]}, plan=plan, storage=tmp_path / "t.log"
        )

    first, again = run(engine, 2), run(pipeline.open_engine(url), 3)
    assert [t.params for t in again.trials[:2]] == [t.params for t in first.trials] and len(again.trials) == 3
    studies = storage(tmp_path / "t.log").get_all_studies
    assert len(studies()) == 1, "another connection to the same engine joins the search"
    run(base, 1)
    assert len(studies()) == 2, "what this process finds is not mixed with it"


def test_a_search_that_is_stopped_leaves_nothing_on_the_server(engine, pair, sides, backend, few):
    def stop(step):
        if step.step == "tune" and backend.loaded:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        pipeline.search(pair, engine, None, {"items": sides["choices"]}, plan=Plan(trials=3, seeds=1), progress=stop)
    assert backend.loaded == {}


def test_the_command_line_searches_through_an_engine(url, backend, pico, tmp_path, monkeypatch, capsys, few):
    monkeypatch.setattr(pipeline, "load_base", lambda *_, **__: pytest.fail("a search at an engine loads no weights"))
    words = ["tune", "--task", pico.task, "--domain", pico.domain, "--items-domain", pico.items, "--engine", url]
    quick = [*map(str, words), "--quick", "--trials", "2", "--minutes", "0", "-o", str(tmp_path / "found.json")]
    assert cli.main(quick) == 0 and Recipe.load(tmp_path / "found.json") and backend.loaded == {}
    said = capsys.readouterr()
    assert "tuned against default" in said.out or "start against" in said.out
    assert "note: an engine reads no inputs" in said.err and "tada-studio probe" in said.err
    assert cli.main([*quick, "--inputs", str(pico.inputs)]) == 2
    assert "--inputs: an engine reads no inputs" in capsys.readouterr().err
    assert cli.main([*map(str, words[:-2])]) == 2 and "--base (or --engine)" in capsys.readouterr().err


def test_an_engine_is_typed_and_never_read_from_a_file(pico, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tada.toml").write_text('engine = "http://10.0.0.1:8000"\n')
    assert cli.main(["evaluate", "--items", str(pico.items), "--adapter", f"task={pico.task}"]) == 2
    assert "engine is not taken from a file" in capsys.readouterr().err


@pytest.mark.nightly  # half a minute; what it measures is tested above
def test_the_benchmark_compares_an_engine_with_this_process(url, backend, pico, tmp_path):
    script = Path(__file__).resolve().parent.parent / "benchmarks" / "engine.py"
    about = ["--base", pico.base, "--task", pico.task, "--items", pico.items, "--limit", "8", "--here", "--tiny"]
    where = {**os.environ, "PYTHONPATH": str(script.parent.parent)}
    found = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), url, *map(str, about)], env=where, capture_output=True, text=True
    )
    assert found.returncode == 0 and "0.0001: held" in found.stdout and "tokens/s" in found.stdout, found.stderr[-2000:]
    assert backend.loaded == {}
