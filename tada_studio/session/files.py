"""One session in one folder, and back: session.json, readings and scores as safetensors, items, uploaded zips.

Every file is written to a temporary name and renamed; session.json, which names the others, comes last, and files that it
does not name are deleted afterwards. So the folder holds a whole session at every moment, whenever the power fails.
"""

import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tada_studio.core.gates import Readings
from tada_studio.errors import InputError, TadaError
from tada_studio.evaluation.runs import Run, now
from tada_studio.evaluation.saved import load_items, load_scores, save_items, save_scores
from tada_studio.files import is_here
from tada_studio.lora import Pair
from tada_studio.pipeline.provenance import Provenance, readings_digest
from tada_studio.probing import Readings as SavedReadings
from tada_studio.recipe import OLD_WEIGHTS, Recipe, from_version_1
from tada_studio.session.schema import SavedRun, SavedSession, checked
from tada_studio.session.session import Session
from tada_studio.session.state import Opened, State
from tada_studio.session.visitor import OWNER, Visitor

FORMAT = "tada-studio session 2"
#: As version 0.1 wrote it; its recipes are those of that version.
FORMAT_1 = "tada-studio session 1"
INDEX = "session.json"
#: Seconds after which what was being written, and is still there, is a dead process's.
_UNFINISHED = 3600
#: Steps of undo that are kept on disk.
_MOST_STEPS = 300
#: A path that a session may have been opened by, or an error that says why it may not be opened here.
Allowed = Callable[[str], object]


# -- write ---------------------------------------------------------------------------------------------------------


def write(state: State, folder: Path) -> Opened:
    """Make ``folder`` hold this state. Returns how the pair can be opened from there. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    task, domain = (_copied(getattr(state.opened, role), folder / role) for role in ("task", "domain"))
    opened = replace(state.opened, task=task, domain=domain)
    runs = [_write_run(run, folder) for run in state.runs]
    content = {
        "format": FORMAT,
        "saved": now(),
        "project": state.project,
        "about": _about(state),
        "opened": {**asdict(opened), "task": _inside(opened.task, folder), "domain": _inside(opened.domain, folder)},
        "sources": {"task": state.pair.task.source, "domain": state.pair.domain.source},
        "digests": {"task": state.pair.task.digest, "domain": state.pair.domain.digest},
        "base": state.base_ref,
        "readings": _write_readings(state.readings, folder),
        "recipe": state.recipe.to_dict(),
        "undo": [recipe.to_dict() for recipe in state.undo[-_MOST_STEPS:]],
        "redo": [recipe.to_dict() for recipe in state.redo[-_MOST_STEPS:]],
        "runs": runs,
        "runs_made": state.runs_made,
        "looks": dict(state.looks),
    }
    _replace(folder / INDEX, lambda path: path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8"))
    _sweep(folder, content)
    return opened


def _about(state: State) -> dict[str, Any]:
    """What a list of sessions says about this one."""
    return {
        "title": state.opened.sample or f"{state.pair.task.label} + {state.pair.domain.label}",
        "edits": len(state.undo),
        "runs": len(state.runs),
    }


def _write_run(run: Run, folder: Path) -> dict[str, Any]:
    name = f"run-{run.number}-{run.scored}"
    _once(folder / f"{name}.safetensors", lambda path: save_scores(run.sides, path))
    return {
        "number": run.number,
        "when": run.when,
        "limit": run.limit,
        "finished": run.finished,
        "recipe": run.recipe.to_dict(),
        "readings": _write_readings(run.readings, folder),
        "gates": run.gates,
        "items": {side: _write_items(items, folder) for side, items in run.items.items()},
        "scores": name,
        "recipes": {variant: recipe.to_dict() for variant, recipe in run.recipes.items()},
    }


def _write_items(items: Any, folder: Path) -> str:
    name = f"items-{sha256(repr(items).encode()).hexdigest()[:20]}"
    _once(folder / f"{name}.jsonl", lambda path: save_items(items, path))
    return name


def _write_readings(readings: Readings | None, folder: Path) -> str | None:
    if readings is None:
        return None
    name = f"readings-{str(readings_digest(readings))[:20]}"
    if not (folder / f"{name}.json").exists():
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as there:
            SavedReadings.of(readings).save(Path(there) / f"{name}.json")
            for ending in (".safetensors", ".json"):
                (Path(there) / f"{name}{ending}").replace(folder / f"{name}{ending}")
    return name


def _copied(ref: str, place: Path) -> str:
    """Where an adapter can still be found tomorrow: an uploaded zip is copied to ``place``, all else stays where it is."""
    path = Path(ref)
    target = place / path.name
    if not _is_upload(path) or path == target:
        return ref
    if not target.exists():
        place.mkdir(exist_ok=True)
        _replace(target, lambda new: shutil.copyfile(path, new))
    return str(target)


def _is_upload(path: Path) -> bool:
    """A zip in a place that is swept from time to time, or in another session's folder."""
    if path.suffix.lower() != ".zip" or not path.is_file():
        return False
    swept = (os.environ.get("GRADIO_TEMP_DIR"), tempfile.gettempdir())
    in_session = (path.parent.parent / INDEX).exists()
    return in_session or any(home and path.resolve().is_relative_to(Path(home).resolve()) for home in swept)


def _inside(ref: str, folder: Path) -> str:
    """Relative to the folder if it lies in there, so that a folder can be renamed."""
    path = Path(ref)
    return str(path.relative_to(folder)) if path.is_absolute() and path.is_relative_to(folder) else ref


def _once(path: Path, save: Callable[[Path], Any]) -> None:
    """``save(path)`` unless it is there: its name says what it holds."""
    if not path.exists():
        _replace(path, save)


def _replace(path: Path, save: Callable[[Path], Any]) -> None:
    """``save`` to a name of its own, flushed to the disk, then renamed: the file is there as a whole or not at all."""
    new = path.with_name(f".new-{os.getpid()}-{path.name}")
    try:
        save(new)
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _sweep(folder: Path, content: Mapping[str, Any]) -> None:
    """Delete the files that no part of the session names any more."""
    runs = content["runs"]
    named = {content["readings"], *(run["readings"] for run in runs), *(run["scores"] for run in runs)}
    named |= {name for run in runs for name in run["items"].values()}
    for path in folder.glob("*-*"):
        if path.is_file() and path.stem not in named:
            path.unlink(missing_ok=True)


def sweep_unfinished(folder: Path, now: float | None = None) -> None:
    """Delete what a killed process was writing into a session's folder more than an hour ago."""
    for path in folder.glob(".new-*"):
        with suppress(OSError):
            about = path.lstat()
            if (now or time.time()) - about.st_mtime < _UNFINISHED or (
                hasattr(os, "getuid") and about.st_uid != os.getuid()
            ):
                continue
            shutil.rmtree(path) if stat.S_ISDIR(about.st_mode) else path.unlink()


# -- read ----------------------------------------------------------------------------------------------------------


def read_index(folder: Path) -> dict[str, Any]:
    """What session.json says. Raises InputError unless TaDA Studio wrote it, in a version that is known here."""
    path = folder / INDEX
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: is not a saved session that could be read ({error}).") from error
    if found not in (FORMAT, FORMAT_1):
        raise InputError(f"{path}: its format is {str(found)[:60]!r}; this version of TaDA Studio reads {FORMAT!r}.")
    return content


def read(folder: Path, allowed: Allowed = lambda ref: None, visitor: Visitor = OWNER) -> tuple[Session, list[str]]:
    """The session that a folder holds, and a sentence for each part that had to be left out.

    allowed: raises TadaError for an adapter or base that may not be opened here. Raises TadaError if the session cannot go on:
    its files are damaged, or its adapters are not what they were.
    """
    content, session = read_index(folder), Session(visitor)
    remarks: list[str] = []
    saved = checked(SavedSession, content, folder / INDEX)
    try:
        _open(session, saved, folder, allowed)
        runs = list(_runs(saved, _pair(session), folder, remarks))
        session.resume(_state(saved, session, folder, tuple(runs)))
        if saved.format == FORMAT_1:
            remarks.append(OLD_WEIGHTS)
    except OSError as error:  # such as a path that is longer than any may be
        raise InputError(f"{folder / INDEX}: is damaged ({str(error)[:100]}), so this session cannot go on.") from error
    return session, remarks


def _pair(session: Session) -> Pair:
    assert session.pair is not None, "it was just opened"
    return session.pair


def _state(saved: SavedSession, session: Session, folder: Path, runs: tuple[Run, ...]) -> State:
    assert session.opened is not None and session.pair is not None
    recipe = _recipe_reader(saved)
    return State(
        session.opened,
        session.pair,
        saved.base,
        _readings(saved.readings, folder),
        recipe(saved.recipe),
        tuple(map(recipe, saved.undo)),
        tuple(map(recipe, saved.redo)),
        runs,
        saved.runs_made,
        saved.looks,
        saved.project,
    )


def _recipe_reader(saved: SavedSession) -> Callable[[Mapping[str, Any]], Recipe]:
    return from_version_1 if saved.format == FORMAT_1 else Recipe.from_dict


def _open(session: Session, saved: SavedSession, folder: Path, allowed: Allowed) -> None:
    """Open the pair again, if it still is the pair that it was."""
    opened = saved.opened
    if opened.sample:
        session.open_sample(opened.sample)
    else:
        task, domain = (_found(saved, role, folder, allowed) for role in ("task", "domain"))
        if opened.base:
            allowed(opened.base)
        session.open(
            task,
            domain,
            opened.base,
            dora_rank=opened.dora_rank,
            same_base=opened.same_base,
            allow_pickle=opened.allow_pickle,
        )
    pair = session.pair
    assert pair is not None
    for role, adapter in (("task", pair.task), ("domain", pair.domain)):
        if adapter.digest != getattr(saved.digests, role):
            raise InputError(
                f"The {role} adapter {adapter.label} is not the one that this session was about: its files have changed. "
                "Open the pair anew."
            )


def _found(saved: SavedSession, role: str, folder: Path, allowed: Allowed) -> str:
    """Where the adapter is now: copied into the session, or in the place it was read from, or by its Hub id."""
    ref, source = getattr(saved.opened, role), getattr(saved.sources, role)
    if not ref:
        return ""  # one adapter alone
    inside = (folder / ref).resolve()
    if inside.is_file() and inside.is_relative_to(folder.resolve()):
        return str(inside)
    allowed(ref)
    from_hub = not is_here(ref)
    # a Hub id that was fetched before is opened without a request
    return source if from_hub and source and Path(source).is_dir() else ref


def _runs(saved: SavedSession, pair: Pair, folder: Path, remarks: list[str]) -> Iterable[Run]:
    for row in saved.runs:
        try:
            yield _run(row, pair, folder, _recipe_reader(saved))
        except (TadaError, OSError) as error:
            remarks.append(f"Run {row.number} was left out: {error}")


def _run(row: SavedRun, pair: Pair, folder: Path, read_recipe: Callable[[Mapping[str, Any]], Recipe]) -> Run:
    readings, recipe = _readings(row.readings, folder), read_recipe(row.recipe)
    return Run(
        number=row.number,
        recipe=recipe,
        readings=readings,
        limit=row.limit,
        gates=tuple(map(tuple, row.gates)),
        items={side: load_items(folder / f"{name}.jsonl") for side, name in row.items.items()},
        sides=load_scores(folder / f"{row.scores}.safetensors"),
        when=row.when,
        finished=row.finished,
        digest=Provenance.of(pair, readings, recipe).digest,
        recipes={variant: read_recipe(knobs) for variant, knobs in row.recipes.items()},
    )


def _readings(name: str | None, folder: Path) -> SavedReadings | None:
    if name is None:
        return None
    readings = SavedReadings.load(folder / f"{name}.json")
    if f"readings-{str(readings_digest(readings))[:20]}" != name:
        raise InputError(f"{name}: the readings of this session are damaged. Probe the pair again.")
    return readings
