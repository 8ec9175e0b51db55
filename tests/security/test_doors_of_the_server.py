"""Who is let in, over real connections: names that the server answers to, pages that may send to it, and how it ends."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from pico import pico_adapter, pico_base

sys.path.insert(0, str(Path(__file__).parent))  # the helper that speaks as a browser does

from server import Page, free_port, map_of

from tada_studio import app, cli
from tada_studio.app.guard import HostGuard, check_exposure, is_loopback
from tada_studio.app.serving import stop
from tada_studio.errors import InputError

PATHS = [
    ("GET", "/"), ("GET", "/config"), ("GET", "/gradio_api/info"), ("GET", "/gradio_api/heartbeat/x"), ("GET", "/nothing"),
    ("GET", "/gradio_api/file=/etc/passwd"), ("POST", "/gradio_api/queue/join"), ("POST", "/gradio_api/upload"),
    ("POST", "/gradio_api/call/passport"), ("POST", "/gradio_api/run/passport"), ("HEAD", "/theme.css"),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def serve(place):
    """Starts servers; all are closed at the end."""
    base = pico_base(place / "base")
    pair = {
        "task": str(pico_adapter(place / "task", base, seed=1)),
        "domain": str(pico_adapter(place / "domain", base, seed=2)),
    }
    started = []

    def start(**how):
        built = app.build(**pair, root=place, **{key: how[key] for key in ("public",) if key in how})
        app.launch(built, prevent_thread_lock=True, quiet=True, **how)
        started.append(built)
        return built

    yield start
    for built in started:
        built.close(verbose=False)


@pytest.fixture(scope="module")
def local(serve):
    return serve()


def status(demo, method, path, host=None, origin=None, body=b""):
    connection = http.client.HTTPConnection("127.0.0.1", demo.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host if host is not None else f"127.0.0.1:{demo.server_port}")
    if origin is not None:
        connection.putheader("Origin", origin)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    connection.close()
    return answer.status


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", ""])
def test_a_foreign_host_gets_nothing(local, host):
    for method, path in PATHS:
        assert status(local, method, path, host) == 403, path


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_its_own_names_are_served(local, host):
    assert status(local, "GET", "/config", f"{host}:{local.server_port}") == 200


def test_another_sites_page_gets_nothing(local):
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{local.server_port + 1}", "http://localhost"):
        for method, path in PATHS if origin == "null" else PATHS[-4:]:
            assert status(local, method, path, origin=origin) == 403, (origin, path)


def test_its_own_page_may_send(local):
    mine = f"127.0.0.1:{local.server_port}"
    assert status(local, "GET", "/config", origin=f"http://{mine}") == 200


def test_a_server_behind_a_proxy_takes_any_name_and_still_no_other_page():
    def answers(*headers):
        sent = []

        async def inner(scope, receive, send):
            await send({"status": 200})

        async def send(message):
            sent.append(message)

        guard = HostGuard(inner, hosts=None, own=["owner-space.hf.space"])
        scope = {"type": "http", "headers": [(k.encode(), v.encode()) for k, v in headers]}
        with pytest.raises(StopIteration):
            guard(scope, None, send).send(None)
        return sent[0]["status"]

    assert answers(("host", "team.example")) == 200
    assert answers(("host", "team.example"), ("origin", "https://team.example")) == 200
    assert (
        answers(("host", "inner:7860"), ("x-forwarded-host", "team.example"), ("origin", "https://team.example")) == 200
    )
    assert answers(("host", "inner:7860"), ("origin", "https://owner-space.hf.space")) == 200
    assert answers(("host", "team.example"), ("origin", "https://evil.example")) == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "example.org", "10.0.0.1"])
def test_others_are_let_in_only_when_they_sign_in_or_are_kept_apart(host, capsys, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    with pytest.raises(InputError, match=r"--auth .* or --public"):
        check_exposure(host, public=False, auth=None)
    check_exposure(host, public=True, auth=None)
    check_exposure(host, public=False, auth=[("a", "b")])
    assert cli.main(["app", "--host", host, "--no-browser"]) == 2
    assert "--public" in capsys.readouterr().err


def test_a_public_link_counts_as_letting_others_in():
    with pytest.raises(InputError, match="a public link lets others in"):
        check_exposure("127.0.0.1", public=False, auth=None, share=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"])
def test_this_machine_is_this_machine(host):
    assert is_loopback(host)
    check_exposure(host, public=False, auth=None)


def test_accounts_come_from_the_command_line_or_a_file(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(app, "launch", lambda **how: seen.append(how["auth"]))
    (tmp_path / "team").write_text("ann:one\n\nbob:two:three\n")
    assert cli.main(["app", "--auth", "eve:x", "--auth", f"@{tmp_path / 'team'}"]) == 0
    assert seen == [[("eve", "x"), ("ann", "one"), ("bob", "two:three")]]
    for wrong in ("nobody", ":x", "ann:", f"@{tmp_path / 'gone'}"):
        assert cli.main(["app", "--auth", wrong]) == 2
    assert "NAME:PASSWORD" in capsys.readouterr().err


def test_who_signs_in_works_with_sessions_of_their_own_and_nobody_else_gets_anything(serve, place):
    demo = serve(auth=[("ann", "one"), ("bob", "two")])
    tab = uuid.uuid4().hex

    def signs_in(name, password):
        page = Page(demo, tab, cookies=False)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        status, headers, _ = page.request("POST", "/login", urlencode({"username": name, "password": password}), form)
        page.cookie = "; ".join(one.partition(";")[0] for one in headers.get_all("set-cookie") or ())
        return status, page

    nobody = Page(demo, tab, cookies=False)
    asked = json.dumps({"data": [], "fn_index": 0, "session_hash": "x"})
    for method, path in PATHS:
        if "heartbeat" in path:  # it says nothing but that there is a server, and goes on for ever
            continue
        answer = nobody.request(method, path, asked if method == "POST" else None)
        assert answer[0] in (401, 404, 405, 422) or (answer[0] == 200 and str(place).encode() not in answer[2]), path
    assert nobody.get("/config")[0] == nobody.request("POST", "/gradio_api/queue/join", asked)[0] == 401
    assert nobody.upload("a.txt", b"x")[0] == 401
    assert signs_in("ann", "two")[0] == signs_in("eve", "three")[0] == 400
    (_, ann), (_, bob) = signs_in("ann", "one"), signs_in("bob", "two")
    assert ann.cookie and ann.cookie != bob.cookie
    assert gates(ann.load().stroke([[0, 0]], 1.0))[:2] == [1.0, 0.5]
    assert gates(bob.load().stroke([[0, 1]], 1.0))[:2] == [0.5, 1.0], "the same tab's id, and not ann's session"
    again = signs_in("ann", "one")[1]
    assert gates(again.load().stroke([[0, 1]], 0.0))[:2] == [1.0, 0.0], "ann goes on"


def gates(stroke):
    return map_of(stroke[1])["gates"][0]


def test_a_port_that_is_taken_is_a_sentence_and_without_one_the_next_is_found(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["app", "--no-browser", "--port", str(port)]) == 2
    assert f"Port {port}: something else listens there. Give another one with --port" in capsys.readouterr().err
    try:
        other = socket.create_server(("127.0.0.1", 7860))
    except OSError:  # something else listens there already
        other = None
    demo = app.build(sample=None)
    url = app.launch(demo, prevent_thread_lock=True, quiet=True)[1]
    stop(demo)
    if other is not None:
        other.close()
    assert 7860 < urlsplit(url).port < 7960


def test_it_stops_at_once_with_a_page_open(serve):
    demo = serve()
    page = urllib.request.urlopen(f"http://127.0.0.1:{demo.server_port}/gradio_api/heartbeat/page")
    news = urllib.request.urlopen(f"http://127.0.0.1:{demo.server_port}/gradio_api/queue/data?session_hash=page")
    assert page.readline()
    before = time.monotonic()
    stop(demo)
    assert time.monotonic() - before < 2
    page.close()
    news.close()
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{demo.server_port}/config", timeout=2)


@pytest.mark.nightly
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_process_within_two_seconds(told, tmp_path):
    words = [sys.executable, "-m", "tada_studio", "app", "--no-browser", "--port", str(free_port())]
    running = subprocess.Popen(
        words, env={**os.environ, "TADA_STUDIO_STATE": str(tmp_path), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    url = next(line for line in running.stdout if "Running on" in line).split()[-1]
    page = urllib.request.urlopen(f"{url}/gradio_api/heartbeat/page")
    config = json.load(urllib.request.urlopen(f"{url}/config"))
    assert page.readline() and config["version"]
    before = time.monotonic()
    running.send_signal(told)
    assert running.wait(20) == 0 and time.monotonic() - before < 2
