"""Classifiers of images (ViT), with a head of their own or without: then an adapter brings it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tada_studio.base_model.family import HOW, Batch, Family, Opened, architecture, is_in, labels_of
from tada_studio.base_model.images import ImageFile, ImageReader, in_batches, scaled
from tada_studio.errors import BaseError
from tada_studio.files import sha256


def is_it(config: Mapping[str, Any]) -> bool:
    """A classifier, or the bare body of an image model, as most are published: a task adapter brings the head."""
    named = architecture(config)
    if named.endswith("ForImageClassification"):
        return True
    several = config.get("model_type") in ("clip", "imagegpt", "perceiver")
    return named.endswith("Model") and not several and is_in("MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES", config)


def open_folder(folder: Path, how: Mapping[str, Any]) -> Opened:
    from transformers import AutoModelForImageClassification

    model, found = AutoModelForImageClassification.from_pretrained(str(folder), output_loading_info=True, **how)
    missing, reader = sorted(found["missing_keys"]), _image_reader(folder, model.config)
    says: tuple[str, ...] = (reader.says,)
    if missing:
        says = (_blank_head(model, missing, folder), *says)
    labels = () if missing else labels_of(model.config)
    reads = f" {reader.channels} {reader.says} {_settings(folder)}"
    return Opened(model, reader, labels, says, has_head=not missing, reads=reads)


def _blank_head(model: Any, missing: Sequence[str], folder: Path) -> str:
    """Weights that the files lack, if they are the head's alone, become zeros: what transformers draws differs every time."""
    body = f"{model.base_model_prefix}."
    inside = [name for name in missing if name.startswith(body)]
    # poolers are drawn too, but a classifier of transformers 5 does not have one
    if inside:
        raise BaseError(f"{folder}: its weights lack {inside[0]} and {len(missing) - 1} more. Download the base again.")
    with torch.no_grad():
        for name in missing:
            model.get_parameter(name).zero_()
    return "The base has no classifier head of its own; items are answered with the head that an adapter brings."


_PREPARES = "preprocessor_config.json"


def _settings(folder: Path) -> str:
    file = folder / _PREPARES
    return sha256(file) if file.is_file() else ""


def _image_reader(folder: Path, config: Any) -> ImageReader:
    channels = getattr(config, "num_channels", 3)
    if channels not in (1, 3):
        raise BaseError(f"{folder}: takes images of {channels} channels; bases for grey or RGB images can be used.")
    if not (folder / _PREPARES).is_file():
        size = getattr(config, "image_size", 224)
        height, width = (size, size) if isinstance(size, int) else size
        says = f"No {_PREPARES}: images are resized to {height} x {width} and scaled to [-1, 1] (mean = std = .5)."
        return ImageReader(channels, scaled((height, width)), says)
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(str(folder), backend="pil", **HOW)

    def prepare(images: Sequence[Image.Image]) -> Tensor:
        return processor(images=list(images), return_tensors="pt")["pixel_values"]

    return ImageReader(channels, prepare, f"Images are prepared as its {_PREPARES} says.")


def feed(reader: Any, inputs: Sequence[ImageFile]) -> list[Batch]:
    """Images as batches; every patch counts."""
    start, batches = 0, []
    for pixels in in_batches(reader, inputs):
        batches.append(Batch({"pixel_values": pixels}, torch.arange(start, start + len(pixels))))
        start += len(pixels)
    return batches


def classify(reader: Any, images: Sequence[ImageFile]) -> Iterator[dict[str, Tensor]]:
    """Images as the model takes them to answer with a label."""
    yield from ({"pixel_values": pixels} for pixels in in_batches(reader, images))


FAMILY = Family("a classifier of images", is_it, open_folder, feed, reads="image", classify=classify)
