"""Named endpoints for scripts and agents (gradio_client, curl, MCP): what the screen does, without one.

Each call stands for itself: it opens the pair, does its work in the queue that the screen waits in, and leaves nothing but the
files that it answers with.
"""

import functools
import html
import inspect
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, get_type_hints

import gradio as gr
from gradio import FileData
from pydantic import TypeAdapter, ValidationError

from tada_studio import pipeline
from tada_studio import report as texts
from tada_studio.addresses import Address
from tada_studio.app.api_caller import Caller, FilesOfReadings
from tada_studio.app.api_models import (
    AdapterRef,
    DirectionInfo,
    GatesInfo,
    Items,
    MergeInfo,
    PairInfo,
    PairRef,
    PassportInfo,
    ReadingsInfo,
    ReportInfo,
    SampleInfo,
    ScoreInfo,
    SpectrumInfo,
    adapter_path,
)
from tada_studio.app.fair_queue import API_WORK_LANE
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.visitors import Visitors
from tada_studio.app.widgets.messages import speaking
from tada_studio.app.work_queue import in_turn
from tada_studio.core.module_detail import DirectionState
from tada_studio.errors import InputError, Stopped
from tada_studio.evaluation import read_items
from tada_studio.evaluation.runs import cells
from tada_studio.html_report import html_report
from tada_studio.lora import Passport
from tada_studio.probing import Readings
from tada_studio.progress import silent
from tada_studio.sample_pairs import samples as all_samples
from tada_studio.session import Session

Endpoint: TypeAlias = Callable[..., Any]


# -- endpoints -------------------------------------------------------------------------------------------------------


def samples(caller: Caller) -> list[SampleInfo]:
    """The embedded samples."""
    return [SampleInfo(name=s.name, title=s.title, story=s.story, base=s.base) for s in all_samples().values()]


def passport(caller: Caller, adapter: AdapterRef) -> PassportInfo:
    """What the files of one LoRA adapter say about it.

    Args:
        adapter: folder, Hub id (owner/name) or uploaded zip.
    """
    found = pipeline.read_adapter(adapter_path(adapter, "adapter", caller.paths)).passport
    assert found is not None, "every adapter that was read has a passport"
    return _passport(found)


def open_pair(caller: Caller, pair: PairRef) -> PairInfo:
    """Whether two adapters can be merged, and what to know before.

    Args:
        pair: a sample by name, or two adapters.
    """
    if pair.sample is not None:
        with caller.session(pair) as session:
            opened = session.opened
        assert opened is not None
        refs = [opened.task, opened.domain]
    else:
        refs = [adapter_path(getattr(pair, role), role, caller.paths) for role in ("task", "domain")]
    (task, domain), verdict = pipeline.passports(refs)
    assert verdict is not None, "there are two"
    return PairInfo(
        fits=verdict.fits, reasons=list(verdict.reasons), notes=list(verdict.notes), task=_passport(task),
        domain=_passport(domain),
    )  # fmt: skip


def probe(
    caller: Caller,
    pair: PairRef,
    inputs: list[str] | None = None,
    n: int = 32,
    task_inputs: list[str] | None = None,
) -> ReadingsInfo:
    """Run inputs of the domain, and of the task, through the base once and read what both adapters do there.

    Args:
        pair: a sample by name, or two adapters and their base.
        inputs: about 32 texts of the domain; null takes the sample's own.
        n: how many of each to use.
        task_inputs: about 32 prompts of the task as they come in use; without them the method tada cannot separate the two.
    """
    with caller.session(pair) as session:
        domain, task = (list(given) if given else None for given in (inputs, task_inputs))
        readings = in_turn(session, lambda progress: session.probe(domain, n, progress, task))(silent)
        assert isinstance(readings, Readings)
        file = caller.new_folder() / "readings.json"
        readings.save(file)
    return _readings_info(readings, file)


def readings(caller: Caller, pair: PairRef, readings: FilesOfReadings | None = None) -> ReadingsInfo:
    """Look at readings that were saved before, or at those that a sample brings, and check that they belong to the pair.

    Args:
        pair: the pair that they were taken of.
        readings: readings.json and readings.safetensors; null takes the sample's own.
    """
    with caller.session(pair, readings) as session:
        found = session.readings
        if not isinstance(found, Readings):
            raise InputError("readings: the pair comes with none. Give both files of a probe, or probe first.")
        file = caller.new_folder() / "readings.json"
        found.save(file)
    return _readings_info(found, file)


def gates(
    caller: Caller, pair: PairRef, readings: FilesOfReadings | None = None, recipe: dict[str, Any] | None = None
) -> GatesInfo:
    """The gate of every module: which adapter the merge follows there.

    Args:
        pair: a sample by name, or two adapters.
        readings: both files of a probe; null leaves every gate at .5, or takes the sample's own.
        recipe: knobs by name; an empty object takes all defaults.
    """
    with caller.session(pair, readings, recipe) as session:
        found, probed = _view(session).gates, session.readings is not None
    return GatesInfo(
        layers=list(found.layers), towers=list(found.towers), projections=list(found.projections), probed=probed,
        gates=list(map(list, cells(found.values))), computed=list(map(list, cells(found.computed))),
    )  # fmt: skip


def spectrum(
    caller: Caller,
    pair: PairRef,
    layer: int,
    projection: str,
    readings: FilesOfReadings | None = None,
    recipe: dict[str, Any] | None = None,
    tower: str = "",
) -> SpectrumInfo:
    """The directions of both adapters in one module, and what the merge keeps of them.

    Args:
        pair: a sample by name, or two adapters.
        layer: counts from 0 at the input.
        projection: such as v_proj.
        readings: both files of a probe, or null.
        recipe: knobs by name; an empty object takes all defaults.
        tower: such as encoder, in a base that has several.
    """
    with caller.session(pair, readings, recipe) as session:
        view, address = _view(session), Address(layer, projection, tower)
        if address not in view.pair.addresses.values():
            raise InputError(
                f"{address}: the pair has no such module. The endpoint gates lists layers and projections."
            )
        found = view.module_detail(address)
    return SpectrumInfo(
        task=list(map(_direction, found.task)), domain=list(map(_direction, found.domain)),
        spectrum=found.spectrum.tolist(), kept=found.kept.tolist(),
    )  # fmt: skip


def merge(
    caller: Caller,
    pair: PairRef,
    readings: FilesOfReadings | None = None,
    recipe: dict[str, Any] | None = None,
    logits: bool = False,
) -> MergeInfo:
    """Merge two adapters into one, certify it and answer it as a file that PEFT loads.

    Args:
        pair: a sample by name, or two adapters.
        readings: both files of a probe; null merges by the weights alone, or takes the sample's own.
        recipe: knobs by name; an empty object takes all defaults.
        logits: also run the base with the merged adapter and compare its answers, which takes longer.
    """
    with caller.session(pair, readings, recipe) as session:

        def work(progress: Callable[[Any], None]) -> Any:
            if logits:
                session.load_base(progress=progress)
            folder = caller.new_folder()  # in its turn: one that waits would clear away answers
            return folder, session.export(folder / "merged", progress)

        folder, certificate = in_turn(session, work)(silent)
        view = _view(session)
        rank, lacks = view.merged.rank, texts.missing_sentence(view.missing, view.recipe.method, view.called)
    archive = shutil.make_archive(str(folder / "merged"), "zip", folder / "merged")
    shutil.rmtree(folder / "merged")
    return MergeInfo(
        file=_file(archive), verdict="pass" if certificate.holds else "fail", rank=rank,
        says=[*filter(None, [lacks]), *certificate.sentences], merged_as=view.called, certificate=certificate.to_dict(),
    )  # fmt: skip


def evaluate(
    caller: Caller,
    pair: PairRef,
    variants: list[str] | None = None,
    items: Items | None = None,
    limit: int = 100,
    readings: FilesOfReadings | None = None,
    recipe: dict[str, Any] | None = None,
) -> list[ScoreInfo]:
    """Score the base, both adapters and the merge on the same items.

    Args:
        pair: a sample by name, or two adapters and their base.
        variants: which to score; null takes base, task, domain and tada.
        items: a file for each side; null takes the sample's own.
        limit: items a side.
        readings: both files of a probe, or null.
        recipe: knobs by name; an empty object takes all defaults.
    """
    given = {} if items is None else {side: file for side in ("task", "domain") if (file := getattr(items, side))}
    sides = {side: read_items(caller.paths.uploaded(file.path, f"{side} items")) for side, file in given.items()}
    with caller.session(pair, readings, recipe) as session:
        wanted = variants or ["base", "task", "domain", "tada"]
        run = in_turn(session, lambda progress: session.evaluate(sides or None, wanted, limit, progress))(silent)
    return [_score(side, name, score) for side, scores in run.sides.items() for name, score in scores.items()]


def report(
    caller: Caller,
    pair: PairRef,
    readings: FilesOfReadings | None = None,
    recipe: dict[str, Any] | None = None,
    title: str = "",
) -> ReportInfo:
    """Everything about a merge as one HTML file that opens offline.

    Args:
        pair: a sample by name, or two adapters.
        readings: both files of a probe, or null.
        recipe: knobs by name; an empty object takes all defaults.
        title: what the page is called; empty: after both adapters.
    """
    with caller.session(pair, readings, recipe) as session:
        view = _view(session)
        page = html_report(view, title or f"{view.pair.task.label} and {view.pair.domain.label}")
        file = caller.new_folder() / "report.html"
        file.write_text(page, encoding="utf-8")
    return ReportInfo(file=_file(file))


# -- answers ---------------------------------------------------------------------------------------------------------


def _view(session: Session) -> Any:
    assert session.view is not None, "the pair is open"
    return session.view


def _file(path: str | Path) -> FileData:
    return FileData(path=str(path), orig_name=Path(path).name, size=Path(path).stat().st_size)


def _passport(found: Passport) -> PassportInfo:
    return PassportInfo(
        label=found.label, facts=dict(found.facts), remarks=list(found.remarks), refused=found.refused
    )  # fmt: skip


def _readings_info(found: Readings, file: Path) -> ReadingsInfo:
    return ReadingsInfo(
        inputs=len(found.tokens), tokens=int(found.tokens.sum()), modules=len(found.names), about=dict(found.about),
        files=[_file(file), _file(file.with_suffix(".safetensors"))],
    )  # fmt: skip


def _direction(one: DirectionState) -> DirectionInfo:
    return DirectionInfo(
        number=one.number, strength=one.strength, share=one.share, rival=one.rival, opposed=one.opposed,
        dropped=one.dropped,
    )  # fmt: skip


def _score(side: str, name: str, score: Any) -> ScoreInfo:
    known = score.to_dict()
    return ScoreInfo(side=side, variant=name, **{key: known[key] for key in ("accuracy", "low", "high", "n", "nll")})


# -- wiring ----------------------------------------------------------------------------------------------------------

#: Answered at once, a few at a time; the others wait for their turn in the queue of all work.
QUICK: tuple[Endpoint, ...] = (samples, passport, open_pair, readings, gates, spectrum)
WORKING: tuple[Endpoint, ...] = (probe, merge, evaluate, report)
_NAMES: dict[Endpoint, str] = {open_pair: "open"}


def add_endpoints(paths: AllowedPaths, visitors: Visitors) -> None:
    """Publish the endpoints on the Blocks that is being built."""
    for quick in QUICK:
        _publish(quick, paths, visitors, concurrency_id="api", concurrency_limit=4)
    for working in WORKING:  # not "work": the lowest limit of a line would hold for the screen too
        _publish(working, paths, visitors, concurrency_id=API_WORK_LANE, concurrency_limit=None)


def _publish(endpoint: Callable[..., Any], paths: AllowedPaths, visitors: Visitors, **how: Any) -> None:
    """``endpoint`` under its name, its types checked at the door and described to whoever asks for them."""
    hints = get_type_hints(endpoint)
    taken = {name: TypeAdapter(hints[name]) for name in list(inspect.signature(endpoint).parameters)[1:]}
    given: TypeAdapter = TypeAdapter(hints["return"])

    @functools.wraps(endpoint)
    def call(*values: Any) -> Any:
        *sent, request = values
        with _plainly():
            caller = Caller(visitors.caller(request), paths, visitors.results(request))
            pairs = zip(taken.items(), sent, strict=True)
            checked = {name: _checked(name, kind, value) for (name, kind), value in pairs}
            return given.dump_python(endpoint(caller, **checked), mode="json")

    call.__signature__ = _signature(endpoint)  # type: ignore[attr-defined]
    call.__annotations__ = {**dict.fromkeys(taken, Any), "request": gr.Request, "return": Any}
    name = name_of(endpoint)
    call.__name__ = name  # an agent's tool is called so
    dependency = gr.api(call, api_name=name, **how)
    wired: Any = gr.context.Context.root_block.fns[dependency["id"]]
    says = arguments(endpoint)
    for component, (argument, kind) in zip(wired.inputs, taken.items(), strict=True):
        component._api_info = {**kind.json_schema(), "description": says[argument]}
    wired.outputs[0]._api_info = given.json_schema(mode="serialization")


def name_of(endpoint: Endpoint) -> str:
    """What it is called by."""
    return _NAMES.get(endpoint, endpoint.__name__)


def arguments(endpoint: Endpoint) -> dict[str, str]:
    """What the docstring says of each argument."""
    lines = inspect.getdoc(endpoint).partition("Args:")[2].splitlines()  # type: ignore[union-attr]
    return {name.strip(): text.strip() for name, _, text in (line.partition(": ") for line in lines) if text}


@contextmanager
def _plainly() -> Iterator[None]:
    """Errors that a caller can act on, as they stand: no browser takes them for HTML."""
    try:
        with speaking():
            yield
    except gr.Error as error:
        raise gr.Error(html.unescape(str(error.message)), print_exception=False) from error
    except Stopped as stopped:
        raise gr.Error(str(stopped), print_exception=False) from stopped


def _signature(endpoint: Callable[..., Any]) -> inspect.Signature:
    """What gradio reads off: without the caller, whom it does not know, and with the request, which it adds itself."""
    known = list(inspect.signature(endpoint).parameters.values())[1:]
    request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request, default=None)
    return inspect.Signature([*(one.replace(annotation=Any) for one in known), request], return_annotation=Any)


def _checked(name: str, kind: TypeAdapter, value: Any) -> Any:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (name, *first["loc"])))
        raise InputError(f"{where}: {first['msg']}. The page /gradio_api/openapi.json lists every field.") from error
