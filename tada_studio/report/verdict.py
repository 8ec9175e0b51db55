"""An evaluation in one sentence. What is better or worse is judged in ``evaluation.compare``; here it is worded."""

from collections.abc import Sequence

from tada_studio.evaluation.compare import BETTER, CANNOT_TELL, LEVEL, MIXED, WORSE, Comparison
from tada_studio.report.wording import counted, listed

_STARTS = {
    BETTER: "better than", WORSE: "worse than", MIXED: "better by one measure and worse by the other than",
    CANNOT_TELL: "cannot be told from",
}  # fmt: skip
_NAMES = {
    "base": "the base", "task": "the task adapter", "domain": "the domain adapter", "sum": "the sum", "average": "the average",
}  # fmt: skip
_BOTH = {"task", "domain"}


def verdict_words(found: Sequence[Comparison]) -> str:
    """Who the variant is better than, worse than, and who it is like, with the largest p of each group; "" for none."""
    groups = {word: [one for one in found if one.word == word] for word in _STARTS}
    parts = [_group(word, group) for word, group in groups.items() if group]
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def verdict_kind(found: Sequence[Comparison]) -> str:
    """ "good" if it is better than whichever parent took part and worse than nobody, "bad" if it is worse than a parent."""
    parents = [one.word for one in found if one.against in _BOTH]
    if WORSE in parents:
        return "bad"
    is_good = bool(parents) and set(parents) == {BETTER} and all(one.word != WORSE for one in found)
    return "good" if is_good else ""


def verdict_note(found: Sequence[Comparison]) -> str:
    """What the sentence rests on, and how many items more would help where nothing is clear."""
    if not found:
        return ""
    more = [one for one in found if one.word == CANNOT_TELL and one.needed]
    needed = min((one.needed or 0 for one in more), default=0)
    rests = f"Paired tests on the same {found[0].n} items, corrected for {counted(len(found), 'comparison')}."
    likelier = [
        _NAMES.get(one.against, one.against) for one in found if one.won is not None and _by_likelihood_alone(one)
    ]
    if likelier:
        rests += f" From {listed(likelier)} it differs in how likely the right answers are, not clearly in how many are right."
    return f"{rests} About {needed:,} items could tell more." if 0 < needed <= 100_000 else rests


def _by_likelihood_alone(one: Comparison) -> bool:
    return one.word in (BETTER, WORSE) and not (one.p_right is not None and one.p_right < LEVEL)


def _group(word: str, found: Sequence[Comparison]) -> str:
    names = [one.against for one in found]
    known = ["both parents"] if set(names) >= _BOTH else []
    known += [_NAMES.get(name, name) for name in names if not (known and name in _BOTH)]
    clear = [p for p in map(_p, found) if p is not None]
    return f"{_STARTS[word]} {listed(known)}{_p_words(max(clear)) if clear and word in (BETTER, WORSE) else ''}"


def _p(one: Comparison) -> float | None:
    """The smaller of both measures' p, on which the word rests."""
    known = [p for p in (one.p_right, one.p_gold) if p is not None and p < LEVEL]
    return min(known, default=None)


def _p_words(p: float) -> str:
    return ", p < 0.001" if p < 0.001 else f", p = {p:.2g}"
