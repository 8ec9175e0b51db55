"""What a merge makes of the two kinds of inputs, in words: who speaks on which, and what of each adapter is kept and left."""

from tada_studio.addresses import Address
from tada_studio.core.gates import BY_CHANCE
from tada_studio.core.separation_map import SeparationDepth, SeparationMap
from tada_studio.report.merge import titled, uncapitalized

#: Below the first the two gates are called alike, above the second far apart.
ALIKE, APART = 0.05, 0.3
#: As the map says it of cells.
LEANS = 0.45
#: A share of energy that differs from 1 by less than this is called all of it.
ALL = 0.005


def separation_sentence(found: SeparationMap) -> str:
    """Who speaks on which inputs, how far modules gate themselves by their input, where most, and how that changes with depth."""
    domain, task = (float(one.nanmean()) for one in (found.on_domain, found.on_task))
    apart = found.separation
    start = f"Of what the merge says, {domain:.2f} is the domain's on domain inputs and {task:.2f} on task inputs"
    if not (~apart.isnan()).any():
        return f"{start}."
    row = int(apart.nan_to_num(-2).argmax())
    i, j = divmod(row, apart.shape[1])
    most = f"most at {found.gates.place(i, j)} ({float(apart[i, j]):+.2f})"
    return f"{start}: modules {_how(domain - task)} ({domain - task:+.2f}), {most}. {separation_trend(found)}"


def _how(apart: float) -> str:
    if apart < -ALIKE:
        return "speak more on the other's inputs than on their own"
    if apart < ALIKE:
        return "hardly tell the two kinds apart"
    return "clearly separate the two" if apart > APART else "separate the two somewhat"


def separation_trend(found: SeparationMap) -> str:
    """Spearman's rho of separation with depth, by inputs and by layers, and what it comes to; of each tower."""
    says = {tower: _trend(depth) for tower, depth in found.depths.items()}
    return " ".join(f"{titled(tower)}: {uncapitalized(one)}" if tower else one for tower, one in says.items())


def _trend(depth: SeparationDepth) -> str:
    if depth.rho is None:
        return "Separation does not vary with depth."
    spread = (
        "" if depth.interval is None else f", 95 % {depth.interval.low:+.2f} to {depth.interval.high:+.2f} over inputs"
    )
    figures = f"rho {depth.rho:+.2f}{spread}; layers in another order show as much in {depth.by_chance:.0%} of cases"
    known = depth.interval is not None and (depth.interval.low > 0 or depth.interval.high < 0)
    if depth.by_chance >= BY_CHANCE or not known:
        return f"Separation shows no clear trend with depth ({figures})."
    return f"Separation {'rises' if depth.rho > 0 else 'falls'} with depth ({figures})."


def separation_rows(found: SeparationMap, place: Address) -> list[tuple[str, str]]:
    """(what, value) of one cell: both gates, their difference, what of each adapter is kept and left there."""
    i, j = found.gates.cell(place)
    domain, task = float(found.on_domain[i, j]), float(found.on_task[i, j])
    rows = [
        ("gate on domain inputs", _gate(domain)),
        ("gate on task inputs", _gate(task)),
        ("separation", f"{domain - task:+.2f}"),
    ]
    for a, (name, other) in enumerate((("task", "domain"), ("domain", "task"))):
        own, foreign = float(found.own[a, i, j]), float(found.foreign[a, i, j])
        if own == own:  # NaN: this adapter has no such module
            rows.append((f"{name} keeps", f"{share(own)} on its own inputs, {share(foreign)} on the {other}'s"))
    return rows


def share(value: float) -> str:
    """A share of response energy."""
    return "nothing" if value < ALL / 10 else "100%" if abs(value - 1) < ALL else f"{100 * value:.0f}%"


def _gate(gate: float) -> str:
    return f"{gate:.2f}, {'leans to task' if gate < LEANS else 'leans to domain' if gate > 1 - LEANS else 'about even'}"
