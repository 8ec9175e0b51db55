"""Results as words: tables, sentences, Markdown, the model card. Plain text; whoever puts it into HTML escapes it."""

from collections.abc import Mapping
from typing import Any

from tada_studio.core.methods import METHODS
from tada_studio.lora import Adapter, Pair, Passport, Verdict
from tada_studio.read.keys import family
from tada_studio.recipe import knobs
from tada_studio.report.effect import effect_sentences  # noqa: F401
from tada_studio.report.history import (  # noqa: F401 - and those of the history
    chosen_flips,
    compared_runs,
    flips,
    flips_csv,
    flips_jsonl,
    recipe_words,
    runs_csv,
    two_sides,
)
from tada_studio.report.inputs import NO_TASK_INPUTS, inputs_sentence  # noqa: F401
from tada_studio.report.merge import (  # noqa: F401 - the words of the merge are asked for here
    ENOUGH,
    cell_sentence,
    compared_depth_sentence,
    conflict_sentence,
    depth_sentence,
    fate_meets,
    fate_says,
    ignored_sentence,
    lean_sentence,
    norms_sentence,
    percent,
    rank_advice,
    rank_sentence,
    three_way_sentence,
)
from tada_studio.report.scores import (  # noqa: F401 - and those of scores
    Sides,
    both_skills,
    comparison_dict,
    comparison_sentence,
    comparison_sentences,
    promise_sentence,
    score_table,
)
from tada_studio.report.search import knobs_turned, search_sentences, tuning_dict  # noqa: F401
from tada_studio.report.stability import stability_sentences  # noqa: F401
from tada_studio.report.tables import markdown_table, text_table  # noqa: F401

# -- the pair ------------------------------------------------------------------------------------------------------


def passport_rows(passport: Passport) -> list[tuple[str, str]]:
    """(what, value) rows of an adapter's passport, remarks last."""
    return [(name, str(value)) for name, value in passport.facts.items()] + [
        ("note", text) for text in passport.remarks
    ]


def pair_verdict(pair: Pair) -> str:
    """Whether the two fit, in one paragraph. A pair that does not fit never becomes one."""
    shared = sum(None not in pair.both(name) for name in pair.names)
    start = f"Fits: {shared} modules in both adapters, {len(pair.names)} in all."
    return " ".join([start.replace("Fits", "Fits, with notes") if pair.problems else start, *pair.problems])


def verdict_sentence(verdict: Verdict) -> str:
    """Whether two adapters fit, by their headers alone, in one paragraph."""
    return " ".join(
        [f"{verdict.word.capitalize()}{'.' if verdict.word == 'fits' else ':'}", *verdict.reasons, *verdict.notes]
    )


# -- the model card ------------------------------------------------------------------------------------------------


def model_card(merged: Adapter, origin: Mapping[str, Any], measured: Sides) -> str:
    """The README.md of an exported adapter: what it is, how to load it, how it was made, what was measured."""
    base = merged.base or "the base model"
    return "\n".join(
        [
            "---",
            *([f"base_model: {merged.base}"] if merged.base and "\n" not in merged.base else []),
            "library_name: peft",
            "tags: [lora, peft, merge, tada-studio]",
            "---",
            "",
            f"# {_plain(merged.label)}",
            "",
            f"One LoRA adapter of rank {merged.rank} for `{_plain(base)}`, merged from two by TaDA Studio.",
            "",
            *_loading(merged, origin),
            *_made_from(origin),
            *_measured(measured),
            "`recipe.json` repeats this merge to the byte; `certificate.json` says how it was checked.",
            "",
        ]
    )


def head_rows(merged: Adapter) -> int | None:
    """How many labels the classifier that an adapter keeps whole tells apart; None if it keeps none."""
    rows = [
        len(t) for name, t in merged.head_tensors.items() if name.rpartition(".")[0] in merged.heads and t.ndim == 2
    ]
    return rows[0] if len(rows) == 1 else None


def head_sentence(merged: Adapter, owners: Mapping[str, str]) -> str:
    """Whose heads an adapter carries and what they answer with; "" if it carries none. owners: head -> "task", ..."""
    if not merged.heads:
        return ""
    whose = " and ".join(sorted({_OWNERS.get(one, one) for one in owners.values()}))
    rows = head_rows(merged)
    labels = f", {rows} labels" if rows else ""
    named = f" ({', '.join(merged.labels[:12])}{', ...' if len(merged.labels) > 12 else ''})" if merged.labels else ""
    return f"Carries {' and '.join(merged.heads)} whole, {whose or 'of an unknown adapter'}{labels}{named}; heads are not gated."


_OWNERS = {"task": "the task adapter's", "domain": "the domain adapter's", "average": "the average of both adapters'"}


def _loading(merged: Adapter, origin: Mapping[str, Any]) -> list[str]:
    """How to load it; a head of its own size needs a base that makes room for it."""
    rows, lines = head_rows(merged), ["from peft import PeftModel"]
    if rows and merged.task_type is None:
        lines += [
            "from transformers import AutoModelForImageClassification",
            "base_model = AutoModelForImageClassification.from_pretrained(",
            f'    "the-base", num_labels={rows}, ignore_mismatched_sizes=True',
            ")",
        ]
    lines.append('model = PeftModel.from_pretrained(base_model, "this-folder")')
    sentences = [_plain(head_sentence(merged, origin.get("heads", {})))] if merged.heads else []
    if any(family(name) for name in merged.modules):
        sentences.append("Its modules have the names of transformers 5; transformers 4 does not find them.")
    return ["```python", *lines, "```", "", *(line for sentence in sentences for line in (sentence, ""))]


def _plain(text: str) -> str:
    """A name from somebody's file as one line that Markdown leaves alone."""
    return "".join(c for c in text if c.isprintable() and c not in "<>`[]|")[:200]


def _made_from(origin: Mapping[str, Any]) -> list[str]:
    inputs = origin.get("inputs", {})
    rows = [
        [role, _plain(inputs[role]["label"]), inputs[role]["content_sha256"][:16]]
        for role in ("task", "domain")
        if role in inputs
    ]
    if not rows:
        return []
    knobs = origin.get("recipe", {})
    turned = ", ".join(
        f"{name} {knobs[name]}" for name in ("method", "sharpness", "strength", "calibration", "drop") if name in knobs
    )
    edits = len(knobs.get("overrides", []))
    return [
        "## Made from",
        "",
        markdown_table(["role", "adapter", "content (SHA-256, start)"], rows),
        "",
        f"Recipe: {turned}; {edits} gate edits by hand.",
        "The method is the TaDA Studio authors' reading of TaDA (arXiv 2606.05016), not the paper's own code.",
        "",
    ]


def _measured(measured: Sides) -> list[str]:
    if not measured:
        return ["Nothing was evaluated before this export.", ""]
    note = [f"- {sentence}" for sentence in comparison_sentences(measured)]
    return ["## Measured", "", markdown_table(*score_table(measured)), "", *note, ""]


# -- the knobs -----------------------------------------------------------------------------------------------------


def knob_table() -> str:
    """Every knob of a recipe as a Markdown table: the README's, held to this by a test."""
    rows = [
        [f"`{name}`", _default(spec.default), _range(spec.metadata), spec.metadata["says"]]
        for name, spec in knobs().items()
    ]
    return markdown_table(["knob", "default", "range", "what it does"], rows)


def method_table() -> str:
    """Every method as a Markdown table: the README's, held to this by a test."""
    rows = [
        [
            f"`{one.name}`",
            one.says,
            ", ".join(f"`{name}`" for name in knobs() if name in one.uses) or "none",
            one.source,
        ]
        for one in METHODS.values()
    ]
    return markdown_table(["method", "what it does", "knobs it uses besides rank, head and dtype", "source"], rows)


def _default(value: Any) -> str:
    return "none" if value in (None, ()) else f"`{value}`"


def _range(about: Mapping[str, Any]) -> str:
    if "options" in about:
        return ", ".join(f"`{option}`" for option in about["options"])
    return "lines of text" if "lines" in about else f"{about['low']:g} to {about['high']:g}"
