"""What a certificate says, and certificate.json: written, read again, and held against the folder that it lies in.

The file is one canonical text: its keys are sorted and it carries a digest of itself, so that a single flipped bit shows.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field, FiniteFloat, NonNegativeInt

from tada_studio.errors import ExportError
from tada_studio.exporting.formats import FormatCheck
from tada_studio.exporting.portable import Tick
from tada_studio.files import plain_json, sha256, shown
from tada_studio.lora import RECIPE as RECIPE
from tada_studio.lora import WEIGHTS
from tada_studio.markup import Shown
from tada_studio.schema import Saved, first_problem

#: The files beside the adapter's own two.
CERTIFICATE, CARD = "certificate.json", "README.md"
#: Whose it is, if somebody signed it: of all the others, so it is not among the certified files.
SIGNATURE = "model.sig"
#: What git, and the Hub's client in a folder of one's own, lay beside the files: no loader reads it.
BESIDE = (".git", ".gitattributes", ".cache")
#: Largest relative difference of a module's update that is left when float64 factors become PEFT's float32. Every other number
#: format fits into float32 whole, and there no difference at all is left.
DELTA_ROOM = 2e-7
#: Largest relative difference of what PEFT's own layers add to an input, computed by them in float64.
FORWARD_ROOM = 1e-9
#: Largest difference of any logit (float32) between the base with the merge attached here and PEFT's model of the folder.
LOGIT_ROOM = 1e-4
#: A certificate is a few kB for a small adapter and a few hundred for the largest.
MAX_BYTES = 64_000_000
_FORMAT = "tada-studio certificate 2"


@dataclass(frozen=True)
class ModuleCheck:
    """One module's update as PEFT holds it, against the merge's.

    max_error:      no entry of the two matrices differs by more (a bound, from the norms of rows and columns)
    relative_error: Frobenius norm of their difference over the merge's own
    forward_error:  relative difference of what PEFT's layer adds to random inputs, and at the single columns looked at
    """

    max_error: float
    relative_error: float
    forward_error: float = 0.0

    def worse_of(self, other: "ModuleCheck") -> "ModuleCheck":
        """The larger of each of the errors."""
        return ModuleCheck(*map(max, astuple(self), astuple(other)))


#: A module that PEFT does not hold at all.
LOST = ModuleCheck(float("inf"), float("inf"), float("inf"))


@dataclass(frozen=True)
class HeadCheck:
    """A module that the folder keeps whole: its rows (0: it has no matrix), whose it is, what its rows are called."""

    rows: int
    of: str | None
    labels: tuple[str, ...] = ()

    def says(self, name: str) -> str:
        whose = {
            "task": "the task adapter's",
            "domain": "the domain adapter's",
            "average": "the average of both adapters'",
        }
        named = f", for {', '.join(self.labels[:12])}{' ...' if len(self.labels) > 12 else ''}" if self.labels else ""
        of = f" is {whose.get(self.of, self.of)}," if self.of else " is"
        return f"{name} ({self.rows} rows{named}){of} kept whole in modules_to_save."


@dataclass(frozen=True, eq=False, repr=False)
class Certificate(Shown):
    """What was found when the written folder was read back by PEFT.

    outputs: file name -> SHA-256; inputs: what the merge came from; modules: by name
    missing, unexpected: keys that PEFT did not find, or did not know
    beyond: layers that PEFT adapts and the merge does not have, on the base's own class
    delta_room: the relative error that the number format allows; 0 for all but float64
    logit_error: largest difference of any logit on a test input; None if no base was at hand
    base: name and digest of the base that the logits were compared on
    base_class: of transformers, on which PEFT loaded the folder: the base's own, or built from its config alone; None: unknown
    loaders: what PEFT, vLLM, llama.cpp and LoRAX make of the folder; a cross does not fail the certificate
    heads: what the folder keeps whole: module -> its rows, and whose it is (None: not known)
    formats: files in other programs' formats, by name, as our reader reads them back
    """

    outputs: Mapping[str, str]
    inputs: Mapping[str, Any]
    modules: Mapping[str, ModuleCheck]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    rank: int
    logit_error: float | None
    logit_room: float
    versions: Mapping[str, str]
    beyond: tuple[str, ...] = ()
    delta_room: float = 0.0
    base: Mapping[str, str] | None = None
    base_class: str | None = None
    loaders: tuple[Tick, ...] = ()
    heads: Mapping[str, "HeadCheck"] = field(default_factory=dict)
    formats: Mapping[str, FormatCheck] = field(default_factory=dict)

    def _facts(self) -> dict[str, object]:
        found = {"worst_relative_error": self.worst, "logit_error": self.logit_error}
        return {"verdict": "pass" if self.holds else "fail", "rank": self.rank, "modules": len(self.modules), **found}

    def _rows(self) -> Iterable[tuple[str, object]]:
        return [("verdict", "pass" if self.holds else "fail"), *(("", sentence) for sentence in self.sentences)]

    @property
    def worst(self) -> float:
        """The largest relative error of any module."""
        return max(check.relative_error for check in self.modules.values())

    @property
    def holds(self) -> bool:
        factors = all(
            check.relative_error <= self.delta_room and check.forward_error <= FORWARD_ROOM + self.delta_room
            for check in self.modules.values()
        )
        logits = self.logit_error is None or self.logit_error <= self.logit_room
        others = not any(check.wrong for check in self.formats.values())
        return factors and logits and others and not (self.missing or self.unexpected or self.beyond)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was checked and what came out, in plain language."""
        return (
            f"PEFT {self.versions['peft']} loads the folder: {self._keys}; rank {self.rank} everywhere, scale 1.",
            self._numbers,
            *(head.says(name) for name, head in self.heads.items()),
            self._logits,
            *(check.says(file) for file, check in self.formats.items()),
            *(tick.says for tick in self.loaders),
            f"SHA-256 of {WEIGHTS}: {self.outputs[WEIGHTS]}",
        )

    @property
    def _keys(self) -> str:
        if not (self.missing or self.unexpected or self.beyond):
            return f"no key missing, none unexpected{f' on {self.base_class}' if self.base_class else ''}"
        more = f", {len(self.beyond)} layers adapted beyond the merge" if self.beyond else ""
        return f"{len(self.missing)} keys missing, {len(self.unexpected)} unexpected{more}"

    @property
    def _numbers(self) -> str:
        lost = sum(check.relative_error > self.delta_room for check in self.modules.values())
        if lost:
            same = f"{lost} of {len(self.modules)} modules are not the merge: worst relative error {self.worst:.1e}"
        elif self.worst:
            same = f"All {len(self.modules)} modules hold the merge, to {self.worst:.1e} of it (room {self.delta_room:.0e})"
        else:
            same = f"All {len(self.modules)} modules hold the merge number for number"
        forward = max(check.forward_error for check in self.modules.values())
        run = f"add what it adds, to {forward:.1e} of it" if forward else "add exactly what it adds"
        return f"{same}; PEFT's own layers, run on random inputs, {run} (room {FORWARD_ROOM + self.delta_room:.0e})."

    @property
    def _logits(self) -> str:
        if self.logit_error is None:
            return "Logits were not compared: no base model was loaded."
        return f"Logits differ from the merge on screen by at most {self.logit_error:.1e} (room {self.logit_room:.0e})."

    def to_dict(self) -> dict[str, Any]:
        """certificate.json, without its own digest."""
        return {
            "format": _FORMAT,
            "verdict": "pass" if self.holds else "fail",
            "says": list(self.sentences),
            **asdict(self),
            "worst_relative_error": self.worst,
        }


def room_for(dtype: torch.dtype) -> float:
    """How far a module may be off because PEFT computes in float32."""
    return DELTA_ROOM if dtype == torch.float64 else 0.0


# -- the file ------------------------------------------------------------------------------------------------------


def canonical(content: Any) -> str:
    """The one text that a JSON file of an export has."""
    return plain_json(content, indent=2, sort_keys=True) + "\n"


def write_certificate(certificate: Certificate, folder: Path) -> None:
    """certificate.json, with a digest of all the rest of it."""
    content = certificate.to_dict()
    (folder / CERTIFICATE).write_text(canonical({**content, "digest": _digest(content)}), encoding="utf-8")


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def _plain(name: str) -> str:
    if not name or {"/", "\\", "\0"} & set(name) or name in (".", "..") or len(name) > 255:
        raise ValueError("is not the name of a file right in the folder")
    return name


class SavedModuleCheck(Saved):
    """How far one module is from the merge; version 0.1 did not run PEFT's layers."""

    max_error: FiniteFloat | None
    relative_error: FiniteFloat | None
    forward_error: FiniteFloat | None = 0.0


class SavedCertificate(Saved):
    """certificate.json, as far as ``verify`` and the screen read it. outputs: file name -> SHA-256."""

    format: str
    verdict: Literal["pass", "fail"]
    says: list[str]
    outputs: dict[Annotated[str, AfterValidator(_plain)], str]
    inputs: dict[str, Any]
    modules: dict[str, SavedModuleCheck]
    missing: list[str]
    unexpected: list[str]
    rank: NonNegativeInt
    base: dict[str, str] | None = None
    heads: dict[str, Any] = Field(default_factory=dict)


def read_certificate(folder: str | Path) -> dict[str, Any]:
    """The certificate.json of an exported folder. Raises ExportError."""
    return _parsed(*_text(Path(folder) / CERTIFICATE))


def _text(path: Path) -> tuple[Path, str]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
        return path, content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(text)
        SavedCertificate.model_validate(content)
        return content
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ExportError:
    return ExportError(
        f"{path}: no certificate could be read ({shown(first_problem(error))}). Give a folder that TaDA Studio exported."
    )


def tampered(folder: str | Path) -> str | None:
    """Why certificate.json is not as it was written, in one sentence; None if it is. Raises ExportError."""
    path, text = _text(Path(folder) / CERTIFICATE)
    content = _parsed(path, text)
    if text != canonical(content):
        return f"{CERTIFICATE} is not the text that was written."
    claimed = content.pop("digest", None)
    if claimed is None and content.get("format") == "tada-studio certificate 1":
        return None  # version 0.1 wrote none
    return None if claimed == _digest(content) else f"{CERTIFICATE} does not have its own digest: it was changed."


def changed_files(folder: str | Path, outputs: Mapping[str, str]) -> list[str]:
    """Which of the certified files are not what they were."""
    return [name for name, digest in outputs.items() if not _is(Path(folder) / name, digest)]


def _is(file: Path, digest: str) -> bool:
    try:
        return file.is_file() and sha256(file) == digest
    except OSError:  # a name that is longer than any may be
        return False


def added_files(folder: str | Path, outputs: Mapping[str, str]) -> list[str]:
    """What lies in the folder and was not certified: a loader might prefer it."""
    known = {*outputs, CERTIFICATE, SIGNATURE, *BESIDE}
    return sorted(path.name for path in Path(folder).iterdir() if path.name not in known)
