"""What of a session is kept: how its pair was opened, its last export, and all that is worth saving."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tada_studio.base_model.inputs import Input
from tada_studio.core.gates import Readings
from tada_studio.evaluation.runs import Run
from tada_studio.exporting.certify import Certificate
from tada_studio.lora import Pair
from tada_studio.recipe import Recipe


@dataclass(frozen=True)
class Opened:
    """How a pair was opened, so that it can be opened again, also from session.json: by the name of a sample, or by folder, zip or
    Hub id.

    same_base: somebody vouched that both adapters were trained on one base, whatever their configs call it
    allow_pickle: somebody said that an adapter_model.bin may be read
    """

    task: str
    domain: str
    base: str | None = None
    sample: str | None = None
    dora_rank: int | None = None
    same_base: bool = False
    allow_pickle: bool = False


class BothInputs(NamedTuple):
    """Inputs of both kinds, and how many of each were used."""

    domain: Sequence[Input]
    task: Sequence[Input]
    n: int


class Exported(NamedTuple):
    """The last export: where it lies, how it was checked, and of which pair, readings and recipe it is."""

    folder: Path
    certificate: Certificate
    digest: str


class State(NamedTuple):
    """All of a session that is worth keeping; what else it shows follows from this.

    runs: as they are now; runs_made: how many there ever were, so that no number is used twice
    looks: how often the items that a search holds out were looked at, by their digest
    """

    opened: Opened
    pair: Pair
    base_ref: str | None
    readings: Readings | None
    recipe: Recipe
    undo: tuple[Recipe, ...]
    redo: tuple[Recipe, ...]
    runs: tuple[Run, ...]
    runs_made: int
    looks: Mapping[str, int]
    project: str | None
