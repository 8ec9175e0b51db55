"""What a measurement asks: whose items and probe inputs, how many of them, and how that is said."""

from collections.abc import Mapping, Sequence
from typing import Any

from tada_studio.base_model.answering import Answering
from tada_studio.base_model.inputs import Input, read_inputs
from tada_studio.errors import InputError
from tada_studio.evaluation import Passage, read_items
from tada_studio.evaluation.effect import PROBE
from tada_studio.pipeline.cache import LruCache
from tada_studio.probing import Readings
from tada_studio.sample_pairs import Sample
from tada_studio.tuning import QUICK_ITEMS, Split, by_files, halves

Given = Mapping[str, Sequence[Any]] | None


def to_evaluate(sample: Sample | None, given: Given) -> Mapping[str, Sequence[Any]]:
    """The items given, or else the sample's. Raises InputError if there are none."""
    sides = given or (sample_items(sample) if sample else None)
    if not sides:
        raise InputError("No evaluation items. Upload a .jsonl file with question, choices and answer on each line.")
    return sides


def to_tune(sample: Sample | None, given: Given, seed: int, most: int | None) -> Split:
    """Items to search on, at most ``most`` a side, and those held out. Raises InputError if there are none."""
    if not given and sample is None:
        raise InputError("No items to tune on. Upload .jsonl files of items: half of each is kept for the verdict.")
    split = sample_split(sample, seed) if sample and not given else None
    split = split or halves(given or {}, seed)
    return split if most is None else split.limited(most)


def to_leave_out_on(sample: Sample | None, given: Given, most: int) -> tuple[Split, str]:
    """Items for measuring effects, never any that verdicts rest on, and which they are. Raises InputError if there are none."""
    if not given and (sample is None or not sample.items):
        raise InputError("Effects are measured on a sample's items. Open a sample that has some.")
    own = None if given else sample
    split = (halves(given or {}) if own is None else sample_split(own)).limited(most)
    return split, "validation items" if own and own.validation else "items of the half that auto-tune searches on"


def with_probe_texts(
    split: Split, kind: str, sample: Sample | None, base: Answering, most: int
) -> tuple[Mapping[str, Sequence[Any]], str]:
    """Those items and the sample's probe inputs as a side of its own, where they are texts and the base writes some; and the
    sentence that says so."""
    texts: dict[str, list[Any]] = {}
    if sample is not None and base.family.continues:
        inputs = sample_inputs(sample)[:most]
        texts = {PROBE: [Passage(text) for text in inputs if isinstance(text, str)]}
    probed = f" and {len(texts[PROBE])} probe texts" if texts else ""
    return {**split.search, **texts}, f"{split.counts[0]} {kind}{probed}; none of the items that verdicts rest on"


def sample_inputs(sample: Sample) -> list[Input]:
    """The domain inputs that a sample is probed with."""
    return read_inputs(sample.probe)


def sample_task_inputs(sample: Sample) -> list[Input] | None:
    """The task inputs of a sample, None where it has none."""
    return None if sample.task_probe is None else read_inputs(sample.task_probe)


_READINGS: LruCache[Readings] = LruCache(4)


def sample_readings(sample: Sample) -> Readings | None:
    """The readings that a sample brings, read once for all who open it; None where it brings none. Raises InputError."""
    if sample.readings is None:
        return None
    files = [sample.readings, sample.readings.with_suffix(".safetensors")]
    stamps = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())
    return _READINGS.get(stamps, lambda: Readings.load(str(sample.readings)))


def sample_items(sample: Sample) -> dict[str, list[Any]]:
    """The items of each side of a sample."""
    return {side: read_items(path) for side, path in sample.items.items()}


def sample_validation(sample: Sample) -> dict[str, list[Any]]:
    """The items of each side that a sample sets apart for choosing knobs. Raises InputError if it has none."""
    if not sample.validation:
        raise InputError(f"{sample.name}: has no validation items, and what is tuned on test items proves nothing.")
    return {side: read_items(path) for side, path in sample.validation.items()}


def sample_split(sample: Sample, seed: int = 0, quick: bool = False) -> Split:
    """A sample's validation items to search on and its test items held out; without any, halves of its items."""
    items = sample_items(sample)
    split = by_files(sample_validation(sample), items) if sample.validation else halves(items, seed)
    return split.limited(QUICK_ITEMS) if quick else split
