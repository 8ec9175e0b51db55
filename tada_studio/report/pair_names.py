"""What the two adapters of a pair are called where they must not be taken for those of another pair."""

from itertools import count
from pathlib import Path

from tada_studio.lora import Adapter

#: Parts of a folder's path that are shown at least: "task" alone is what everybody calls theirs.
_PARTS = 2


def pair_names(task: Adapter, domain: Adapter, refs: tuple[str, str]) -> tuple[str, str]:
    """Both by the last parts of what they were opened by, as many as it takes to tell them apart; by their content where no path
    does. refs: folders, zips or Hub ids."""
    parts = [_parts(adapter, ref) for adapter, ref in zip((task, domain), refs, strict=True)]
    for many in count(_PARTS):
        names = ["/".join(each[-many:]) for each in parts]
        if names[0] != names[1]:
            return names[0], names[1]
        if many >= max(map(len, parts)):
            break
    return f"{names[0]} ({task.digest[:6]})", f"{names[1]} ({domain.digest[:6]})"


def _parts(adapter: Adapter, ref: str) -> list[str]:
    """Of an upload the name alone: the folders that it lies in are the server's."""
    path = Path(ref)
    if path.suffix.lower() == ".zip":
        return [path.name]
    if ref and path.exists():  # "." and links, too, by a name of their own
        return [part for part in path.resolve().parts if part != path.anchor]
    return [ref or adapter.label]
