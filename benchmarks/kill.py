"""kill -9 at random moments, of a merge that is written and of a live server: what is offered is whole, and the rest is swept.

    python benchmarks/kill.py                       # 200 of each, as RESULTS.md has it
    python benchmarks/kill.py --merges 5 --servers 3 --seed 7

Each run is a fork of this process, which has imported everything, so that moments are drawn from the work and not from Python's
start. A merge replaces the same folder again and again, by two recipes in turn. A server is used by two pages (strokes, exports,
loads) until it is killed. Exit 1 if a folder or a session could not be read afterwards, or something is left that a start does not
sweep.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "security"))

import torch
from common import load, machine, table, verdict, write_section
from pico import pico_adapter, pico_base
from server import Page, free_port

from tada_studio import app, pipeline, scratch
from tada_studio.errors import TadaError
from tada_studio.exporting import place
from tada_studio.exporting.certificate import added_files, changed_files, read_certificate, tampered
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe
from tada_studio.session import files as session_files
from tada_studio.session.store import SessionStore

#: Seconds that a server may take until it answers, and then lives at most.
PATIENCE, LIVES = 90.0, 2.0


def forked(work: Callable[[], Any]) -> int:
    """The process that does it, and nothing else."""
    if child := os.fork():
        return child
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        work()
        os._exit(0)
    finally:
        os._exit(1)


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def killed_merges(count: int, dice: random.Random, home: Path) -> dict[str, Any]:
    """Kill so many exports; what was found after each."""
    base = pico_base(home / "base")
    task, domain = (pico_adapter(home / name, base, seed=i) for i, name in enumerate(("task", "domain"), start=1))
    pair, where, found = pipeline.read_pair(task, domain), home / "exports", Counter()
    where.mkdir()

    def work(times: int = 1000) -> None:
        for i in range(times):
            pipeline.export(merge(pair, None, Recipe(rank=4 + i % 2)), where / "out")

    before = time.monotonic()
    _, status = os.waitpid(forked(lambda: work(2)), 0)
    took = (time.monotonic() - before) / 2
    assert status == 0 and not problems(where / "out"), "without being killed it is whole"
    for _ in range(count):
        child = forked(work)
        time.sleep(dice.uniform(0.0, 2.5 * took))  # somewhere in the first, the second or the third
        kill(child)
        found["absent" if not (where / "out").exists() else "broken" if problems(where / "out") else "whole"] += 1
        found["left in between"] = max(found["left in between"], len(list(where.iterdir())) - 1)
    place.sweep(where, now=time.time() + 2 * place.LEFT_ALONE)
    return {
        **found,
        "seconds of one": round(took, 2),
        "left after a sweep": sum(path.name != "out" for path in where.iterdir()),
    }


def problems(folder: Path) -> list[str]:
    """Why an exported folder is not what its certificate says."""
    try:
        outputs = read_certificate(folder)["outputs"]
        return [*filter(None, [tampered(folder)]), *changed_files(folder, outputs), *added_files(folder, outputs)]
    except TadaError as error:
        return [str(error)]


def killed_servers(count: int, dice: random.Random, home: Path) -> dict[str, Any]:
    """Kill so many servers while pages use them; what is on disk afterwards."""
    temporary, state, found, starts = home / "tmp", home / "state", Counter(), 2.0
    temporary.mkdir()
    for number in range(count):
        port = free_port()
        child = forked(lambda port=port: _serve(port, temporary, state))  # type: ignore[misc]
        over = threading.Event()
        pages = [threading.Thread(target=_use, args=(port, f"{i}{'a' * 16}", over, found)) for i in range(2)]
        for page in pages:
            page.start()
        before, painted = time.monotonic(), found["strokes"]
        if number % 5:  # it answers, and works
            while found["strokes"] == painted and time.monotonic() - before < PATIENCE:
                time.sleep(0.01)
            starts = time.monotonic() - before
            time.sleep(dice.uniform(0.0, LIVES))
        else:  # it starts
            time.sleep(dice.uniform(0.0, starts))
        kill(child)
        over.set()
        for page in pages:
            page.join()
        for session in (state / "sessions").glob("*"):
            found["sessions broken"] += _broken(session)
    later = time.time() + 2 * place.LEFT_ALONE
    found["left in between"] = len(list(temporary.iterdir()))
    scratch.sweep(temporary, young=0.0)
    SessionStore(state).prune()
    for folder in (state / "sessions").glob("*"):
        session_files.sweep_unfinished(folder, later)
    place.sweep(home / "tmp", later)
    # an export is what its page asked for, and stays: whole
    kept = [path for path in temporary.iterdir() if not problems(path)]
    left = [*(path for path in temporary.iterdir() if path not in kept), *state.rglob(".new-*")]
    return {
        **found,
        "whole exports kept": len(kept),
        "left after a sweep": len(left),
        "what is left": [path.name for path in left[:3]],
    }


def _serve(port: int, temporary: Path, state: Path) -> None:
    os.environ.update(TADA_STUDIO_STATE=str(state), TMPDIR=str(temporary))
    os.environ.pop("GRADIO_TEMP_DIR", None)
    tempfile.tempdir = None
    scratch.root.cache_clear()
    os.chdir(temporary)
    app.launch(port=port, quiet=True, ends=True)


def _use(port: int, tab: str, over: threading.Event, found: Counter) -> None:
    """Load, paint, build, until the server is dead."""
    page = Page(SimpleNamespace(server_port=port), tab)
    while not over.is_set():
        with suppress(Exception):  # it does not answer yet, or not any more
            page.load()
            found["pages"] += 1
            for number in range(1000):
                if over.is_set():
                    return
                if page.stroke([[number % 2, number % 7]], (number % 9) / 9, number)[1]["success"]:
                    found["strokes"] += 1
                if number % 4 == 3:
                    page.click("build")
        time.sleep(0.02)


def _broken(folder: Path) -> int:
    if not (folder / session_files.INDEX).exists():
        return 0  # nothing is offered of it
    try:
        session, remarks = session_files.read(folder)
        session.close()
        return len(remarks)
    except TadaError:
        return 1


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--merges", type=int, default=200)
    asked.add_argument("--servers", type=int, default=200)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    options = asked.parse_args()
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    dice, at_first = random.Random(options.seed), load()
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        servers = killed_servers(options.servers, dice, Path(folder)) if options.servers else {}
        merges = killed_merges(options.merges, dice, Path(folder)) if options.merges else {}
    held, code = verdict(_goals(merges, servers))
    rows = [["merges killed", str(options.merges)], *([f"merge: {name}", str(value)] for name, value in merges.items())]
    rows += [
        ["servers killed", str(options.servers)],
        *([f"server: {name}", str(value)] for name, value in servers.items()),
    ]
    body = f"{held}\n\n{table(['what', 'figure'], rows)}\n\nSeed {options.seed}; {at_first}. {machine()}"
    print(body)
    if options.record:
        write_section("kill", "kill -9 at random moments", body)
    return code


def _goals(merges: dict[str, Any], servers: dict[str, Any]) -> list[tuple[str, object, str, bool]]:
    """(what, figure, goal, whether it is reached), of what was run. A merge replaces one that is there: none must be missing."""
    kinds = [(merges, "merge", "broken"), (merges, "merge", "absent"), (merges, "merge", "left after a sweep"),
             (servers, "server", "sessions broken"), (servers, "server", "left after a sweep")]  # fmt: skip
    return [(f"{who}: {what}", found.get(what, 0), "0", not found.get(what, 0)) for found, who, what in kinds if found]


if __name__ == "__main__":
    sys.exit(main())
