"""Auto-tune in words that cannot fool: what was searched on which items, and what the untouched ones say of the find."""

from typing import Any

from tada_studio.recipe import Recipe
from tada_studio.report.scores import comparison_dict, comparison_sentence
from tada_studio.tuning import Trial, Tuning


def search_sentences(tuning: Tuning) -> list[str]:
    """The whole search in a few sentences; the verdicts come first, once there are any."""
    judged = tuning.judged
    verdicts = [comparison_sentence(found, "untouched items") for found in judged.against] if judged else []
    return [
        *verdicts,
        *(sentence for sentence in (_looks(tuning), _promised(tuning), _searched(tuning), _seeds(tuning)) if sentence),
    ]


def _looks(tuning: Tuning) -> str:
    if tuning.looks < 2 or tuning.judged is None:
        return ""
    return f"This is look {tuning.looks} at these items in this session: with every look a lucky find gets likelier."


def _promised(tuning: Tuning) -> str:
    """What the search half promised, beside what came of it: the best of many trials always looks better than it is."""
    if tuning.promised is None or tuning.kept is None or tuning.found is None:
        return ""
    return f"Over the default the search items promised {tuning.promised:+.3f} nats; the untouched ones gave {tuning.kept:+.3f}."


def _searched(tuning: Tuning) -> str:
    search, held = tuning.split.counts
    pruned = sum(trial.state == "pruned" for trial in tuning.trials)
    start = f"{len(tuning.trials)} trials, {pruned} stopped early, on {search} items; {held} held out ({tuning.split.says})."
    return " ".join(filter(None, (start, _nothing_found(tuning), _left_out(tuning))))


def _nothing_found(tuning: Tuning) -> str:
    if tuning.best is None:
        return "No trial has finished, so that there is nothing to take: give it more time, or fewer items."
    return "" if tuning.found else "None beat the recipe that it started from."


def _left_out(tuning: Tuning) -> str:
    if not tuning.left_out:
        return ""
    return f"There was no time to measure {', '.join(tuning.left_out)} beside the trials."


def _seeds(tuning: Tuning) -> str:
    """Whether several seeds found the same."""
    best = tuning.best_by_seed
    if len(best) < 2:
        return ""
    low, high = min(t.value for t in best), max(t.value for t in best)
    names = [name for name in ("ridge", "sharpness", "strength") if name in best[0].params]
    knobs = "; ".join(f"{name} {', '.join(f'{t.params[name]:g}' for t in best)}" for name in names)
    says = "where they differ, the items do not say which is right"
    return f"{len(best)} seeds found {low:.3f} to {high:.3f} nats with {knobs}: {says}."


def knobs_turned(recipe: Recipe) -> str:
    """What a recipe turned away from the defaults."""
    plain, knobs = Recipe().to_dict(), recipe.to_dict()
    return (
        ", ".join(
            f"{name} {value if not isinstance(value, list) else '; '.join(value)}"
            for name, value in knobs.items()
            if value != plain[name]
        )
        or "all defaults"
    )


def tuning_dict(tuning: Tuning) -> dict[str, Any]:
    """A search as plain JSON values."""
    judged = tuning.judged
    held = judged.sides if judged else {}
    return {
        "recipe": tuning.recipe.to_dict(),
        "found": tuning.found is not None,
        "says": search_sentences(tuning),
        "verdict": {found.against: comparison_dict(found) for found in (judged.against if judged else ())},
        "held_out": {side: [score.to_dict() for score in scores.values()] for side, scores in held.items()},
        "items": dict(zip(("searched", "held_out"), tuning.split.counts, strict=True)),
        "marks": {
            name: {side: mark._asdict() for side, mark in side_scores.items()}
            for name, side_scores in tuning.side_scores.items()
        },
        "trials": [_trial(trial) for trial in tuning.trials],
        "seconds": tuning.seconds,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {**trial._asdict(), "marks": {side: mark._asdict() for side, mark in trial.side_scores.items()}}
