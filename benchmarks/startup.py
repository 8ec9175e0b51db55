"""Claim: commands and the server answer soon: what a person waits for before anything of theirs is worked on.

    python benchmarks/startup.py [--times 5] [--without-server]

Every figure is of a fresh process. "First answer" is from the start of ``tada-studio`` to the page's first byte.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

from common import load, machine, table, write_section

#: What is started -> the most seconds that it may take (a median of fresh processes).
GOALS = {"import tada_studio": 0.3, "tada-studio --help": 1.0}
FIRST_ANSWER = 5.0
COMMANDS = {
    "import tada_studio": [sys.executable, "-c", "import tada_studio"],
    "tada-studio --help": [sys.executable, "-m", "tada_studio", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import peft": [sys.executable, "-c", "import peft"],
}


def process_seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def first_answer(port: int) -> float:
    """Seconds until a server that was started now answers its page."""
    start = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "tada_studio", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while time.perf_counter() - start < 120:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                    answer.read(1)
                    return time.perf_counter() - start
            except (urllib.error.URLError, ConnectionError):
                if server.poll() is not None:
                    raise SystemExit("the server ended before it answered") from None
                time.sleep(0.05)
        raise SystemExit("the server did not answer in two minutes")
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--without-server", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    before = load()
    taken = {name: [process_seconds(command) for _ in range(asked.times)] for name, command in COMMANDS.items()}
    goals = dict(GOALS)
    if not asked.without_server:
        taken["first answer"] = [first_answer(free_port()) for _ in range(asked.times)]
        goals["first answer"] = FIRST_ANSWER
    found = {name: statistics.median(values) for name, values in taken.items()}
    rows = [
        [
            name,
            f"{value:.2f} s",
            f"{goals[name]:g} s: {'held' if value <= goals[name] else 'missed'}" if name in goals else "",
        ]
        for name, value in found.items()
    ]
    body = f"{table(['fresh process', 'median', 'goal'], rows)}\n\n{asked.times} runs each; {before}. {machine('gradio', 'peft')}"
    print(body)
    if asked.times > 1:
        write_section("startup", "What is waited for at the start", body)
    return 0 if all(found[name] <= goal for name, goal in goals.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
