"""METHODS: every way to combine two adapters, baselines as equals. Each is a file of this folder, called like the method.

A file holds a ``METHOD``: its function, the knobs that change what comes out of it, one line of description. The recipe's
options, the flags, the variants of an evaluation and the README's table read that; nothing else has to know of a new file.
Most stay in core space and say how the two updates are mixed, ``dW = [B_T B_D] mix [A_T; A_D]``; those that go entry by entry
build on ``core.elementwise``. Recompression to rank r comes after them, in ``core.merge``.
"""

from collections.abc import Collection, Iterable
from importlib import import_module

from tada_studio.core.mix import Method, Moments
from tada_studio.core.selectors import LOCK, SEPARATION, target
from tada_studio.recipe import METHOD_NAMES, Recipe, knobs

METHODS: dict[str, Method] = {name: import_module(f"{__name__}.{name}").METHOD for name in METHOD_NAMES}

#: Knobs that every method obeys.
EVERY = frozenset({"method", "rank", "head", "dtype"})
#: Knobs that turn readings into gates: without readings they change nothing, whatever the method.
OF_READINGS = frozenset({"sharpness", "calibration", "response"})
#: What a method that lacks its probe comes down to, and is called.
EVEN = "even gates"
#: Knobs that separate two adapters by both kinds of inputs: without task inputs they change nothing.
OF_BOTH_INPUTS = frozenset({"ridge", "own_weight", "whole"})
#: A seed also draws the bands of figures, so it always counts for something.
ALSO_ELSEWHERE = frozenset({"seed"})


def missing(method: str, moments: Moments) -> tuple[str, ...]:
    """The kinds of inputs ("domain", "task") that a method wants a probe of and that were not read."""
    return tuple(
        kind for kind in ("domain", "task") if kind in METHODS[method].needs and getattr(moments, kind) is None
    )


def called(recipe: Recipe, moments: Moments) -> str:
    """What was done, in a name: the method, or, where what it needs was not read, the even gates that it falls back to."""
    if not missing(recipe.method, moments):
        return recipe.method
    planes = METHODS[recipe.method].planes
    return "gates by hand" if any(target(line).plane in planes for line in recipe.overrides) else EVEN


def idle(method: str, probed: bool, separable: bool = False) -> tuple[str, ...]:
    """The knobs that change nothing in a merge by this method, in the order of the recipe. separable: both kinds of inputs were
    read."""
    unread = (frozenset() if probed else OF_READINGS) | (frozenset() if separable else OF_BOTH_INPUTS)
    counts = EVERY | ALSO_ELSEWHERE | METHODS[method].uses - unread
    return tuple(name for name in knobs() if name not in counts)


def unread_lines(method: str, lines: Iterable[str], separable: bool = True) -> tuple[str, ...]:
    """The selector lines that set a plane of the map which changes nothing: the method does not read it, or cannot separate without
    readings of both kinds of inputs. Locks are of all planes."""
    planes = (METHODS[method].planes | {LOCK}) - (frozenset() if separable else {SEPARATION})
    return tuple(line for line in lines if target(line).plane not in planes)


def ignored(recipe: Recipe, probed: bool, given: Collection[str] = (), separable: bool = False) -> tuple[str, ...]:
    """The knobs that somebody turned, or gave in so many words, and that change nothing in this merge."""
    # weights is turned by whoever reads a recipe of version 0.1, not by a hand
    turned = {name for name, spec in knobs().items() if getattr(recipe, name) != spec.default} - {"weights"}
    return tuple(name for name in idle(recipe.method, probed, separable) if name in turned or name in given)
