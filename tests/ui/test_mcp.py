"""An agent over MCP: it opens a sample, probes, merges and downloads the adapter, which PEFT loads."""

import json
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tada_studio import app
from tada_studio.app.mcp_tools import offer_tools, with_files
from tada_studio.errors import InputError
from tada_studio.sample_pairs import sample

pytest.importorskip("mcp", reason="the extra `mcp` is not installed: pip install 'tada-studio[mcp]'")

PAIR = {"sample": "minerals-tiny"}


@pytest.fixture(scope="module")
def address():
    demo = app.build()
    _, url, _ = app.launch(demo, prevent_thread_lock=True, quiet=True, mcp=True)
    yield f"{url}gradio_api/mcp/"
    demo.close()


def agent(address, talk):
    """Let an MCP client talk to the server: ``talk(session)`` is awaited."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def run():
        async with streamable_http_client(address) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            return await talk(session)

    with ThreadPoolExecutor(1) as other:  # the browser of other tests keeps a loop of its own in this thread
        return other.submit(anyio.run, run).result()


async def ask(session, tool, **arguments):
    """What a tool answers: its JSON, read."""
    found = await session.call_tool(tool, arguments)
    (text,) = found.content
    assert not found.isError, text.text
    return json.loads(text.text)


def test_every_endpoint_is_a_described_tool_whose_schema_stands_alone(address):
    import jsonschema

    async def talk(session):
        return (await session.list_tools()).tools

    tools = {tool.name: tool for tool in agent(address, talk)}
    names = "evaluate gates merge open passport probe readings report samples spectrum"
    assert sorted(tools) == names.split()
    assert all(len(tool.description) > 20 for tool in tools.values())
    merge = tools["merge"].inputSchema
    jsonschema.validate({"pair": PAIR, "recipe": {"rank": 5}}, merge)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"pair": {"sample": 7}}, merge)


def test_an_agent_opens_probes_merges_and_downloads_what_peft_loads(address, tmp_path):
    async def talk(session):
        names = [one["name"] for one in await ask(session, "samples")]
        assert "minerals-tiny" in names and (await ask(session, "open", pair=PAIR))["fits"]
        probed = await ask(session, "probe", pair=PAIR, n=8)
        assert probed["inputs"] == 8
        by_url = [file["url"] for file in probed["files"]]
        even = await ask(session, "gates", pair=PAIR, readings=by_url, recipe={"method": "gates"})
        assert even["probed"]
        return await ask(session, "merge", pair=PAIR, readings=probed["files"], recipe={"rank": 6})

    made = agent(address, talk)
    assert made["verdict"] == "pass" and made["rank"] == 6
    archive = tmp_path / "merged.zip"
    archive.write_bytes(urllib.request.urlopen(made["file"]["url"]).read())
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(sample("minerals-tiny").base)
    ids = torch.tensor([[1, 2, 3]])
    before = base(ids).logits
    assert not torch.equal(before, PeftModel.from_pretrained(base, tmp_path / "merged")(ids).logits)


def test_errors_are_sentences_and_no_file_of_the_machine_is_read(address):
    async def talk(session):
        return [
            await session.call_tool("open", {"pair": {"sample": "nosuch"}}),
            await session.call_tool("gates", {"pair": PAIR, "readings": [{"path": "/etc/passwd"}]}),
        ]

    unknown, foreign = agent(address, talk)
    assert unknown.isError and "nosuch: no such sample" in unknown.content[0].text
    assert foreign.isError and "is no uploaded file" in foreign.content[0].text
    with pytest.raises(InputError, match="is no uploaded file"):
        with_files({"pair": [{"task": "http://127.0.0.1/gradio_api/file=/etc/passwd"}]})


def test_what_cannot_be_is_said(monkeypatch):
    with pytest.raises(InputError, match="agents do not sign in"):
        offer_tools(auth=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'tada-studio\[mcp\]'"):
        offer_tools(auth=False)
