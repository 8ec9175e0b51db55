"""All work that runs a base model, each kind a function of its own: done here, or on a ZeroGPU Space by the GPU lent for it.

What goes there is pickled (adapters, inputs, a recipe; the base goes by its name), and so is what comes back: every step as it is
made, then the result, all of it on the CPU. Bases too small to be worth a visitor's quota stay on the CPU.
"""

import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, no_type_check

import torch

from tada_studio import zero_gpu
from tada_studio.base_model.answering import Answering
from tada_studio.base_model.devices import best_device
from tada_studio.base_model.generate import Sampling
from tada_studio.base_model.inputs import Input
from tada_studio.base_model.model import Base
from tada_studio.core.gates import Readings as AnyReadings
from tada_studio.errors import BaseError, TadaError
from tada_studio.evaluation import effect, prompts
from tada_studio.lora import Adapter, Pair
from tada_studio.pipeline import calibration, probing, scoring, tuning
from tada_studio.pipeline.opening import shared_base
from tada_studio.probing import Readings
from tada_studio.progress import Progress, ProgressFn, ignore, silent, stream
from tada_studio.recipe import Recipe

T = TypeVar("T")

#: Parameters below which a base runs on the CPU although a GPU would be lent.
SMALL = 20_000_000
#: What durations are estimated from, generously: only what is used counts against a visitor's quota. Seconds until a base is on
#: the GPU, floating-point operations a second, seconds that an item costs beside them; the most that is asked for at once.
START, PACE, EACH, MOST = 20.0, 1e13, 0.02, 120.0
#: Tokens of a probe input, of an item with all its choices.
TOKENS = 256


class Part(NamedTuple):
    """Something that is finished, while the work goes on."""

    value: Any


class Result(NamedTuple):
    """What the work came to."""

    value: Any


class Failed(NamedTuple):
    """What ended the work, in words for the person who asked."""

    error: TadaError


def _job(items: Callable[..., float]) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Makes work on a base a job. ``items``: how many inputs it runs, from its arguments."""

    def decorate(work: Callable[..., T]) -> Callable[..., T]:
        send = _sent(work)

        @functools.wraps(work)
        def call(base: Answering, *args: Any, progress: ProgressFn = silent, each: Callable[[Any], None] = ignore) -> T:
            local = zero_gpu.lends() and isinstance(base, Base)
            parameters = sum(p.numel() for p in base.model.parameters()) if isinstance(base, Base) and local else 0
            if not local or parameters < SMALL:
                return work(base, *args, progress=progress, each=each)
            progress(Progress("wait for a GPU", 0, 0, "asking the Space for a GPU"))
            return _followed(send(base.ref, seconds(parameters, items(*args)), _packed(args)), progress, each)

        return call

    return decorate


def _sent(work: Callable[..., Any]) -> Callable[..., Iterator[bytes]]:
    """The same work as a generator of its packed steps, in the process that has the GPU."""

    @no_type_check  # spaces must see a generator function
    def task(ref: str, seconds: float, packed: bytes) -> Iterator[bytes]:
        torch.set_num_threads(1)  # threads of the process that this one was forked from are not there
        try:
            base, args = _on_gpu(ref), _unpacked(packed)
            for step in stream(lambda tell: work(base, *args, progress=tell, each=lambda part: tell(Part(part)))):
                yield _packed(step if isinstance(step, Progress | Part) else Result(step))
        except TadaError as error:
            yield _packed(Failed(error))

    task.__name__ = task.__qualname__ = work.__name__
    return zero_gpu.on_space_gpu(lambda ref, seconds, packed: seconds)(task)


def _packed(value: Any) -> bytes:
    """Pickled with every tensor's memory once; by themselves tensors travel as open files, and a process may have few of those."""
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def _unpacked(packed: bytes) -> Any:
    """What this program packed itself, in the other process."""
    return torch.load(io.BytesIO(packed), weights_only=False)


def seconds(parameters: int, items: float) -> float:
    """How long a lent GPU is asked for."""
    return min(MOST, START + items * (EACH + 2 * parameters * TOKENS / PACE))


def _on_gpu(ref: str) -> Base:
    """The base as it was when this process was forked, or loaded now, on the GPU."""
    base = shared_base(ref)
    base.model.to(best_device())
    return base


def _followed(steps: Iterator[bytes], progress: ProgressFn, each: Callable[[Any], None]) -> Any:
    """Report the steps of work that is done elsewhere, and give its result. Raises TadaError."""
    result = None
    try:
        for packed in steps:
            step = _unpacked(packed)
            if isinstance(step, Progress):
                progress(step)
            elif isinstance(step, Part):
                each(step.value)
            elif isinstance(step, Failed):
                raise step.error
            else:
                result = step.value  # and go on, to its end: the process can be used again
    except Exception as error:
        if (why := zero_gpu.refusal(error)) is None:
            raise
        raise BaseError(
            f"This Space lends no GPU for that now: {why}. Inspecting, painting, merging by the weights or by readings that are "
            "there, and exporting need none; to probe and evaluate sign in, come back later, or run TaDA Studio yourself."
        ) from error
    finally:
        steps.close()  # type: ignore[attr-defined]  # a generator; whoever stops early gives the GPU back
    return result


# -- the jobs --------------------------------------------------------------------------------------------------------


@_job(lambda pair, inputs, n, task_inputs=None: 2 * n)
def probe(
    base: Base, pair: Pair, inputs: Sequence[Input], n: int, task_inputs: Sequence[Input] | None = None, **tell: Any
) -> Readings:
    """Readings of both adapters: ``pipeline.probe``."""
    return probing.probe(pair, base, inputs, n, tell["progress"], task_inputs)


@_job(lambda pair, inputs, task_inputs, recipe, n: 2 * n * (3 + len(calibration.CANDIDATES)))
def calibrate(
    base: Base,
    pair: Pair,
    inputs: Sequence[Input],
    task_inputs: Sequence[Input],
    recipe: Recipe,
    n: int,
    **tell: Any,
) -> calibration.Calibration:
    """The separation that auto chooses: ``pipeline.calibrate``."""
    return calibration.calibrate(pair, base, inputs, task_inputs, recipe, n, tell["progress"])


@_job(lambda variants, sides: len(variants) * sum(map(len, sides.values())))
def score(
    base: Answering, variants: Mapping[str, Adapter | None], sides: Mapping[str, Sequence[Any]], **tell: Any
) -> scoring.Sides:
    """Every variant's score on every side: ``pipeline.score_sides``."""
    return scoring.score_sides(base, variants, sides, **tell)


@_job(lambda variants, question, how: len(variants) * how.most)
def ask(
    base: Answering, variants: Mapping[str, Adapter | None], question: prompts.Question, how: Sampling, **tell: Any
) -> prompts.Answers:
    """One prompt to every variant: ``evaluation.prompts.ask``."""
    return prompts.ask(base, variants, question, how, **tell)


@_job(lambda variants, texts, chat, how: len(variants) * len(texts) * how.most)
def ask_all(
    base: Answering,
    variants: Mapping[str, Adapter | None],
    texts: Sequence[str],
    chat: bool,
    how: Sampling,
    **tell: Any,
) -> prompts.Grid:
    """Several prompts to every variant: ``evaluation.prompts.ask_all``."""
    return prompts.ask_all(base, variants, texts, chat, how, **tell)


@_job(lambda *args: MOST / EACH)
def search(
    base: Answering,
    pair: Pair,
    readings: AnyReadings | None,
    split: tuning.Split,
    start: Recipe,
    plan: tuning.Plan,
    storage: Path,
    looks: int,
    **tell: Any,
) -> tuning.Tuning:
    """A search of the knobs: ``pipeline.search``. A lent GPU is soon gone: what was tried is kept, and the next search goes on."""
    if zero_gpu.has_gpu():
        plan = replace(plan, minutes=min(plan.minutes or MOST, (MOST - START) / 60))
    return tuning.search(pair, base, readings, split, start=start, plan=plan, storage=storage, looks=looks, **tell)


@_job(lambda merged, heads, sides, found, start: (1 + len(found)) * sum(map(len, sides.values())))
def effects(
    base: Answering,
    merged: Adapter,
    heads: Mapping[str, Adapter],
    sides: Mapping[str, Sequence[Any]],
    found: Sequence[effect.Part],
    start: effect.Effects,
    **tell: Any,
) -> effect.Effects:
    """What each part of a merge does: ``evaluation.effect.measure``, every state of it a part."""
    state = start
    for state in effect.measure(base, merged, heads, sides, found, start, tell["progress"]):
        tell["each"](state)
    return state
