"""Runs as words: what a recipe changes, what one variant means for both sides, which items flipped; and all of it as CSV."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from tada_studio.evaluation import Score, flipped
from tada_studio.evaluation.compare import AccuracyChange, Comparison, accuracy_changes
from tada_studio.evaluation.shown import Shown
from tada_studio.files import plain_json
from tada_studio.recipe import Recipe, knobs
from tada_studio.report.scores import Sides, comparison_sentences

# -- recipes ---------------------------------------------------------------------------------------------------------


def recipe_words(recipe: Recipe, start: Recipe | None = None) -> str:
    """What is another way than in ``start`` (the defaults), in words."""
    start = start or Recipe()
    changed = [name for name in knobs() if getattr(recipe, name) != getattr(start, name)]
    turned = [_knob_words(name, getattr(recipe, name), getattr(start, name)) for name in changed]
    return ", ".join(turned) if turned else "all knobs as they start"


def _knob_words(name: str, value: Any, before: Any) -> str:
    plain = name.replace("_", " ")
    if isinstance(value, tuple):
        what = "gate lines" if name == "overrides" else f"{plain} lines"
        return f"{len(value)} {what}" if not before else f"{len(value)} {what} instead of {len(before)}"
    return f"{plain} {'automatic' if value is None else value}"


# -- two sides -------------------------------------------------------------------------------------------------------


class SideWords(NamedTuple):
    """One side's card: the figure in large, and what it is of."""

    figure: str
    name: str


def two_sides(sides: Sides, variant: str, against: str = "task") -> list[SideWords]:
    """What the variant gained in the domain and what it kept of the task, each apart; what nobody knows is left out."""
    alone = " alone" if against in ("base", "task", "domain") else ""
    return [
        SideWords(
            f"{100 * change.share:+.1f} points",
            f"{_meaning(change.side, against)}, against {change.against}{alone}{_band(change)}",
        )
        for change in accuracy_changes(sides, variant, against)
    ]


def likelihood_card(found: Comparison) -> SideWords | None:
    """By how many nats an item the right answers became likelier, with its corrected p; None where nobody knows."""
    if found.gain is None or found.p_gold is None:
        return None
    return SideWords(
        f"{found.gain.mean:+.2f} nats",
        f"log-likelihood of the right answers, against {found.against}; p = {found.p_gold:.2g}",
    )


def _meaning(side: str, against: str) -> str:
    by_side = {"task": "task retention", "domain": "domain gain"} if against == "task" else {}
    return by_side.get(side, f"gain on {side}")


def _band(change: AccuracyChange) -> str:
    if change.low is None or change.high is None:
        return ""
    if change.low == change.high == 0:  # not that it is known to be none: the bootstrap has nothing to draw from
        return "; no item differs"
    return f"; 95 %: {100 * change.low:+.1f} to {100 * change.high:+.1f}"


# -- two runs --------------------------------------------------------------------------------------------------------


def compared_runs(
    first: tuple[str, Sides, str], second: tuple[str, Sides, str], same_items: Iterable[str]
) -> list[str]:
    """(run's name, its sides, its variant) twice: better, worse or cannot tell, on the sides where both had the same items."""
    together: dict[str, dict[str, Score]] = {}
    for side in same_items:
        scores = [sides.get(side, {}).get(variant) for _, sides, variant in (first, second)]
        if all(scores):
            together[side] = {f"{one[0]} ({one[2]})": s for one, s in zip((first, second), scores, strict=True) if s}
    return comparison_sentences(together) if together else []


# -- flips -----------------------------------------------------------------------------------------------------------


class Flip(NamedTuple):
    """One item on which two variants differ.

    won:    whether it is right now and was wrong before
    before, after: log-likelihood of each choice in nats, () where the kind has none; margin: of the right one over the best
            other, None where it is not known
    replies: what each answered in words
    """

    side: str
    item: int
    won: bool
    shown: Shown
    before: tuple[float, ...]
    after: tuple[float, ...]
    margin_before: float | None
    margin_after: float | None
    replies: tuple[str, str]


def flips(sides: Sides, items: Any, before: str, after: str) -> list[Flip]:
    """Every item that flipped from one variant to another. items: side -> Shown, in the order of the scores."""
    found = []
    for side, which in flipped(sides, before, after).items():
        scores, items_of_side = sides[side], items.get(side, ())
        for number in sorted((*which.lost, *which.won)):
            shown = items_of_side[number] if number < len(items_of_side) else Shown(f"item {number + 1}")
            found.append(_flip(side, number, number in which.won, shown, scores[before], scores[after]))
    return found


def _flip(side: str, number: int, won: bool, shown: Shown, before: Score, after: Score) -> Flip:
    first, second = (_logliks(score, number, len(shown.choices)) for score in (before, after))
    replies = (_reply(before, number, first, shown), _reply(after, number, second, shown))
    return Flip(side, number, won, shown, first, second, _margin(first, shown), _margin(second, shown), replies)


def _logliks(score: Score, number: int, count: int) -> tuple[float, ...]:
    return () if score.loglik is None or not count else tuple(score.loglik[number, :count].tolist())


def _margin(values: Sequence[float], shown: Shown) -> float | None:
    if len(values) < 2 or shown.right not in shown.choices:
        return None
    right = shown.choices.index(shown.right)
    return values[right] - max(value for i, value in enumerate(values) if i != right)


def _reply(score: Score, number: int, values: Sequence[float], shown: Shown) -> str:
    if score.replies is not None:
        return score.replies[number]
    return shown.choices[max(range(len(values)), key=values.__getitem__)] if values else ""


def chosen_flips(found: Sequence[Flip], side: str, direction: str, text: str) -> list[Flip]:
    """Those of a side ("" for all) and a direction ("won", "lost", "" for both) whose texts hold ``text``, in any case."""
    wanted = text.strip().casefold()
    return [
        flip
        for flip in found
        if side in ("", flip.side)
        and direction in ("", "won" if flip.won else "lost")
        and wanted in " ".join((flip.shown.prompt, *flip.shown.choices, flip.shown.right, *flip.replies)).casefold()
    ]


def flips_jsonl(found: Sequence[Flip]) -> str:
    """One flip a line."""
    return "".join(plain_json(_flip_row(flip)) + "\n" for flip in found)


def flips_csv(found: Sequence[Flip]) -> str:
    """A table of flips; lists are JSON within a cell."""
    return _csv(list(_flip_row(found[0])) if found else ["side", "item"], map(_flip_row, found))


def _flip_row(flip: Flip) -> dict[str, Any]:
    return {
        "side": flip.side, "item": flip.item, "direction": "won" if flip.won else "lost", "prompt": flip.shown.prompt,
        "right": flip.shown.right, "choices": list(flip.shown.choices), "said_before": flip.replies[0], 
        "said_after": flip.replies[1],
        "loglik_before": [*flip.before], "loglik_after": [*flip.after],
        "margin_before": flip.margin_before, "margin_after": flip.margin_after,
    }  # fmt: skip


# -- CSV -------------------------------------------------------------------------------------------------------------


def runs_csv(runs: Iterable[Any]) -> str:
    """A row for each score of each run."""
    head = ["run", "when", "finished", "recipe", "side", "variant"]
    measured = [
        name for name in Score("", None, None, None, None, None, gold=torch.zeros(1)).to_dict() if name != "name"
    ]
    rows = (
        {"run": run.number, "when": run.when, "finished": run.finished, "recipe": json.dumps(run.recipe.to_dict()),
         "side": side, "variant": name, **score.to_dict()}
        for run in runs for side, scores in run.sides.items() for name, score in scores.items()
    )  # fmt: skip
    return _csv([*head, *measured], rows)


def table_csv(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Any table as CSV."""
    return _csv(headers, (dict(zip(headers, row, strict=True)) for row in rows))


def _csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Lists as JSON; a text that a spreadsheet would take for a formula is marked as a text."""
    if isinstance(value, list):
        return plain_json(value)
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
