"""Every knob of a merge, defined once: range, default, unit and one line of help.

Sliders, command-line flags, range checks and the README's table all read the same lines.
"""

import json
import math
import pkgutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, no_type_check

from tada_studio.errors import RecipeError

FORMAT = "tada-studio recipe 2"
#: What version 0.1 wrote: strength counted from the average, and a share was a weight.
FORMAT_1 = "tada-studio recipe 1"
#: The threshold of conflicts that it had where a recipe did not say.
THRESHOLD_1 = 8.0
#: What is said when such a recipe is read.
OLD_WEIGHTS = (
    "The recipe is of version 0.1, where a share was a weight and tada meant gates. It is read as that (weights 0.1, method gates, "
    "half the number for strength) and gives the same bytes."
)


def _method_names() -> tuple[str, ...]:
    """The names of the files in core/methods, each of which holds one method; no torch is loaded to know them."""
    files = pkgutil.iter_modules([str(Path(__file__).parent / "core" / "methods")])
    return tuple(
        sorted((file.name for file in files if not file.name.startswith("_")), key=lambda name: (name != "tada", name))
    )


METHOD_NAMES = _method_names()


def knob(default: int | float | None, says: str, low: int | float, high: int | float, step: int | float = 0.01) -> Any:
    """A number between ``low`` and ``high``."""
    return field(default=default, metadata={"says": says, "low": low, "high": high, "step": step})


def choice(default: str, says: str, *options: str) -> Any:
    """One of a few words."""
    return field(default=default, metadata={"says": says, "options": options})


def lines(says: str) -> Any:
    """Lines of text, applied in order."""
    return field(default=(), metadata={"says": says, "lines": True})


@no_type_check  # values come from people: __post_init__ judges them, in words, also while tests check all annotations
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a merge depends on besides the two adapters and the readings: equal recipes give equal bytes."""

    method: str = choice("tada", "how the two are combined", *METHOD_NAMES)
    rank: int | None = knob(None, "rank of the merged adapter; unset: the larger of the two", 1, 1024, 1)
    sharpness: float = knob(1.0, "how far the readings push the gates apart; 0 leaves them even", 0.0, 10.0, 0.05)
    strength: float = knob(
        1.0, "size of the whole: 1 is as trained, so that an even share is the plain sum", 0.0, 4.0, 0.025
    )
    weights: str = choice(
        "whole", "what a share means: whole, each adapter as trained at its own end and both in the middle; 0.1, twice the share, "
        "as in version 0.1", "whole", "0.1",
    )  # fmt: skip
    ridge: float = knob(
        2.0, "how far tada stays near the plain sum, in units of an adapter's typical response", 0.1, 1000.0, 0.1
    )
    own_weight: float = knob(
        3.0, "how much what an adapter says on its own inputs counts against silence on the other's", 0.0, 100.0, 0.5
    )
    whole: str = choice("yes", "whether each adapter is scaled to be whole on its own inputs", "yes", "no")
    balance: float = knob(0.0, "0 keeps each adapter's own size, 1 makes both equally large", 0.0, 1.0)
    calibration: str = choice(
        "projection", "what counts as an even reading: the median of the projection, of all, or 1", "projection", "global", "none"
    )  # fmt: skip
    response: str = choice("mean", "how tokens are averaged: mean, or root mean square", "mean", "rms")
    conflict_threshold: float = knob(16.0, "directions conflict beyond this many times chance", 0.0, 1000.0, 0.5)
    conflict_floor: float = knob(0.0, "and only if their alignment is below minus this", 0.0, 1.0)
    conflict_space: str = choice("weight", "where alignment is measured", "weight", "activation")
    drop: str = choice("weaker", "which of two conflicting directions goes", "weaker", "both", "none")
    density: float = knob(
        0.5,
        "share of entries that ties, dare_ties, knots_ties, magnitude_prune, core_ties and core_dare keep",
        0.01,
        1.0,
    )
    overrides: tuple[str, ...] = lines(
        "the map set by hand: 'layers 20-31 : attn : 0.7' (share), 'layer 3 : mlp : x 0.5' (strength)"
    )
    keep: tuple[str, ...] = lines("directions kept whatever the rule says, such as 'layer 5 : v_proj : task 3'")
    discard: tuple[str, ...] = lines("directions dropped whatever the rule says, written like the kept ones")
    head: str = choice("task", "whose heads and other tensors trained whole are kept", "task", "domain", "average")
    dtype: str = choice(
        "auto", "number format of the result; auto: as the adapters", "auto", "float32", "float16", "bfloat16"
    )  # fmt: skip
    seed: int = knob(0, "seed of whatever is drawn (bootstrap bands, random baselines)", 0, 2**31 - 1, 1)

    def __post_init__(self) -> None:
        for spec in fields(self):
            object.__setattr__(self, spec.name, _checked(spec, getattr(self, spec.name)))

    def but(self, **changes: Any) -> "Recipe":
        """This recipe with some knobs turned."""
        _known(changes)
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every knob by name."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, knobs: Mapping[str, Any]) -> "Recipe":
        """The inverse of ``to_dict``; knobs that are left out keep their defaults. Raises RecipeError."""
        _known(knobs)
        return cls(**knobs)

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """The recipe in a recipe.json. Raises RecipeError."""
        return recipe_in(read_recipe(path))


def read_recipe(path: str | Path) -> dict[str, Any]:
    """All that a recipe.json says; ``["recipe"]`` holds knobs by name. Raises RecipeError."""
    from tada_studio.schema import (
        SavedRecipe,
        first_problem,
    )  # pydantic: not loaded to list the knobs on the command line

    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        SavedRecipe.model_validate(content)
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(
            f"{path}: is not a recipe that could be read ({first_problem(error)}). Give a recipe.json that TaDA Studio wrote."
        ) from error
    return content


def recipe_in(content: Mapping[str, Any]) -> Recipe:
    """The recipe that a recipe.json's content holds, or that its knobs alone say; one of version 0.1 in today's words, with the
    same bytes. Raises RecipeError.
    """
    given = content["recipe"] if "recipe" in content else content
    return from_version_1(given) if content.get("format") == FORMAT_1 else Recipe.from_dict(given)


def from_version_1(given: Mapping[str, Any]) -> Recipe:
    """The recipe of knobs that version 0.1 wrote, which gives the very bytes that it gave: its strength counted from the average
    (2 was as trained), its ``tada`` is ``gates``, and a share was a weight. Raises RecipeError.
    """
    old = Recipe.from_dict(given)  # judged as it stands, so that a message speaks of what the file says
    strength = old.strength / 2 if "strength" in given else Recipe().strength
    threshold = old.conflict_threshold if "conflict_threshold" in given else THRESHOLD_1
    method = "gates" if old.method == "tada" else old.method
    return old.but(strength=strength, conflict_threshold=threshold, method=method, weights="0.1")


def knobs() -> dict[str, Field]:
    """Every knob by name, with its default and, under ``metadata``, what it says and its range or options."""
    return {spec.name: spec for spec in fields(Recipe)}


def read_log(content: Mapping[str, Any]) -> tuple[str, ...]:
    """The steps that a recipe.json tells of; none if it tells none."""
    log = content.get("log")
    return tuple(step for step in log if isinstance(step, str)) if isinstance(log, list) else ()


def read_auto(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the self-calibration chose, as a recipe.json tells it; None if it tells nothing."""
    auto = content.get("auto")
    return auto if isinstance(auto, dict) else None


def changes(before: Recipe, after: Recipe) -> str:
    """What was done between two recipes, in one line that can be read back: "strength 2 to 1.5", "+ layer 3 : q : 0.7"."""
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in knobs())
    return "; ".join(_change(*pair) for pair in pairs if pair[1] != pair[2])


def _change(name: str, old: Any, new: Any) -> str:
    if not isinstance(new, tuple):
        return f"{name} {_value_text(old)} to {_value_text(new)}"
    added, gone = Counter(new) - Counter(old), Counter(old) - Counter(new)
    lines = [*(f"+ {line}" for line in added.elements()), *(f"- {line}" for line in gone.elements())]
    return f"{'' if name == 'overrides' else f'{name}: '}{', '.join(lines) or 'the same lines in another order'}"


def _value_text(value: Any) -> str:
    return "automatic" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _known(names: Mapping[str, Any]) -> None:
    unknown = sorted(set(names) - set(knobs()))
    if unknown:
        raise RecipeError(f"{', '.join(unknown)}: no such knob. There are: {', '.join(knobs())}.")


def _checked(spec: Field, value: Any) -> Any:
    """The value in its proper type, or a RecipeError that names the knob, the value and the range."""
    about = spec.metadata
    if "options" in about:
        if value in about["options"]:
            return value
        raise RecipeError(f"{spec.name} = {value!r}: {about['says']}; give one of {', '.join(about['options'])}.")
    if "lines" in about:
        if not isinstance(value, (list, tuple)) or not all(isinstance(line, str) for line in value):
            raise RecipeError(f"{spec.name} = {value!r}: must be a list of lines of text.")
        return tuple(value)
    if value is None and spec.default is None:
        return None
    return _number(spec, value)


def _number(spec: Field, value: Any) -> int | float:
    low, high, whole = spec.metadata["low"], spec.metadata["high"], spec.metadata["step"] == 1
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    in_range = low <= number <= high  # written this way round so that NaN fails too
    if isinstance(value, bool) or not in_range or (whole and number != int(number)):
        kind = "a whole number from " if whole else ""
        raise RecipeError(f"{spec.name} = {value!r}: {spec.metadata['says']}; give {kind}{low:g} to {high:g}.")
    return int(number) if whole else number
