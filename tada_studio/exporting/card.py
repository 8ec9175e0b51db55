"""The front of a model card: what the Hub reads of it, written by huggingface_hub's own ModelCardData, so that no name breaks it.

A base is named there only by an id of the Hub: a local path would leak, and the Hub refuses it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tada_studio.base_model.model import Base
from tada_studio.exporting.names import task_type
from tada_studio.files import shown
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


@dataclass(frozen=True)
class CardFacts:
    """What a card says beside the merge's own origin.

    base:     an id of the Hub, or the last part of a path
    on_hub:   whether it is such an id
    loader:   the class of transformers that loads the base; job: the Hub's name for what it does, if there is one
    licences: role -> what the parent's README names as its licence; None: it names none
    """

    base: str = "the-base"
    on_hub: bool = False
    loader: str = "AutoModel"
    job: str | None = None
    licences: Mapping[str, str | None] = field(default_factory=dict)


def card_facts(merged: Adapter, parents: Mapping[str, Adapter], base: Base | None = None) -> CardFacts:
    """What is known of a merge for its card. parents: role -> adapter, whose folders may say a licence."""
    named = merged.base or (base.ref if base is not None else "")
    job, loader = _JOBS.get(_kind(merged, base), (None, "AutoModel"))
    name = re.split(r"[\\/]", named.rstrip("\\/"))[-1] or "the-base"
    on_hub = is_hub_id(named)
    licences = {role: _licence(parent.source) for role, parent in parents.items()}
    return CardFacts(named if on_hub else name, on_hub, loader, job, licences)


def is_hub_id(name: str) -> bool:
    """Whether a base is called as the Hub calls it, and is no folder or file here."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).expanduser().exists()


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


def _licence(source: str | None) -> str | None:
    """The licence that the front of a folder's README names."""
    from huggingface_hub import metadata_load

    file = Path(source or "") / "README.md"
    try:
        content = metadata_load(file) if source and file.is_file() and file.stat().st_size <= _MOST else None
    except Exception:  # YAML of strangers: whatever is wrong with it, it names no licence
        return None
    found = content.get("license") if isinstance(content, dict) else None
    return shown(found, 60) if isinstance(found, str) and found.strip() else None


def front_matter(facts: CardFacts) -> str:
    """The YAML block that a model card begins with."""
    from huggingface_hub import ModelCardData

    licences = set(facts.licences.values())
    named: dict[str, Any] = {"base_model": facts.base, "base_model_relation": "adapter"} if facts.on_hub else {}
    data = ModelCardData(
        library_name="peft",
        tags=["lora", "peft", "merge", "tada-studio"],
        pipeline_tag=facts.job,
        license=next(iter(licences)) if len(licences) == 1 else None,
        **named,
    )
    return f"---\n{data.to_yaml()}\n---\n"
