"""Results as words: tables, sentences, Markdown, the model card. Plain text; whoever puts it into HTML escapes it."""

from collections.abc import Mapping, Sequence
from typing import Any

from tada_studio.core import stats
from tada_studio.core.closeup import Closeup, Fate
from tada_studio.core.gates import Depth
from tada_studio.core.merge import Merged
from tada_studio.core.sizes import Norms, Ranks
from tada_studio.evaluate import Score
from tada_studio.lora import Adapter, Pair, Passport, Verdict
from tada_studio.recipe import knobs

Sides = Mapping[str, Mapping[str, Score]]

#: Below this a paired test is called a difference.
LEVEL = 0.05


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


# -- the merge -----------------------------------------------------------------------------------------------------


def percent(share: float) -> str:
    """A share as people read it; what is there but rounds to nothing is not called nothing."""
    return "less than 0.1%" if 0 < share < 0.001 else f"{share:.1%}"


def conflict_sentence(merged: Merged) -> str:
    """What dropping conflicting directions removes."""
    drops = merged.how.drops
    if drops is None:
        return "This method drops no directions."
    if not drops.count:
        pairs = int(drops.opposed.sum())
        if pairs:
            start = f"None of {drops.everything:,} directions is dropped"
            return f"{start}, though {_count(pairs, 'pair')} oppose each other: the recipe keeps them."
        return f"No directions conflict: none of {drops.everything:,} is dropped. That is usual for unrelated adapters."
    cells = int((drops.task.any(1) | drops.domain.any(1)).sum())
    task, domain = drops.lost_of_each
    little = "That is hardly any conflict, as is usual for unrelated adapters. " if max(task, domain) < HARDLY else ""
    return (
        f"Dropping removes {drops.count:,} of {drops.everything:,} directions, {percent(domain)} of domain and "
        f"{percent(task)} of task energy, in {_count(cells, 'cell')}. {little}This is geometry; evaluate to see its effect."
    )


#: Below this share of either adapter's energy, conflict is called hardly any.
HARDLY = 0.02


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def cell_sentence(merged: Merged, near: Closeup) -> str:
    """What is dropped in one module, by name, and what rank r keeps of it."""
    kept = f"Rank {merged.rank} keeps {percent(float(merged.kept[near.row]))} of what is left."
    drops = merged.how.drops
    if drops is None:
        return f"This method drops no directions. {kept}"
    sides = (("task", near.task), ("domain", near.domain))
    gone = [f"{side} {fate.number}" for side, fates in sides for fate in fates if fate.dropped]
    if not gone:
        return f"Nothing is dropped here. {kept}"
    named = ", ".join(gone[:8]) + (f" and {len(gone) - 8} more" if len(gone) > 8 else "")
    lost, n = percent(float(drops.lost[near.row])), len(near.task) + len(near.domain)
    return f"{len(gone)} of {n} directions are dropped here: {named}. That is {lost} of this module's energy. {kept}"


def fate_says(fate: Fate, other: str) -> str:
    """Why a direction stays or goes; ``other`` is the other adapter's role."""
    word = "dropped" if fate.dropped else "kept"
    if fate.by_hand:
        return f"{word} by hand"
    if fate.dropped:
        return f"dropped: opposes {other} {fate.rival}"
    return f"kept, though it opposes {other} {fate.rival}" if fate.opposed else "kept"


def fate_meets(fate: Fate, other: str) -> tuple[str, str, str]:
    """The direction that it opposes most, and how, in multiples of chance: in the weights, over the probe inputs."""
    if fate.rival is None:
        return "nothing here", "", ""
    weight, activation = fate.units
    return f"{other} {fate.rival}", f"{weight:+.1f}", "" if activation is None else f"{activation:+.1f}"


def rank_sentence(merged: Merged) -> str:
    """How much of the merge rank r keeps."""
    everywhere, worst = merged.kept_in_all, float(merged.kept.min())
    return f"Rank {merged.rank} keeps {everywhere:.2%} of the merge's energy; the worst module keeps {worst:.1%}."


def rank_advice(found: Ranks, rank: int, accepted: Sequence[int], places: Sequence[str]) -> str:
    """Whether the rank in force is enough, the smallest that is, and where most is lost. places: names of the modules."""
    everywhere, worst, row = found.at(rank)
    enough = found.smallest(ENOUGH)
    served = next((r for r in accepted if r >= enough), None)
    start = f"Rank {rank} keeps {everywhere:.2%} of the merge; {places[row]} loses most and keeps {worst:.1%}."
    if served is None:
        return f"{start} {ENOUGH:.0%} takes rank {enough}, more than servers such as vLLM accept."
    also = "which servers accept" if served == enough else f"and the next that servers accept is {served}"
    return f"{start} The smallest rank that keeps {ENOUGH:.0%} is {enough}, {also}."


#: The share of a merge's energy that is called enough.
ENOUGH = 0.99

#: From this factor on, norms are said to differ several-fold.
SEVERAL = 3.0


def norms_sentence(found: Norms, balance: float) -> str:
    """Who is louder, by how much, and what balance does about it."""
    task, domain = found.whole_before
    if not task or not domain:
        return f"Only the {'domain' if domain else 'task'} adapter changes anything."
    louder, factor = ("domain", domain / task) if domain >= task else ("task", task / domain)
    if factor < 1.05:
        return "The two adapters are about equally large."
    start = f"The {louder} adapter is {factor:.1f} times as large as the other ({domain:.3g} domain, {task:.3g} task)."
    if balance:
        low, high = sorted(found.whole_after)
        return f"{start} Balance {balance:g} makes that {high / low:.1f}."
    if factor < SEVERAL:
        return f"{start} Balance evens that out, if the louder one should not have more say."
    return (
        f"{start} Norms that differ several-fold let the louder one drown the other in every sum: try balance 0.25 to 0.5 and "
        "evaluate; size carries information too, so evening out fully often hurts."
    )


def depth_sentence(depth: Depth, probed: bool, edited: int = 0) -> str:
    """Whether this pair shows the depth asymmetry (domain share rising with depth); edited: cells set by hand."""
    if not probed:
        return (
            "No readings yet: wherever both adapters have a module the computed gate is even. "
            "Probe the base to see where task and domain live."
        )
    if depth.rho is None:
        return "The gates do not vary, so there is no trend with depth."
    thirds = " / ".join(f"{third:.2f}" for third in depth.thirds)
    hand = f" {edited} cells are set by hand and count as they are." if edited else ""
    return f"The domain's share {_trend(depth.interval)}: rho {depth.rho:+.2f} ({_spread(depth.interval)}); thirds {thirds}.{hand}"


def _trend(interval: stats.Interval | None) -> str:
    if interval is None:
        return "has an unknown trend with depth"
    if interval.low > 0:
        return "rises with depth, as the paper reports"
    return "falls with depth" if interval.high < 0 else "shows no clear trend with depth"


def _spread(interval: stats.Interval | None) -> str:
    if interval is None:
        return "no interval: that takes at least two probe inputs"
    return f"95 % interval {interval.low:+.2f} to {interval.high:+.2f}"


# -- scores --------------------------------------------------------------------------------------------------------


def both_skills(sides: Sides, variant: str) -> float | None:
    """Mean accuracy over the sides; None unless the variant has an accuracy on all of them."""
    shares = [scores[variant].accuracy if variant in scores else None for scores in sides.values()]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known and len(known) == len(shares) else None


def score_table(sides: Sides) -> tuple[list[str], list[list[str]]]:
    """(headers, rows): a row per variant; accuracy with its 95 % interval and gold NLL on each side, and their mean S."""
    names = list(dict.fromkeys(name for scores in sides.values() for name in scores))
    headers = ["variant", *(text for side in sides for text in (f"{side} accuracy (95 %)", f"{side} NLL"))]
    rows = [[name, *(text for scores in sides.values() for text in _cells(scores.get(name)))] for name in names]
    if len(sides) > 1:
        headers.append("S")
        for row in rows:
            mean = both_skills(sides, row[0])
            row.append("" if mean is None else f"{mean:.3f}")
    return headers, rows


def _cells(score: Score | None) -> tuple[str, str]:
    if score is None:
        return "", ""
    accuracy = "{:.3f} ({:.3f} to {:.3f})".format(*score.estimate) if score.estimate else ""
    return accuracy, "" if score.nll is None else f"{score.nll:.3f}"


def comparison_sentences(sides: Sides) -> list[str]:
    """The last variant against each other one, by the paired exact test over all sides' items, Holm-corrected; then what must
    be known about how variants were scored."""
    notes = list(dict.fromkeys(score.note for scores in sides.values() for score in scores.values() if score.note))
    names = [
        name
        for name in dict.fromkeys(n for scores in sides.values() for n in scores)
        if both_skills(sides, name) is not None
    ]
    if len(names) < 2:
        return notes
    last, others = names[-1], names[:-1]
    splits = [_split(sides, last, other) for other in others]
    corrected = stats.holm([stats.mcnemar(*split) for split in splits])
    compared = zip(others, splits, corrected, strict=True)
    return [*(_compared(last, other, split, p, _n(sides)) for other, split, p in compared), *notes]


def _split(sides: Sides, first: str, second: str) -> tuple[int, int]:
    """(right only with the first, right only with the second), over the items of all sides."""
    pairs = [(scores[first].correct, scores[second].correct) for scores in sides.values()]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return sum(int((a & ~b).sum()) for a, b in known), sum(int((b & ~a).sum()) for a, b in known)


def _n(sides: Sides) -> int:
    return sum(next(iter(scores.values())).n for scores in sides.values())


def _compared(name: str, other: str, split: tuple[int, int], p: float, n: int) -> str:
    won, lost = split
    verdict = f"cannot tell from {n} items" if p >= LEVEL else "better" if won > lost else "worse"
    return f"{name} against {other}: {verdict} ({won} items won, {lost} lost; p = {p:.2g})."


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def text_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns for a terminal."""
    table = [list(map(str, row)) for row in (headers, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
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


def head_sentence(merged: Adapter, origin: Mapping[str, Any]) -> str:
    """Whose heads an adapter carries and what they answer with; "" if it carries none."""
    if not merged.heads:
        return ""
    whose = " and ".join(sorted({_OWNERS.get(one, one) for one in origin.get("heads", {}).values()}))
    rows = head_rows(merged)
    labels = f", {rows} labels" if rows else ""
    named = f" ({', '.join(merged.labels[:30])}{', ...' if len(merged.labels) > 30 else ''})" if merged.labels else ""
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
    said = _plain(head_sentence(merged, origin))
    return ["```python", *lines, "```", "", *([said, ""] if said else [])]


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


def _default(value: Any) -> str:
    return "none" if value in (None, ()) else f"`{value}`"


def _range(about: Mapping[str, Any]) -> str:
    if "options" in about:
        return ", ".join(f"`{option}`" for option in about["options"])
    return "lines of text" if "lines" in about else f"{about['low']:g} to {about['high']:g}"
