"""Who calls an endpoint: the session that their call works in, and the files that they take home."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from gradio import FileData

from tada_studio.app.api_models import PairRef, adapter_path
from tada_studio.app.paths import AllowedPaths
from tada_studio.errors import InputError
from tada_studio.probing import Readings
from tada_studio.recipe import recipe_in
from tada_studio.session import Session
from tada_studio.session.visitor import Visitor

FilesOfReadings: TypeAlias = list[FileData]


@dataclass(frozen=True)
class Caller:
    """Who calls, what they may open, and the folder that their answers' files go into."""

    visitor: Visitor
    paths: AllowedPaths
    results: Path

    @contextmanager
    def session(
        self, pair: PairRef, readings: FilesOfReadings | None = None, recipe: dict[str, Any] | None = None
    ) -> Iterator[Session]:
        """A session with the pair open, gone after the block. Raises TadaError."""
        session = Session(self.visitor)
        try:
            if pair.sample is not None:
                session.open_sample(pair.sample)
            else:
                task, domain = (adapter_path(getattr(pair, role), role, self.paths) for role in ("task", "domain"))
                session.open(task, domain, self.paths.checked(pair.base, "base") if pair.base else None)
            if readings:
                session.use_readings(self._readings(readings))
            session.restore(recipe_in(recipe or {}))
            yield session
        finally:
            session.close()

    def _readings(self, files: FilesOfReadings) -> Readings:
        given = {Path(file.path).suffix: self.paths.uploaded(file.path, "readings") for file in files}
        if set(given) != {".json", ".safetensors"}:
            raise InputError("readings: give both files, readings.json and readings.safetensors.")
        folder = self.new_folder()
        for suffix, file in given.items():
            shutil.copyfile(file, folder / f"readings{suffix}")
        return Readings.load(folder / "readings.json")

    def new_folder(self) -> Path:
        """A folder for an answer's files; a caller's last few stay."""
        return new_result_folder(self.results)


#: Answers of one caller whose files stay.
KEPT = 6


def _age(folder: Path) -> float:
    """When it was made, in seconds; one that another call clears away meanwhile is older than all."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def new_result_folder(results: Path) -> Path:
    """A new folder in ``results``, where only the last few stay."""
    results.mkdir(parents=True, exist_ok=True, mode=0o700)
    there = sorted(results.iterdir(), key=_age)
    for folder in there[: max(0, len(there) - KEPT + 1)]:
        shutil.rmtree(folder, ignore_errors=True)
    made = results / secrets.token_hex(8)
    made.mkdir()
    return made
