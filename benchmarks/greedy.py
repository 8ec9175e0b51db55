"""One visitor does all that one can, and the others paint on: what their strokes and page loads take, with and without.

    python benchmarks/greedy.py                   # as RESULTS.md has it
    python benchmarks/greedy.py --seconds 10

The greedy one has eight tabs, and at once in each: strokes without waiting for an answer, searches and exports, uploads, page
loads, calls of the API. Two quiet visitors paint once a second and reload now and then. Exit 1 if any of theirs failed or was
refused, or if their strokes took half a second or more.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "security"))

from common import machine, table, write_section
from server import Page
from soak import Seen, Visitor, size, spent, start

TABS, QUIET = 8, 2


def greedy(demo: SimpleNamespace, over: threading.Event, counts: Counter) -> list[threading.Thread]:
    """All that it does, as threads that end when it is over."""
    first = Page(demo).load()

    def tab() -> Page:
        page = Page(demo)
        page.cookie = first.cookie
        return page.load()

    pages = [first]
    for _ in range(TABS - 1):
        with suppress(Exception):
            pages.append(tab())
    upload = b"x" * 20_000_000

    def strokes(page: Page) -> str:
        handler = page.fired_by("gates", "stroke")
        status, _ = page.join(handler, [None], {"cells": [[0, 0]], "value": 0.5, "id": 1})
        return f"strokes {status}"

    def call(page: Page) -> str:
        status, _, _ = page.request("POST", "/gradio_api/call/list_samples", json.dumps({"data": []}))
        return f"calls {status}"

    jobs: list[Callable[[], str]] = [lambda page=page: strokes(page) for page in pages]  # type: ignore[misc]
    jobs += [lambda page=page: f"searches {page.click('tune')[0]}" for page in pages[:3]]  # type: ignore[misc]
    jobs += [lambda page=page: f"exports {page.click('build')[0]}" for page in pages[:3]]  # type: ignore[misc]
    jobs += [
        lambda: f"uploads {first.upload('a.zip', upload)[0]}",
        lambda: call(first),
        lambda: f"loads {tab() and 200}",
    ]

    def again(job: Callable[[], str]) -> None:
        while not over.is_set():
            try:
                counts[job()] += 1
            except Exception as error:
                counts[type(error).__name__] += 1
                time.sleep(0.05)

    return [threading.Thread(target=again, args=(job,)) for job in jobs]


def watched(demo: SimpleNamespace, seconds: float) -> Seen:
    """What the quiet visitors see."""
    seen, until = Seen(), time.monotonic() + seconds

    def visit(number: int) -> None:
        visitor, acts = Visitor(number, demo, seen), 0
        while time.monotonic() < until:
            try:
                visitor.do_load() if acts % 10 == 9 else visitor.do_stroke()
            except Exception as error:
                seen.errors.append(f"{type(error).__name__}: {error}")
            acts += 1
            time.sleep(1.0)
        visitor.let_go()

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(1, QUIET + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def compare(seconds: float) -> dict[str, dict[str, object]]:
    """The same visitors alone, and beside the greedy one."""
    with tempfile.TemporaryDirectory(prefix="greedy-") as folder:
        running, port = start(Path(folder))
        demo, process = SimpleNamespace(server_port=port), psutil.Process(running.pid)
        found: dict[str, dict[str, object]] = {}
        try:
            Visitor(0, demo, Seen()).do_stroke()  # the sample is read once
            for name in ("alone", "beside"):
                over, counts, used = threading.Event(), Counter(), spent(process)
                threads = greedy(demo, over, counts) if name == "beside" else []
                for thread in threads:
                    thread.start()
                found[name] = {**_figures(watched(demo, seconds)), "server's CPU, s": round(spent(process) - used, 1)}
                over.set()
                for thread in threads:
                    thread.join()
                found[name] |= {
                    "its temporary files, MB": round(size(Path(folder))),
                    "what the greedy one got": dict(counts) or "-",
                }
        finally:
            running.kill()
            running.wait()
    return found


def _figures(seen: Seen) -> dict[str, object]:
    return {
        "strokes": len(seen.strokes), "stroke median, s": round(statistics.median(seen.strokes or [0]), 3),
        "slowest stroke, s": round(max(seen.strokes, default=0), 3), "page loads": len(seen.loads),
        "page load median, s": round(statistics.median(seen.loads or [0]), 3), "errors": len(seen.errors),
        "first errors": sorted(set(seen.errors))[:3], "mixed": seen.counts["mixed"],
    }  # fmt: skip


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seconds", type=float, default=30.0, help="for each of the two")
    asked.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    options = asked.parse_args()
    found = compare(options.seconds)
    rows = [[name, *(str(found[when][name]) for when in ("alone", "beside"))] for name in found["alone"]]
    body = table(["two quiet visitors", "alone", "beside the greedy one"], rows)
    body += f"\n\n{options.seconds:g} s each, load {os.getloadavg()[0]:.1f} at the end. {machine('gradio')}"
    print(body)
    if options.record:
        write_section("greedy", "One visitor does all that one can", body)
    beside = found["beside"]
    return int(bool(beside["errors"] or beside["mixed"]) or float(str(beside["stroke median, s"])) >= 0.5)


if __name__ == "__main__":
    sys.exit(main())
