"""The embedded samples by name: folders under sample_adapters/ with a sample.json."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tada_studio.errors import InputError

#: The sample that the app opens with.
DEFAULT = "minerals-tiny"
#: Too large for the installed package; in a checkout, and on a Space, they are samples like the others.
NOT_PACKAGED = ("smollm2-minerals",)


@dataclass(frozen=True)
class Sample:
    """A pair with all that a person needs to try it.

    base:     what ``load_base`` is asked for; items: side ("domain", "task") -> items file
    validation: side -> items that are not in ``items``, to choose and to search on; {} where the sample has none
    readings: cached probe readings (readings.json), or None
    about:    everything else that sample.json says (seed, licence, what was measured)
    probe:    domain inputs; task_probe: task inputs, as they come in use, never among the items; None where it has none
    """

    name: str
    title: str
    story: str
    task: Path
    domain: Path
    base: str | None
    probe: Path
    items: dict[str, Path]
    readings: Path | None
    about: dict[str, Any]
    validation: dict[str, Path] = field(default_factory=dict)
    task_probe: Path | None = None

    @property
    def kind(self) -> str:
        """ "image" or "text": what the base reads, by what it is probed with."""
        return "image" if self.probe.is_dir() else "text"

    @property
    def base_is_here(self) -> bool:
        """Whether the base is a folder on this machine that came with the samples."""
        return self.base is not None and Path(self.base).is_dir()

    @property
    def size(self) -> int:
        """Bytes of all its files, its base's too where that came with it."""
        homes = {self.task.parent, *([Path(self.base)] if self.base and self.base_is_here else [])}
        return sum(file.stat().st_size for file in {f for home in homes for f in home.rglob("*")} if file.is_file())


def _folder() -> Path:
    """Inside an installed package, or beside it in a checkout or on a Space."""
    here = Path(__file__).resolve().parent
    packaged = here / "sample_adapters"
    return packaged if packaged.is_dir() else here.parent / "sample_adapters"


def samples() -> dict[str, Sample]:
    """All embedded samples to try, by name; not those that are there to explain something."""
    return {name: found for name, found in _all().items() if not found.about.get("hidden")}


def sample(name: str) -> Sample:
    """One sample, listed or not. Raises InputError with the names there are."""
    known = _all()
    if name in known:
        return known[name]
    there = f"There are: {', '.join(samples()) or 'none in this installation'}."
    if name in NOT_PACKAGED:
        raise InputError(
            f"{name}: this sample is not in the installed package, which is kept small; it is in a checkout of the "
            f"repository. {there}"
        )
    raise InputError(f"{name}: no such sample. {there}")


def planted() -> Sample:
    """Two adapters with known conflicts: ``about["planted"]`` lists them all. There is nothing to evaluate. Raises InputError."""
    return sample("planted-conflict")


def _all() -> dict[str, Sample]:
    found = [read_sample(path.parent) for path in sorted(_folder().glob("*/sample.json"))]
    return {one.name: one for one in (*found, *(second(one) for one in found if "second_domain" in one.about))}


def second(chosen: Sample) -> Sample:
    """The same task adapter with the second domain adapter that a sample brings: a pair of its own name, in no list."""
    about = chosen.about["second_domain"]
    home, files = chosen.task.parent, about["files"]
    return replace(
        chosen,
        name=about["name"],
        title=about["title"],
        story=about["story"],
        domain=home / files["domain"],
        probe=home / files["probe"],
        items={**chosen.items, "domain": home / files["items"]},
        validation={**chosen.validation, "domain": home / files["validation"]},
        readings=None,
        about={**about, "hidden": True},
    )


def read_sample(folder: Path) -> Sample:
    """The sample in a folder."""
    about = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    files = about.pop("files")
    readings = folder / files.get("readings", "readings.json")
    base = about.pop("base", None)
    return Sample(
        name=folder.name,
        title=about.pop("title", folder.name),
        story=about.pop("story", ""),
        task=folder / files["task"],
        domain=folder / files["domain"],
        base=_base(folder, base),
        probe=folder / files["probe"],
        items={side: folder / path for side, path in files["items"].items()},
        readings=readings if readings.is_file() else None,
        about=about,
        validation={side: folder / path for side, path in files.get("validation", {}).items()},
        task_probe=folder / files["task_probe"] if "task_probe" in files else None,
    )


def _base(folder: Path, base: str | None) -> str | None:
    """A folder of the sample's own or of its neighbour's, a Hub id, or None where the folder was left out."""
    if base and (folder / base).is_dir():
        return str((folder / base).resolve())
    return None if base is None or base.startswith(".") else base
