"""Claim: an engine scores what this process scores, at a server's pace.

    python -m vllm.entrypoints.openai.api_server --model BASE --enable-lora --max-lora-rank 64   # elsewhere, with
        # VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment
    python benchmarks/engine.py http://localhost:8000 --base BASE --task adapters/task --items items.jsonl [--here]
    python benchmarks/engine.py http://localhost:8000 --base BASE --tiny     # a server of the tests' tiny base

Items and tokens a second, seconds to load and unload an adapter; with --here beside the same base in this process, where
log-likelihoods must agree. Nothing is downloaded but the tokenizer, if it is not here yet.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import load, machine, readable, table, write_section

from tada_studio import pipeline
from tada_studio.evaluation import choose, read_items
from tada_studio.evaluation.scores import Score

#: Nats by which log-likelihoods may differ: a server runs in half precision, and in batches of its own.
AGREE, TINY_AGREE = 0.5, 1e-4
#: Share of the items on which both must prefer the same choice.
SAME = 0.98


def scored(base: Any, adapter: Any, items: Sequence[Any]) -> tuple[Score, float]:
    """(score, seconds)."""
    start = time.perf_counter()
    return pipeline.evaluate(base, {"variant": adapter}, items)["variant"], time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument(
        "--base", required=True, help="folder or Hub id with the tokenizer; with --here also the weights"
    )
    parser.add_argument("--task", required=True, help="an adapter")
    parser.add_argument("--items", required=True)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--folder", help="folder that the engine sees, too")
    parser.add_argument("--here", action="store_true", help="score in this process as well, and compare")
    parser.add_argument(
        "--tiny", action="store_true", help="a server in float32: must agree closely; nothing is written"
    )
    asked = parser.parse_args()
    before, items = load(), choose(read_items(asked.items), asked.limit)
    engine, adapter = pipeline.open_engine(asked.url, asked.base, asked.folder), pipeline.read_adapter(asked.task)
    rows = engine.scoring(items, 1).rows
    tokens = sum(len(row.choices) * len(row.context) + sum(map(len, row.choices)) for row in rows)
    start = time.perf_counter()
    with engine.with_adapter(adapter):
        swap = time.perf_counter() - start
    found, took = scored(engine, adapter, items)
    lines = [
        ["load an adapter", readable(swap), ""],
        [
            f"score {len(items)} items",
            readable(took),
            f"{len(items) / took:,.1f} items/s, {tokens / took:,.0f} tokens/s",
        ],
    ]
    held = True
    if asked.here:
        own, slower = scored(pipeline.load_base(asked.base), adapter, items)
        apart = float((found.loglik - own.loglik).nan_to_num(0, 0, 0).abs().max())
        same = float((found.loglik.argmax(1) == own.loglik.argmax(1)).double().mean())
        room = TINY_AGREE if asked.tiny else AGREE
        held = apart <= room and same >= SAME
        lines += [
            ["the same in this process", readable(slower), f"{slower / took:.2f} times as long"],
            [
                "log-likelihoods apart, at most",
                f"{apart:.2g} nats",
                f"{room:g}: {'held' if apart <= room else 'missed'}",
            ],
            ["same choice", f"{same:.3f}", f"{SAME:g}: {'held' if same >= SAME else 'missed'}"],
        ]
    body = f"{table(['step', 'took', ''], lines)}\n\n{engine.served} at an engine; {before}. {machine('transformers')}"
    print(body)
    if not asked.tiny:
        write_section("engine", f"{Path(asked.base).name} through an engine", body)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
