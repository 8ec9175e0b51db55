"""Claim: at equal answers our scorer takes a third of the time of lm-evaluation-harness's HF backend, or less; where the harness
has less than three times our matrix products to do, within 15 % of what they allow.

    python benchmarks/eval_vs_lm_eval.py                                       # the shipped smollm2-minerals items, both sides
    python benchmarks/eval_vs_lm_eval.py --items arc.jsonl --count 40 --threads 2

Both score the same model object with the same adapter in it, in float32, interleaved in one process; log-likelihoods must
agree to 1e-3 and every hit must be the same, or nothing is written. The harness is charged for its requests alone, not for
start, task or report. Time is CPU time of the process, which on one thread other programs on the machine disturb little.

How far ahead we are depends on the items. We run what questions begin with alike once, and a question once for all its choices;
the harness runs each choice from its first token, but it too runs a question once where every choice is a single token. What is
left there is the head, which the harness applies to every token: of single-token choices without a shared beginning a third of
its time cannot be had in float32. So both programs' products are counted, and they bound the goal. With --shots, solved examples
stand before each question, as most tasks of the harness are run.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from common import machine, median, readable, table, write_section
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch.utils.flop_counter import FlopCounterMode

from tada_studio import pipeline
from tada_studio.base_model.model import Base
from tada_studio.evaluation import Item, Score, choose, read_items, score
from tada_studio.sample_pairs import sample

#: Times our CPU seconds that the harness takes; or this share of how many times our products it does.
GOAL, OF_PRODUCTS = 3.0, 0.85


def requests(items: Sequence[Item]) -> list[Instance]:
    """What the harness makes of multiple-choice items."""
    return [
        Instance("loglikelihood", {}, (item.question.rstrip(), f" {choice}"), k)
        for item in items
        for k, choice in enumerate(item.choices)
    ]


def solved(items: Sequence[Item], shots: int) -> list[Item]:
    """All but the first ``shots`` items, those with their answers before each question."""
    first = "".join(f"{item.question.rstrip()} {item.choices[item.answer]}\n\n" for item in items[:shots])
    return [replace(item, question=first + item.question) for item in items[shots:]]


def with_harness(base: Base, items: Sequence[Item], rows: int) -> list[float]:
    lm = HFLM(
        pretrained=base.model, tokenizer=base.tokenizer, batch_size=rows, max_length=2048, softmax_dtype="float32"
    )
    return [loglik for loglik, _ in lm.loglikelihood(requests(items), disable_tqdm=True)]


def check_equal(ours: Score, theirs: Sequence[float], items: Sequence[Item]) -> float:
    """The largest difference of a log-likelihood; raises AssertionError unless every answer is the same."""
    assert ours.loglik is not None and ours.correct is not None
    first, worst = 0, 0.0
    for i, item in enumerate(items):
        row = torch.tensor(theirs[first : first + len(item.choices)])
        first += len(item.choices)
        worst = max(worst, float((ours.loglik[i, : len(row)] - row).abs().max()))
        assert bool(ours.correct[i]) == (int(row.argmax()) == item.answer), f"item {i}: another answer"
    assert worst < 1e-3, f"log-likelihoods differ by {worst}"
    return worst


def timed(work: partial) -> tuple[float, object]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def race(base: Base, items: Sequence[Item], repeats: int, rows: int) -> tuple[list[float], list[float], float]:
    """(ours, theirs, largest difference): CPU seconds of each round; the first round is a warm-up."""
    ours, theirs, worst = [], [], 0.0
    for turn in range(repeats + 1):
        took, mine = timed(partial(score, base, items))
        took_them, found = timed(partial(with_harness, base, items, rows))
        worst = max(worst, check_equal(mine, found, items))
        if turn:
            ours.append(took)
            theirs.append(took_them)
    return ours, theirs, worst


def products(work: partial) -> int:
    """Multiplications and additions in the matrix products of a piece of work, as torch counts them."""
    with FlopCounterMode(display=False) as counted:
        work()
    return counted.get_total_flops()


def row(name: str, base: Base, items: Sequence[Item], repeats: int, rows: int) -> list[str]:
    most = products(partial(with_harness, base, items, rows)) / products(partial(score, base, items))
    ours, theirs, worst = race(base, items, repeats, rows)
    ratio = median([them / us for us, them in zip(ours, theirs, strict=True)])
    goal = min(GOAL, OF_PRODUCTS * most)
    verdict = f"{goal:.2f}x: {'reached' if ratio >= goal else 'missed'}"
    seconds = readable(median(ours)), readable(median(theirs))
    return [name, str(len(items)), *seconds, f"{ratio:.2f}x", f"{most:.2f}x", verdict, f"{worst:.1e}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=Path, action="append", help=".jsonl of multiple-choice items; several times")
    parser.add_argument("--count", type=int, default=24, help="items of each file, drawn by seed")
    parser.add_argument("--shots", type=int, default=4, help="solved examples before the questions of a second round")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=8, help="batch size of the harness")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    logging.disable(logging.WARNING)
    chosen = sample("smollm2-minerals")
    files = asked.items or list(chosen.items.values())
    base, adapter = pipeline.load_base(str(chosen.base), "cpu", "float32"), pipeline.read_adapter(chosen.task)
    rows = []
    with base.with_adapter(adapter):
        for path in files:
            for shots in sorted({0, asked.shots}):
                items = choose(solved(read_items(path), shots), asked.count)
                name = f"{path.stem}, {shots} examples before each" if shots else path.stem
                rows.append(row(name, base, items, asked.repeats, asked.rows))
                print(rows[-1], flush=True)
    head = [
        "items",
        "n",
        "ours (CPU)",
        "lm-eval (CPU)",
        "as long as ours",
        "its products",
        "goal",
        "largest difference (nats)",
    ]
    about = f"SmolLM2-135M with a LoRA adapter worn, float32, medians of {asked.repeats} interleaved rounds. {machine('lm_eval')}"
    text = f"{table(head, rows)}\n\n{about}"
    print(text)
    write_section("eval_vs_lm_eval", "Multiple choice, against lm-evaluation-harness", text)
    return int(any("missed" in cell for one in rows for cell in one))


if __name__ == "__main__":
    sys.exit(main())
