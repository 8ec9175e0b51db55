"""Claim: a probe costs little more than the forward pass that it listens to.

    python benchmarks/probe_overhead.py           # SmolLM2-135M's shape with random weights, float32 and bfloat16; ~3 minutes
    python benchmarks/probe_overhead.py --tiny

Both adapters at once, rank 8 on all seven projections, against a plain pass of the same batches; interleaved, medians.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from common import interleaved, llama_shapes, load, machine, median, readable, synthetic_pair, table, write_section
from gpu import plain_forward, random_base, sentences
from transformers import LlamaConfig

from tada_studio.base_model.model import Base
from tada_studio.lora import Pair
from tada_studio.probing import probe
from tada_studio.read import pair_up, read_adapter

SMOLLM2 = LlamaConfig(
    hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
    vocab_size=32000,
)  # fmt: skip
TINY = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=32000)
#: A probe takes at most this many times the plain pass.
GOAL, TINY_GOAL = 1.05, 100.0


def measured(base: Base, pair: Pair, inputs: list[str], repeats: int) -> tuple[float, float]:
    """(plain pass, probe) in seconds."""
    contestants = {
        "plain": lambda: plain_forward(base, inputs),
        "probe": lambda: probe(pair, base.model, base.tokenizer, inputs),
    }
    found = interleaved(contestants, dict.fromkeys(contestants, repeats), lambda: None)
    return median(found["plain"]), median(found["probe"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args()
    config, goal, before = (TINY, TINY_GOAL, load()) if asked.tiny else (SMOLLM2, GOAL, load())
    keys = config.hidden_size * config.num_key_value_heads // config.num_attention_heads
    shapes = llama_shapes(config.num_hidden_layers, config.hidden_size, config.intermediate_size, keys)
    inputs, rows, held = sentences(4 if asked.tiny else 32, 128), [], True
    base = random_base(config, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        pair = pair_up(*map(read_adapter, synthetic_pair(shapes, Path(folder), rank=8)))
    for dtype in (torch.float32, torch.bfloat16):
        base.model.to(dtype)
        plain, probing = measured(base, pair, inputs, asked.repeats)
        kept = probing <= goal * plain
        held &= kept
        verdict = f"{goal:g}: {'held' if kept else 'missed'}"
        rows.append(
            [str(dtype).removeprefix("torch."), readable(plain), readable(probing), f"{probing / plain:.3f}", verdict]
        )
    head = ["number format", "plain pass", "probe", "times the plain pass", "at most"]
    body = f"{table(head, rows)}\n\n{len(inputs)} inputs of 129 tokens; {before}. {machine('transformers')}"
    print(body)
    if not asked.tiny:
        write_section("probe_overhead", "A probe beside a plain forward pass, SmolLM2-135M's shape", body)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
