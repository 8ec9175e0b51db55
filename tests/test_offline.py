"""Nothing leaves the machine unless a Hub id is given; and then the Hub's own protocol is spoken, here to a local stand-in."""

import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tada_studio import studio
from tada_studio.errors import AdapterError, BaseError
from tada_studio.hub import is_hub_id
from tada_studio.lora import CONFIG, WEIGHTS


@pytest.fixture
def no_network(monkeypatch):
    """Every look-up of a host and every connection beyond this machine is refused, and remembered."""
    asked = []

    def refuse(*args, **kwargs):
        asked.append(args)
        raise socket.gaierror(socket.EAI_NONAME, "refused by the test")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # set or not where the tests run
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


def test_the_whole_line_asks_for_no_host(no_network, pico, tmp_path):
    pair = studio.read_pair(pico.task, pico.domain)
    base = studio.load_base(pico.base)
    merged = studio.merge(pair, studio.probe(pair, base, ["what is quartz ?", "gold is hard"]))
    studio.export(merged, tmp_path / "out", base=base)
    studio.verify(tmp_path / "out", base)
    assert no_network == []


def test_a_hub_adapter_that_cannot_be_reached_is_one_sentence(no_network, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        AdapterError, match=r"someone/some-lora: could not be fetched from the Hub.*folder of a downloaded copy"
    ):
        studio.read_adapter("someone/some-lora")
    assert no_network  # it really tried


def test_a_hub_base_that_cannot_be_reached_is_one_sentence(no_network, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BaseError, match=r"someone/some-model: could not be loaded.*without a base"):
        studio.load_base("someone/some-model")


def test_what_counts_as_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "here").mkdir()
    assert is_hub_id("owner/name") and is_hub_id("owner/name@v1.0")
    assert not any(map(is_hub_id, ["owner/here", "/owner/name", "./name", "name", "a/b/c", "owner/../x y"]))


class FakeHub(BaseHTTPRequestHandler):
    """As much of the Hub's HTTP API as downloading a repository takes: its listing, and files by name."""

    files: ClassVar[dict[str, bytes]] = {}
    commit = "0123456789abcdef0123456789abcdef01234567"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        if self.path.startswith("/api/models/someone/some-lora/tree/"):
            tree = [{"type": "file", "path": k, "size": len(v), "oid": f"{len(v):040x}"} for k, v in self.files.items()]
            self.reply(json.dumps(tree).encode(), "{}", body)
        elif self.path.startswith("/api/models/someone/some-lora"):
            names = [{"rfilename": name} for name in self.files]
            self.reply(
                json.dumps({"id": "someone/some-lora", "sha": self.commit, "siblings": names}).encode(), "{}", body
            )
        elif (
            self.path.startswith("/someone/some-lora/resolve/") and (name := self.path.rsplit("/", 1)[1]) in self.files
        ):
            self.reply(self.files[name], f'"{abs(hash(self.files[name])):x}"', body)
        else:
            self.send_error(404)

    def reply(self, content: bytes, etag: str, body: bool) -> None:
        self.send_response(200)
        for header, value in (("Content-Length", len(content)), ("ETag", etag), ("X-Repo-Commit", self.commit)):
            self.send_header(header, str(value))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(pico):
    """A local stand-in that holds one adapter."""
    FakeHub.files = {name: (pico.task / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_adapter_is_fetched_from_the_hub_by_its_id(hub, pico, tmp_path):
    code = "import sys; from tada_studio import studio; print(studio.read_adapter('someone/some-lora').digest)"
    env = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.strip() == studio.read_adapter(pico.task).digest, done.stderr
