"""A zip of an adapter becomes a folder, or one sentence. Nothing in an archive is repaired: what looks wrong is refused.

Sizes are bounded before anything is written; only the files an adapter needs are written at all.
"""

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tada_studio.errors import AdapterError, TadaError
from tada_studio.lora import CONFIG, LABELS, WEIGHTS
from tada_studio.read.files import INDEX, shown

MOST_FILES, MOST_BYTES, MOST_RATIO = 64, 2_000_000_000, 100
_SHARD = re.compile(r"adapter_model-\d{5}-of-\d{5}\.safetensors")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")


def unpack(archive: str | Path, target: str | Path) -> Path:
    """Write the adapter in a zip into the empty folder ``target``, and return it. Raises AdapterError."""
    archive, target = Path(archive), Path(target)
    with packed(archive, MOST_FILES) as (content, files):
        for name, entry in _wanted(files, archive).items():
            write_entry(content, entry, target / name)
    return target


@contextmanager
def packed(
    archive: Path, most: int, refusal: type[TadaError] = AdapterError, what: str = "the adapter's folder"
) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """A zip with the files in it, at most ``most``, after every entry was found harmless. Raises ``refusal``.

    what: what should have been zipped, for the messages
    """
    try:
        with zipfile.ZipFile(archive) as content:
            yield content, _harmless(content, archive, most, refusal, what)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise refusal(f"{archive}: cannot be unpacked ({shown(error)}). Zip {what} again.") from error


def _harmless(
    content: zipfile.ZipFile, archive: Path, most: int, refusal: type[TadaError], what: str
) -> list[zipfile.ZipInfo]:
    entries = content.infolist()
    if len(entries) > most:
        raise refusal(f"{archive}: holds {len(entries):,} files; {most:,} are the most. Zip only {what}.")
    for entry in entries:
        if problem := _problem(entry):
            raise refusal(f"{archive}: {shown(entry.orig_filename)!r} {problem}. Zip only {what}, without a password.")
    files = [entry for entry in entries if not entry.is_dir()]
    if sum(entry.file_size for entry in files) > MOST_BYTES:
        raise refusal(f"{archive}: unfolds to more than {MOST_BYTES / 1e9:g} GB. Zip only {what}.")
    lowered = [entry.filename.lower() for entry in files]
    if len(set(lowered)) < len(lowered):
        raise refusal(f"{archive}: holds two files of one name. Zip {what} again.")
    return files


def _wanted(files: list[zipfile.ZipInfo], archive: Path) -> dict[str, zipfile.ZipInfo]:
    """The entries that make an adapter, by plain name."""
    homes = {PurePosixPath(entry.filename).parent for entry in files if PurePosixPath(entry.filename).name == CONFIG}
    if len(homes) != 1:
        found = f"holds {len(homes)} adapters at once" if homes else f"holds no {CONFIG}"
        raise AdapterError(f"{archive}: {found}. Zip the folder of one adapter, as PEFT saves it.")
    home = homes.pop()
    inside = {PurePosixPath(e.filename).name: e for e in files if PurePosixPath(e.filename).parent == home}
    return {name: e for name, e in inside.items() if name in (CONFIG, WEIGHTS, INDEX, LABELS) or _SHARD.fullmatch(name)}


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry is not written, if there is a reason."""
    name = entry.orig_filename  # as written: zipfile itself cuts at NUL and turns the system's separator round
    path = PurePosixPath(name)
    mode = entry.external_attr >> 16
    problems = (
        (path.is_absolute() or re.match(r"[A-Za-z]:", name), "has an absolute name"),
        (".." in path.parts, "leads out of its folder"),
        ("\\" in name or any(not c.isprintable() for c in name) or len(name) > 255, "has a name that is no file's"),
        (mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and stat.S_IFMT(mode), "is a link or a device"),
        (entry.flag_bits & 0x1, "is encrypted"),
        (path.suffix.lower() in _ARCHIVES, "is an archive in the archive"),
        (
            entry.file_size > MOST_BYTES or entry.file_size > MOST_RATIO * max(entry.compress_size, 1000),
            "is far larger than what is packed",
        ),
    )
    return next((says for holds, says in problems if holds), None)


def write_entry(content: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path) -> None:
    """Write one entry. zipfile stops at the size that was checked above, and its checksum tells a size that lied."""
    with content.open(entry) as packed, to.open("xb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
