"""Scores as words: the table of variants, and what may be said of one against the others.

Two sides, what the domain gained and what of the task is left, are never averaged away: each has its own columns, and
every comparison says what it was on each. A difference is claimed only from the same items, paired, and corrected for how many
comparisons are made (Holm).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from tada_studio.core import stats
from tada_studio.evaluation import Rates, Score, flipped

Sides = Mapping[str, Mapping[str, Score]]

#: Below this a paired test is called a difference.
LEVEL = 0.05


# -- the table -----------------------------------------------------------------------------------------------------


def both_skills(sides: Sides, variant: str) -> float | None:
    """Mean accuracy over the sides; None unless the variant has an accuracy on all of them."""
    shares = [scores[variant].accuracy if variant in scores else None for scores in sides.values()]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known and len(known) == len(shares) else None


def score_table(sides: Sides) -> tuple[list[str], list[list[str]]]:
    """(headers, rows): a row per variant; on each side accuracy with its 95 % interval and gold NLL; the mean accuracy of both.

    Per character (length-normalised accuracy) only where it differs from accuracy. The last row is what blind answers get.
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


def _variants(sides: Sides) -> list[str]:
    return list(dict.fromkeys(name for scores in sides.values() for name in scores))


def _columns(scores: Sequence[Score]) -> list[str]:
    if all(score.kind == "text" for score in scores):
        return ["perplexity", "NLL"]
    per_character = any(score.accuracy_norm not in (None, score.accuracy) for score in scores)
    return ["accuracy (95 %)", *(["per character"] if per_character else []), "NLL"]


def _cells(score: Score | None, columns: Sequence[str]) -> list[str]:
    if score is None:
        return [""] * len(columns)
    texts = {
        "accuracy (95 %)": "{:.3f} ({:.3f} to {:.3f})".format(*score.estimate) if score.estimate else "",
        "per character": _three(score.accuracy_norm),
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


class Contest(NamedTuple):
    """One variant against another over all sides: items won and lost, p, and about how many items would tell (None: no idea).

    won is None where nothing is right or wrong; then p and the verdict are those of the log-likelihoods.
    """

    won: int | None
    lost: int | None
    n: int
    p: float
    needed: int | None
    ahead: bool


def comparison_sentences(sides: Sides) -> list[str]:
    """The last variant against each other one: *better*, *worse* or *cannot tell*, paired over all sides' items, Holm-corrected,
    then side by side; and at the end what must be known about how variants were scored."""
    notes = list(dict.fromkeys(score.note for scores in sides.values() for score in scores.values() if score.note))
    names = [name for name in _variants(sides) if all(name in scores for scores in sides.values())]
    if len(names) < 2:
        return notes
    last, others = names[-1], names[:-1]
    contests = [_contest(sides, last, other, LEVEL / len(others)) for other in others]
    corrected = stats.holm([contest.p for contest in contests])
    texts = zip(others, contests, corrected, strict=True)
    return [*(f"{last} against {o}: {_verdict(c, p)}. {_by_side(sides, last, o)}" for o, c, p in texts), *notes]


def _contest(sides: Sides, name: str, other: str, level: float) -> Contest:
    flips = flipped(sides, other, name)
    n = sum(scores[name].n for side, scores in sides.items() if side in flips or not flips)
    if flips:
        won, lost = sum(len(f.won) for f in flips.values()), sum(len(f.lost) for f in flips.values())
        needed = stats.items_needed(won, lost, n, level)
        return Contest(won, lost, n, stats.mcnemar(won, lost), needed, won > lost)
    gains = torch.cat([_gains(scores, name, other) for scores in sides.values()])
    mean = float(gains.mean()) if len(gains) else 0.0
    needed = stats.mean_needed(len(gains), mean, stats.standard_error(gains), level)
    return Contest(None, None, n, stats.flipped_p([gains], torch.Generator().manual_seed(0)), needed, mean > 0)


def _gains(scores: Mapping[str, Score], name: str, other: str) -> torch.Tensor:
    """By how many nats an item the right answers are likelier with ``name``; empty where nobody knows."""
    mine, theirs = scores[name].gold, scores[other].gold
    return torch.zeros(0, dtype=torch.float64) if mine is None or theirs is None else theirs.double() - mine.double()


def _verdict(contest: Contest, p: float) -> str:
    counts = "" if contest.won is None else f"{contest.won} items won, {contest.lost} lost; "
    why = f"({counts}p = {p:.2g})"
    if p < LEVEL:
        return f"{'better' if contest.ahead else 'worse'} {why}"
    more = f"; about {contest.needed:,} would be needed" if contest.needed else ""
    return f"cannot tell with {contest.n} items{more} {why}"


def _by_side(sides: Sides, name: str, other: str) -> str:
    """What it was on each side, with the difference in gold NLL (below 0: likelier right answers) and its bootstrap interval."""
    flips, parts = flipped(sides, other, name), []
    for side, scores in sides.items():
        counts = f"{len(flips[side].won)} won, {len(flips[side].lost)} lost" if side in flips else ""
        worse = -_gains(scores, name, other)
        band = stats.bootstrap_mean(worse, torch.Generator().manual_seed(0))
        likely = f"NLL {float(worse.mean()):+.3f} ({band.low:+.3f} to {band.high:+.3f})" if band else ""
        parts.append(f"{side}: {', '.join(filter(None, (counts, likely))) or 'unknown'}")
    return f"{'; '.join(parts)}."
