"""How long a person looks at an empty page: from opening the address in a browser to the gate map and the depth profile drawn.

    python benchmarks/first_paint.py [--sample NAME] [--times 5] [--goal 3]

Starts the app as a person does, in a process of its own, waits until it answers, and opens it in fresh, cold Chromium
contexts. The first visit is the one that counts, and is printed apart: later ones find the sample probed and merged in the
server's memory. Ends with exit code 1 if the first visit takes longer than the goal. Numbers hold for a quiet machine.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from tada_studio.sample_pairs import DEFAULT

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]
#: What must be on screen: the map with its cells, and a chart with its lines.
DRAWN = ("#gates .gm-grid[data-ready='1']", "#depth .pp-chart[data-ready='1'] .main-svg >> nth=0")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(sample: str, port: int) -> tuple[subprocess.Popen, float]:
    """The app's process, and how many seconds it took until it answered."""
    command = [sys.executable, "-m", "tada_studio", "app", "--sample", sample, "--no-browser", "--port", str(port)]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parent.parent)
    while time.monotonic() - began < 120:
        if process.poll() is not None:
            raise SystemExit(f"The app ended by itself with exit code {process.returncode}.")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
            return process, time.monotonic() - began
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise SystemExit("The app did not answer within two minutes.")


def visit(browser: Browser, port: int) -> float:
    """Seconds from the address to all of ``DRAWN``, in a context that has cached nothing."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    began = time.monotonic()
    page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
    for place in DRAWN:
        expect(page.locator(place)).to_be_visible(timeout=60_000)
    seconds = time.monotonic() - began
    context.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", default=DEFAULT)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--goal", type=float, default=3.0, help="seconds for the first visit")
    options = parser.parse_args()
    port = free_port()
    process, up = start(options.sample, port)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            seconds = [visit(browser, port) for _ in range(options.times)]
            browser.close()
    finally:
        process.terminate()
        process.wait()
    load = f"; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    print(f"{options.sample}: server up after {up:.1f} s; first visit {seconds[0]:.2f} s", end="")
    print(
        f", later {statistics.median(seconds[1:]):.2f} s (median of {len(seconds) - 1})" if seconds[1:] else "",
        load,
        sep="",
    )
    sys.exit(seconds[0] > options.goal)


if __name__ == "__main__":
    main()
