"""A small training loop for all samples: seeded batches by step, clipping, warm-up and decay, progress, checkpoints.

What is random comes from ``batch(step)`` alone, so a run that was interrupted goes on as if nothing had happened.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """How long and how fast.

    rate:  highest learning rate; reached after ``warmup`` steps, then linearly down to ``last`` times itself
    clip:  largest norm of the gradient
    every: steps between two checkpoints, and between two looks at whether it is enough
    """

    steps: int
    rate: float
    warmup: int = 20
    last: float = 0.0
    clip: float = 1.0
    decay: float = 0.0
    every: int = 100

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rest = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * min((step + 1) / max(1, self.warmup), 1 - (1 - self.last) * max(0.0, rest))


def train(
    model: nn.Module,
    batch: Callable[[int], Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    plan: Plan,
    checkpoint: Path,
    enough: Callable[[nn.Module], bool] | None = None,
    name: str = "",
) -> int:
    """Train the parameters that ask for a gradient; the number of steps taken.

    batch(step): the step's inputs, the same each time it is asked. enough(model): asked at every checkpoint; True ends it.
    checkpoint:  a file that is written every ``plan.every`` steps, gone on from if it is there, and left when all is done.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=plan.decay)
    step, done = _resume(checkpoint, trained, optimizer)
    started, first, seen = time.monotonic(), step, float("nan")
    model.train()
    while step < plan.steps and not done:
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(step)
        now = loss(model, batch(step))
        now.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), plan.clip)
        optimizer.step()
        optimizer.zero_grad()
        step, seen = step + 1, float(now.detach()) if seen != seen else 0.95 * seen + 0.05 * float(now.detach())
        if step % plan.every == 0 or step == plan.steps:
            done = step == plan.steps or (enough is not None and _ask(enough, model))
            _keep(checkpoint, trained, optimizer, step, done)
            _say(name, step, plan.steps, seen, (time.monotonic() - started) / (step - first))
    model.eval()
    return step


def _ask(enough: Callable[[nn.Module], bool], model: nn.Module) -> bool:
    model.eval()
    answer = enough(model)
    model.train()
    return answer


def _resume(checkpoint: Path, trained: Mapping[str, nn.Parameter], optimizer: Any) -> tuple[int, bool]:
    if not checkpoint.is_file():
        return 0, False
    kept = torch.load(checkpoint, weights_only=True, map_location="cpu")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(kept["trained"][name])
    optimizer.load_state_dict(kept["optimizer"])
    return kept["step"], kept["done"]


def _keep(checkpoint: Path, trained: Mapping[str, Tensor], optimizer: Any, step: int, done: bool) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoint.with_suffix(".part")
    weights = {name: parameter.detach().clone() for name, parameter in trained.items()}
    torch.save({"trained": weights, "optimizer": optimizer.state_dict(), "step": step, "done": done}, unfinished)
    unfinished.replace(checkpoint)


def _say(name: str, step: int, steps: int, loss: float, seconds: float) -> None:
    left = (steps - step) * seconds
    print(
        f"{name} {step}/{steps}  loss {loss:.3f}  {seconds:.2f} s a step, {left:.0f} s left",
        file=sys.stderr,
        flush=True,
    )


# -- language ------------------------------------------------------------------------------------------------------


def next_token_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy of the tokens whose ``labels`` are not -100, each predicted from what stands before it.

    The head, half of a small model's work, is applied only where a prediction is asked for.
    """
    causal: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = causal.get_decoder()(input_ids=batch["input_ids"], use_cache=False).last_hidden_state[:, :-1]
    labels = batch["labels"][:, 1:]
    asked = labels != -100
    return nn.functional.cross_entropy(causal.get_output_embeddings()(hidden[asked]).float(), labels[asked])


def padded(rows: list[list[int]], asked: list[list[bool]], pad: int) -> dict[str, Tensor]:
    """Rows of token ids as one batch, padded on the right; ``asked`` says which tokens the loss is on."""
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), pad)
    labels = torch.full((len(rows), length), -100)
    for i, (row, on) in enumerate(zip(rows, asked, strict=True)):
        ids[i, : len(row)] = torch.tensor(row)
        labels[i, : len(row)] = torch.where(torch.tensor(on), torch.tensor(row), -100)
    return {"input_ids": ids, "labels": labels}


def add_lora(model: nn.Module, rank: int, seed: int, alpha: int | None = None, **more: Any) -> Any:
    """The frozen model with a trainable LoRA adapter of PEFT on all seven projections of a Llama-like decoder."""
    from peft import LoraConfig, get_peft_model

    more = {"task_type": "CAUSAL_LM", "target_modules": SEVEN} | more
    torch.manual_seed(seed)
    return get_peft_model(model.requires_grad_(False), LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, **more))


SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def save_adapter(model: Any, folder: Path, base: str) -> None:
    """What PEFT saves, in half precision, under the name that the base goes by (not a path of this machine)."""
    config = model.peft_config["default"]
    config.base_model_name_or_path = base
    config.target_modules = sorted(config.target_modules)  # a set has another order in every process
    model.half().save_pretrained(folder, save_embedding_layers=False)  # "auto" would ask the Hub about the base
    (folder / "adapter_model.safetensors").chmod(0o644)  # safetensors writes it for its owner only
    (folder / "README.md").unlink(missing_ok=True)  # a form without content
