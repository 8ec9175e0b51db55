"""Two encoders that are compared (CLIP): their adapters are read, painted, merged and exported by their weights alone."""

from collections.abc import Mapping
from typing import Any

from tada_studio.base_model.family import Family, architecture, is_in, not_fed, refused


def is_it(config: Mapping[str, Any]) -> bool:
    both = is_in("MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES", config)
    return both and architecture(config).endswith("Model")


FAMILY = Family("a pair of encoders", is_it, refused("compares images with texts"), not_fed)
