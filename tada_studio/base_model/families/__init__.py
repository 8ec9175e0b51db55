"""Families of base models, a file each. A new one is a file with a FAMILY, and its name in the list here."""

from collections.abc import Mapping
from typing import Any

from tada_studio.base_model.families import (
    causal,
    contrastive,
    encoder_decoder,
    image_classifier,
    sentence_encoder,
    speech,
    text_classifier,
    vision_language,
)
from tada_studio.base_model.family import Family

#: The first that takes a config is the family of its base; a decoder takes what is left.
FAMILIES: tuple[Family, ...] = (
    image_classifier.FAMILY,
    text_classifier.FAMILY,
    speech.FAMILY,
    contrastive.FAMILY,
    vision_language.FAMILY,
    encoder_decoder.FAMILY,
    sentence_encoder.FAMILY,
    causal.FAMILY,
)


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of a base by its config.json."""
    return next(family for family in FAMILIES if family.is_it(config))
