"""The front of a model card: what the Hub reads of it, written by huggingface_hub's own ModelCardData, so that no name breaks it.

A base is named there only by an id of the Hub: a local path would leak, and the Hub refuses it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tada_studio.base_model.model import Base
from tada_studio.exporting.names import task_type
from tada_studio.files import is_here, shown
from tada_studio.lora import Adapter
from tada_studio.read.keys import family

#: What somebody who searches the Hub calls the job of a model, by PEFT's task type.
_JOBS = {
    "CAUSAL_LM": ("text-generation", "AutoModelForCausalLM"),
    "SEQ_CLS": ("text-classification", "AutoModelForSequenceClassification"),
    "TOKEN_CLS": ("token-classification", "AutoModelForTokenClassification"),
    "QUESTION_ANS": ("question-answering", "AutoModelForQuestionAnswering"),
    "SEQ_2_SEQ_LM": (None, "AutoModelForSeq2SeqLM"),
    "FEATURE_EXTRACTION": ("feature-extraction", "AutoModel"),
    "image": ("image-classification", "AutoModelForImageClassification"),
}
#: The most of a parent's README that is read for its licence.
_MOST = 100_000


class Result(NamedTuple):
    """One measured figure of the merge. measure: "accuracy" or "perplexity"; says: its interval and the number of items."""

    items: str
    measure: str
    value: float
    says: str


@dataclass(frozen=True)
class CardFacts:
    """What a card says beside the merge's own origin.

    base:     an id of the Hub, or the last part of a path
    on_hub:   whether it is such an id
    loader:   the class of transformers that loads the base; job: the Hub's name for what it does, if there is one
    title:    what the card calls the merge
    licences: role -> what the parent's README names as its licence, and "base" -> the base's; None: it names none
    pictures: names of the files that show the gates; dropped: what the merge leaves out, in a sentence
    datasets: that the parents' cards name
    results:  what was measured of the merge: (items, measure, value, what is said of it)
    formats: of other programs, which the folder holds too
    """

    base: str = "the-base"
    on_hub: bool = False
    loader: str = "AutoModel"
    job: str | None = None
    licences: Mapping[str, str | None] = field(default_factory=dict)
    formats: tuple[str, ...] = ()
    title: str = "merge"
    pictures: tuple[str, ...] = ()
    dropped: str = ""
    datasets: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()


def card_facts(merged: Adapter, parents: Mapping[str, Adapter], base: Base | None = None) -> CardFacts:
    """What is known of a merge for its card. parents: role -> adapter, whose folders may say a licence."""
    named = merged.base or (base.ref if base is not None else "")
    job, loader = _JOBS.get(_kind(merged, base), (None, "AutoModel"))
    name = re.split(r"[\\/]", named.rstrip("\\/"))[-1] or "the-base"
    on_hub = is_hub_id(named)
    fronts = {role: _front_of(parent.source) for role, parent in parents.items()}
    licences = {role: _licence(front) for role, front in fronts.items()}
    if parents:
        licences["base"] = _licence(_front_of(_card_of_base(base.ref if base is not None else named)))
    datasets = dict.fromkeys(one for front in fronts.values() for one in _datasets(front))
    return CardFacts(
        named if on_hub else name,
        on_hub,
        loader,
        job,
        licences,
        title=shown(merged.label, 100),
        datasets=tuple(datasets),
    )


def is_hub_id(name: str) -> bool:
    """Whether a base is called as the Hub calls it, and is no folder or file here."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not is_here(name)


def _kind(merged: Adapter, base: Base | None) -> str:
    if base is not None and base.kind == "image":
        return "image"
    known = task_type(merged)
    if known is None and base is not None:
        known = base.family.task_type
    if known is None and any(family(name) for name in merged.modules):
        return "image"
    if known is None and any(
        name.startswith(("model.layers.", "transformer.h.", "gpt_neox.")) for name in merged.modules
    ):
        return "SEQ_CLS" if merged.heads else "CAUSAL_LM"
    return known or ""


def _front_of(source: str | None) -> Mapping[str, Any]:
    """What the front of a folder's README says; of a single file that of its folder."""
    from huggingface_hub import metadata_load

    place = Path(source or "")
    file = (place.parent if place.is_file() else place) / "README.md"
    try:
        content = metadata_load(file) if source and file.is_file() and file.stat().st_size <= _MOST else None
    except Exception:  # YAML of strangers: whatever is wrong with it, it says nothing
        return {}
    return content if isinstance(content, dict) else {}


def _card_of_base(ref: str) -> str | None:
    """The folder of a base that may hold its card: itself, or its snapshot in the Hub's cache. Nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    if not is_hub_id(ref):
        return ref if is_here(ref) else None
    found = try_to_load_from_cache(ref, "README.md")
    return str(Path(found).parent) if isinstance(found, str) else None


def _licence(front: Mapping[str, Any]) -> str | None:
    found = front.get("license")
    return shown(found, 60) if isinstance(found, str) and found.strip() else None


def _datasets(front: Mapping[str, Any]) -> list[str]:
    found = front.get("datasets")
    listed = found if isinstance(found, list) else [found]
    return [shown(one, 100) for one in listed if isinstance(one, str) and is_hub_id(one)]


def front_matter(facts: CardFacts) -> str:
    """The YAML block that a model card begins with."""
    from huggingface_hub import EvalResult, ModelCardData

    known = {licence for role, licence in facts.licences.items() if role != "base" or licence is not None}
    measured = [
        EvalResult(
            task_type=facts.job or "other", dataset_type=shown(one.items, 80), dataset_name=shown(one.items, 80),
            metric_type=one.measure, metric_value=round(one.value, 4), metric_name=f"{one.measure} ({one.says})",
        )
        for one in facts.results
    ]  # fmt: skip
    named: dict[str, Any] = {"base_model": facts.base, "base_model_relation": "adapter"} if facts.on_hub else {}
    data = ModelCardData(
        library_name="peft",
        tags=["lora", "peft", "merge", "tada-studio"],
        pipeline_tag=facts.job,
        license=next(iter(known)) if len(known) == 1 else None,
        datasets=list(facts.datasets) or None,
        model_name=facts.title if measured else None,
        eval_results=measured or None,
        **named,
    )
    return f"---\n{data.to_yaml()}\n---\n"
