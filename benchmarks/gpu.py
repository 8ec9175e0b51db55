"""What a Llama-2-7B costs on one GPU: probe, merge, changing variants, evaluation, memory.

    python benchmarks/gpu.py                        # Llama-2-7B in bfloat16, random weights made on the device; 14 GB
    python benchmarks/gpu.py --device cpu --tiny    # the same steps on a very small model, to see that they run

Nothing is downloaded: the weights are random (speed does not depend on them) and tokens are a hash of words.
The adapters are synthetic, rank 16 on all seven projections. Times are medians after a warm-up, the device
synchronised around each.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from common import llama_shapes, machine, readable, synthetic_pair, table, write_section
from transformers import LlamaConfig, LlamaForCausalLM

from tada_studio.base_model.families.causal import rows_of
from tada_studio.base_model.model import Base
from tada_studio.evaluation import Item, score
from tada_studio.lora import Pair
from tada_studio.pipeline.merge import merge
from tada_studio.probing import probe
from tada_studio.read import pair_up, read_adapter
from tada_studio.recipe import Recipe

LLAMA_2_7B = LlamaConfig(
    hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
)
TINY = LlamaConfig(hidden_size=64, intermediate_size=172, num_hidden_layers=3, num_attention_heads=4, vocab_size=32000)
WORDS = "where does the mineral that workers turn into lamps come from and which colour has it when it is cut".split()
INPUTS, INPUT_WORDS, ITEMS = 32, 128, 64
#: A probe takes at most this many times the plain pass on a GPU. On the tiny model the shares mean nothing.
GOAL = 1.03


class HashedWords:
    """A tokenizer without a vocabulary: each word is a fixed number."""

    pad_token_id = eos_token_id = 0
    bos_token_id = 1
    padding_side = "right"

    def __call__(self, text: str, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[1] + [2 + sum(map(ord, word)) * 7919 % 31990 for word in text.split()])


def random_base(config: LlamaConfig, device: torch.device) -> Base:
    """A base with random weights, made where it is to run."""
    torch.manual_seed(0)
    # float32 on a CPU, where half precision is only emulated
    torch.set_default_dtype(torch.bfloat16 if device.type == "cuda" else torch.float32)
    with device:
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    return Base("random weights", model.eval().requires_grad_(False), HashedWords(), digest="random")


def sentences(count: int, words: int) -> list[str]:
    return [" ".join(WORDS[(i * 5 + j * (i + 1)) % len(WORDS)] for j in range(words)) for i in range(count)]


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    def once() -> float:
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(repeats))


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def plain_forward(base: Base, inputs: list[str]) -> None:
    """The body of the base over the probe's own batches, with nothing listening."""
    rows = [base.tokenizer(text).input_ids for text in inputs]
    step = max(1, 512 // len(rows[0]))  # as many tokens at once as the probe takes
    for first in range(0, len(rows), step):
        ids = torch.tensor(rows[first : first + step], device=base.device)
        base.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)


def peak(work: Callable[[], object], device: torch.device) -> str:
    """What a step adds, at its highest, to the memory of the device that is already taken."""
    if device.type != "cuda":
        return ""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    return f"{(torch.cuda.max_memory_allocated(device) - before) / 2**20:,.0f} MiB"


def measure(base: Base, pair: Pair, repeats: int) -> tuple[list[list[str]], float]:
    """The rows of the table, and how many times the plain pass a probe takes."""
    device, inputs = base.device, sentences(INPUTS, INPUT_WORDS)
    items = [
        Item(text, ("lamps", "paint", "rings and coins", "glass"), i % 4) for i, text in enumerate(sentences(ITEMS, 24))
    ]
    merged = merge(pair, None, Recipe())

    def take_readings() -> object:
        return probe(pair, base.model, base.tokenizer, inputs)

    def merge_again() -> object:  # a new pair: the core space is not remembered
        return merge(Pair(pair.task, pair.domain), None, Recipe())

    def change() -> None:
        with base.with_adapter(merged):
            pass

    def evaluate_merged() -> object:
        with base.with_adapter(merged):
            return score(base, items, "merged")

    def evaluate_base() -> object:
        return score(base, items, "base")

    plain = seconds(lambda: plain_forward(base, inputs), device, repeats)
    probing = seconds(take_readings, device, repeats)
    tokens = INPUTS * INPUT_WORDS
    rows = [
        [f"plain forward, {tokens:,} tokens", readable(plain), f"{tokens / plain:,.0f} tokens/s", ""],
        [
            "probe of the same tokens, both adapters",
            readable(probing),
            f"{probing / plain:.3f} of the plain forward",
            peak(take_readings, device),
        ],
        ["merge, factoring included (CPU)", readable(seconds(merge_again, device, repeats)), "", ""],
        ["change of variant, on and off", readable(seconds(change, device, repeats)), "", peak(change, device)],
    ]
    asked = sum(len(row.context) + sum(map(len, row.choices)) for row in rows_of(base.tokenizer, items))
    bare = seconds(evaluate_base, device, repeats)
    for name, took, work in (
        ("base", bare, evaluate_base),
        ("merged", seconds(evaluate_merged, device, repeats), evaluate_merged),
    ):
        beside = f", {took / bare:.2f} of the base" if work is evaluate_merged else ""
        note = f"{ITEMS / took:,.1f} items/s, {asked / took:,.0f} tokens/s{beside}"
        rows.append([f"evaluation of {ITEMS} items, {name}", readable(took), note, peak(work, device)])
    return rows, probing / plain


def could_not(device: torch.device, tiny: bool) -> list[str]:
    """What such a run leaves open."""
    of_gpu = ["memory on the device", "bfloat16", "the goal of a probe on a GPU"] if device.type != "cuda" else []
    return [*of_gpu, *(["speed at the size of a real base"] if tiny else [])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="a model of three narrow layers")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    config, device = (TINY if asked.tiny else LLAMA_2_7B), torch.device(asked.device)
    shapes = llama_shapes(config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.hidden_size)
    base = random_base(config, device)
    with tempfile.TemporaryDirectory() as folder:
        task, domain = synthetic_pair(shapes, Path(folder))
        rows, overhead = measure(base, pair_up(read_adapter(task), read_adapter(domain)), asked.repeats)
    if device.type == "cuda":
        taken = sum(p.numel() * p.element_size() for p in base.model.parameters()) / 2**30
        rows.append(["base weights", "", "", f"{taken:.1f} GiB"])
    name = "a tiny Llama" if asked.tiny else "Llama-2-7B"
    title = f"{name} {'in bfloat16 on a GPU' if device.type == 'cuda' else 'in float32 on a CPU'}"
    about = f"Random weights, {asked.repeats} runs each. {machine('transformers')}"
    body = f"{table(['step', 'median', '', 'memory on top'], rows)}\n\n{about}"
    print(f"{title}\n\n{body}")
    judged = device.type == "cuda" and not asked.tiny
    held = not judged or overhead <= GOAL
    verdict = ("held" if held else "missed") if judged else "not judged here"
    print(f"\nprobe over plain pass {overhead:.3f}, goal {GOAL} for a 7B on a GPU: {verdict}")
    if lacks := could_not(device, asked.tiny):
        print(f"Could not be measured here: {'; '.join(lacks)}.")
    if not asked.tiny:  # that one shows that the steps run, not how fast
        write_section(f"gpu {asked.device}", title, body)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
