"""Make the sample minerals-tiny from nothing: text, tokenizer, base, two adapters, items, readings, figures.

    python sample_adapters/make/minerals_tiny.py [--seed 7] [--quick] [--out DIR] [--work DIR]

Seeded, and resumable: what is in the work folder is not done again. --quick is a much smaller version through the same code,
for tests, and takes seconds. One core is used: two seeds side by side take no longer than one.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import facts
import minerals_text as text
import torch
from look_back import look_back
from measure import measure, table, update
from train import Plan, add_lora, next_token_loss, padded, save_adapter, train
from word_tokenizer import word_tokenizer

from tada_studio.sample_pairs import read_sample

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Size:
    """How large everything is and how long it is trained.

    validation, task_test: items
    batch:         texts of the base in a step
    adapter_batch: texts in a step of an adapter: new ones, and the base's own
    lists:         so many of the base's first steps are lists alone
    base, options: of the base's training, at first and then on questions with numbered options
    rounds:        of the latter at most, until .9 of the numbers are right: on some seeds that takes longer
    learned:       an adapter's training ends when so much of its validation is right
    """

    minerals: int
    validation: int
    task_test: int
    hidden: int
    layers: int
    rank: int
    batch: int
    lists: int
    base: Plan
    options: Plan
    domain: Plan
    task: Plan
    rounds: int = 4
    adapter_batch: tuple[int, int] = (24, 8)
    learned: Mapping[str, float] = field(default_factory=lambda: {"domain": 0.9, "task": 0.95})


FULL = Size(
    minerals=96, validation=60, task_test=228, hidden=192, layers=6, rank=8, batch=32, lists=200,
    base=Plan(steps=1600, rate=2e-3, warmup=50, last=0.2, decay=0.05), options=Plan(steps=500, rate=1e-3, last=0.1, decay=0.05),
    domain=Plan(steps=600, rate=2e-3, last=0.3, every=10), task=Plan(steps=300, rate=1e-3, last=0.1, every=5),
)  # fmt: skip
QUICK = Size(
    minerals=16, validation=8, task_test=16, hidden=64, layers=3, rank=4, batch=8, lists=4,
    base=Plan(steps=12, rate=3e-3, every=6), options=Plan(steps=6, rate=1e-3, every=6),
    domain=Plan(steps=6, rate=1e-3, every=3), task=Plan(steps=6, rate=1e-3, every=3), rounds=1,
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """All that is drawn by the seed before anything is trained."""

    seed: int
    size: Size
    minerals: list[text.Mineral]
    facts: tuple[list[facts.Fact], list[facts.Fact], list[facts.Fact]]  # training, validation, test of the task

    @property
    def words(self) -> list[str]:
        """What may stand in a list of the base's text."""
        known = facts.all_facts()
        return sorted({f.subject for f in known} | {f.answer for f in known} | {m.name for m in self.minerals})

    def domain_items(self) -> tuple[list[text.Row], list[text.Row]]:
        """Validation and test."""
        items = text.domain_items(self.minerals, self.seed)
        return items[: self.size.validation], items[self.size.validation :]

    def task_items(self) -> tuple[list[text.Row], list[text.Row]]:
        """Validation and test."""
        return text.task_items(self.facts[1], self.seed), text.task_items(self.facts[2], self.seed + 1)


def world(seed: int, size: Size) -> World:
    return World(seed, size, text.minerals(size.minerals, seed), facts.split(seed, size.validation, size.task_test))


# -- texts by step -------------------------------------------------------------------------------------------------


def base_texts(world: World, stage: str, step: int, count: int) -> list[str]:
    """What the base reads at a step of a stage."""
    draw, known, words = Random(f"{world.seed} {stage} {step}"), facts.all_facts(), world.words
    return [text.base_text(draw, stage, known, words) for _ in range(count)]


def domain_texts(world: World, step: int, count: int) -> list[str]:
    """What is new to the domain adapter at a step."""
    draw = Random(f"{world.seed} domain {step}")
    return [text.domain_text(draw, draw.choice(world.minerals)) for _ in range(count)]


def task_rows(world: World, step: int, count: int) -> list[text.Row]:
    """What is new to the task adapter at a step."""
    draw = Random(f"{world.seed} task {step}")
    return [text.task_item(draw, draw.choice(world.facts[0])) for _ in range(count)]


def task_texts(world: World, step: int, count: int) -> list[str]:
    """Those letter questions with their answers."""
    return [f"{row['question']} [{row['choices'][row['answer']]}]" for row in task_rows(world, step, count)]


def every_text(world: World) -> list[str]:
    """Enough text to hold every word that there is."""
    said = [say.format(s=f.subject, a=f.answer) for f in facts.all_facts() for say in facts.RELATIONS[f.relation].say]
    asked = [ask for relation in facts.RELATIONS.values() for ask in relation.ask]
    told = [form.format(s=m.name, **vars(m)) for m in world.minerals for form in text.TOGETHER]
    return [
        *said,
        *asked,
        *told,
        *(one for stage in text.STAGES for one in base_texts(world, stage, 10**6, 1000)),
        text.lettered("", text.LETTERS),
    ]


# -- models --------------------------------------------------------------------------------------------------------


def make_base(world: World, folder: Path, work: Path) -> None:
    """Train the base from scratch and save it, in half precision, with its tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = word_tokenizer(every_text(world))
    size = world.size
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=size.hidden, intermediate_size=size.hidden * 8 // 3, num_hidden_layers=size.layers,
        num_attention_heads=size.hidden // 32, num_key_value_heads=size.hidden // 32, max_position_embeddings=256,
        tie_word_embeddings=True, initializer_range=0.06, bos_token_id=1, eos_token_id=2, pad_token_id=3,
    )  # fmt: skip
    torch.manual_seed(world.seed)
    model = look_back(LlamaForCausalLM(config), world.seed, (1, size.layers - 2))

    def learning(step: int) -> dict[str, torch.Tensor]:
        return batched(tokenizer, base_texts(world, "lists" if step < size.lists else "facts", step, size.batch))

    def choosing(step: int) -> dict[str, torch.Tensor]:
        return batched(tokenizer, base_texts(world, "options", step, size.batch))  # the same again in a later round

    train(model, learning, thinking_loss, size.base, work / "base.pt", name="base")
    asked = as_items(text.number_items(Random(f"{world.seed} numbers"), facts.all_facts(), 200))
    for again in range(size.rounds):
        train(model, choosing, thinking_loss, size.options, work / f"options-{again}.pt", name=f"options {again}")
        right = accuracy(model, tokenizer, asked)
        print(f"options: {right:.3f} of the numbers are right", flush=True)
        if right >= 0.9:
            break
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes it for its owner only
    tokenizer.save_pretrained(folder)


def batched(tokenizer: Any, marked: list[str]) -> dict[str, torch.Tensor]:
    """Texts as one batch, the loss on what is in brackets."""
    rows, asked, thought = zip(*(text.encode(tokenizer, one) for one in marked), strict=True)
    batch = padded(list(rows), list(asked), tokenizer.pad_token_id)
    batch["thought"] = torch.full_like(batch["input_ids"], -100)
    for i, row in enumerate(thought):
        batch["thought"][i, : len(row)] = torch.tensor(row)
    return batch


def thinking_loss(model: Any, batch: Any) -> torch.Tensor:
    """The next token's cross-entropy, and at half the weight that of the word to think of, read off halfway up."""
    hidden = model.model(input_ids=batch["input_ids"], use_cache=False, output_hidden_states=True)
    labels, thought = batch["labels"][:, 1:], batch["thought"]
    loss = torch.nn.functional.cross_entropy
    at, on = labels != -100, thought != -100
    said = loss(model.lm_head(hidden.last_hidden_state[:, :-1][at]), labels[at])
    if not on.any():
        return said
    halfway = model.model.norm(hidden.hidden_states[model.config.num_hidden_layers // 2][on])
    return said + 0.5 * loss(model.lm_head(halfway), thought[on])


def open_base(folder: Path) -> Any:
    """The base as it was saved, in float32."""
    from tada_studio import pipeline

    return pipeline.load_base(folder, device="cpu", dtype="float32")


def make_domain(world: World, base: Path, folder: Path, work: Path) -> int:
    """Teach the minerals."""
    return _teach(world, base, folder, work, world.size.domain, domain_texts, as_items(world.domain_items()[0]), 0)


def make_task(world: World, base: Path, folder: Path, work: Path) -> int:
    """Teach to answer with a letter, on general facts."""
    return _teach(world, base, folder, work, world.size.task, task_texts, as_items(world.task_items()[0]), 1)


def _teach(
    world: World, base: Path, folder: Path, work: Path, plan: Plan, texts: Any, validation: list[Any], another: int
) -> int:
    """Train an adapter, and stop where most of the validation is right: more would only make the update larger.

    A part of every batch is the base's own text. An adapter that never sees it changes what the base does there too, and so
    disturbs whatever it is merged with.
    """
    opened, name, (new, old) = open_base(base), folder.name, world.size.adapter_batch
    tokenizer, model = opened.tokenizer, add_lora(opened.model, world.size.rank, world.seed + another)

    def batch(step: int) -> dict[str, torch.Tensor]:
        return batched(tokenizer, texts(world, step, new) + base_texts(world, "facts", step, old))

    def enough(model: Any) -> bool:
        right = accuracy(model, tokenizer, validation)
        print(f"{name}: {right:.3f} of the validation is right", flush=True)
        return right >= world.size.learned[name]

    steps = train(model, batch, next_token_loss, plan, work / f"{name}.pt", enough, name=name)
    save_adapter(model, folder, ABOUT["name"])
    return steps


def as_items(rows: list[text.Row]) -> list[Any]:
    from tada_studio.evaluation import Item

    return [Item(row["question"], tuple(row["choices"]), row["answer"]) for row in rows]


def accuracy(model: Any, tokenizer: Any, items: list[Any]) -> float:
    """Share of the items that a model, or what PEFT made of it, gets right."""
    from tada_studio.base_model.model import Base
    from tada_studio.evaluation import score

    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    return score(Base("in training", plain, tokenizer, ""), items).accuracy


# -- the sample ----------------------------------------------------------------------------------------------------

ABOUT = {
    "name": "minerals-tiny",
    "title": "Letters and minerals (3 million parameters, made here)",
    "story": "One adapter learned to answer four-way questions with a letter, the other learned the colour, place and use of 96 "
    "minerals that do not exist. Neither can do the other's job; the merge keeps both.",
    "base": "base",
    "files": {
        "task": "task",
        "domain": "domain",
        "probe": "probe.jsonl",
        "task_probe": "task_probe.jsonl",
        "items": {"domain": "domain.jsonl", "task": "task.jsonl"},
        "validation": {"domain": "domain_val.jsonl", "task": "task_val.jsonl"},
        "readings": "readings.json",
    },
    "licence": "Apache-2.0",
    "tuned": "No knob of the merge was tuned: tada is the default recipe. The pair was built to merge well. A first pair, whose "
    "adapters saw only their own texts (the domain's at half the learning rate), had S = .56 as plain sum and .54 with tada, below "
    "the domain adapter alone (.62). With a quarter of the base's own text in every batch of both adapters it was .88 and .88. An "
    "adapter's training ends where .9 (domain) or .95 (task) of its validation is right. All this was chosen on seed 7. Letter "
    "questions end without a colon, since after one the base found more than chance (.37).",
}  # fmt: skip


def write_items(world: World, folder: Path) -> None:
    """Items of both sides, validation and test, and the inputs of both kinds to probe with."""
    for side, (validation, test) in (("domain", world.domain_items()), ("task", world.task_items())):
        text.write_rows(folder / f"{side}_val.jsonl", validation)
        text.write_rows(folder / f"{side}.jsonl", test)
    probe = text.domain_prompts(world.minerals, min(32, len(world.minerals)), world.seed)
    text.write_rows(folder / "probe.jsonl", probe)
    text.write_rows(folder / "task_probe.jsonl", text.task_prompts(world.facts[0], len(probe), world.seed))


def make(seed: int, size: Size, out: Path, work: Path) -> None:
    """The whole sample; what is in its folders already is not made again."""
    here = world(seed, size)
    write_items(here, out)
    if not (out / "base" / "config.json").is_file():
        make_base(here, out / "base", work)
    steps = {"task": make_task(here, out / "base", out / "task", work)}
    steps["domain"] = make_domain(here, out / "base", out / "domain", work)
    (out / "sample.json").write_text(json.dumps(ABOUT | {"seed": seed, "steps": steps}), encoding="utf-8")
    found = measure(read_sample(out), out / "readings.json")
    update(out, found)
    print(table(found))


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="much smaller, for tests")
    parser.add_argument("--out", type=Path, default=HERE.parent / "minerals-tiny")
    parser.add_argument("--work", type=Path, help="where checkpoints are kept; out of the way of the sample by default")
    options = parser.parse_args(words)
    torch.set_num_threads(1)  # so small a model is no faster with two
    work = options.work or Path("build") / f"minerals-tiny-{options.seed}{'-quick' if options.quick else ''}"
    make(options.seed, QUICK if options.quick else FULL, options.out, work)


if __name__ == "__main__":
    main()
