"""Scores as words: the table of variants, and what may be said of one against the others.

Two sides, what the domain gained and what of the task is left, are never averaged away: each has its own columns, and
every comparison says what it was on each. What is better or worse is judged in ``evaluation.compare`` alone; here it is worded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tada_studio.evaluation import Rates, Score
from tada_studio.evaluation.compare import CANNOT_TELL, MIXED, Comparison, Gain, OnSide, Sides, compared

# -- the table -----------------------------------------------------------------------------------------------------


def both_skills(sides: Sides, variant: str) -> float | None:
    """Mean accuracy over the sides; None unless the variant has an accuracy on all of them."""
    shares = [scores[variant].accuracy if variant in scores else None for scores in sides.values()]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known and len(known) == len(shares) else None


def score_table(sides: Sides) -> tuple[list[str], list[list[str]]]:
    """(headers, rows): a row per variant; on each side accuracy with its 95 % interval and gold NLL; the mean accuracy of both.

    Free is the share of right answers that the model says by itself, without choices to take one from. Per character
    (length-normalised accuracy) only where it differs from accuracy. The last row is what blind answers get.
    """
    headers, rows = ["variant"], [[name] for name in _variants(sides)]
    for side, scores in sides.items():
        columns = _columns(list(scores.values()))
        headers += [f"{side} {title}" for title in columns]
        for row in rows:
            row += _cells(scores.get(row[0]), columns)
    if len(sides) > 1:
        headers.append("mean accuracy")
        for row in rows:
            mean = both_skills(sides, row[0])
            row.append("" if mean is None else f"{mean:.3f}")
    return headers, rows + _blind_row(sides, len(headers))


#: What a column of the table counts, in the order of the columns.
_SAYS = {
    "accuracy": "the right choice is the likeliest",
    "per character": "the same, each choice's log-likelihood by its length",
    "free": "the right answer is what it would say by itself, without choices",
    "perplexity": "among how many next tokens it is undecided; lower is better",
    "NLL": "how unlikely it finds the right answer, in nats; lower is better",
    "blind": "what answers get that never read the question",
}


def score_table_caption(sides: Sides) -> str:
    """How to read ``score_table``: what its columns count, of those that there are."""
    headers, rows = score_table(sides)
    heads = " ".join([*headers, rows[-1][0] if rows else ""])
    says = "; ".join(f"{name}: {says}" for name, says in _SAYS.items() if name in heads)
    return f"{says[:1].upper()}{says[1:]}."


def _variants(sides: Sides) -> list[str]:
    return list(dict.fromkeys(name for scores in sides.values() for name in scores))


def _columns(scores: Sequence[Score]) -> list[str]:
    if all(score.kind == "text" for score in scores):
        return ["perplexity", "NLL"]
    per_character = any(score.accuracy_norm not in (None, score.accuracy) for score in scores)
    free = any(score.free is not None for score in scores)
    return ["accuracy (95 %)", *(["per character"] if per_character else []), *(["free"] if free else []), "NLL"]


def _cells(score: Score | None, columns: Sequence[str]) -> list[str]:
    if score is None:
        return [""] * len(columns)
    texts = {
        "accuracy (95 %)": "{:.3f} ({:.3f} to {:.3f})".format(*score.estimate) if score.estimate else "",
        "per character": _three(score.accuracy_norm),
        "free": _three(score.accuracy_free),
        "perplexity": "" if score.perplexity is None else f"{score.perplexity:.2f}",
        "NLL": _three(score.nll),
    }
    return [texts[column] for column in columns]


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _blind_row(sides: Sides, width: int) -> list[list[str]]:
    """Chance, the commonest answer and the longest choice, under the accuracies of each side; no row if nobody knows them."""
    cells = []
    for scores in sides.values():
        known: list[Score] = list(scores.values())
        rates = next((score.rates for score in known if score.rates), None)
        cells += [_rates(rates), *[""] * (len(_columns(known)) - 1)]
    if not any(cells):
        return []
    return [["blind: chance / commonest / longest", *cells, *[""] * (width - 1 - len(cells))]]


def _rates(rates: Rates | None) -> str:
    return "" if rates is None else " / ".join("-" if rate is None else f"{rate:.3f}" for rate in rates)


def promise_sentence(sides: Sides, promised: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Whether measured accuracies lie within the intervals that a sample promises (side -> variant -> low, high); "" if
    nothing that was measured is promised."""
    known = [
        (side, name, score.accuracy, promised[side][name])
        for side, scores in sides.items()
        for name, score in scores.items()
        if name in promised.get(side, {}) and score.accuracy is not None
    ]
    outside = [
        f"{name} on {side}: {share:.3f}, promised {band['low']:.3f} to {band['high']:.3f}"
        for side, name, share, band in known
        if not band["low"] - 5e-5 <= share <= band["high"] + 5e-5  # promises are rounded to four places
    ]
    if not known:
        return ""
    if outside:
        return (
            f"{len(outside)} of {len(known)} figures lie outside the sample's promised intervals: {'; '.join(outside)}."
        )
    return f"All {len(known)} measured figures lie within the sample's promised intervals."


# -- the comparisons -----------------------------------------------------------------------------------------------

#: How the sentence about a comparison says its word.
_WORDS = {MIXED: "better by one measure and worse by the other"}


def comparison_sentences(sides: Sides) -> list[str]:
    """The last variant against each other one, as ``compared`` judges it, then side by side; and at the end what must be known
    about how variants were scored."""
    notes = list(dict.fromkeys(score.note for scores in sides.values() for score in scores.values() if score.note))
    return [*map(comparison_sentence, compared(sides)), *notes]


def comparison_sentence(found: Comparison, items: str = "items") -> str:
    """One variant against another: the word, what it rests on, and what it was on each side. items: which they were."""
    start = f"{found.variant} against {found.against}: {_WORDS.get(found.word, found.word)} with {found.n} {items}"
    more = f"; {_needed(found.needed)} would be needed" if found.word == CANNOT_TELL and found.needed else ""
    by_side = "; ".join(f"{side}: {_side(one)}" for side, one in found.sides.items())
    return f"{start}{more} ({_evidence(found)}). {by_side}."


def _needed(items: int) -> str:
    return f"about {items:,}" if items <= 100_000 else "more than 100,000"


def _evidence(found: Comparison) -> str:
    """Both measures with their corrected p."""
    parts = []
    if found.won is not None and found.p_right is not None:
        parts.append(f"{found.won} won, {found.lost} lost, p = {found.p_right:.2g}")
    if found.gain is not None and found.p_gold is not None:
        parts.append(f"log-likelihood {found.gain.mean:+.3f}, p = {found.p_gold:.2g}")
    return "; ".join(parts) or "nothing that both know"


def _side(found: OnSide) -> str:
    """Items won and lost, and by how many nats an item the right answers became likelier, with the 95 % interval."""
    counts = "" if found.won is None else f"{found.won} won, {found.lost} lost"
    free = "" if found.free_won is None else f"free answers {found.free_won} won, {found.free_lost} lost"
    return ", ".join(filter(None, (counts, _gain(found.gain), free))) or "unknown"


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return ""
    band = "" if gain.low is None else f" ({gain.low:+.3f} to {gain.high:+.3f})"
    return f"log-likelihood {gain.mean:+.3f}{band}"


def comparison_dict(found: Comparison) -> dict[str, Any]:
    """A comparison as plain JSON values."""
    sides = {side: {**one._asdict(), "gain": one.gain and one.gain._asdict()} for side, one in found.sides.items()}
    return {**found._asdict(), "gain": found.gain and found.gain._asdict(), "sides": sides}
