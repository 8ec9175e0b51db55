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


#: Nats of KL from a parent on its own inputs beyond which no candidate is like it. In the samples the best are at .002 to .5; with
#: questions in the task's form for domain inputs they were at 7 (minerals-tiny) and 29 (smollm2-minerals), and chance chose.
FAR = 2.0


def calibration_sentence(auto: Mapping[str, Any]) -> str:
    """Which candidate auto chose, by what, and how long it took; and of which parent's inputs the choice says little."""
    chosen = auto["chosen"]
    far = [
        f"the {side} adapter on {side} inputs"
        for side in ("domain", "task")
        if min(one[side] for one in auto["candidates"]) > FAR
    ]
    doubt = (
        f" But none of them is like {' nor like '.join(far)}: are these in the form that it was trained on?"
        if far
        else ""
    )
    return (
        f"Auto chose {NAMES.get(chosen, chosen)}: of {len(auto['candidates'])} candidates its answers to the held-out halves of "
        f"the inputs are nearest to those of the parents. No labels were used; it took {auto['seconds']:g} s.{doubt}"
    )
