"""What all figures share: colours that mean something, and how numbers and names reach plotly."""

import re

from torch import Tensor

TASK, DOMAIN, BASE, CONFLICT, MERGE, OTHER_MERGE = "#2f76c4", "#cf6321", "#8a94a3", "#d0314a", "#14866d", "#86bfae"
#: Lines that stand for none of these.
LINES = ("#7b5ea7", "#5b8c5a", "#b0699b", "#8c7a4b", "#4a8a9a", "#9a5b4f", "#6f7680")
#: How a gate is coloured from 0 (task) over even to 1 (domain).
TASK_TO_DOMAIN = [(0.0, TASK), (0.5, "#a9a9b0"), (1.0, DOMAIN)]
#: How an alignment is coloured from opposing over unrelated to agreeing.
OPPOSE_TO_AGREE = [(0.0, CONFLICT), (0.5, "rgba(138,148,163,0.10)"), (1.0, "#6d7e96")]


def short_name(projection: str) -> str:
    """v of v_proj, self.v of self_attn.v_proj and enc.v of attention to an encoder, as on the map; another name with a path
    (attn.c_proj) stays whole, and gate_proj, which is no gate."""
    path, _, last = projection.rpartition(".")
    if which := re.fullmatch(r"(\w+?)_?(?:attn|attention)", path, re.IGNORECASE):
        to = "enc" if which[1].lower() in ("encoder", "encdec") else which[1]
        return f"{to}.{last.removesuffix('_proj')}"
    return projection if path or projection == "gate_proj" else projection.removesuffix("_proj")


def plain(values: Tensor) -> list:
    """Nested lists of numbers, None where a value is unknown: plotly's own encoding of arrays hides NaN in binary."""
    if values.ndim > 1:
        return [plain(row) for row in values]
    return [None if value != value else value for value in values.tolist()]
