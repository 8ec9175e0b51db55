"""Many visitors on one server of strangers: strokes, builds and page loads while one searches for knobs without end.

    python benchmarks/soak.py                      # 50 visitors, two minutes, as RESULTS.md has it
    python benchmarks/soak.py --visitors 6 --seconds 5
    python benchmarks/soak.py --pause 1            # everybody does something each second: how much is too much?

Starts the server itself (loopback only) and speaks to it as browsers do. Then the visitors go, and the server, whose clock for what
nobody uses is set to a minute, has --settles seconds to be as it was. Prints a table; exit 1 if something in it does not hold.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import psutil

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "security"))

from common import machine, table, verdict, write_section
from server import Page, free_port, map_of

#: What a page does next, in shares.
DOES = {"stroke": 0.88, "load": 0.06, "build": 0.06}
#: The command line with another clock: minutes after which a public server forgets what nobody uses.
BOOT = """
import sys
from dataclasses import replace
from tada_studio.session import limits
limits.PUBLIC = replace(limits.PUBLIC, kept_minutes=float(sys.argv.pop(1)))
from tada_studio.cli import main
sys.exit(main(sys.argv[1:]))
"""
#: Seconds of a search before anything is measured.
WARM = 5.0
#: Whoever waits for longer than this must have been told so, in seconds.
PATIENCE = 1.5


@dataclass
class Seen:
    """What happened, of all visitors together."""

    strokes: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


def start(place: Path, kept: float = 60.0) -> tuple[subprocess.Popen, int]:
    """A public server in a process of its own; (process, port). kept: minutes that it keeps what nobody uses."""
    environ = {**os.environ, "TADA_STUDIO_STATE": str(place / "state"), "TMPDIR": str(place), "PYTHONUNBUFFERED": "1"}
    port = free_port()
    words = [sys.executable, "-c", BOOT, str(kept), "app", "--public", "--no-browser", "--port", str(port)]
    running = subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert running.stdout is not None
    for line in running.stdout:
        if "Running on" in line:
            threading.Thread(target=running.stdout.read, daemon=True).start()
            return running, port
    raise RuntimeError("the server did not start")


class Visitor:
    """One browser: paints values that nobody else paints, and looks whether it is them that come back."""

    def __init__(self, number: int, demo: SimpleNamespace, seen: Seen, pause: float = 1.0) -> None:
        self.number, self.demo, self.seen, self.pause = number, demo, seen, pause
        self.random, self.strokes = random.Random(number), 0
        self.painted: dict[tuple[int, int], float] = {}
        self.page = self.load()

    def load(self) -> Page:
        before, cookie = time.monotonic(), getattr(self, "page", None) and self.page.cookie
        page = Page(self.demo)
        page.cookie = cookie or ""
        page.load()
        self.seen.loads.append(time.monotonic() - before)
        self.painted = {}  # another tab: another session
        self.let_go = page.heartbeat()
        return page

    def act(self) -> None:
        what = self.random.choices(list(DOES), list(DOES.values()))[0]
        self.seen.counts[what] += 1
        getattr(self, f"do_{what}")()

    def do_stroke(self) -> None:
        self.strokes += 1
        cell = self.random.randrange(2), self.random.randrange(7)
        self.painted[cell] = value = (self.number % 50) / 50 + self.random.random() / 100
        seconds, answer = self.page.stroke([list(cell)], value, self.strokes)
        self.seen.strokes.append(seconds)
        if not answer["success"]:
            self.seen.errors.append(f"stroke: {answer['output']}")
            return
        gates = map_of(answer)["gates"]
        if any(abs(gates[i][j] - value) > 1e-3 for (i, j), value in self.painted.items()):
            self.seen.counts["mixed"] += 1

    def do_load(self) -> None:
        self.let_go()
        self.page = self.load()

    def do_build(self) -> None:
        status, answer = self.page.click("build")
        if status != 200:
            self.seen.errors.append(f"build: {status} {answer}")
            return
        last, before = time.monotonic(), time.monotonic()
        for message in self.page.news(answer["event_id"]):
            if message["msg"] == "process_generating" and "Waiting" in str(message):
                self.seen.counts["told to wait"] += 1
            if time.monotonic() - last > 4 * PATIENCE:
                self.seen.counts["waited without a word"] += 1
            last = time.monotonic()
            if message["msg"] == "process_completed" and not message["success"]:
                self.seen.errors.append(f"build: {message['output']}")
        self.seen.counts["build seconds"] += round(time.monotonic() - before)


def run(visitor: Visitor, until: float) -> None:
    while time.monotonic() < until:
        try:
            visitor.act()
        except Exception as error:
            visitor.seen.errors.append(f"{type(error).__name__}: {error}")
        time.sleep(visitor.random.uniform(0.5, 1.5) * visitor.pause)  # a person looks at what came
    visitor.let_go()


def tune(demo: SimpleNamespace, seen: Seen, until: float) -> None:
    """Search without end, as the one who fills the machine."""
    page = Page(demo).load()
    let_go = page.heartbeat()
    while time.monotonic() < until:
        status, answer = page.click("tune")
        if status != 200:
            seen.errors.append(f"search: {status}")
            break
        for message in page.news(answer["event_id"]):
            if time.monotonic() > until:
                page.click("tune-stop")
                break
            if message["msg"] == "process_completed":
                seen.counts["searches"] += 1
    let_go()


def spent(process: psutil.Process) -> float:
    """Seconds of processor time."""
    return sum(process.cpu_times()[:2])


def size(place: Path) -> float:
    """MB of temporary files, without the state."""
    return sum(f.lstat().st_size for f in place.rglob("*") if f.is_file() and "state" not in f.parts) / 1e6


def soak(visitors: int, seconds: float, settles: float, pause: float = 4.0) -> dict[str, object]:
    """Run it all; the figures by name. pause: seconds from what a visitor saw to what they do next, on average."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        place = Path(folder)
        running, port = start(place, kept=1.0)
        demo, process = SimpleNamespace(server_port=port), psutil.Process(running.pid)
        try:
            return _measured(demo, process, place, visitors, seconds, settles, pause)
        finally:
            running.terminate()
            running.wait(20)


def _measured(
    demo: SimpleNamespace,
    process: psutil.Process,
    place: Path,
    visitors: int,
    seconds: float,
    settles: float,
    pause: float,
) -> dict[str, object]:
    seen = Seen()
    warm = Visitor(0, demo, Seen())  # everything is imported, what a search needs too, and the sample is read once
    warm.do_stroke()
    warm.do_build()
    warm.let_go()
    tune(demo, Seen(), time.monotonic() + WARM)
    time.sleep(2)
    memory, disk, used, own = process.memory_info().rss / 1e6, size(place), spent(process), time.process_time()
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=tune, args=(demo, seen, until))]
    threads += [threading.Thread(target=_visit, args=(i, demo, seen, until, pause)) for i in range(1, visitors + 1)]
    for thread in threads:
        thread.start()
        time.sleep(min(0.2, seconds / 4 / visitors))  # people do not come all at once
    for thread in threads:
        thread.join()
    used, own, most = spent(process) - used, time.process_time() - own, process.memory_info().rss / 1e6
    end = time.monotonic() + settles
    while time.monotonic() < end and (process.memory_info().rss / 1e6 > 1.1 * memory or size(place) > disk + 5):
        time.sleep(1)
    quantile = statistics.quantiles(seen.strokes or [0, 0], n=20)
    counts = seen.counts
    return {
        "visitors": visitors, "seconds": seconds, "pause between acts, s": pause, "strokes": counts["stroke"],
        "page loads": counts["load"], "builds": counts["build"], "searches": counts["searches"], "errors": len(seen.errors),
        "first errors": sorted(set(seen.errors))[:3], "mixed": counts["mixed"],
        "stroke median, s": round(statistics.median(seen.strokes or [0]), 3), "stroke 95 %, s": round(quantile[-1], 3),
        "page load median, s": round(statistics.median(seen.loads or [0]), 3), "told to wait": counts["told to wait"],
        "waited without a word": counts["waited without a word"], "server's CPU, s": round(used, 1),
        "visitors' CPU, s": round(own, 1), "machine's load": round(os.getloadavg()[0], 1),
        "memory before, MB": round(memory), "memory at the end, MB": round(most),
        "memory after, MB": round(process.memory_info().rss / 1e6),
        "temporary files before, MB": round(disk, 1), "temporary files after, MB": round(size(place), 1),
    }  # fmt: skip


def _visit(number: int, demo: SimpleNamespace, seen: Seen, until: float, pause: float) -> None:
    try:
        visitor = Visitor(number, demo, seen, pause)
    except Exception as error:
        seen.errors.append(f"load: {type(error).__name__}: {error}")
        return
    run(visitor, until)


def goals(found: dict[str, object]) -> list[tuple[str, object, str, bool]]:
    """(what, figure, goal, whether it is reached)."""
    number = {name: float(str(value)) for name, value in found.items() if isinstance(value, int | float)}
    memory, files = number["memory before, MB"], number["temporary files before, MB"]
    most = {"errors": 0, "mixed": 0, "waited without a word": 0, "stroke median, s": 0.5,
            "memory after, MB": 1.1 * memory, "temporary files after, MB": files + 1}  # fmt: skip
    return [(name, found[name], f"at most {room:g}", number[name] <= room) for name, room in most.items()]


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--visitors", type=int, default=50)
    asked.add_argument("--seconds", type=float, default=120.0)
    asked.add_argument("--settles", type=float, default=300.0, help="seconds in which memory and disk may come back")
    asked.add_argument("--pause", type=float, default=4.0, help="seconds between two acts of a visitor, on average")
    asked.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    options = asked.parse_args()
    found = soak(options.visitors, options.seconds, options.settles, options.pause)
    held, code = verdict(goals(found))
    rest = table(["what", "figure"], [[name, str(value)] for name, value in found.items()])
    body = f"{held}\n\n{rest}\n\n{machine('gradio')}"
    print(body)
    if options.record:
        write_section("soak", f"{options.visitors} visitors on one public server while one searches without end", body)
    return code


if __name__ == "__main__":
    sys.exit(main())
