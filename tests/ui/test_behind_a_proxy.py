"""A team's server as docs/deploy.md describes it: people sign in, and a proxy puts it under a path of another site."""

import asyncio
import socket
import threading
import time

import httpx
import pytest
import uvicorn
from hands import edited, settled, stroke, tab
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tada_studio import app

PREFIX = "/tada"
#: Of one connection, not of what travels over it.
OWN = {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def proxy(target):
    """What nginx does in docs/deploy.md: PREFIX is taken off, the outside name is passed on, results stream."""
    client = httpx.AsyncClient(base_url=target, timeout=None)

    async def passed(request):
        headers = [(name, value) for name, value in request.headers.items() if name not in OWN]
        headers += [("x-forwarded-host", request.headers["host"]), ("x-forwarded-proto", "http")]
        path = request.url.path.removeprefix(PREFIX) + (f"?{request.url.query}" if request.url.query else "")
        ask = client.build_request(request.method, path, headers=headers, content=await request.body())
        answer = await client.send(ask, stream=True)
        made = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose))
        made.raw_headers = [
            (name.lower(), value) for name, value in answer.headers.raw if name.decode().lower() not in OWN
        ]
        return made

    return Starlette(routes=[Route(PREFIX + "/{path:path}", passed, methods=["GET", "HEAD", "POST"])])


@pytest.fixture(scope="module")
def site(pico, root):
    """The address that the team uses."""
    demo = app.build(task=str(pico.task), domain=str(pico.domain), base=str(pico.base), root=root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_ROOT_PATH", PREFIX)
        app.launch(demo, prevent_thread_lock=True, quiet=True, auth=[("ann", "s3cret")])
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(proxy(f"http://127.0.0.1:{demo.server_port}"), port=port, log_level="error"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}{PREFIX}/"
    server.should_exit = server.force_exit = True
    thread.join(10)
    demo.close()


def test_one_signs_in_paints_and_exports_under_the_prefix(site, browser, pico, root):
    context = browser.new_context(reduced_motion="reduce")
    page, outside, problems = context.new_page(), [], []
    page.on("request", lambda sent: None if sent.url.startswith((site, "data:", "blob:")) else outside.append(sent.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(site)
    expect(page.get_by_label("username")).to_be_visible(timeout=60_000)
    assert httpx.get(f"{site}config").status_code == 401, "nothing is told to who has not signed in"
    page.get_by_label("username").fill("ann")
    page.get_by_label("password").fill("s3cret")
    page.get_by_role("button", name="Login").click()
    expect(page.locator("#gates .gm-grid[data-ready='1']")).to_be_attached(timeout=90_000)
    stroke(page, (1, "v_proj"))
    settled(page, 1)
    expect(edited(page)).to_have_count(1)
    tab(page, "export")
    page.locator("#export-name textarea, #export-name input").fill("behind-a-proxy")
    page.click("#build")
    expect(page.locator("#certificate .note.good")).to_contain_text("Pass", timeout=60_000)
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "behind-a-proxy.zip" and download.value.path().stat().st_size > 1000
    context.close()
    assert outside == [] and problems == []
