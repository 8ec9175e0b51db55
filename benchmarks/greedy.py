"""One visitor does all that one can, and the others paint on: what their strokes and page loads take, with and without.

    python benchmarks/greedy.py                   # as RESULTS.md has it
    python benchmarks/greedy.py --seconds 10
    python benchmarks/greedy.py --does uploads    # that alone: what is it that costs the others most?

The greedy one has eight tabs, and at once in each: strokes without waiting for an answer, searches and exports, uploads, page
loads, calls of the API. Two quiet visitors paint once a second and reload now and then. Exit 1 if any of theirs failed or was
refused, or if their strokes took more than half a second or their page loads more than two.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "security"))

from common import machine, table, verdict, write_section
from server import Page
from soak import Seen, Visitor, size, spent, start

TABS, QUIET = 8, 2


def greedy(
    demo: SimpleNamespace, over: threading.Event, counts: Counter, does: Sequence[str]
) -> list[threading.Thread]:
    """All that it does (or some of it), as threads that end when it is over."""
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
        status, _, _ = page.request("POST", "/gradio_api/call/samples", json.dumps({"data": []}))
        return f"calls {status}"

    jobs: dict[str, list[Callable[[], str]]] = {
        "strokes": [partial(strokes, page) for page in pages],
        "searches": [lambda page=page: f"searches {page.click('tune')[0]}" for page in pages[:3]],  # type: ignore[misc]
        "exports": [lambda page=page: f"exports {page.click('build')[0]}" for page in pages[:3]],  # type: ignore[misc]
        "uploads": [lambda: f"uploads {first.upload('a.zip', upload)[0]}"],
        "calls": [partial(call, first)],
        "loads": [lambda: f"loads {tab() and 200}"],
    }

    def again(job: Callable[[], str]) -> None:
        while not over.is_set():
            try:
                counts[job()] += 1
            except Exception as error:
                counts[type(error).__name__] += 1
                time.sleep(0.05)

    return [threading.Thread(target=again, args=(job,)) for name in does or jobs for job in jobs[name]]


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


def compare(seconds: float, does: Sequence[str] = ()) -> dict[str, dict[str, object]]:
    """The same visitors alone, and beside the greedy one."""
    with tempfile.TemporaryDirectory(prefix="greedy-") as folder:
        running, port = start(Path(folder))
        demo, process = SimpleNamespace(server_port=port), psutil.Process(running.pid)
        found: dict[str, dict[str, object]] = {}
        try:
            Visitor(0, demo, Seen()).do_stroke()  # the sample is read once
            for name in ("alone", "beside"):
                used, other = spent(process), _other(port, does) if name == "beside" else None
                found[name] = {**_figures(watched(demo, seconds)), "server's CPU, s": round(spent(process) - used, 1)}
                got = other.communicate("over", timeout=120)[0] if other else "-"
                found[name] |= {
                    "its temporary files, MB": round(size(Path(folder))),
                    "what the greedy one got": got.strip(),
                }
        finally:
            running.kill()
            running.wait()
    return found


def _other(port: int, does: Sequence[str]) -> subprocess.Popen[str]:
    """The greedy one, in a process of its own: in this one it would slow down the clocks of the others."""
    words = [sys.executable, __file__, "--greedy-at", str(port), *(word for name in does for word in ("--does", name))]
    other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline().strip() == "it began"
    return other


def be_greedy(port: int, does: Sequence[str]) -> int:
    """Until something comes in on stdin; prints what came of it."""
    over, counts = threading.Event(), Counter()
    threads = greedy(SimpleNamespace(server_port=port), over, counts, does)
    for thread in threads:
        thread.start()
    print("it began", flush=True)
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    print(", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items())))
    return 0


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
    asked.add_argument(
        "--does", action="append", default=[], help="strokes, searches, exports, uploads, calls or loads"
    )
    asked.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    asked.add_argument("--greedy-at", type=int, help=argparse.SUPPRESS)
    options = asked.parse_args()
    if options.greedy_at:
        return be_greedy(options.greedy_at, options.does)
    found = compare(options.seconds, options.does)
    held, code = verdict(goals(found["beside"]))
    rows = [[name, *(str(found[when][name]) for when in ("alone", "beside"))] for name in found["alone"]]
    body = f"{held}\n\n{table(['two quiet visitors', 'alone', 'beside the greedy one'], rows)}"
    body += f"\n\n{options.seconds:g} s each, load {os.getloadavg()[0]:.1f} at the end. {machine('gradio')}"
    print(body)
    if options.record:
        write_section("greedy", "One visitor does all that one can", body)
    return code


def goals(beside: dict[str, object]) -> list[tuple[str, object, str, bool]]:
    """(what, figure, goal, whether it is reached)."""
    most = {"errors": 0.0, "mixed": 0.0, "stroke median, s": 0.5, "page load median, s": 2.0}
    held = [(name, beside[name], f"at most {room:g}", float(str(beside[name])) <= room) for name, room in most.items()]
    return [*held, ("strokes", beside["strokes"], "some", bool(beside["strokes"]))]


if __name__ == "__main__":
    sys.exit(main())
