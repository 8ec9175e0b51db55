"""The tables of docs/method-lab.md, from the results as they stand: what is missing is named, and nothing is claimed of it."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lab_pairs import LabPair

from tada_studio.core.stats import bootstrap_mean, flipped_p, holm, mcnemar, percentiles, redrawn_means
from tada_studio.report import markdown_table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "method-lab.md"
NOT_YET = "not run yet"
#: Beside each pair's own test, who else must be beaten on each.
RIVALS = ("gates", "ties", "dare_ties")
#: No merges to be beaten: parents, a control.
NO_RIVAL = ("base", "task", "domain", "placebo", "tada", "sum")

Results = Mapping[str, Mapping[str, Any]]


class Split(NamedTuple):
    """Items that only the first, or only the second, answers rightly."""

    won: int
    lost: int

    @property
    def p(self) -> float:
        return mcnemar(self.won, self.lost)

    def plus(self, other: "Split") -> "Split":
        return Split(self.won + other.won, self.lost + other.lost)


def read(folder: Path) -> Results:
    """Pair -> variant -> its result."""
    files = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")))
    return {found["pair"]["name"]: found["variants"] for found in files}


def sides(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: side for name, side in result.items() if isinstance(side, Mapping) and "right" in side}


def mean(result: Mapping[str, Any], key: str = "right") -> float | None:
    """S: the mean of the accuracies on all sides; None where a side does not have it."""
    shares = [side[key].count("1") / len(side[key]) if key in side else None for side in sides(result).values()]
    known = [one for one in shares if one is not None]
    return sum(known) / len(known) if len(known) == len(shares) else None


def split(one: Mapping[str, Any], other: Mapping[str, Any], key: str = "right") -> Split:
    """Over all sides on which both have it."""
    mine, theirs = sides(one), sides(other)
    pairs = [
        (a, b)
        for side in mine
        if key in mine[side] and key in theirs[side]
        for a, b in zip(mine[side][key], theirs[side][key], strict=True)
    ]
    return Split(sum(a > b for a, b in pairs), sum(a < b for a, b in pairs))


def gold(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float]:
    """By how many nats ``one`` finds the right answers likelier, in the mean, and its p by sign flips; each side counts alike.

    What is kept by item is a loss: -log p.
    """
    mine, theirs = sides(one), sides(other)
    apart = [torch.tensor(theirs[s]["gold"]).double() - torch.tensor(mine[s]["gold"]).double() for s in mine]
    p = flipped_p(apart, torch.Generator().manual_seed(0))
    return sum(float(side.mean()) for side in apart) / len(apart), p


def points(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Points of S that ``one`` is ahead, with the 95 % bootstrap interval over the items of each side."""
    mine, theirs = sides(one), sides(other)
    apart = [_digits(mine[side]["right"]) - _digits(theirs[side]["right"]) for side in mine]
    generator = torch.Generator().manual_seed(0)
    drawn = sum(redrawn_means(side, generator, 2000) for side in apart) / len(apart)
    return _points(sum(float(side.mean()) for side in apart) / len(apart), percentiles(drawn.tolist()))


def _digits(text: str) -> torch.Tensor:
    return torch.tensor([float(digit) for digit in text])


def _points(share: float, interval: tuple[float, float] | None) -> str:
    return f"{100 * share:+.1f}" + (f" [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]" if interval else "")


def sign_flips(differences: Sequence[float]) -> float:
    """Exact two-sided p of a mean that is as far from 0, were each sign as likely as its opposite."""
    seen = abs(sum(differences))
    sums = (abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in
            itertools.product((1, -1), repeat=len(differences)))  # fmt: skip
    return sum(one >= seen - 1e-12 for one in sums) / 2 ** len(differences)


# -- tables ----------------------------------------------------------------------------------------------------------


def by_pair(results: Results, pairs: Sequence[LabPair]) -> str:
    """A row for each pair: who scored what, and tada against the sum."""
    done = {pair.name: found for pair in pairs if {"tada", "sum"} <= (found := results.get(pair.name, {})).keys()}
    tests = {name: split(found["tada"], found["sum"]) for name, found in done.items()}
    p_values = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    likelihood = {name: gold(found["tada"], found["sum"]) for name, found in done.items()}
    p_gold = dict(zip(likelihood, holm([p for _, p in likelihood.values()]), strict=True))
    rows = []
    for pair in pairs:
        if pair.name not in done:
            rows.append([pair.name, *[NOT_YET if i == 0 else "" for i in range(11)]])
            continue
        found = done[pair.name]
        rows.append([
            pair.name, *(_share(found, name) for name in ("task", "domain", *RIVALS, "sum", "tada fixed", "tada")),
            found["tada"]["auto"]["chosen"], points(found["tada"], found["sum"]),
            f"{tests[pair.name].won}-{tests[pair.name].lost}, p {_p(p_values[pair.name])}",
            f"{likelihood[pair.name][0]:+.3f}, p {_p(p_gold[pair.name])}",
        ])  # fmt: skip
    head = ["pair", "task", "domain", *RIVALS, "sum", "tada fixed", "**tada**", "auto chose", "points of S against the sum",
            "won-lost", "log-likelihood against the sum"]  # fmt: skip
    return markdown_table(head, rows)


def pooled(results: Results, variants: Sequence[str]) -> str:
    """A row for each other merge: over the pairs where it was scored too."""
    names = [name for name in variants if name not in NO_RIVAL]
    splits = {name: _pooled(results, "tada", name) for name in names}
    known = {name: found for name, found in splits.items() if found[1]}
    p_values = dict(zip(known, holm([test.p for test, _ in known.values()]), strict=True))
    rows = []
    for name in names:
        test, on = splits[name]
        if not on:
            rows.append([name, "0", NOT_YET, "", "", ""])
            continue
        ahead = [_ahead(results[pair], name) for pair in on]
        better = sum(one > 0 for one in ahead)
        over_pairs = bootstrap_mean(torch.tensor(ahead), torch.Generator().manual_seed(0))
        rows.append([
            name, str(len(on)), f"{test.won}-{test.lost}", _p(p_values[name]),
            _points(sum(ahead) / len(ahead), over_pairs), f"{better} of {len(on)}",
        ])  # fmt: skip
    return markdown_table(["against", "pairs", "won-lost", "p (Holm)", "points of S", "tada ahead on"], rows)


def _ahead(found: Mapping[str, Any], name: str, key: str = "right") -> float:
    one, other = mean(found["tada"], key), mean(found[name], key)
    return 0.0 if one is None or other is None else one - other


def _pooled(results: Results, one: str, other: str, key: str = "right") -> tuple[Split, list[str]]:
    on = [pair for pair, found in results.items() if {one, other} <= found.keys()]
    total = Split(0, 0)
    for pair in on:
        total = total.plus(split(results[pair][one], results[pair][other], key))
    return total, on


def primary(results: Results, pairs: Sequence[LabPair]) -> str:
    """The primary outcome in words; interim until every pair is done."""
    test, on = _pooled(results, "tada", "sum")
    if not on:
        return "Not run yet."
    ahead = [_ahead(results[pair], "sum") for pair in on]
    free, writing = _pooled(results, "tada", "sum", "free")
    done = len(on) == len(pairs)
    missing = [pair.name for pair in pairs if pair.name not in on]
    head = "Primary outcome" if done else "Interim, no claim is made from it"
    higher, equal, lower = (
        sum(sign(one) for one in ahead) for sign in (lambda x: x > 0, lambda x: x == 0, lambda x: x < 0)
    )
    words = [
        f"**{head}** ({len(on)} of {len(pairs)} pairs): `tada` with auto against the plain sum, {test.won} items won and "
        f"{test.lost} lost, exact McNemar p = {_p(test.p)}; S higher on {higher} pairs, equal on {equal}, lower on {lower}; "
        f"{100 * sum(ahead) / len(ahead):+.2f} points of S in the mean, sign flips over pairs p = {_p(sign_flips(ahead))}.",
    ]
    said = [pair for pair in writing if mean(results[pair]["tada"], "free") is not None]
    if said:
        words.append(f"Free answers ({len(said)} pairs): {free.won} won, {free.lost} lost, p = {_p(free.p)}.")
    if missing:
        words.append(f"Not run yet: {', '.join(missing)}.")
    return " ".join(words)


def on_each(results: Results) -> str:
    """Where each rival was ahead of tada, if anywhere."""
    tests = {(pair, rival): split(found["tada"], found[rival]) for pair, found in results.items() for rival in RIVALS
             if {"tada", rival} <= found.keys()}  # fmt: skip
    if not tests:
        return ""
    p_values = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    behind = [f"{pair} against {rival} ({100 * _ahead(results[pair], rival):+.1f} points, p {_p(p_values[pair, rival])})"
              for pair, rival in tests if _ahead(results[pair], rival) < 0]  # fmt: skip
    told = sum(p < 0.05 and _ahead(results[pair], rival) > 0 for (pair, rival), p in p_values.items())
    return (
        f"Against {', '.join(RIVALS)} on each pair ({len(tests)} comparisons, Holm): significantly ahead in {told}; behind in "
        f"{len(behind)}{': ' + '; '.join(behind) if behind else ''}."
    )


def the_pairs(pairs: Sequence[LabPair]) -> str:
    rows = [[p.name, p.family, str(p.base), str(p.seed), "/".join(map(str, p.ranks)), p.about] for p in pairs]
    return markdown_table(["pair", "family", "base", "seed", "ranks", "what is special"], rows)


def _share(found: Mapping[str, Any], name: str) -> str:
    value = mean(found[name]) if name in found else None
    return NOT_YET if value is None else f"{value:.3f}"


def _p(value: float) -> str:
    return "1" if value >= 0.995 else f"{value:.2g}"


def write_report(folder: Path, pairs: Sequence[LabPair], variants: Sequence[str]) -> None:
    """Everything between the page's markers."""
    results = read(folder)
    put("lab pairs", the_pairs(pairs))
    parts = [primary(results, pairs)]
    above = "Mean accuracy of both sides (S) by pair; points with 95 % intervals over items, p by Holm over the pairs, "
    above += "log-likelihood of the right answers in nats, positive where they are likelier under `tada`:"
    below = "`tada` against every other merge, pooled over the pairs where both were scored; points with 95 % intervals over pairs:"
    if results:
        parts += [
            above, by_pair(results, pairs),
            below, pooled(results, variants),
            on_each(results),
        ]  # fmt: skip
    put("lab results", "\n\n".join(part for part in parts if part))


def put(section: str, text: str) -> None:
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")
