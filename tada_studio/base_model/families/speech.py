"""Models that listen (Whisper): their adapters are read, painted, merged and exported by their weights alone."""

from collections.abc import Mapping
from typing import Any

from tada_studio.base_model.family import Family, is_in, not_fed, refused


def is_it(config: Mapping[str, Any]) -> bool:
    return is_in("MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES", config)


FAMILY = Family("a model that listens", is_it, refused("listens to sound"), not_fed)
