"""A ViT of a few thousand parameters, adapters of it, and pictures, built in a second or two."""

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from torch import nn
from transformers import AutoModelForImageClassification, ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from tada_studio.lora import LABELS

SIDE = 16
LABELS_OF_BASE = ("cat", "dog", "fox")
TARGETS = ("q_proj", "v_proj", "o_proj", "fc1", "fc2")


def pico_vit(folder: Path, channels: int = 3, settings: bool = True, kind: type = ViTForImageClassification) -> Path:
    """A ViT of two layers on images of 16 x 16 in 4 patches; with ``settings`` a preprocessor_config.json."""
    names = dict(enumerate(LABELS_OF_BASE))
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=SIDE, patch_size=8,
        num_channels=channels, id2label=names, label2id={label: i for i, label in names.items()},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
    if settings:
        mean = [0.4] * channels
        ViTImageProcessorPil(
            size={"height": SIDE, "width": SIDE}, image_mean=mean, image_std=[0.3] * channels
        ).save_pretrained(folder)
    return folder


def pico_vit_adapter(
    folder: Path, base: Path, seed: int, labels: tuple[str, ...] = (), named: bool = True, targets=TARGETS, **config
) -> Path:
    """A PEFT adapter with random factors; with ``labels`` a head of its own for them, ``named``: in a labels.json too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageClassification.from_pretrained(base)
        if labels:
            model.classifier = nn.Linear(16, len(labels))
        heads = ["classifier"] if labels else None
        peft_model = get_peft_model(
            model, LoraConfig(r=3, lora_alpha=6, target_modules=list(targets), modules_to_save=heads, **config)
        )
        for name, parameter in peft_model.named_parameters():
            if ".lora_B." in name or ".modules_to_save." in name:
                nn.init.normal_(parameter, std=0.3)
        peft_model.save_pretrained(folder)
    if labels and named:
        (folder / LABELS).write_text(json.dumps({"labels": labels}))
    return folder


def picture(seed: int, side: int = 24, mode: str = "RGB") -> Image.Image:
    noise = torch.randint(256, (side, side, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(noise.numpy()).convert(mode)


def pictures(folder: Path, count: int, seed: int = 0, mode: str = "RGB") -> Path:
    """``count`` PNGs of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        picture(1000 * seed + i, mode=mode).save(folder / f"{i:03d}.png")
    return folder


def by_label(folder: Path, labels: tuple[str, ...], each: int, seed: int = 0) -> Path:
    """A folder of pictures for each label."""
    for i, label in enumerate(labels):
        pictures(folder / label, each, seed=100 * seed + i + 1)
    return folder
