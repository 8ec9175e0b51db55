"""Make planted-conflict: two adapters of the tiny base whose conflicts are known because they were put there.

    python sample_adapters/make/planted_conflict.py [--out DIR]

Nothing is trained. In every module both adapters get directions that never meet, from one orthonormal set; then, in a few
modules, a domain direction is turned against a task direction, by a known amount. sample.json lists them all.
"""

import argparse
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).resolve().parent
RANK = 3
#: Singular values of every module, strongest first; no two equal, so that it is known which of two directions is the weaker.
STRENGTHS = {"task": (3.0, 2.0, 1.0), "domain": (2.5, 1.5, 0.5)}
#: Largest number in lora_A and lora_B would be about this times a strength; a size like a trained adapter's.
SIZE = 0.3
#: Conflicts are called at this many times chance (the recipe's default), where chance is 1 / sqrt(d_out d_in).
THRESHOLD = 8.0


@dataclass(frozen=True)
class Planted:
    """Task direction ``task`` and domain direction ``domain`` of a module align by ``alignment`` (-1: they cancel).

    ``dropped`` is the side whose direction goes with even gates and the default threshold: the weaker one, if the two conflict.
    """

    layer: int
    projection: str
    task: int
    domain: int
    alignment: float
    dropped: str | None = None


PLANTED = (
    Planted(0, "q_proj", 0, 0, -1.0),
    Planted(1, "v_proj", 1, 0, -1.0),
    Planted(1, "v_proj", 2, 1, -0.5),
    Planted(2, "o_proj", 2, 2, -1.0),
    Planted(2, "gate_proj", 0, 1, -0.25),
    Planted(3, "up_proj", 1, 1, -0.1),
    Planted(3, "down_proj", 0, 0, -0.015),
    Planted(3, "down_proj", 1, 1, -0.6),
    Planted(4, "k_proj", 0, 0, 1.0),
    Planted(5, "down_proj", 2, 0, -0.9),
    Planted(5, "q_proj", 0, 0, 0.4),
)


def sizes(config: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Projection -> (d_out, d_in) of a Llama-like decoder whose heads all have keys of their own."""
    wide, inner = config["hidden_size"], config["intermediate_size"]
    attention = dict.fromkeys(
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"), (wide, wide)
    )
    return attention | {"mlp.gate_proj": (inner, wide), "mlp.up_proj": (inner, wide), "mlp.down_proj": (wide, inner)}


def orthonormal(size: int, count: int, generator: torch.Generator) -> Tensor:
    """(size, count) columns of length one that are orthogonal to each other."""
    drawn = torch.randn(size, count, dtype=torch.float64, generator=generator)
    return torch.linalg.qr(drawn).Q


def module(
    size: tuple[int, int], planted: Iterable[Planted], generator: torch.Generator
) -> dict[str, tuple[Tensor, Tensor]]:
    """Side -> (lora_A, lora_B) of one module.

    A planted pair shares its input direction; the domain's output direction is ``alignment`` times the task's plus a rest that
    is orthogonal to everything, so the alignment (u . u')(v . v') is exactly that, and 0 for all other pairs.
    """
    left, right = (orthonormal(d, 2 * RANK, generator) for d in size)
    u, v = (
        {"task": left[:, :RANK], "domain": left[:, RANK:].clone()},
        {"task": right[:, :RANK], "domain": right[:, RANK:].clone()},
    )
    for one in planted:
        rest = math.sqrt(1 - one.alignment**2)
        u["domain"][:, one.domain] = one.alignment * u["task"][:, one.task] + rest * left[:, RANK + one.domain]
        v["domain"][:, one.domain] = v["task"][:, one.task]
    factors = {}
    for side, strengths in STRENGTHS.items():
        root = (SIZE * torch.tensor(strengths, dtype=torch.float64)).sqrt()
        factors[side] = ((v[side] * root).mT.half().contiguous(), (u[side] * root).half().contiguous())
    return factors


def outcome(one: Planted, size: tuple[int, int]) -> Planted:
    """The planted pair with what the default rule makes of it at even gates."""
    conflicts = one.alignment < -THRESHOLD / math.sqrt(size[0] * size[1])
    weaker = "task" if STRENGTHS["task"][one.task] < STRENGTHS["domain"][one.domain] else "domain"
    return Planted(**(asdict(one) | {"dropped": weaker if conflicts else None}))


def make(config: dict[str, int], base: str, out: Path, seed: int) -> None:
    """Write both adapters and sample.json."""
    from peft import LoraConfig
    from safetensors.torch import save_file

    generator, shapes = torch.Generator().manual_seed(seed), sizes(config)
    tensors: dict[str, dict[str, Tensor]] = {"task": {}, "domain": {}}
    for layer in range(config["num_hidden_layers"]):
        for path, size in shapes.items():
            here = [one for one in PLANTED if one.layer == layer and path.endswith(one.projection)]
            for side, (lora_a, lora_b) in module(size, here, generator).items():
                name = f"base_model.model.model.layers.{layer}.{path}"
                tensors[side] |= {f"{name}.lora_A.weight": lora_a, f"{name}.lora_B.weight": lora_b}
    for side, own in tensors.items():
        LoraConfig(
            r=RANK, lora_alpha=RANK, target_modules=sorted({path.split(".")[1] for path in shapes}), task_type="CAUSAL_LM",
            base_model_name_or_path=base, inference_mode=True,
        ).save_pretrained(out / side)  # fmt: skip
        save_file(own, out / side / "adapter_model.safetensors", metadata={"format": "pt"})
        (out / side / "adapter_model.safetensors").chmod(0o644)  # safetensors writes it for its owner only
    by_name = {path.split(".")[1]: size for path, size in shapes.items()}
    about = ABOUT | {"seed": seed, "planted": [asdict(outcome(one, by_name[one.projection])) for one in PLANTED]}
    (out / "sample.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


ABOUT = {
    "name": "planted-conflict",
    "hidden": True,
    "title": "Planted conflicts (nothing trained)",
    "story": "Two adapters of the tiny base in which a few directions oppose each other by a known amount. "
    "Whoever reads their conflict map can check that it says what was put there.",
    "base": "../minerals-tiny/base",
    "files": {"task": "task", "domain": "domain", "probe": "../minerals-tiny/probe.jsonl", "items": {}},
    "licence": "Apache-2.0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE.parent / "planted-conflict")
    options = parser.parse_args()
    config = json.loads((HERE.parent / "minerals-tiny" / "base" / "config.json").read_text(encoding="utf-8"))
    make(config, "minerals-tiny", options.out, options.seed)


if __name__ == "__main__":
    main()
