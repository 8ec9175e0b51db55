"""A base model of a few thousand parameters with two adapters, items and probe lines, built in a second or two.

Everything is real where it counts: transformers writes the base, PEFT writes the adapters, and the words of the inputs
are in the tokenizer's vocabulary. Equal arguments give equal weights.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
WORDS = tuple(
    "what which is the a of in on rock mineral crystal ore metal quartz iron copper gold salt hard soft red green blue "
    "white black water fire deep old new answer question and or not true false yes no : ? . ,".split()
)
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL = (*ATTENTION, "gate_proj", "up_proj", "down_proj")


def pico_base(folder: Path, *, layers: int = 3, hidden: int = 32, seed: int = 0) -> Path:
    """A Llama of ``layers`` layers and its tokenizer, saved to ``folder``."""
    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2, pad_token_id=3,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    words = WordLevel({word: i for i, word in enumerate((*SPECIAL, *WORDS))}, unk_token="<unk>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def pico_adapter(
    folder: Path,
    base_folder: Path,
    seed: int,
    rank: int = 4,
    *,
    alpha: int | None = None,
    targets: Sequence[str] = ALL,
    size: float = 0.1,
    **config: object,
) -> Path:
    """A PEFT adapter on every layer of the base, saved by PEFT; ``size`` is the spread of the numbers in lora_B.

    PEFT starts lora_B at zero, an adapter that does nothing; here both factors are random. ``config`` goes to
    LoraConfig.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(base_folder)
        settings = LoraConfig(
            r=rank, lora_alpha=alpha or 2 * rank, target_modules=list(targets), task_type="CAUSAL_LM", **config
        )  # type: ignore[arg-type]
        model = get_peft_model(base, settings)
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(parameter, std=size)
        model.save_pretrained(folder)
    return folder


def pico_inputs(path: Path, count: int = 12, seed: int = 0) -> Path:
    """``count`` lines of a few known words each, as a .txt or a .jsonl file by the name's ending."""
    draw = random.Random(seed)
    lines = [" ".join(draw.choices(WORDS, k=draw.randint(4, 10))) for _ in range(count)]
    if path.suffix == ".jsonl":
        lines = [json.dumps({"text": line}) for line in lines]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pico_items(path: Path, count: int = 50, choices: int = 4, seed: int = 0) -> Path:
    """``count`` multiple-choice items as JSON lines."""
    draw = random.Random(seed)

    def item() -> dict[str, object]:
        question = " ".join(["question", ":", *draw.choices(WORDS, k=5), "?", "answer", ":"])
        return {"question": question, "choices": draw.sample(WORDS[8:30], choices), "answer": draw.randrange(choices)}

    path.write_text("".join(json.dumps(item()) + "\n" for _ in range(count)), encoding="utf-8")
    return path
