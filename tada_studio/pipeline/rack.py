"""Many adapters of one base at a glance: who is related to whom, from their weights alone. No base model is needed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tada_studio.core.relations import Relations, relations
from tada_studio.errors import AdapterError, InputError, MismatchError, TadaError
from tada_studio.lora import CONFIG, Adapter, Pair
from tada_studio.pipeline.opening import read_adapter
from tada_studio.pipeline.roles import pair_roles
from tada_studio.read import outline, verdict

#: Adapters that one rack holds at most: the map has a cell for every two.
MOST = 200


@dataclass(frozen=True, eq=False)
class Rack:
    """N adapters by name, how they stand to each other, and what was left out, with the reason.

    fits: for every two, by name, whether they can be merged; refs: where each adapter was read from
    """

    adapters: dict[str, Adapter]
    refs: dict[str, str]
    relations: Relations
    roles: dict[tuple[str, str], str]
    fits: dict[tuple[str, str], bool]
    left_out: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; matrices row by row, in the order of the adapters."""
        found = self.relations
        return {
            "adapters": [
                {
                    "name": name,
                    "ref": self.refs[name],
                    "rank": one.rank,
                    "modules": len(one.modules),
                    "norm": float(norm),
                }
                for (name, one), norm in zip(self.adapters.items(), found.norms, strict=True)
            ],
            **{name: getattr(found, name).tolist() for name in ("cosine", "inside", "conflict", "shared")},
            "pairs": [
                {"one": one, "other": other, "role": role, "fits": self.fits[one, other]}
                for (one, other), role in self.roles.items()
            ],
            "left_out": self.left_out,
        }


def folders_in(refs: Sequence[str | Path]) -> list[str]:
    """Each reference, or, for a folder that is no adapter but holds some, all of those (one or two levels down), by name."""
    found: list[str] = []
    for ref in refs:
        path = Path(str(ref)).expanduser()
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


def read_rack(refs: Sequence[str | Path], allow_pickle: bool = False) -> Rack:
    """Read adapters (folders, zips, Hub ids, or folders that hold several) and compare each with each.

    What cannot be read, or is of layers of another size than the first, is left out with its reason. Raises InputError unless
    two are left.
    """
    places, left_out = folders_in(refs), {}
    if len(places) > MOST:
        raise InputError(f"{len(places)} adapters are too many for one map; give up to {MOST}.")
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda ref: _read(ref, allow_pickle), places))
    adapters: dict[str, Adapter] = {}
    names: dict[str, str] = {}
    for ref, one in zip(places, read, strict=True):
        reason = one if isinstance(one, str) else _misfit(one, adapters)
        if isinstance(one, str) or reason:
            left_out[ref] = reason
            continue
        name = _name(ref, places)
        adapters[name], names[name] = one, ref
    if len(adapters) < 2:
        why = "".join(f" {reason}" for reason in list(left_out.values())[:1])
        raise InputError(f"A rack needs two adapters or more, and {len(adapters)} could be read.{why}")
    found = relations(list(adapters.values()))
    return Rack(adapters, names, found, pair_roles(adapters, found), _fits(adapters), left_out)


def _read(ref: str, allow_pickle: bool) -> Adapter | str:
    try:
        return read_adapter(ref, allow_pickle)
    except TadaError as error:
        return str(error)


def _name(ref: str, places: Sequence[str]) -> str:
    """The last part of a path where that is nobody else's, else as much of its end as tells it apart."""
    parts = Path(ref).parts
    for many in range(1, len(parts) + 1):
        end = parts[-many:]
        if sum(Path(other).parts[-many:] == end for other in places) == 1:
            return "/".join(end)
    return ref


def _misfit(one: Adapter, others: dict[str, Adapter]) -> str:
    """Why an adapter cannot stand beside those there are: a layer of another size."""
    for other in others.values():
        try:
            Pair(other, one)
        except MismatchError as error:
            return str(error)
    return ""


def _fits(adapters: dict[str, Adapter]) -> dict[tuple[str, str], bool]:
    outlines = {name: outline(one) for name, one in adapters.items()}
    names = list(adapters)
    return {
        (one, other): verdict(outlines[one], outlines[other]).fits
        for i, one in enumerate(names)
        for other in names[i + 1 :]
    }
