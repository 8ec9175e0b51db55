"""How long a rack of N adapters takes, from folders to relations: `python benchmarks/rack.py [N]`, SmolLM2's shapes, rank 16."""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from tada_studio.pipeline import read_rack

#: (projection, d_out, d_in) of each of 30 layers.
SHAPES = [
    ("self_attn.q_proj", 576, 576), ("self_attn.k_proj", 192, 576), ("self_attn.v_proj", 192, 576), ("self_attn.o_proj", 576, 576),
    ("mlp.gate_proj", 1536, 576), ("mlp.up_proj", 1536, 576), ("mlp.down_proj", 576, 1536),
]  # fmt: skip
RANK = 16


def write(folder: Path, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(30):
        for part, d_out, d_in in SHAPES:
            name = f"base_model.model.model.layers.{layer}.{part}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(RANK, d_in, generator=draw)
            tensors[f"{name}.lora_B.weight"] = torch.randn(d_out, RANK, generator=draw)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    about = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": RANK,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "base",
    }
    targets = sorted({part.rpartition(".")[2] for part, _, _ in SHAPES})
    (folder / "adapter_config.json").write_text(json.dumps({**about, "target_modules": targets}))


def main(many: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        for i in range(many):
            write(Path(home) / f"adapter-{i:02d}", i)
        start, spent = time.perf_counter(), time.process_time()
        found = read_rack([home])
        wall, cpu = time.perf_counter() - start, time.process_time() - spent
        print(f"{len(found.adapters)} adapters, {len(found.roles)} pairs: {wall:.1f} s, {cpu:.1f} CPU-seconds")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
