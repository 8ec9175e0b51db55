"""What two adapters are to each other, in words, and a rack of many as tables."""

from collections.abc import Mapping, Sequence

from tada_studio.core.relations import Relations
from tada_studio.report.merge import percent
from tada_studio.report.tables import text_table

_WHY = {
    "base": "its config names the other as its base",
    "same": "their numbers are the same",
    "one run": "their updates point the same way",
    "untrained": "the other changes nothing",
}


def role_sentence(role: str, why: str, later: str | None, cosine: float) -> str:
    """What was found, by what, and what is usual for it. role, why, later: of ``pipeline.roles.PairRole``."""
    alike = f" (cosine {cosine:+.2f})" if cosine == cosine else ""
    if role == "stacked":
        return (
            f"Stacked: the {later} adapter was trained on top of the other; {_WHY['base']}. Both together are their exact sum, at "
            "the sum of both ranks; no gates, nothing dropped."
        )
    if role == "siblings" and why == "same":
        return "Siblings: both are the same adapter. There is nothing to merge; choose one."
    if role == "siblings":
        return (
            f"Siblings: two checkpoints of one run, as it seems; {_WHY['one run']}{alike}. Their sum would count twice what they "
            "share: choose one, average them, or go beyond the later."
        )
    if role == "alone":
        own = f"only the {later} adapter changes anything"
        return f"Alone: {own}. The merge is that adapter; its rank, blocks and strength can be set."
    if why == "related":
        return (
            f"Independent, but not strangers{alike}: like data, a common start, or one trained on top of the other. If you know "
            "which, choose that role."
        )
    return f"Independent: trained apart{alike}."


def rack_tables(rows: Sequence[Sequence[str]], found: Relations, roles: Mapping[tuple[str, str], str]) -> str:
    """Sizes, cosines and those who are related, as text. rows: name, rank, modules and norm of each adapter."""
    names = [row[0] for row in rows]
    numbers = [str(i + 1) for i in range(len(names))]
    sizes = text_table(
        ["", "adapter", "rank", "modules", "norm"], [[n, *row] for n, row in zip(numbers, rows, strict=True)]
    )
    cosines = [[_cosine(value) for value in row] for row in found.cosine.tolist()]
    table = text_table(["cosine", *numbers], [[n, *row] for n, row in zip(numbers, cosines, strict=True)])
    return "\n\n".join([sizes, table, "\n".join(related_sentences(names, found, roles))])


def related_sentences(names: Sequence[str], found: Relations, roles: Mapping[tuple[str, str], str]) -> list[str]:
    """A line for every two that are not simply independent; one line if all are."""
    sentences = []
    for (one, other), role in roles.items():
        i, j = names.index(one), names.index(other)
        kin = found.kinship(i, j)
        if role == "independent" and kin == "strangers":
            continue
        opposed = max(float(found.conflict[i, j]), float(found.conflict[j, i]))
        word = {"same": "the same adapter", "one run": "checkpoints of one run", "untrained": "one is untrained"}.get(
            kin, kin
        )
        extra = f", {percent(opposed)} of one's energy in conflict" if opposed > 0 else ""
        sentences.append(f"{one} and {other}: {role}, {word} (cosine {_cosine(float(found.cosine[i, j]))}{extra})")
    return sentences or ["All are independent of each other."]


def _cosine(value: float) -> str:
    return "-" if value != value else f"{value:+.2f}"
