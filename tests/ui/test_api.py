"""The named endpoints, through gradio's own client and by plain HTTP: they finish the job."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from peft import PeftModel
from transformers import AutoModelForCausalLM

ENDPOINTS = [
    "/evaluate", "/gates", "/merge", "/open", "/passport", "/probe", "/readings", "/report", "/samples", "/spectrum",
]  # fmt: skip


@pytest.fixture(scope="module")
def client(url, tmp_path_factory):
    return Client(url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="module")
def pair(pico):
    return {"task": str(pico.task), "domain": str(pico.domain), "base": str(pico.base)}


@pytest.fixture(scope="module")
def probed(client, pair):
    return client.predict(pair=pair, inputs=["what is quartz", "which rock is hard"] * 4, n=8, api_name="/probe")


@pytest.fixture(scope="module")
def documents(client):
    return client.view_api(return_format="dict", print_info=False)["named_endpoints"]


def test_only_these_endpoints_are_public(documents):
    assert sorted(documents) == ENDPOINTS


@pytest.mark.parametrize("name", ENDPOINTS)
def test_every_field_of_every_endpoint_is_described(documents, name, url):
    about = documents[name]
    assert len(about["description"]) > 20
    for parameter in about["parameters"]:
        assert len(parameter["type"]["description"]) > 5, parameter["parameter_name"]
    found = about["returns"][0]["type"]
    fields = found.get("properties") or found.get("items", {}).get("properties", {})
    models = [one for one in found.get("$defs", {}).values() if one.get("title", "").endswith("Info")]
    for properties in (fields, *(one["properties"] for one in models)):
        for field, value in properties.items():
            assert value.get("description"), field
    pages = json.load(urllib.request.urlopen(f"{url}/gradio_api/openapi.json"))["paths"]
    assert f"/gradio_api/call/v2{name}" in pages


def test_a_sample_is_opened_merged_and_downloaded_and_peft_loads_it(client, tmp_path):
    assert "minerals-tiny" in [one["name"] for one in client.predict(api_name="/samples")]
    pair = {"sample": "minerals-tiny"}
    opened = client.predict(pair=pair, api_name="/open")
    assert opened["fits"] and opened["task"]["facts"]["rank"]
    readings = client.predict(pair=pair, n=8, api_name="/probe")
    assert readings["inputs"] == 8 and {Path(file).suffix for file in readings["files"]} == {".json", ".safetensors"}
    made = client.predict(
        pair=pair, readings=[handle_file(file) for file in readings["files"]], recipe={"rank": 6}, api_name="/merge"
    )
    assert made["verdict"] == "pass" and made["rank"] == 6 and made["certificate"]["verdict"] == "pass"
    with zipfile.ZipFile(made["file"]) as packed:
        packed.extractall(tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "adapter_config.json").read_text())["r"] == 6
    from tada_studio.sample_pairs import sample

    base = AutoModelForCausalLM.from_pretrained(sample("minerals-tiny").base)
    ids = torch.tensor([[1, 2, 3]])
    before = base(ids).logits
    after = PeftModel.from_pretrained(base, tmp_path / "merged")(ids).logits
    assert not torch.equal(before, after)


def test_task_inputs_are_read_too(client, pair):
    domain, task = ["what is quartz", "which rock is hard"], ["answer with a letter", "choose one of four"]
    both = client.predict(pair=pair, inputs=domain * 2, n=4, task_inputs=task * 2, api_name="/probe")
    assert both["about"]["equal_inputs"] == "0 of 4"


def test_readings_come_out_and_go_in_again(client, pair, probed, pico):
    files = [handle_file(file) for file in probed["files"]]
    again = client.predict(pair=pair, readings=files, api_name="/readings")
    assert again["inputs"] == 8 and again["about"] == probed["about"]
    assert Path(again["files"][1]).read_bytes() == Path(probed["files"][1]).read_bytes()
    even = client.predict(pair=pair, api_name="/gates")
    read = client.predict(pair=pair, readings=files, recipe={"method": "gates"}, api_name="/gates")
    assert not even["probed"] and set(chain(*even["gates"])) == {0.5}
    assert read["probed"] and len(set(chain(*read["gates"]))) > 5
    other = {**pair, "task": pair["domain"], "domain": pair["task"]}
    with pytest.raises(AppError, match="another task adapter"):
        client.predict(pair=other, readings=files, api_name="/gates")


def test_a_recipe_changes_gates_directions_and_the_merge(client, pair, probed):
    files = [handle_file(file) for file in probed["files"]]
    recipe = {"overrides": ["layer 0 : v : domain"]}
    found = client.predict(pair=pair, readings=files, recipe=recipe, api_name="/gates")
    at = found["projections"].index("v_proj")
    assert found["gates"][0][at] == 1.0 and found["computed"][0][at] != 1.0
    close = client.predict(pair=pair, layer=0, projection="v_proj", readings=files, recipe=recipe, api_name="/spectrum")
    assert close["task"][0]["number"] == 0 and close["spectrum"] == sorted(close["spectrum"], reverse=True)
    with pytest.raises(AppError, match="no such module"):
        client.predict(pair=pair, layer=99, projection="v_proj", api_name="/spectrum")


def test_evaluate_and_report(client, pair, pico):
    items = {"domain": handle_file(str(pico.items))}
    scores = client.predict(pair=pair, items=items, variants=["base", "tada"], limit=10, api_name="/evaluate")
    assert [(one["side"], one["variant"], one["n"]) for one in scores] == [
        ("domain", "base", 10),
        ("domain", "tada", 10),
    ]
    page = client.predict(pair=pair, title="A <b>title</b>", api_name="/report")
    assert "A &lt;b&gt;title&lt;/b&gt;" in Path(page["file"]).read_text()


def test_zips_are_uploaded(client, pico, tmp_path):
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in pico.task.iterdir():
            packed.write(file, f"mine/{file.name}")
    assert client.predict(adapter=handle_file(str(archive)), api_name="/passport")["label"] == "mine"


@pytest.mark.parametrize(
    ("endpoint", "values", "says"),
    [
        ("/passport", {"adapter": "/etc"}, "lies outside"),
        ("/passport", {"adapter": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}}, "passwd|uploaded"),
        ("/open", {"pair": {"sample": 7}}, r"pair\.sample: Input should be a valid string"),
        ("/open", {"pair": {"sample": "nosuch"}}, "nosuch"),
        ("/open", {"pair": {}}, "nothing was given"),
        ("/merge", {"pair": {"sample": "minerals-tiny"}, "recipe": {"rank": -1}}, "rank"),
        ("/merge", {"pair": {"sample": "minerals-tiny"}, "recipe": {"nosuch": 1}}, "nosuch"),
    ],
)
def test_errors_come_in_words(client, endpoint, values, says):
    with pytest.raises((AppError, ValueError, OSError), match=says):
        client.predict(**values, api_name=endpoint)


def test_plain_http_does_the_same(url):
    """What the README shows with curl: ask, then read the answer."""
    body = json.dumps({"pair": {"sample": "minerals-tiny"}, "recipe": {"rank": 5}}).encode()
    ask = urllib.request.Request(f"{url}/gradio_api/call/v2/merge", body, {"Content-Type": "application/json"})
    event = json.load(urllib.request.urlopen(ask))["event_id"]
    answer = urllib.request.urlopen(f"{url}/gradio_api/call/merge/{event}").read().decode()
    (made,) = json.loads(answer.split("event: complete\ndata: ", 1)[1].splitlines()[0])
    assert made["verdict"] == "pass" and made["rank"] == 5
    file = made["file"]["url"] or f"{url}/gradio_api/file={made['file']['path']}"
    assert urllib.request.urlopen(file).read(2) == b"PK"


ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs" / "api.md"]


@pytest.mark.parametrize("page", PAGES, ids=["README", "docs/api"])
def test_the_python_examples_of_the_pages_run(page, url):
    (code,) = re.findall(r"```python\n(from gradio_client.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(code.replace("http://127.0.0.1:7860", url), names)
    assert (
        names["made"]["verdict"] == "pass" and names["made"]["rank"] == 8 and zipfile.is_zipfile(names["made"]["file"])
    )


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_curl_example_of_the_pages_runs(url, tmp_path):
    (code,) = re.findall(r"```bash\n(URL=.*?)```", PAGES[1].read_text(encoding="utf-8"), re.DOTALL)
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    code = code.replace("http://127.0.0.1:7860", url)
    done = subprocess.run(["bash", "-euc", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and zipfile.is_zipfile(tmp_path / "merged.zip"), done.stderr


def test_calls_do_not_wait_for_each_other_unless_they_work(client, pair):
    from tada_studio.app.work_queue import WORK_QUEUE

    with WORK_QUEUE.turn("somebody", lambda place, seconds: None):
        waiting = client.submit(pair=pair, api_name="/merge")
        answered = threading.Event()
        waiting.add_done_callback(lambda _: answered.set())
        assert client.predict(pair=pair, api_name="/gates")["layers"] == [0, 1, 2]
        assert not answered.is_set()
    assert waiting.result(60)["verdict"] == "pass"


def test_a_merge_that_waits_takes_no_place_among_the_answers_that_stay(tmp_path):
    from tada_studio.app import api
    from tada_studio.app.api_caller import Caller
    from tada_studio.app.api_models import PairRef
    from tada_studio.app.paths import AllowedPaths
    from tada_studio.app.work_queue import WORK_QUEUE
    from tada_studio.session.visitor import Visitor

    caller = Caller(Visitor(), AllowedPaths(), tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with WORK_QUEUE.turn("somebody", lambda place, seconds: None):
            waiting = pool.submit(api.merge, caller, PairRef(sample="minerals-tiny"))
            while len(WORK_QUEUE) < 2 and not waiting.done():
                time.sleep(0.01)
            assert not list(tmp_path.iterdir()), "it would clear away an earlier answer while it waits"
        assert waiting.result(60).verdict == "pass"
    assert [one.name for one in tmp_path.glob("*/*")] == ["merged.zip"]


def test_calls_at_once_may_clear_away_the_same_answers(tmp_path):
    from tada_studio.app.api_caller import new_result_folder

    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: new_result_folder(tmp_path), range(400)))
    assert len(set(made)) == 400


def test_only_the_last_few_answers_stay_on_disk(tmp_path):
    from tada_studio.app.api_caller import KEPT, new_result_folder

    made = [new_result_folder(tmp_path) for _ in range(KEPT + 3)]
    assert len(list(tmp_path.iterdir())) == KEPT and made[-1].exists()
