"""As much of the Hub's HTTP API as one file of a data set takes, on this machine: what a data set holds, and files by name."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/quiz"


class FakeDataSets(BaseHTTPRequestHandler):
    """files: of the one data set that there is;  asked: paths, in order."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        self.asked.append(path)
        if path in (f"/api/datasets/{NAME}", f"/api/datasets/{NAME}/revision/v2"):
            held = [{"rfilename": name, "size": len(content)} for name, content in self.files.items()]
            self.reply(json.dumps({"id": NAME, "sha": COMMIT, "siblings": held}).encode(), "{}", body)
        elif (name := path.removeprefix(f"/datasets/{NAME}/resolve/{COMMIT}/")) in self.files:
            self.reply(self.files[name], f'"{len(self.files[name]):x}"', body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def reply(self, content: bytes, etag: str, body: bool) -> None:
        self.send_response(200)
        for header, value in (("Content-Length", len(content)), ("ETag", etag), ("X-Repo-Commit", COMMIT)):
            self.send_header(header, str(value))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@contextmanager
def data_sets(patch: pytest.MonkeyPatch, cache: object, files: dict[str, bytes]) -> Iterator[type[FakeDataSets]]:
    """The stand-in as this process's Hub, with these files in ``NAME``."""
    FakeDataSets.files, FakeDataSets.asked = files, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeDataSets)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    told = {
        "ENDPOINT": here, "HUGGINGFACE_CO_URL_TEMPLATE": here + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False, "HF_HUB_CACHE": str(cache),
    }  # fmt: skip
    for name, value in told.items():
        patch.setattr(f"huggingface_hub.constants.{name}", value)
    yield FakeDataSets
    server.shutdown()
    server.server_close()
