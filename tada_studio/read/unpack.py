"""A zip of an adapter becomes a folder, or one sentence. Nothing in an archive is repaired: what looks wrong is refused.

Sizes are bounded before anything is written; only the files an adapter needs are written at all.
"""

import re
import zipfile
from pathlib import Path, PurePosixPath

from tada_studio.errors import AdapterError
from tada_studio.files import MOST_FILES, packed, write_entry
from tada_studio.lora import CONFIG, LABELS, RECIPE, WEIGHTS
from tada_studio.read import mlx
from tada_studio.read.files import INDEX, PICKLE, may_be_weights

_SHARD = re.compile(r"adapter_model-\d{5}-of-\d{5}\.safetensors")


def unpack(archive: str | Path, target: str | Path, most: int | None = None) -> Path:
    """Write the adapter in a zip into the empty folder ``target``, and return it; ``most``: bytes it may unfold to.

    Raises AdapterError.
    """
    archive, target = Path(archive), Path(target)
    with packed(archive, MOST_FILES) as (content, files):
        wanted = _wanted(files, archive)
        if most is not None and (size := sum(entry.file_size for entry in wanted.values())) > most:
            raise AdapterError(f"{archive}: unfolds to {size / 1e6:,.0f} MB; {most / 1e6:,.0f} MB are the most here.")
        for name, entry in wanted.items():
            write_entry(content, entry, target / name)
    return target


def _wanted(files: list[zipfile.ZipInfo], archive: Path) -> dict[str, zipfile.ZipInfo]:
    """The entries that make an adapter, by plain name."""
    homes = {PurePosixPath(entry.filename).parent for entry in files if PurePosixPath(entry.filename).name == CONFIG}
    if len(homes) != 1:
        found = f"holds {len(homes)} adapters at once" if homes else f"holds no {CONFIG}"
        raise AdapterError(f"{archive}: {found}. Zip the folder of one adapter, as PEFT saves it.")
    home = homes.pop()
    inside = {PurePosixPath(e.filename).name: e for e in files if PurePosixPath(e.filename).parent == home}
    needed = {
        name: e
        for name, e in inside.items()
        if name in (CONFIG, WEIGHTS, INDEX, LABELS, RECIPE, PICKLE)
        or _SHARD.fullmatch(name)
        or mlx.NAMES.fullmatch(name)
    }
    # what else was trained is never opened, but the passport says that it is there
    return needed | {name: e for name, e in inside.items() if name not in needed and may_be_weights(name)}
