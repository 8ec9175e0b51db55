"""Many adapters of one base at a glance: who is related to whom, from their weights alone. No base model is needed."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tada_studio.core.relations import Relations, relations
from tada_studio.errors import AdapterError, InputError, MismatchError, TadaError
from tada_studio.files import path_of
from tada_studio.lora import CONFIG, Adapter, Pair
from tada_studio.pipeline.opening import UnpackTo, read_adapter
from tada_studio.pipeline.roles import pair_roles
from tada_studio.progress import Progress, ProgressFn, silent
from tada_studio.read import outline, verdict

#: Adapters that one rack holds at most: the map has a cell for every two.
MOST = 200
#: Directions of one module, of all adapters together: a table of every two of them has to fit into memory.
MOST_DIRECTIONS = 4096


class Shelved(NamedTuple):
    """One adapter of a rack: where it was read from, and its size. Its tensors are read again when it is opened."""

    ref: str
    rank: int
    modules: int
    norm: float


@dataclass(frozen=True, eq=False)
class Rack:
    """N adapters by name, how they stand to each other, and what was left out, with the reason.

    fits: for every two, by name, whether they can be merged; sizes: (d_out, d_in) of every module that any of them changes
    """

    adapters: Mapping[str, Shelved]
    relations: Relations
    roles: Mapping[tuple[str, str], str]
    fits: Mapping[tuple[str, str], bool]
    left_out: Mapping[str, str]
    sizes: Mapping[str, tuple[int, int]]

    def is_of_base(self, pair: Pair) -> bool:
        """Whether a pair changes layers that these adapters change too, of the same sizes: then their base is the same."""
        own = {name: module.layer_size for side in (pair.task, pair.domain) for name, module in side.modules.items()}
        both = own.keys() & self.sizes.keys()
        return bool(both) and all(own[name] == self.sizes[name] for name in both)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; matrices row by row, in the order of the adapters."""
        found = self.relations
        return {
            "adapters": [{"name": name, **one._asdict()} for name, one in self.adapters.items()],
            **{name: getattr(found, name).tolist() for name in ("cosine", "inside", "conflict", "shared")},
            "pairs": [
                {"one": one, "other": other, "role": role, "fits": self.fits[one, other]}
                for (one, other), role in self.roles.items()
            ],
            "left_out": dict(self.left_out),
        }


def folders_in(refs: Sequence[str | Path]) -> list[str]:
    """Each reference, or, for a folder that is no adapter but holds some, all of those (one or two levels down), by name."""
    found: list[str] = []
    for ref in refs:
        path = path_of(ref, AdapterError)
        if not path.is_dir() or (path / CONFIG).is_file():
            found.append(str(ref))
            continue
        inside = sorted(file.parent for pattern in (f"*/{CONFIG}", f"*/*/{CONFIG}") for file in path.glob(pattern))
        if not inside:
            raise AdapterError(
                f"{path}: is no adapter and holds none. Give folders that PEFT saved, or one that holds several."
            )
        found += map(str, inside)
    return list(dict.fromkeys(found))


def read_rack(
    refs: Sequence[str | Path],
    allow_pickle: bool = False,
    progress: ProgressFn = silent,
    unpack_to: UnpackTo | None = None,
) -> Rack:
    """Read adapters (folders, zips, Hub ids, or folders that hold several) and compare each with each.

    What cannot be read, or is of layers of another size than the first, is left out with its reason. unpack_to: where zips go,
    and how many bytes all of them may unfold to. Raises InputError unless two are left.
    """
    places, left_out = folders_in(refs), {}
    if len(places) > MOST:
        raise InputError(f"{len(places)} adapters are too many for one map; give up to {MOST}.")
    adapters: dict[str, Adapter] = {}
    names: dict[str, str] = {}
    for ref, one in zip(places, _read_all(places, allow_pickle, progress, unpack_to), strict=True):
        reason = one if isinstance(one, str) else _misfit(one, adapters)
        if isinstance(one, str) or reason:
            left_out[ref] = reason
            continue
        name = _name(ref, places)
        adapters[name], names[name] = one, ref
    if len(adapters) < 2:
        why = "".join(f" {reason}" for reason in list(left_out.values())[:1])
        raise InputError(f"A rack needs two adapters or more, and {len(adapters)} could be read.{why}")
    _check_size(adapters)
    progress(Progress("compare", len(places), len(places), f"comparing {len(adapters)} adapters with each other"))
    found = relations(list(adapters.values()))
    shelved = {
        name: Shelved(names[name], one.rank, len(one.modules), float(norm))
        for (name, one), norm in zip(adapters.items(), found.norms, strict=True)
    }
    sizes = {name: module.layer_size for one in adapters.values() for name, module in one.modules.items()}
    return Rack(shelved, found, pair_roles(adapters, found), _fits(adapters), left_out, sizes)


def _read_all(
    places: Sequence[str], allow_pickle: bool, progress: ProgressFn, unpack_to: UnpackTo | None
) -> list[Adapter | str]:
    """Each adapter, or why it could not be read. One after the other where zips share a bound of bytes."""
    read: list[Adapter | str] = []
    with ThreadPoolExecutor(4 if unpack_to is None else 1) as pool:
        progress(Progress("read", 0, len(places), "reading adapters"))
        for one in pool.map(lambda ref: _read(ref, allow_pickle, unpack_to), places):
            read.append(one)
            progress(Progress("read", len(read), len(places), "reading adapters"))
    return read


def _read(ref: str, allow_pickle: bool, unpack_to: UnpackTo | None) -> Adapter | str:
    try:
        return read_adapter(ref, allow_pickle, unpack_to=_what_is_left(unpack_to))
    except TadaError as error:
        return str(error)


def _what_is_left(unpack_to: UnpackTo | None) -> UnpackTo | None:
    """The next zip may unfold to what the former have left of the bound."""
    if unpack_to is None or unpack_to.most is None:
        return unpack_to
    used = sum(file.stat().st_size for file in unpack_to.folder.rglob("*") if file.is_file())
    return unpack_to._replace(most=max(0, unpack_to.most - used))


def _check_size(adapters: Mapping[str, Adapter]) -> None:
    rank = max(one.rank for one in adapters.values())
    if len(adapters) * rank > MOST_DIRECTIONS:
        raise InputError(
            f"{len(adapters)} adapters of ranks up to {rank} are too large for one map: {len(adapters) * rank} directions a "
            f"module, and {MOST_DIRECTIONS} are the most. Give fewer, or leave out the one with the largest rank."
        )


def _name(ref: str, places: Sequence[str]) -> str:
    """The last part of a path where that is nobody else's, else as much of its end as tells it apart."""
    parts = Path(ref).parts
    for many in range(1, len(parts) + 1):
        end = parts[-many:]
        if sum(Path(other).parts[-many:] == end for other in places) == 1:
            return "/".join(end)
    return ref


def _misfit(one: Adapter, others: Mapping[str, Adapter]) -> str:
    """Why an adapter cannot stand beside those there are: a layer of another size."""
    for other in others.values():
        try:
            Pair(other, one)
        except MismatchError as error:
            return str(error)
    return ""


def _fits(adapters: Mapping[str, Adapter]) -> dict[tuple[str, str], bool]:
    outlines = {name: outline(one) for name, one in adapters.items()}
    names = list(adapters)
    return {
        (one, other): verdict(outlines[one], outlines[other]).fits
        for i, one in enumerate(names)
        for other in names[i + 1 :]
    }
