"""Two paths -> pair: adapters by folder, zip or Hub id, their passports, the base."""

import shutil
import tempfile
import weakref
from collections.abc import Hashable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

from tada_studio import read as reading
from tada_studio import scratch
from tada_studio.base_model.convert import as_lora, convertible
from tada_studio.base_model.files import parameters_of
from tada_studio.base_model.model import Base, load_base
from tada_studio.base_model.placement import ONE_DEVICE, Placement
from tada_studio.base_model.skeleton import at_home, heads_of, real_class
from tada_studio.base_model.weights import weights_of
from tada_studio.errors import AdapterError, BaseError
from tada_studio.files import path_of, sha256, shown
from tada_studio.lora import Adapter, Pair, Passport, Verdict
from tada_studio.pipeline.cache import LruCache
from tada_studio.pipeline.roles import alone
from tada_studio.pipeline.shared_bases import BASES, base_key
from tada_studio.progress import ProgressFn, silent
from tada_studio.read import hub, pair_up
from tada_studio.read import read_adapter as read_folder
from tada_studio.read.fit import SAME_ADAPTER, outline, same_content
from tada_studio.read.manifest import Manifest
from tada_studio.read.passport import from_manifest
from tada_studio.read.two_names import one_layer_two_names
from tada_studio.read.unpack import unpack

_PAIRS: LruCache[Pair] = LruCache(4)


class UnpackTo(NamedTuple):
    """Where zips are unpacked for someone who deletes them, and how many bytes each may unfold to (None: as many as ever)."""

    folder: Path
    most: int | None = None


class _Unpacked:
    """A folder that a zip was unpacked into; deleted when nobody holds this any more."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.folder = folder
        weakref.finalize(self, shutil.rmtree, home, ignore_errors=True)


_UNZIPPED: LruCache[_Unpacked] = LruCache(8)
#: An adapter's files stay while it is in use: its weights may be mapped from them, and an export looks at them again.
_FILES_OF: "weakref.WeakKeyDictionary[Adapter, _Unpacked]" = weakref.WeakKeyDictionary()


def read_adapter(
    ref: str | Path,
    allow_pickle: bool = False,
    base: Base | str | Path | None = None,
    dora_rank: int | None = None,
    progress: ProgressFn = silent,
    unpack_to: UnpackTo | None = None,
) -> Adapter:
    """An adapter by folder, zip or Hub id; with ``allow_pickle`` also an adapter_model.bin.

    base: loaded, or where it is: with it DoRA is read as its best LoRA of ``dora_rank`` (None: its own rank), and
    ``stands_for`` says what that loses; other adapters do not need it. unpack_to: as in ``read_pair``. Raises AdapterError, and
    for DoRA also MismatchError and BaseError.
    """
    folder = _folder(ref, unpack_to)
    adapter = _with_beside(_read(folder, allow_pickle, base, dora_rank, progress), ref)
    _keep_files(adapter, folder)
    return adapter


def _with_beside(adapter: Adapter, ref: str | Path) -> Adapter:
    """The adapter, whose passport says what lies beside it on the Hub and was not fetched."""
    names = hub.beside(str(ref).strip()) if _on_hub(ref) else ()
    if not names or adapter.passport is None:
        return adapter
    passport = adapter.passport
    return replace(adapter, passport=replace(passport, remarks=(*passport.remarks, reading.beside_says(names))))


def _read(
    folder: Path, allow_pickle: bool, base: Base | str | Path | None, rank: int | None, progress: ProgressFn
) -> Adapter:
    """The adapter in a folder or file; with its base at hand also one of PEFT's types that becomes a LoRA there."""
    if base is not None and convertible(folder):
        return as_lora(folder, base if isinstance(base, Base) else load_base(base), rank, progress)
    return read_folder(folder, allow_pickle, _standing(base, rank), progress, _heads(folder, base))


def _standing(base: Base | str | Path | None, rank: int | None) -> reading.Standing | None:
    return None if base is None else reading.Standing(weights_of(base), rank)


def _heads(place: Path, base: Base | str | Path | None) -> reading.Heads | None:
    """How many heads the base of a LoRA of llama.cpp has, by its config: the base at hand, or the one that the file names."""
    if (file := reading.llama_cpp_file(place)) is None:
        return None
    at_hand = base if base is not None else reading.look(file).base
    return None if at_hand is None else heads_of(at_hand)


def read_pair(
    task: str | Path,
    domain: str | Path | None,
    allow_pickle: bool = False,
    base: Base | str | Path | None = None,
    dora_rank: int | None = None,
    progress: ProgressFn = silent,
    same_base: bool = False,
    unpack_to: UnpackTo | None = None,
) -> Pair:
    """A task adapter and a domain adapter, each by folder, zip or Hub id; ``base`` and ``dora_rank`` as in ``read_adapter``.

    domain: None for the task adapter alone, as a pair whose other side changes nothing

    same_base: both were trained on one base, whatever their configs call it; recipe.json and the card say that you said so.
    unpack_to: where zips go; None: to a place of this process's, until the adapters are used no more.
    Raises AdapterError or MismatchError, and for DoRA BaseError.
    """
    refs = [one for one in (task, domain) if one is not None]
    folders = [_folder(one, unpack_to) for one in refs]

    def read(ref: str | Path, folder: Path) -> Adapter:
        return reading.measured(_with_beside(_read(folder, allow_pickle, base, dora_rank, progress), ref))

    def made() -> Pair:
        ours, *theirs = _at_home([read(*one) for one in zip(refs, folders, strict=True)], base)
        return pair_up(ours, theirs[0], same_base) if theirs else alone(ours)

    def make() -> Pair:
        pair = made()
        for adapter, folder in zip((pair.task, pair.domain), folders, strict=False):  # one, if the task stands alone
            _keep_files(adapter, folder)
        return pair

    key = (allow_pickle, _signature(*folders), len(folders), _mark(base), dora_rank, same_base)
    return make() if unpack_to is not None else _PAIRS.get(key, make)


def _at_home(adapters: Sequence[Adapter], base: Base | str | Path | None) -> Sequence[Adapter]:
    """Adapters under the names of their base's real class: of the base, or of the one they name if only that can tell.

    Raises MismatchError for modules that the class does not have.
    """
    if base is None and (len(adapters) < 2 or one_layer_two_names(*(one.modules for one in adapters)) is None):
        return adapters
    at_hand = base if base is not None else next((one.base for one in adapters if one.base), None)
    kind = real_class(at_hand, adapters, fetch=base is not None)
    if kind is None:
        return adapters
    name = at_hand.name if isinstance(at_hand, Base) else shown(Path(str(at_hand)).name, 80)
    return [at_home(one, kind, name) for one in adapters]


def passports(
    refs: Sequence[str | Path],
    allow_pickle: bool = False,
    base: Base | str | Path | None = None,
    dora_rank: int | None = None,
    progress: ProgressFn = silent,
    same_base: bool = False,
) -> tuple[list[Passport], Verdict | None]:
    """The passport of every adapter, and for two whether they fit, by their configs and headers alone.

    Of a Hub id only the config and the header are fetched. Folders' passports also say what the tensors say (trained, norm);
    DoRA's only with its base. Raises AdapterError for what is no adapter.
    """
    seen = [_look(ref, allow_pickle, base, dora_rank, progress) for ref in refs]
    outlines = [outline(one) if base is None else replace(outline(one), dora=None) for one in seen]
    verdict = reading.verdict(outlines[0], outlines[1], same_base) if len(seen) == 2 else None

    def measured(ref: str | Path, one: Manifest | Adapter) -> Adapter | None:
        if isinstance(one, Adapter):
            return reading.measured(one)
        read = base is not None if one.dora else not _on_hub(ref)
        return reading.measured(read_adapter(ref, allow_pickle, base, dora_rank, progress)) if read else None

    adapters = [measured(ref, one) for ref, one in zip(refs, seen, strict=True)]
    if None not in adapters:
        adapters = [*_at_home([one for one in adapters if one is not None], base)]
        outlines = [outline(one) for one in adapters if one is not None]
        verdict = reading.verdict(outlines[0], outlines[1], same_base) if len(seen) == 2 else None
    found = [
        (a and a.passport)
        or (one.passport or Passport(one.label, {}) if isinstance(one, Adapter) else from_manifest(one))
        for a, one in zip(adapters, seen, strict=True)
    ]
    return found, verdict and _with_numbers(verdict, found, adapters)


def _with_numbers(verdict: Verdict, found: Sequence[Passport], adapters: Sequence[Adapter | None]) -> Verdict:
    """The verdict with what the tensors add to it, if they were read: NaN forbids; unequal sizes and equal numbers are noted."""
    refused = [one.refused for one in found if one.refused]
    first, second = adapters
    same = (
        [SAME_ADAPTER]
        if first is not None and second is not None and not refused and same_content(first, second)
        else []
    )
    notes = (*same, *verdict.notes, *(reading.balance_note(*found) if verdict.fits else ()))
    return replace(verdict, reasons=(*verdict.reasons, *refused), notes=notes)


def _look(
    ref: str | Path, allow_pickle: bool, base: Base | str | Path | None, rank: int | None, progress: ProgressFn
) -> Manifest | Adapter:
    """What the headers say; of a type that only its base makes a LoRA, the adapter itself."""
    if _on_hub(ref):
        return hub.look(str(ref).strip())
    folder = _folder(ref)
    if base is not None and convertible(folder):
        return _read(folder, allow_pickle, base, rank, progress)
    return reading.look(folder, allow_pickle)


def _on_hub(ref: str | Path) -> bool:
    return hub.is_hub_id(str(ref).strip())


def _folder(ref: str | Path, unpack_to: UnpackTo | None = None) -> Path:
    text = str(ref).strip()
    if not text:
        raise AdapterError("An adapter is missing. Give a folder that PEFT saved, or a Hub id such as owner/name.")
    if hub.is_hub_id(text):
        return hub.fetch_adapter(text)
    path = path_of(text, AdapterError)
    return _unzipped(path, unpack_to) if path.suffix.lower() == ".zip" else path


def _unzipped(archive: Path, unpack_to: UnpackTo | None) -> Path:
    """The folder of a zipped adapter. Without ``unpack_to`` unpacked once while its bytes are the same, and gone when neither an
    adapter nor the cache holds it; what is refused leaves nothing behind."""
    if not archive.is_file():
        raise AdapterError(
            f"{archive}: there is no such file. Give a zip of an adapter's folder, or the folder itself."
        )
    if unpack_to is not None:
        return _unpack(archive, unpack_to.folder / sha256(archive)[:16], unpack_to.most)

    def make() -> _Unpacked:
        home = Path(tempfile.mkdtemp(prefix="unpacked-", dir=scratch.root()))
        return _Unpacked(home, _unpack(archive, home))

    signature = (str(archive.resolve()), archive.stat().st_mtime_ns, archive.stat().st_size)
    return _UNZIPPED.get(signature, make).folder


def _unpack(archive: Path, home: Path, most: int | None = None) -> Path:
    target = home / archive.stem[:100]  # people know an adapter by its folder's name
    if target.exists():
        return target  # both adapters are the same zip
    target.mkdir(parents=True)
    try:
        return unpack(archive, target, most)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def _keep_files(adapter: Adapter, folder: Path) -> None:
    for unpacked in list(_UNZIPPED.results.values()):
        if unpacked.folder == folder:
            _FILES_OF[adapter] = unpacked


def _signature(*folders: Path) -> Hashable:
    """Tells whether the files are still the ones that were read, without reading them."""
    kinds = ("adapter_*", "*.safetensors", "*.gguf")
    files = [file for folder in folders for file in (folder, *sorted({f for kind in kinds for f in folder.glob(kind)}))]
    return tuple((str(f.resolve()), f.stat().st_mtime_ns, f.stat().st_size) if f.is_file() else str(f) for f in files)


def _mark(base: Base | str | Path | None) -> Hashable:
    """Tells bases apart, and whether a folder's files are still the same."""
    if base is None or isinstance(base, Base):
        return base and base.digest
    folder = path_of(base, BaseError)
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return str(base), tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def shared_base(ref: str, progress: ProgressFn = silent, place: Placement = ONE_DEVICE) -> Base:
    """A base model that all sessions of this process share. Raises BaseError, and Stopped from ``progress``."""
    placed = {spec.name: getattr(place, spec.name) for spec in fields(place)}
    return BASES.get(
        (base_key(ref, place.device, place.dtype), place.key), lambda: load_base(ref, progress=progress, **placed)
    )


def check_size(ref: str, most: int | None) -> None:
    """Raises BaseError for a base of more than ``most`` parameters, by the headers of its files, before any weight is read."""
    if most is not None and (found := parameters_of(ref)) > most:
        raise BaseError(
            f"{ref}: has {found / 1e9:.1f} B parameters, and this public server runs bases up to {most / 1e9:g} B. Inspect and "
            "merge by the weights alone, or run TaDA Studio on a machine of your own."
        )
