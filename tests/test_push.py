"""From an export to the Hub: the real client against a stand-in on this machine, and every refusal before anything is sent."""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import gradio as gr
import pytest
from gradio.helpers import special_args

from tada_studio import cli, pipeline
from tada_studio.app.page import Start, page
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.tabs.export.push_box import on_push, on_push_as_visitor
from tada_studio.app.widgets.messages import user_errors
from tada_studio.errors import ExportError
from tada_studio.exporting.certificate import SIGNATURE
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.session import Exported

TOKEN = "hf_not_a_real_token"


class FakeHub(BaseHTTPRequestHandler):
    """Repositories as {id: {"private": bool, "files": {name: bytes}}}; takes commits whose files are all sent inline."""

    repos: ClassVar[dict] = {}
    asked: ClassVar[list] = []

    def do_GET(self):
        if match := re.fullmatch(r"/api/models/(.+)/tree/main\?.*", self.path):
            held = self.repos[match[1]]["files"].items()
            return self.reply([{"type": "file", "path": n, "oid": "1" * 40, "size": len(c)} for n, c in held])
        repo = self.repos.get(self.path.removeprefix("/api/models/"))
        self.asked.append(("GET", self.path))
        if repo is None:
            return self.reply({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        files = [{"rfilename": name} for name in repo["files"]]
        return self.reply({"id": self.path.removeprefix("/api/models/"), "private": repo["private"], "siblings": files})

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(("POST", self.path))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply({"error": f"Invalid token {self.headers.get('Authorization')}"}, 401)
        if self.path == "/api/repos/create":
            return self.create(json.loads(content))
        if self.path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        if match := re.fullmatch(r"/api/models/(.+)/preupload/main", self.path):
            names = [file["path"] for file in json.loads(content)["files"]]
            return self.reply({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        match = re.fullmatch(r"/api/models/(.+)/commit/main", self.path)
        lines = [json.loads(line) for line in content.splitlines()]
        sent = {
            one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"
        }
        self.repos[match[1]]["files"].update(sent)
        for one in lines:
            if one["key"] == "deletedFile":
                del self.repos[match[1]]["files"][one["value"]["path"]]
        return self.reply(
            {
                "success": True,
                "commitOid": "1" * 40,
                "commitUrl": f"http://{self.headers['Host']}/{match[1]}/commit/{'1' * 40}",
            }
        )

    def create(self, asked):
        name = f"{asked.get('organization', 'me')}/{asked['name']}"
        if name in self.repos:
            return self.reply(
                {"error": "You already created this repo", "url": f"http://{self.headers['Host']}/{name}"}, 409
            )
        private = asked.get("private", asked.get("visibility") == "private")
        self.repos[name] = {"private": private, "files": {".gitattributes": b""}}
        return self.reply({"url": f"http://{self.headers['Host']}/{name}", "name": name, "id": "1"})

    def reply(self, value, status=200, headers=()):
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, said in {**dict(headers), "Content-Type": "application/json", "Content-Length": len(content)}.items():
            self.send_header(name, str(said))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The stand-in as this process's Hub."""
    FakeHub.repos, FakeHub.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield FakeHub
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def exported(pico, tmp_path_factory):
    out = tmp_path_factory.mktemp("push") / "merged"
    pipeline.export(merge(pipeline.read_pair(pico.task, pico.domain)), out)
    return out


def test_the_certified_files_arrive_byte_for_byte_in_a_private_repository(hub, exported):
    (exported / "notes.txt").write_text("not certified, not sent")
    address = pipeline.push(exported, "me/merged", token=TOKEN)
    assert address.endswith("/me/merged") and hub.repos["me/merged"]["private"]
    sent = hub.repos["me/merged"]["files"]
    names = {CONFIG, WEIGHTS, "README.md", "recipe.json", "certificate.json"}
    assert set(sent) - {".gitattributes"} == names
    assert all(sent[name] == (exported / name).read_bytes() for name in names)
    (exported / "notes.txt").unlink()
    pipeline.push(exported, "me/merged", token=TOKEN)  # an export of ours may take an earlier one's place


def test_a_signature_goes_along_and_an_earlier_one_does_not_stay(hub, exported):
    (exported / SIGNATURE).write_text("of these files")
    pipeline.push(exported, "me/signed", token=TOKEN)
    assert hub.repos["me/signed"]["files"][SIGNATURE] == b"of these files"
    (exported / SIGNATURE).unlink()
    pipeline.push(exported, "me/signed", token=TOKEN)
    assert SIGNATURE not in hub.repos["me/signed"]["files"] and WEIGHTS in hub.repos["me/signed"]["files"]


def test_the_command_line_pushes_as_whom_the_machine_is_logged_in(hub, exported, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert cli.main(["push", str(exported), "me/open", "--public", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["private"] is False and said["address"].endswith("/me/open")
    assert hub.repos["me/open"]["private"] is False


def test_the_export_tab_pushes_with_a_pasted_token_or_as_the_visitor(hub, exported, caplog):
    state = TabState()
    with pytest.raises(ExportError, match="Nothing was built yet"):
        on_push(state, "me/merged", True, TOKEN)
    with pytest.raises(ExportError, match="Nothing was built"):
        on_push(state, "me/merged", True, TOKEN)
    state.session.exported = Exported(exported, None, "of these bytes")
    with pytest.raises(ExportError, match="an earlier recipe"):
        on_push(state, "me/merged", True, TOKEN)
    state.session.stale = lambda result: False
    said, box = on_push(state, " me/merged ", True, f" {TOKEN} ").values()
    assert "(private)" in said and box == "" and TOKEN not in said + caplog.text
    with pytest.raises(ExportError, match="Nobody is signed in"):
        on_push_as_visitor(state, "me/visitors", True, None)
    visitor = gr.OAuthToken(token=TOKEN, scope="manage-repos", expires_at=0)
    assert "me/visitors" in on_push_as_visitor(state, "me/visitors", False, visitor)["message"]
    assert set(hub.repos) == {"me/merged", "me/visitors"}


def test_a_public_server_asks_for_no_token_and_hands_the_visitors_own_on(monkeypatch):
    monkeypatch.delenv("OAUTH_CLIENT_ID", raising=False)  # a Space without hf_oauth: it must start all the same
    demo = page(Start(paths=AllowedPaths(hosted=True)))
    ids = [getattr(block, "elem_id", None) for block in demo.blocks.values()]
    assert "push" in ids and "push-token" not in ids and not demo.expects_oauth
    visitor = gr.OAuthToken(token=TOKEN, scope="manage-repos", expires_at=0)
    given, *_ = special_args(user_errors(on_push_as_visitor), inputs=["desk", "me/merged", True], token=visitor)
    assert given == ["desk", "me/merged", True, visitor]


def test_a_token_that_may_not_write_is_one_sentence_without_the_token(hub, exported, monkeypatch):
    with pytest.raises(ExportError, match="a token that may write there") as refused:
        pipeline.push(exported, "me/merged", token="hf_wrong_secret")
    assert "hf_wrong_secret" not in str(refused.value) and "\n" not in str(refused.value)
    assert refused.value.__cause__ is None and hub.repos == {}

    def chatty(*_, **__):
        raise ValueError(f"Bearer {TOKEN} is not welcome")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", chatty)
    with pytest.raises(ExportError, match=r"Bearer \*\*\* is not welcome"):
        pipeline.push(exported, "me/merged", token=TOKEN)


TAKEN = {
    "someone's model": ({"private": True, "files": {"model.safetensors": b"x"}}, "holds no export of TaDA Studio"),
    "public, and asked to be private": (
        {"private": False, "files": {"certificate.json": b"{}"}},
        "exists and is public",
    ),
}


@pytest.mark.parametrize(("repo", "says"), TAKEN.values(), ids=TAKEN)
def test_nothing_of_somebodys_is_written_over(repo, says, hub, exported):
    hub.repos["me/taken"] = {**repo, "files": dict(repo["files"])}
    with pytest.raises(ExportError, match=says):
        pipeline.push(exported, "me/taken", token=TOKEN)
    assert hub.repos["me/taken"]["files"] == repo["files"] and all(verb == "GET" for verb, _ in hub.asked)


@pytest.mark.parametrize("name", ["merged", "a/b/c", "me/mer ged", "../me", "", "me/x\n", "https://hf.co/me/x"])
def test_a_name_that_is_no_repositorys_is_refused_before_anything_is_asked(name, hub, exported):
    with pytest.raises(ExportError, match="no name of a repository"):
        pipeline.push(exported, name, token=TOKEN)
    assert hub.asked == []


def test_only_what_still_holds_is_pushed(hub, exported, pico, tmp_path):
    with pytest.raises(ExportError, match="no certificate"):
        pipeline.push(pico.task, "me/merged", token=TOKEN)
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in exported.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    (changed / "README.md").write_text("buy now")
    with pytest.raises(ExportError, match=r"README\.md does not hold any more"):
        pipeline.push(changed, "me/merged", token=TOKEN)
    assert hub.asked == []


def test_offline_and_unreachable_are_one_sentence(exported, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert cli.main(["push", str(exported), "me/merged"]) == 2
    assert "offline" in capsys.readouterr().err
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ExportError, match="could not be pushed to the Hub"):
        pipeline.push(exported, "me/merged", token=TOKEN)
