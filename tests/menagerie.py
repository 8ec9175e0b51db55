"""A tiny model with every kind of layer that PEFT puts a LoRA on, and adapters of it with every feature that changes meaning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

WIDTH, TOKENS, LAYERS = 12, 20, 3


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, WIDTH)
        self.c_fc = Conv1D(2 * WIDTH, WIDTH)
        self.down_proj = nn.Linear(2 * WIDTH, WIDTH)
        self.mix = nn.Conv2d(2, 2, 3, padding=1)
        self.point = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.down_proj(torch.tanh(self.c_fc(torch.tanh(self.q_proj(x)))))
        image = x.reshape(len(x), 2, -1, WIDTH // 2)
        return x + torch.tanh(self.point(self.mix(image))).reshape(x.shape)


class Menagerie(nn.Module):
    """Token ids (rows, length) -> scores (rows, classes)."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(TOKENS, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.classifier = nn.Linear(WIDTH, classes)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.classifier(x.mean(1))


LINEAR = ("q_proj", "down_proj")
IDS = torch.arange(24).reshape(4, 6) % TOKENS


@dataclass(frozen=True)
class Feature:
    """One feature of PEFT's LoRA: the LoraConfig that asks for it; ``ours`` is "exact" or a piece of the refusal."""

    config: Mapping[str, Any]
    ours: str = "exact"
    classes: tuple[int, int] = (4, 4)
    dtype: torch.dtype = torch.float32
    recipe: Mapping[str, Any] = field(default_factory=dict)


FEATURES = {
    "plain": Feature({"target_modules": LINEAR}),
    "rsLoRA": Feature({"target_modules": LINEAR, "use_rslora": True}),
    "rank_pattern": Feature({"target_modules": LINEAR, "rank_pattern": {"q_proj": 2, "layers.1.down_proj": 6}}),
    "alpha_pattern": Feature({"target_modules": LINEAR, "alpha_pattern": {"layers.0.q_proj": 5, "down_proj": 1}}),
    "all patterns with rsLoRA": Feature(
        {"target_modules": LINEAR, "use_rslora": True, "rank_pattern": {"q_proj": 3}, "alpha_pattern": {"q_proj": 7}}
    ),
    "regex targets": Feature({"target_modules": r".*layers\.[02]\.(q_proj|c_fc)"}),
    "layers_to_transform": Feature({"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"}),
    "Conv1D (GPT-2)": Feature({"target_modules": ["c_fc"], "fan_in_fan_out": True}),
    "embedding": Feature({"target_modules": ["embed_tokens", "q_proj"]}),
    "Conv2d 1x1": Feature({"target_modules": ["point"]}),
    "Conv2d 3x3": Feature({"target_modules": ["mix", "q_proj"]}),
    "lora_bias": Feature({"target_modules": LINEAR, "lora_bias": True}),
    "lora_bias on Conv2d": Feature({"target_modules": ["mix"], "lora_bias": True}),
    "bias = lora_only": Feature({"target_modules": LINEAR, "bias": "lora_only"}),
    "bias = all": Feature({"target_modules": LINEAR, "bias": "all"}),
    "modules_to_save": Feature({"target_modules": LINEAR, "modules_to_save": ["classifier"]}),
    "heads of two sizes": Feature({"target_modules": LINEAR, "modules_to_save": ["classifier"]}, classes=(4, 6)),
    "bfloat16": Feature({"target_modules": LINEAR}, dtype=torch.bfloat16),
    "float16": Feature({"target_modules": LINEAR}, dtype=torch.float16),
    "DoRA": Feature({"target_modules": LINEAR, "use_dora": True}, "use_dora"),
    "PiSSA": Feature({"target_modules": LINEAR, "init_lora_weights": "pissa"}, "init_lora_weights"),
    "trainable_token_indices": Feature(
        {"target_modules": LINEAR, "trainable_token_indices": {"embed_tokens": [1, 2]}}, "trainable_token_indices"
    ),
    "target_parameters": Feature({"target_modules": [], "target_parameters": ["q_proj.weight"]}, "target_parameters"),
}  # fmt: skip


def model(classes: int = 4) -> Menagerie:
    """The base; equal seeds give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Menagerie(classes).eval()


def adapter(folder: Path, feature: Feature, seed: int, classes: int = 4, rank: int = 4) -> Path:
    """An adapter with that feature, every trained number drawn, saved by PEFT."""
    base = model(classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(**{"r": rank, "lora_alpha": 16, **feature.config})
        peft_model = get_peft_model(base, config)
        for name, parameter in peft_model.named_parameters():
            if "lora_" in name or parameter.requires_grad:
                noise = torch.randn_like(parameter) * 0.1
                parameter.data = (parameter.data if "magnitude" in name or "lora_" not in name else 0) + noise
        for name, parameter in peft_model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.data = parameter.data.to(feature.dtype)
    peft_model.save_pretrained(str(folder))
    return folder


def loaded(folder: Path, classes: int = 4) -> PeftModel:
    """The folder as PEFT reads it, on the base."""
    return PeftModel.from_pretrained(model(classes), str(folder)).eval()


def output(peft_model: nn.Module) -> Tensor:
    with torch.inference_mode():
        return peft_model(IDS).double()
