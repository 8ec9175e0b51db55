"""What a result was made of. A result that is shown beside another recipe, other readings or another pair has to say so."""

import hashlib
import json
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tada_studio.core.gates import Readings
from tada_studio.core.methods import idle
from tada_studio.errors import TadaError
from tada_studio.lora import Pair
from tada_studio.probing import Readings as SavedReadings
from tada_studio.recipe import Recipe, knobs, recipe_in

_DIGESTS: "weakref.WeakKeyDictionary[Readings, str]" = weakref.WeakKeyDictionary()


def readings_digest(readings: Readings | None) -> str | None:
    """SHA-256 of readings, computed once; None without any."""
    if readings is None:
        return None
    digest = _DIGESTS.get(readings)
    if digest is None:
        digest = _DIGESTS[readings] = SavedReadings.of(readings).digest
    return digest


@dataclass(frozen=True)
class Provenance:
    """Digests of both adapters' content and of the readings (None without any), and the recipe."""

    task: str
    domain: str
    readings: str | None
    recipe: Recipe

    @classmethod
    def of(cls, pair: Pair, readings: Readings | None, recipe: Recipe) -> "Provenance":
        return cls(pair.task.digest, pair.domain.digest, readings_digest(readings), recipe)

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Provenance | None":
        """What a recipe.json says it was made of; None where it does not say."""
        try:
            inputs = content["inputs"]
            task, domain = (str(inputs[role]["content_sha256"]) for role in ("task", "domain"))
            readings = inputs["readings"]
            return cls(task, domain, None if readings is None else str(readings), recipe_in(content))
        except (KeyError, TypeError, AttributeError, TadaError):
            return None

    @property
    def counting(self) -> Recipe:
        """The recipe with every knob that changes nothing here as it starts: turning such a one makes no other merge."""
        unused = idle(self.recipe.method, self.readings is not None)
        return self.recipe.but(**{name: knobs()[name].default for name in unused})

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits, equal for what gives the same merge."""
        content = [self.task, self.domain, self.readings, self.counting.to_dict()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
