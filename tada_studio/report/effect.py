"""What parts of a merge do, in words, beside how large they are."""

from tada_studio.evaluation.effect import Effects, Part, side_words

_KINDS = {"layer": "layers", "projection": "projections", "cell": "cells"}


def effect_sentences(found: Effects) -> list[str]:
    """What is lost without the most useful part, which parts do harm, and whether large parts are the useful ones."""
    sentences = [
        sentence
        for kind in _KINDS
        if found.of(kind)
        for sentence in (_most(found, kind), _geometry(found, kind))
        if sentence
    ]
    return [
        *sentences,
        f"Measured on {found.says}. This rests on answers, not on geometry; effects of parts do not add up.",
    ]


def _most(found: Effects, kind: str) -> str:
    parts = found.of(kind)
    most = min(parts, key=found.total)
    harmful = [part for part in parts if all(change.low > 0 for change in found.judged(part).values())]
    harm = f"; better without {', '.join(part.name for part in harmful[:5])} on every side" if harmful else ""
    return f"Without {most.name} the right answers lose most: {_lost(found, most)}{harm}."


def _lost(found: Effects, part: Part) -> str:
    return ", ".join(
        f"{side_words(side)} {change.gold:+.3f} nats (95 % {change.low:+.3f} to {change.high:+.3f})"
        for side, change in found.changes[part].items()
    )


def _geometry(found: Effects, kind: str) -> str:
    rho = found.goes_with_energy(kind)
    if rho is None:
        return ""
    how = "" if rho > 0.7 else " little about" if rho < 0.3 else " only in part"
    tells = f"tells{how} which matter"
    return f"Over {_KINDS[kind]}, effect and energy rank with rho {rho:+.2f}: how large a part is {tells}."
