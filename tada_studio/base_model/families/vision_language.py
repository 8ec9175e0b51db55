"""Vision-language models (LLaVA, Qwen2-VL), asked in text: what is said of the language model holds; nothing runs the
vision tower then, so that its gates stay even."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tada_studio.base_model.families import causal
from tada_studio.base_model.family import Family, Opened, architecture, is_in, tokenizer_of

SAYS = "Texts do not run the vision tower: it is merged like the rest, and its computed gates are even."


def is_it(config: Mapping[str, Any]) -> bool:
    written = architecture(config).endswith("ForConditionalGeneration")
    return written and "vision_config" in config and is_in("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES", config)


def open_folder(folder: Path, how: Mapping[str, Any]) -> Opened:
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(str(folder), **how)
    return Opened(model, tokenizer_of(folder), says=(SAYS,))


FAMILY = Family(
    "a vision-language model", is_it, open_folder, causal.feed,
    score=causal.score, write=causal.write, continues=True, task_type="CAUSAL_LM",
)  # fmt: skip
