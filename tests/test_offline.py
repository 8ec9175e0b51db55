"""Nothing leaves the machine unless a Hub id is given; and then the Hub's own protocol is spoken, here to a local stand-in."""

import json
import re
import socket
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from foreign import diffusers_file, peft_keys

from tada_studio import pipeline
from tada_studio.errors import AdapterError, BaseError
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.read.hub import is_hub_id


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
    pair = pipeline.read_pair(pico.task, pico.domain)
    base = pipeline.load_base(pico.base)
    merged = merge(pair, pipeline.probe(pair, base, ["what is quartz ?", "gold is hard"]))
    pipeline.export(merged, tmp_path / "out", base=base)
    pipeline.verify(tmp_path / "out", base)
    assert no_network == []


def test_a_hub_adapter_that_cannot_be_reached_is_one_sentence(no_network, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        AdapterError, match=r"someone/some-lora: could not be fetched from the Hub.*folder of a downloaded copy"
    ):
        pipeline.read_adapter("someone/some-lora")
    assert no_network  # it really tried


def test_a_hub_base_that_cannot_be_reached_is_one_sentence(no_network, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BaseError, match=r"someone/some-model: could not be loaded.*without a base"):
        pipeline.load_base("someone/some-model")


def test_what_counts_as_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "here").mkdir()
    assert is_hub_id("owner/name") and is_hub_id("owner/name@v1.0")
    assert not any(map(is_hub_id, ["owner/here", "/owner/name", "./name", "name", "a/b/c", "owner/../x y"]))


class FakeHub(BaseHTTPRequestHandler):
    """As much of the Hub's HTTP API as downloading a repository takes: its listing, and files by name."""

    files: ClassVar[dict[str, bytes]] = {}
    sent: ClassVar[list[tuple[str, int]]] = []  # file, bytes
    ranges = True
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
        asked, size = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")), len(content)
        ranged = self.ranges and asked is not None
        self.send_response(206 if ranged else 200)
        if ranged:
            first, last = int(asked[1]), min(int(asked[2]), size - 1)
            content = content[first : last + 1]
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        for header, value in (("Content-Length", len(content)), ("ETag", etag), ("X-Repo-Commit", self.commit)):
            self.send_header(header, str(value))
        self.end_headers()
        if body:
            self.sent.append((self.path.rsplit("/", 1)[1], len(content)))
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(pico):
    """A local stand-in that holds one adapter."""
    FakeHub.sent.clear()
    FakeHub.ranges = True
    FakeHub.files = {name: (pico.task / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_adapter_is_fetched_from_the_hub_by_its_id(hub, pico, tmp_path):
    code = "import sys; from tada_studio import pipeline; print(pipeline.read_adapter('someone/some-lora').digest)"
    env = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.strip() == pipeline.read_adapter(pico.task).digest, done.stderr


def passport_of(hub, tmp_path, *refs):
    """What ``tada-studio passport --json`` prints in a process of its own whose Hub is the stand-in."""
    env = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "tada_studio", "passport", *map(str, refs), "--json"]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_the_verdict_on_a_hub_adapter_takes_its_config_and_header_alone(hub, pico, tmp_path):
    done = passport_of(hub, tmp_path, "someone/some-lora", pico.domain)
    found = json.loads(done.stdout)
    assert [one["fit"] for one in found] == ["fits", "fits"] and done.returncode == 0, done.stderr
    assert found[0]["Hub commit"] == FakeHub.commit and found[0]["modules"] == 21 and "norm" not in found[0]
    length = struct.unpack("<Q", FakeHub.files[WEIGHTS][:8])[0]
    asked = [one for one in FakeHub.sent if one[0] in FakeHub.files]  # beside the listing
    assert asked == [(CONFIG, len(FakeHub.files[CONFIG])), (WEIGHTS, 8), (WEIGHTS, length)]
    assert not list(tmp_path.rglob("*.safetensors"))


def test_weights_beside_an_adapter_on_the_hub_are_said_though_they_are_not_fetched(hub, tmp_path):
    FakeHub.files |= {"value_head.safetensors": b"x", "embeddings/new.pt": b"x", "optimizer.pt": b"x"}
    remarks = json.loads(passport_of(hub, tmp_path, "someone/some-lora").stdout)[0]["remarks"]
    assert [r for r in remarks if "not read" in r] == [r for r in remarks if "(value_head.safetensors)" in r] != []
    code = "from tada_studio import pipeline; print(pipeline.read_adapter('someone/some-lora').passport.remarks)"
    env = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert "(value_head.safetensors)" in done.stdout, done.stderr
    assert "value_head.safetensors" not in [name for name, _ in FakeHub.sent]


def test_a_file_of_diffusers_is_fetched_from_a_repository_without_peft_s_config(hub, tmp_path):
    wanted = diffusers_file(tmp_path / "a.safetensors", peft_keys)
    FakeHub.files = {"pytorch_lora_weights.safetensors": (tmp_path / "a.safetensors").read_bytes(), "README.md": b"hi"}
    (found,) = json.loads(passport_of(hub, tmp_path, "someone/some-lora").stdout)
    assert found["modules"] == len(wanted) and found["written by"] == "diffusers"
    FakeHub.files = {f"step_{i}.safetensors": b"x" for i in (1, 2)}
    refused = passport_of(hub, tmp_path / "again", "someone/some-lora")
    assert refused.returncode == 2 and "2 files of weights (step_1.safetensors, step_2.safetensors)" in refused.stderr


def test_a_connection_that_is_refused_is_one_sentence(tmp_path):
    done = passport_of("http://127.0.0.1:9", tmp_path, "someone/some-lora")
    assert done.returncode == 2 and "could not be fetched" in done.stderr and "Traceback" not in done.stderr


def test_a_server_that_knows_no_ranges_is_understood(hub, pico, tmp_path):
    FakeHub.ranges = False
    assert json.loads(passport_of(hub, tmp_path, "someone/some-lora").stdout)[0]["modules"] == 21


def test_a_hub_adapter_that_cannot_be_merged_is_refused_before_its_weights_are_asked_for(hub, tmp_path):
    FakeHub.files[CONFIG] = b'{"peft_type": "IA3"}'
    done = passport_of(hub, tmp_path, "someone/some-lora")
    assert done.returncode == 2 and "IA3" in done.stderr and WEIGHTS not in [name for name, _ in FakeHub.sent]


def test_weights_that_are_not_there_are_one_sentence(hub, tmp_path):
    del FakeHub.files[WEIGHTS]
    done = passport_of(hub, tmp_path, "someone/some-lora")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "could not be fetched" in done.stderr


APP = """
import socket, time, urllib.request
asked, real = [], socket.getaddrinfo
def spy(host, *more, **named):
    asked.append(host)
    return real(host, *more, **named)
socket.getaddrinfo = spy
from tada_studio import app
demo = app.build()
_, url, _ = app.launch(demo, prevent_thread_lock=True, quiet=True)
page = urllib.request.urlopen(url).read()
time.sleep(3)  # version checks and telemetry go out in threads of their own
demo.close()
print(len(page) > 1000, sorted({str(host) for host in asked} - {"127.0.0.1", "localhost", "None"}))
"""


def test_the_app_with_nothing_set_in_its_environment_asks_for_no_host(tmp_path):
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", APP], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.strip().splitlines()[-1] == "True []", done.stdout + done.stderr
