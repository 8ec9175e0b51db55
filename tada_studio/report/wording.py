"""Parts that many sentences have."""

from collections.abc import Sequence


def counted(n: int, thing: str) -> str:
    """ "1 cell", "1,024 cells"."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
