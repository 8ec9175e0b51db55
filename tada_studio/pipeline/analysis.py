"""What is known of a pair before any recipe: its core space, factored once, and readings of nothing for a pair not probed."""

import weakref

from tada_studio.core import gates as gating
from tada_studio.core.factor import factor
from tada_studio.core.mix import Analysis
from tada_studio.errors import AdapterError
from tada_studio.lora import Pair
from tada_studio.read import check_unchanged

_ANALYSES: "weakref.WeakKeyDictionary[Pair, Analysis]" = weakref.WeakKeyDictionary()
_UNPROBED: "weakref.WeakKeyDictionary[Pair, gating.Readings]" = weakref.WeakKeyDictionary()


def analysis(pair: Pair) -> Analysis:
    """The core space of a pair, factored once. Raises AdapterError if an adapter holds NaN or infinity, or was written over."""
    factored = _ANALYSES.get(pair)
    if factored is None:
        check_unchanged(pair.task, pair.domain)
        factored = _ANALYSES[pair] = Analysis(weakref.proxy(pair), factor(pair))
        _check_finite(pair, factored)
    return factored


def _check_finite(pair: Pair, factored: Analysis) -> None:
    finite = factored.space.squared_norms.isfinite()
    if not finite.all():
        row, side = (~finite).nonzero()[0].tolist()
        raise AdapterError(
            f"{pair.names[row]}: {(pair.task, pair.domain)[side].label} holds NaN or infinity there; its training diverged, or "
            "the file is damaged. Use an earlier checkpoint."
        )


def unprobed(pair: Pair) -> gating.Readings:
    """Readings of nothing, for a pair without a base: every gate is even."""
    readings = _UNPROBED.get(pair)
    if readings is None:
        readings = _UNPROBED[pair] = gating.unprobed(pair, analysis(pair).space.present)
    return readings
