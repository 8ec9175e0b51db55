"""The real app in this process, a headless Chromium, and two guards: no request, no look-up leaves this machine."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_IS_E2E_TEST"] = "1"  # a session ends one second after its page is closed

import pytest
from pico import pico_adapter, pico_base, pico_inputs, pico_items
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from tada_studio import app

expect.set_options(timeout=20_000)  # waiting costs nothing where the machine is quiet
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
LOCAL = {"127.0.0.1", "localhost", "::1", "0.0.0.0"}


@dataclass(frozen=True)
class Pico:
    """A tiny pair with everything that the main job needs."""

    base: Path
    task: Path
    domain: Path
    items: Path
    inputs: Path


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the app is started for."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="session")
def pico(root: Path) -> Pico:
    base = pico_base(root / "pico-base")
    return Pico(
        base,
        pico_adapter(root / "pico-task", base, seed=1),
        pico_adapter(root / "pico-domain", base, seed=2, rank=6),
        pico_items(root / "items.jsonl", 50),
        pico_inputs(root / "probe.txt"),
    )


@pytest.fixture(scope="session")
def looked_up() -> Iterator[list[str]]:
    """Names that Python looked up during all tests and that are not this machine's."""
    found: list[str] = []
    original = socket.getaddrinfo

    def spy(host, *more, **named):
        if host not in (None, b"", "") and str(host) not in LOCAL:
            found.append(str(host))
        return original(host, *more, **named)

    socket.getaddrinfo = spy
    yield found
    socket.getaddrinfo = original


@pytest.fixture(scope="session")
def url(root: Path, pico: Pico, looked_up: list[str]) -> Iterator[str]:
    """The app with the pico pair open."""
    demo = app.build(task=str(pico.task), domain=str(pico.domain), base=str(pico.base), root=root)
    _, local_url, _ = app.launch(demo, prevent_thread_lock=True, quiet=True)
    yield local_url.rstrip("/")
    demo.close()
    assert looked_up == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists() and not os.environ.get("CI"):  # where CI runs it must be there
        pytest.skip(f"no Chromium at {CHROMIUM}: install Debian's chromium, or name another in CHROMIUM")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield running
        running.close()


@pytest.fixture(scope="session")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One for all tests, so that scripts are fetched and compiled once; every page is a session of its own anyway."""
    shared = browser.new_context(reduced_motion="reduce")
    shared.set_default_timeout(30_000)
    yield shared
    shared.close()


@pytest.fixture
def open_page(context: BrowserContext, url: str) -> Iterator[Callable[..., Page]]:
    """Opens pages and checks at the end that all of them kept to this machine and raised no error."""
    pages, outside, problems = [], [], []

    def guard(route: Route) -> None:
        if route.request.url.startswith((url, "data:", "blob:")):
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    def make(path: str = "/", width: int = 1280, height: int = 900) -> Page:
        page = context.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.route(re.compile(".*"), guard)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(url + path)
        expect(page.locator("#gates .gm-grid[data-ready='1']")).to_be_attached(timeout=90_000)
        return page

    yield make
    for page in pages:
        page.close()
    assert outside == []
    assert problems == []


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """The app on its Inspect tab."""
    return open_page()
