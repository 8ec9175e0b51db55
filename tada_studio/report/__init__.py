"""Results as words: tables, sentences, Markdown, the model card. Plain text; whoever puts it into HTML escapes it."""

from collections.abc import Mapping
from typing import Any

from tada_studio.core.methods import METHODS
from tada_studio.lora import Pair, Passport, Verdict
from tada_studio.recipe import knobs
from tada_studio.report.calibration import calibration_sentence, calibration_table  # noqa: F401
from tada_studio.report.card import _plain, head_rows, head_sentence, model_card  # noqa: F401
from tada_studio.report.effect import effect_sentences  # noqa: F401
from tada_studio.report.glossary import glossary_table  # noqa: F401
from tada_studio.report.history import (  # noqa: F401 - and those of the history
    chosen_flips,
    compared_runs,
    flips,
    flips_csv,
    flips_jsonl,
    likelihood_card,
    recipe_words,
    runs_csv,
    table_csv,
    two_sides,
)
from tada_studio.report.inputs import ABOUT_TASK_INPUTS, inputs_sentence, unread_sentence  # noqa: F401
from tada_studio.report.merge import (  # noqa: F401 - the words of the merge are asked for here
    ENOUGH,
    asymmetry_sentence,
    cell_sentence,
    chain_sentence,
    compared_depth_sentences,
    conflict_sentence,
    depth_sentence,
    depth_sentences,
    direction_meets,
    direction_says,
    ignored_sentence,
    lean_sentence,
    missing_sentence,
    norms_sentence,
    percent,
    rank_advice,
    rank_sentence,
    readers,
    three_way_sentence,
    unread_lines_sentence,
)
from tada_studio.report.roles import rack_tables, rack_verdict, related_pairs, related_sentences, role_sentence  # noqa: F401
from tada_studio.report.scores import (  # noqa: F401 - and those of scores
    Sides,
    both_skills,
    comparison_dict,
    comparison_sentence,
    comparison_sentences,
    promise_sentence,
    score_table,
    score_table_caption,
)
from tada_studio.report.search import knobs_turned, search_sentences, tuning_dict  # noqa: F401
from tada_studio.report.separation import (  # noqa: F401 - and those of the two kinds of inputs
    separation_rows,
    separation_sentence,
    separation_trend,
)
from tada_studio.report.stability import stability_sentences  # noqa: F401
from tada_studio.report.tables import markdown_table, text_table  # noqa: F401
from tada_studio.report.verdict import verdict_kind, verdict_note, verdict_words  # noqa: F401
from tada_studio.report.wording import counted  # noqa: F401

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
