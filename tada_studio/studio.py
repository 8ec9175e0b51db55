"""THE FLOW: two paths -> pair -> core space; base + inputs -> readings; readings + recipe -> gates -> merge -> scores, folder.

Calls the stations in order and keeps what is expensive (reading, factoring, probing, scores) by content, so that a slider
re-runs only gates and the merge in core space. Every function here is what the API, the command line and the screen share.
"""

import queue
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from tada_studio import base as bases
from tada_studio import hub
from tada_studio import read as reading
from tada_studio.base import Base
from tada_studio.certify import Certificate, certify, changed_files, read_certificate, sha256
from tada_studio.core import gates as gating
from tada_studio.core.factor import factor
from tada_studio.core.gates import Gates
from tada_studio.core.merge import (
    Merged,
    expand,
    head_labels,
    merge_whole,
    mixed,
    output_dtype,
    recompressed,
    whose_heads,
)
from tada_studio.core.merge import merge_core as mix_and_recompress
from tada_studio.core.methods import METHODS
from tada_studio.core.mix import Analysis, Mix, Outside
from tada_studio.errors import AdapterError, BaseError, InputError
from tada_studio.evaluate import Score, Worn, read_items, worn
from tada_studio.evaluate import score as score_items
from tada_studio.evaluate.harness import TaskResult, read_task
from tada_studio.evaluate.harness import run as run_task
from tada_studio.export import export as write_and_certify
from tada_studio.images import ImageFile
from tada_studio.inputs import Input, choose, read_inputs
from tada_studio.lora import CONFIG, WEIGHTS, Adapter, Pair, Passport, Verdict
from tada_studio.probe import Readings
from tada_studio.probe import probe as take_readings
from tada_studio.progress import Progress, Report, silent
from tada_studio.read import pair_up
from tada_studio.read import read_adapter as read_folder
from tada_studio.read.manifest import Manifest
from tada_studio.read.passport import from_manifest, outline
from tada_studio.read.unpack import unpack
from tada_studio.recipe import FORMAT, Recipe
from tada_studio.report import model_card
from tada_studio.samples import Sample
from tada_studio.weights import weights_of

T = TypeVar("T")
Sides = dict[str, dict[str, Score]]


class Kept(Generic[T]):
    """The last few results of something expensive, by what they depend on."""

    def __init__(self, most: int) -> None:
        self.most, self.lock = most, threading.Lock()
        self.results: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        with self.lock:
            if key in self.results:
                self.results.move_to_end(key)
                return self.results[key]
        result = make()  # outside the lock: two at once may both make it, neither waits for the other
        with self.lock:
            self.results[key] = result
            while len(self.results) > self.most:
                self.results.popitem(last=False)
        return result


_PAIRS: Kept[Pair] = Kept(4)
_READINGS: Kept[Readings] = Kept(8)
_SCORES: Kept[Score] = Kept(256)
_UNZIPPED: Kept[Path] = Kept(32)
_ANALYSES: "weakref.WeakKeyDictionary[Pair, Analysis]" = weakref.WeakKeyDictionary()
_UNPROBED: "weakref.WeakKeyDictionary[Pair, gating.Readings]" = weakref.WeakKeyDictionary()


# -- open ----------------------------------------------------------------------------------------------------------


def read_adapter(
    ref: str | Path,
    allow_pickle: bool = False,
    base: Base | str | Path | None = None,
    dora_rank: int | None = None,
    report: Report = silent,
) -> Adapter:
    """An adapter by folder, zip or Hub id; with ``allow_pickle`` also an adapter_model.bin.

    base: loaded, or where it is: with it DoRA is read as its best LoRA of ``dora_rank`` (None: its own rank), and
    ``stands_for`` says what that loses; other adapters do not need it. Raises AdapterError, and for DoRA also MismatchError
    and BaseError.
    """
    return read_folder(_folder(ref), allow_pickle, _standing(base, dora_rank), report)


def _standing(base: Base | str | Path | None, rank: int | None) -> reading.Standing | None:
    return None if base is None else reading.Standing(weights_of(base), rank)


def read_pair(
    task: str | Path,
    domain: str | Path,
    allow_pickle: bool = False,
    base: Base | str | Path | None = None,
    dora_rank: int | None = None,
    report: Report = silent,
) -> Pair:
    """A task adapter and a domain adapter, each by folder, zip or Hub id; ``base`` and ``dora_rank`` as in ``read_adapter``.

    Raises AdapterError or MismatchError, and for DoRA BaseError.
    """
    folders, dora = (_folder(task), _folder(domain)), _standing(base, dora_rank)
    return _PAIRS.get(
        (allow_pickle, _signature(*folders), _mark(base), dora_rank),
        lambda: pair_up(*(reading.measured(read_folder(one, allow_pickle, dora, report)) for one in folders)),
    )


def passports(
    refs: Sequence[str | Path],
    allow_pickle: bool = False,
    base: Base | str | Path | None = None,
    dora_rank: int | None = None,
    report: Report = silent,
) -> tuple[list[Passport], Verdict | None]:
    """The passport of every adapter, and for two whether they fit, by their configs and headers alone.

    Of a Hub id only the config and the header are fetched. Folders' passports also say what the tensors say (trained, norm);
    DoRA's only with its base. Raises AdapterError for what is no adapter.
    """
    seen = [_look(ref, allow_pickle) for ref in refs]
    outlines = [outline(one) if base is None else replace(outline(one), dora=None) for one in seen]
    verdict = reading.verdict(*outlines) if len(seen) == 2 else None

    def passport(ref: str | Path, one: Manifest) -> Passport:
        read = base is not None if one.dora else not _on_hub(ref)
        return _measured(read_adapter(ref, allow_pickle, base, dora_rank, report)) if read else from_manifest(one)

    found = [passport(ref, one) for ref, one in zip(refs, seen, strict=True)]
    if verdict is not None and verdict.fits:
        verdict = replace(verdict, notes=(*verdict.notes, *reading.balance_note(*found)))
    return found, verdict


def _look(ref: str | Path, allow_pickle: bool) -> Manifest:
    return hub.look(str(ref).strip()) if _on_hub(ref) else reading.look(_folder(ref), allow_pickle)


def _on_hub(ref: str | Path) -> bool:
    return hub.is_hub_id(str(ref).strip())


def _measured(adapter: Adapter) -> Passport:
    found = reading.measured(adapter).passport
    assert found is not None
    return found


def _folder(ref: str | Path) -> Path:
    text = str(ref).strip()
    if not text:
        raise AdapterError("An adapter is missing. Give a folder that PEFT saved, or a Hub id such as owner/name.")
    if hub.is_hub_id(text):
        return hub.fetch_adapter(text)
    path = Path(text).expanduser()
    return _unzipped(path) if path.suffix.lower() == ".zip" else path


def _unzipped(archive: Path) -> Path:
    """The folder of a zipped adapter, unpacked once while its bytes are the same; gone when the process ends."""
    if not archive.is_file():
        raise AdapterError(
            f"{archive}: there is no such file. Give a zip of an adapter's folder, or the folder itself."
        )

    def make() -> Path:
        home = Path(_unpacked_here().name) / sha256(archive)[:16]
        shutil.rmtree(home, ignore_errors=True)
        target = home / archive.stem[:100]  # people know an adapter by its folder's name
        target.mkdir(parents=True)
        return unpack(archive, target)

    return _UNZIPPED.get((str(archive.resolve()), archive.stat().st_mtime_ns, archive.stat().st_size), make)


@lru_cache
def _unpacked_here() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="tada-studio-")


def _signature(*folders: Path) -> Hashable:
    """Tells whether the files are still the ones that were read, without reading them."""
    files = [file for folder in folders for file in (folder, *sorted(folder.glob("adapter_*")))]
    return tuple((str(f.resolve()), f.stat().st_mtime_ns, f.stat().st_size) if f.is_file() else str(f) for f in files)


def _mark(base: Base | str | Path | None) -> Hashable:
    """Tells bases apart, and whether a folder's files are still the same."""
    if base is None or isinstance(base, Base):
        return base and base.digest
    files = sorted(Path(base).expanduser().glob("*.safetensors")) if Path(base).expanduser().is_dir() else []
    return str(base), tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def load_base(ref: str | Path, device: str = "auto", dtype: str = "auto") -> Base:
    """A base model by Hub id, folder or GGUF file; see ``base.load_base``. Raises BaseError."""
    return bases.load_base(ref, device, dtype)


def analysis(pair: Pair) -> Analysis:
    """The core space of a pair, factored once. Raises AdapterError if an adapter holds NaN or infinity."""
    known = _ANALYSES.get(pair)
    if known is None:
        known = _ANALYSES[pair] = Analysis(weakref.proxy(pair), factor(pair))
        _check_finite(pair, known)
    return known


def _check_finite(pair: Pair, known: Analysis) -> None:
    finite = known.space.squared_norms.isfinite()
    if not finite.all():
        row, side = (~finite).nonzero()[0].tolist()
        raise AdapterError(
            f"{pair.names[row]}: {(pair.task, pair.domain)[side].label} holds NaN or infinity there; its training diverged, or "
            "the file is damaged. Use an earlier checkpoint."
        )


# -- probe ---------------------------------------------------------------------------------------------------------


def probe(pair: Pair, base: Base, inputs: Sequence[Input], n: int = 32, report: Report = silent) -> Readings:
    """Readings of both adapters from one pass of ``n`` of the inputs through the base. Raises InputError, MismatchError."""
    if not inputs:
        raise InputError("No probe inputs. Give about 32 domain questions or sentences, or images.")
    if {isinstance(one, ImageFile) for one in inputs} != {base.kind == "image"}:
        given = "text" if base.kind == "image" else "images"
        raise InputError(
            f"The base {base.name} reads {base.kind}, and these probe inputs are {given}. Give the kind it reads."
        )
    for adapter in (pair.task, pair.domain):
        base.check_fits(adapter)
    chosen = choose(inputs, n)
    about = {"base": base.name, "base_digest": base.digest, "torch": torch.__version__}

    def take() -> Readings:
        try:
            return take_readings(pair, base.model, base.tokenizer, chosen, about=about, report=report)
        except torch.OutOfMemoryError as error:
            raise BaseError(
                f"{base.ref}: memory ran out while probing. Probe shorter inputs, or on the CPU."
            ) from error

    return _READINGS.get((pair.task.digest, pair.domain.digest, base.digest, tuple(chosen)), take)


def unprobed(pair: Pair) -> gating.Readings:
    """Readings of nothing, for a pair without a base: every gate is even."""
    known = _UNPROBED.get(pair)
    if known is None:
        known = _UNPROBED[pair] = gating.unprobed(pair, analysis(pair).space.present)
    return known


# -- tune and merge ------------------------------------------------------------------------------------------------


def gates(readings: gating.Readings, recipe: Recipe | None = None) -> Gates:
    """The gate map of a recipe; ``values`` is (layers, projections), NaN where no module is. Raises RecipeError."""
    return gating.gates(readings, recipe)


def mix(pair: Pair, gate_map: Gates, recipe: Recipe, readings: gating.Readings | None = None) -> Mix | Outside:
    """How a recipe mixes the two: weights and drops. Raises RecipeError."""
    return mixed(analysis(pair), gate_map, recipe, None if readings is None else readings.moment)


def merge_mix(pair: Pair, how: Mix | Outside, recipe: Recipe, before: Merged | None = None) -> Merged:
    """The merge in core space of a mix. ``before``: an earlier merge of this pair; only what changed since is done again."""
    return recompressed(analysis(pair), how, recipe, before)


def merge_core(pair: Pair, gate_map: Gates, recipe: Recipe, readings: gating.Readings | None = None) -> Merged:
    """The merge in core space: spectra, drops, energies. Raises RecipeError."""
    return merge_mix(pair, mix(pair, gate_map, recipe, readings), recipe)


def merge(pair: Pair, readings: gating.Readings | None = None, recipe: Recipe | None = None) -> Adapter:
    """The merged adapter: one rank everywhere, scale 1, rounded to the recipe's number format.

    readings None: weights-only, every computed gate is .5. Raises MismatchError for readings of another pair, RecipeError.
    """
    recipe = recipe or Recipe()
    if readings is not None:
        readings.belongs_to(pair)
    known = analysis(pair)
    gate_map = gates(readings if readings is not None else unprobed(pair), recipe)
    core = mix_and_recompress(known, gate_map, recipe, None if readings is None else readings.moment)
    return Adapter(
        label=f"{recipe.method} of {pair.task.label} and {pair.domain.label}",
        modules=expand(known, core, output_dtype(pair, recipe)),
        base=pair.task.base or pair.domain.base,
        task_type=pair.task.task_type or pair.domain.task_type,
        whole=merge_whole(pair, recipe),
        heads=tuple(whose_heads(pair, recipe)),
        labels=head_labels(pair, recipe),
        origin=MergeOrigin(pair, readings, recipe),
    )


def logged(merged: Adapter, log: Sequence[str]) -> Adapter:
    """The merge with the steps that led to its recipe: recipe.json keeps them, the weights do not depend on them."""
    origin = merged.origin
    return replace(merged, origin=replace(origin, log=tuple(log))) if isinstance(origin, MergeOrigin) else merged


@dataclass(frozen=True, eq=False)
class MergeOrigin:
    """What a merge came from; ``to_dict`` is recipe.json. log: what was done to the recipe, in order, if a hand made it."""

    pair: Pair
    readings: gating.Readings | None
    recipe: Recipe
    log: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        heads = whose_heads(self.pair, self.recipe)
        return {
            "format": FORMAT,
            "recipe": self.recipe.to_dict(),
            **({"log": list(self.log)} if self.log else {}),
            **({"heads": heads} if heads else {}),
            "inputs": {
                "task": _input(self.pair.task),
                "domain": _input(self.pair.domain),
                "readings": getattr(self.readings, "digest", None),
                "readings_about": dict(self.readings.about) if self.readings is not None else None,
            },
            "versions": {"tada-studio": own_version(), "torch": torch.__version__},
        }


def _input(adapter: Adapter) -> dict[str, Any]:
    files = [Path(adapter.source) / name for name in (CONFIG, WEIGHTS)] if adapter.source else []
    return {
        "label": adapter.label,
        "content_sha256": adapter.digest,
        "files_sha256": {file.name: sha256(file) for file in files if file.is_file()},
        **({"stands_for": asdict(adapter.stands_for)} if adapter.stands_for else {}),
    }


def own_version() -> str:
    """This package's version; a checkout that was never installed (a Space) has none."""
    try:
        return version("tada-studio")
    except PackageNotFoundError:
        return "checkout"


def remarks_on_recipe(content: Mapping[str, Any], pair: Pair, readings: gating.Readings | None) -> list[str]:
    """What in a recipe.json belongs to other inputs than these: then the bytes will differ."""
    inputs, found = content.get("inputs") or {}, []
    for role, adapter in (("task", pair.task), ("domain", pair.domain)):
        wanted = (inputs.get(role) or {}).get("content_sha256")
        if wanted and wanted != adapter.digest:
            found.append(f"The recipe was made for another {role} adapter than {adapter.label}.")
    if inputs.get("readings") != getattr(readings, "digest", None):
        found.append("The recipe was made with other probe readings than these (or with none).")
    return found


# -- evaluate ------------------------------------------------------------------------------------------------------


def evaluate(
    base: Base, variants: Mapping[str, Adapter | None], items: Sequence[Any], report: Report = silent
) -> dict[str, Score]:
    """A score for every variant (None: the base itself) on the same items, in the order given. Raises TadaError."""
    sides: Sides = {}
    score_sides(base, variants, {"items": items}, sides, report)
    return sides["items"]


def score_sides(
    base: Base,
    variants: Mapping[str, Adapter | None],
    sides: Mapping[str, Sequence[Any]],
    into: Sides,
    report: Report = silent,
) -> None:
    """Score every variant on every side's items, writing each score into ``into[side][variant]`` as it is done."""
    total = sum(map(len, sides.values())) * len(variants)
    done = 0
    for adapter in filter(None, variants.values()):
        base.check_fits(adapter)
    dressed = {side: worn(base, variants, items) for side, items in sides.items()}
    for name in variants:
        for side, items in sides.items():
            part = _shifted(report, done, total)
            into.setdefault(side, {})[name] = _score(dressed[side][name], items, name, part)
            done += len(items)
    report(Progress("evaluate", done, total, "all variants scored"))


def score_tasks(
    base: Base,
    variants: Mapping[str, Adapter | None],
    tasks: Sequence[str],
    limit: int | None = None,
    report: Report = silent,
) -> dict[str, dict[str, TaskResult]]:
    """Task -> variant -> result of lm-evaluation-harness (the extra ``lm-eval``); tasks by name or as .yaml files. Raises
    InputError, MismatchError."""
    read = [read_task(task) for task in tasks]
    for worn_adapter in filter(None, variants.values()):
        base.check_fits(worn_adapter)
    found: dict[str, dict[str, TaskResult]] = {}
    for name, adapter in variants.items():
        for task in read:
            with base.wearing(adapter):
                result = run_task(base, task, limit, name, report)
            found.setdefault(result.task, {})[name] = result
    return found


def _shifted(report: Report, before: int, total: int) -> Report:
    return lambda progress: report(Progress("evaluate", before + progress.done, total, progress.note))


def _score(dressed: Worn, items: Sequence[Any], name: str, report: Report) -> Score:
    base = dressed.base

    def take() -> Score:
        with base.wearing(dressed.adapter), base.wearing_head(dressed.head):
            return score_items(base, items, name, report)

    digests = (adapter.digest if adapter else None for adapter in (dressed.adapter, dressed.head))
    found = _SCORES.get((base.digest, *digests, base.labels, tuple(items)), take)
    return replace(found, name=name, note=dressed.note)


#: Baselines that are a method with a knob turned; every other method's name stands for it with default knobs.
TURNED = {"average": Recipe(method="linear", strength=1.0), "sum": Recipe(method="linear", strength=2.0)}


def variants(
    pair: Pair, merged: Adapter, recipe: Recipe, names: Sequence[str], others: Mapping[str, Adapter] | None = None
) -> dict[str, Adapter | None]:
    """Adapters by the names people use: base, task, domain, average, sum, a method with default knobs, all at the same rank; the
    recipe's own method stands for ``merged``. others: whatever else goes by a name: earlier recipes' merges, exported adapters.

    Raises InputError for a name that nobody knows.
    """
    plain: dict[str, Adapter | None] = {"base": None, "task": pair.task, "domain": pair.domain, **(others or {})}
    rank = max(module.rank for module in merged.modules.values())

    def one(name: str) -> Adapter | None:
        if name in plain:
            return plain[name]
        if name not in METHODS and name not in TURNED:
            known = ", ".join([*plain, *TURNED, *METHODS])
            raise InputError(f"{name}: no such variant. There are: {known}.")
        if name == recipe.method:
            return merged
        return merge(pair, None, TURNED[name].but(rank=rank) if name in TURNED else Recipe(method=name, rank=rank))

    return {name: one(name) for name in names}


#: Strengths that ``tuned`` tries: weights of .5 to 2 for each adapter.
STRENGTHS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)


def tuned(
    base: Base,
    pair: Pair,
    recipe: Recipe,
    validation: Mapping[str, Sequence[Any]],
    strengths: Sequence[float] = STRENGTHS,
    readings: gating.Readings | None = None,
    report: Report = silent,
) -> Recipe:
    """The recipe with the strength that does best on validation items: by the mean accuracy over the sides, then by NLL.

    For a fair fight: PEFT's TIES averages where others add, so that its best weights are not 1 and 1.
    """
    recipes = {f"{recipe.method} at strength {size:g}": recipe.but(strength=size) for size in strengths}
    sides: Sides = {}
    adapters = {name: merge(pair, readings, one) for name, one in recipes.items()}
    score_sides(base, adapters, validation, sides, report)
    return recipes[max(recipes, key=lambda name: _merit([scores[name] for scores in sides.values()]))]


def _merit(scores: Sequence[Score]) -> tuple[float, float]:
    """What the larger of is the better."""
    return sum(score.accuracy or 0.0 for score in scores), -sum(score.nll or 0.0 for score in scores)


def sample_inputs(sample: Sample) -> list[Input]:
    """The probe inputs of a sample."""
    return read_inputs(sample.probe)


def sample_items(sample: Sample) -> dict[str, list[Any]]:
    """The items of each side of a sample."""
    return {side: read_items(path) for side, path in sample.items.items()}


def sample_validation(sample: Sample) -> dict[str, list[Any]]:
    """The items of each side that a sample sets apart for choosing knobs. Raises InputError if it has none."""
    if not sample.validation:
        raise InputError(f"{sample.name}: has no validation items, and what is tuned on test items proves nothing.")
    return {side: read_items(path) for side, path in sample.validation.items()}


# -- export --------------------------------------------------------------------------------------------------------


def export(
    merged: Adapter, out: str | Path, base: Base | None = None, report: Report = silent, measured: Sides | None = None
) -> Certificate:
    """Write a merged adapter as a PEFT folder with card, recipe.json and certificate.json, read back and certified.

    Raises ExportError, and leaves nothing half-written, if it cannot be written or if the certificate does not hold.
    """
    card = _card(merged, measured or {})
    return write_and_certify(merged, out, base, card=card, report=report)


def _card(merged: Adapter, measured: Sides) -> str:
    return model_card(merged, merged.origin.to_dict() if merged.origin else {}, measured)


def push(folder: str | Path, repo_id: str, private: bool = True, token: str | None = None) -> str:
    """Upload an exported folder to the Hub; see ``hub.push``. Raises ExportError."""
    return hub.push(folder, repo_id, private, token)


def verify(folder: str | Path, base: Base | None = None) -> tuple[list[str], Certificate]:
    """Re-check an exported folder: (what is wrong, a fresh certificate). Raises ExportError if it has no certificate."""
    written = read_certificate(folder)
    changed = changed_files(folder, written["outputs"])
    adapter = read_folder(folder)
    found = certify(adapter, folder, base)
    wrong = [f"{name} is not the file that was certified." for name in changed]
    if written["verdict"] != "pass":
        wrong.append("Its own certificate says that it failed.")
    if not found.holds:
        wrong.append("What PEFT reads back is not what the files hold.")
    return wrong, found


# -- long work -----------------------------------------------------------------------------------------------------


def stream(work: Callable[[Report], T]) -> Iterator[Progress | T]:
    """Each Progress of ``work(report)`` as it comes, then its result; raises what it raised.

    The work runs in a thread of its own. If the reader goes away, the next report ends it.
    """
    told: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    gone = threading.Event()

    def tell(progress: Progress) -> None:
        if gone.is_set():
            raise GeneratorExit
        told.put(("progress", progress))

    def run() -> None:
        try:
            told.put(("result", work(tell)))
        except BaseException as error:
            told.put(("error", error))

    threading.Thread(target=run, daemon=True, name="tada-work").start()
    try:
        while True:
            kind, value = told.get()
            if kind == "error":
                raise value
            yield value
            if kind == "result":
                return
    finally:
        gone.set()
