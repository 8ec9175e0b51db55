"""Whether the probe's inputs were enough, in words."""

from tada_studio.core.stability import LOUDER, Stability

#: Halves that rank the cells alike to this, with a typical band no wider than that to either side, are called enough.
ALIKE, NARROW = 0.9, 0.05


def stability_sentences(found: Stability) -> list[str]:
    """The verdict on the number of inputs first, then the check that size does not matter."""
    if found.inputs < 2:
        return ["It takes readings of at least two inputs to say how sure the gates are. Probe on the Open tab."]
    return [_enough(found), *([_fewer(found)] if found.subsets else []), *([_scaled(found)] if found.scaled else [])]


def _enough(found: Stability) -> str:
    width, halves = found.width, found.halves
    if halves is None or width is None:
        return "The gates do not vary, so there is nothing that more inputs could change."
    evidence = (
        f"two halves of them rank the cells with rho {halves:+.3f}, and a typical gate is known to within {width:.3f}"
    )
    if halves >= ALIKE and width <= NARROW:
        return f"{found.inputs} inputs are enough: {evidence}."
    what = "the order of the cells" if halves < ALIKE else "single gates"
    return f"More inputs than {found.inputs} would still change {what}: {evidence}."


def _fewer(found: Stability) -> str:
    least = found.subsets[0]
    alike = "" if least.rho is None else f" and rank the cells as all do with rho {least.rho:+.3f}"
    return f"{least.n} of the inputs alone give gates that are {least.distance:.3f} off on average{alike}."


def _scaled(found: Stability) -> str:
    assert found.scaled is not None
    most = max(found.scaled.both, found.scaled.task, found.scaled.domain)
    times = f"{LOUDER:g} times"
    return (
        f"With both adapters, or either one, {times} as large, computed anew, no gate moves by more than {most:.0e}; gates from "
        f"responses that are not divided by an adapter's size would move by up to {found.scaled.raw:.2f}."
    )
