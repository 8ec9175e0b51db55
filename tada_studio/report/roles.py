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
#: Kinship by the weights alone, as a rack says it.
_KIN = {"same": "the same adapter", "one run": "checkpoints of one run", "untrained": "one is untrained"}


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
    if role == "siblings" and why == "parent":
        return (
            f"Siblings: the {later} adapter is a merge that holds the other already{alike}. Their sum would count that one twice: "
            "choose one, or merge with another adapter."
        )
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


def rack_verdict(adapters: int, left_out: int, related: int) -> str:
    """How many adapters a rack compares, and how many of its pairs are not simply independent."""
    pairs = adapters * (adapters - 1) // 2
    found = (
        "all are independent of each other" if not related else f"{related} of {pairs} pairs are more than independent"
    )
    rest = f" {left_out} could not be compared." if left_out else ""
    return f"{adapters} adapters: {found}.{rest}"


def related_sentences(names: Sequence[str], found: Relations, roles: Mapping[tuple[str, str], str]) -> list[str]:
    """A line for every two that are not simply independent; one line if all are."""
    return [says for _, _, says in related_pairs(names, found, roles)] or ["All are independent of each other."]


def related_pairs(
    names: Sequence[str], found: Relations, roles: Mapping[tuple[str, str], str]
) -> list[tuple[int, int, str]]:
    """(number of one, number of the other, what they are to each other) of every two that are not simply independent."""
    number = {name: i for i, name in enumerate(names)}
    listed = []
    for (one, other), role in roles.items():
        i, j = number[one], number[other]
        kin = found.kinship(i, j)
        if role == "independent" and kin == "strangers":
            continue
        opposed = max(float(found.conflict[i, j]), float(found.conflict[j, i]))
        cosine = float(found.cosine[i, j])
        extra = f", {percent(opposed)} of one's energy in conflict" if opposed > 0 else ""
        measured = f" (cosine {cosine:+.2f}{extra})" if cosine == cosine else ""
        says = f"{one} and {other}: {role}{'' if kin == 'strangers' else f', {_KIN.get(kin, kin)}'}{measured}"
        listed.append((i, j, says))
    return listed


def _cosine(value: float) -> str:
    return "-" if value != value else f"{value:+.2f}"
