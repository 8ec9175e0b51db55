"""What auto chose, in words: the candidates as they were judged, and the one that won."""

from collections.abc import Mapping
from typing import Any

#: How the screen and the command line call the candidates; the short names are those of the documentation.
NAMES = {
    "sum": "plain sum",
    "n4:k10": "gentlest (ridge 4, own weight 10, not scaled)",
    "o4:k10": "gentle (ridge 4, own weight 10)",
    "o2:k3": "usual (ridge 2, own weight 3)",
    "o1:k1": "strong (ridge 1, own weight 1)",
}


def calibration_table(auto: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """(headers, rows) of a calibration's candidates (``Calibration.to_dict``), the gentlest first; the chosen one is marked."""
    headers = ["separation", "KL from domain parent", "KL from task parent", "mean (nats)", ""]
    rows = [
        [NAMES.get(one["name"], one["name"]), f"{one['domain']:.4f}", f"{one['task']:.4f}",
         f"{(one['domain'] + one['task']) / 2:.4f}", "chosen" if one["name"] == auto["chosen"] else ""]
        for one in auto["candidates"]
    ]  # fmt: skip
    return headers, rows


def calibration_sentence(auto: Mapping[str, Any]) -> str:
    """Which candidate auto chose, by what, and how long it took."""
    chosen = auto["chosen"]
    return (
        f"Auto chose {NAMES.get(chosen, chosen)}: of {len(auto['candidates'])} candidates its answers to the held-out halves of "
        f"the inputs are nearest to those of the parents. No labels were used; it took {auto['seconds']:g} s."
    )
