"""What session.json must look like: checked on reading, and a JSON schema for whoever writes or reads such files elsewhere."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, FiniteFloat, NonNegativeInt, StringConstraints, ValidationError

from tada_studio.errors import InputError
from tada_studio.schema import Knobs, Saved, first_problem
from tada_studio.session.state import Opened

#: A file of the session, without its ending. The name came from a file: it must not lead out of the folder.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=160)]
M = TypeVar("M", bound=Saved)


class About(Saved):
    """What a list of sessions says about this one."""

    title: str
    edits: NonNegativeInt
    runs: NonNegativeInt


class OfRoles(Saved):
    """One text for each adapter: its digest."""

    task: str
    domain: str


class Sources(Saved):
    """Where each adapter was read from; None for one that was not read from a folder."""

    task: str | None
    domain: str | None


class SavedRun(Saved):
    """One evaluation. scores, items, readings: files of the folder; gates: None where no module is; recipes: by variant."""

    number: NonNegativeInt
    when: str
    limit: NonNegativeInt
    finished: bool
    recipe: Knobs
    readings: FileName | None
    gates: list[list[FiniteFloat | None]]
    items: dict[str, FileName]
    scores: FileName
    recipes: dict[str, Knobs] = Field(default_factory=dict)


class SavedSession(Saved):
    """session.json."""

    format: str
    saved: str
    project: str | None
    about: About
    opened: Opened
    sources: Sources
    digests: OfRoles
    base: str | None
    readings: FileName | None
    recipe: Knobs
    undo: list[Knobs]
    redo: list[Knobs]
    runs: list[SavedRun]
    runs_made: NonNegativeInt
    looks: dict[str, NonNegativeInt] = Field(default_factory=dict)


def checked(model: type[M], content: Any, path: Path) -> M:
    """The content as that model. Raises InputError that names the first thing that is wrong with it."""
    try:
        return model.model_validate(content)
    except (ValidationError, RecursionError) as error:
        raise InputError(f"{path}: is damaged ({first_problem(error)}), so this session cannot go on.") from error


def session_schema() -> dict[str, Any]:
    """The JSON schema of session.json."""
    return SavedSession.model_json_schema()
