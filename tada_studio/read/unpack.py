"""A zip of an adapter becomes a folder, or one sentence. Nothing in an archive is repaired: what looks wrong is refused.

Sizes are bounded before anything is written; only the files an adapter needs are written at all.
"""

import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tada_studio.errors import AdapterError
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.read.files import INDEX, shown

MOST_FILES, MOST_BYTES, MOST_RATIO = 64, 2_000_000_000, 100
_SHARD = re.compile(r"adapter_model-\d{5}-of-\d{5}\.safetensors")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")


def unpack(archive: str | Path, target: str | Path) -> Path:
    """Write the adapter in a zip into the empty folder ``target``, and return it. Raises AdapterError."""
    archive, target = Path(archive), Path(target)
    try:
        with zipfile.ZipFile(archive) as content:
            for name, entry in _wanted(content, archive).items():
                _write(content, entry, target / name)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise AdapterError(
            f"{archive}: cannot be unpacked ({shown(error)}). Zip the adapter's folder again."
        ) from error
    return target


def _wanted(content: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    """The entries that make an adapter, by plain name, after every entry was found harmless."""
    entries = content.infolist()
    if len(entries) > MOST_FILES:
        raise AdapterError(
            f"{archive}: holds {len(entries):,} files; an adapter has a few. Zip only the adapter's folder."
        )
    for entry in entries:
        _check_entry(entry, archive)
    files = [entry for entry in entries if not entry.is_dir()]
    lowered = [entry.filename.lower() for entry in files]
    if len(set(lowered)) < len(lowered):
        raise AdapterError(f"{archive}: holds two files of one name. Zip the adapter's folder again.")
    homes = {PurePosixPath(entry.filename).parent for entry in files if PurePosixPath(entry.filename).name == CONFIG}
    if len(homes) != 1:
        found = f"holds {len(homes)} adapters at once" if homes else f"holds no {CONFIG}"
        raise AdapterError(f"{archive}: {found}. Zip the folder of one adapter, as PEFT saves it.")
    home = homes.pop()
    inside = {PurePosixPath(e.filename).name: e for e in files if PurePosixPath(e.filename).parent == home}
    return {name: e for name, e in inside.items() if name in (CONFIG, WEIGHTS, INDEX) or _SHARD.fullmatch(name)}


def _check_entry(entry: zipfile.ZipInfo, archive: Path) -> None:
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
    problem = next((says for holds, says in problems if holds), None)
    if problem:
        raise AdapterError(f"{archive}: {shown(name)!r} {problem}. Zip only the adapter's folder, without a password.")


def _write(content: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path) -> None:
    """Write one entry. zipfile stops at the size that was checked above, and its checksum tells a size that lied."""
    with content.open(entry) as packed, to.open("xb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
