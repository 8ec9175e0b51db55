"""THE FLOW: two paths -> pair -> core space; base + inputs -> readings; readings + recipe -> gates -> merge -> scores, folder.

Calls the stations in order and keeps what is expensive (reading, factoring, probing, scores) by content, so that a slider
re-runs only gates and the merge in core space. Every function here is what the API, the command line and the screen share.
"""

from tada_studio.studio.exporting import export, push, verify
from tada_studio.studio.kept import Kept
from tada_studio.studio.merging import (
    MergeOrigin,
    gates,
    logged,
    merge,
    merge_core,
    merge_mix,
    mix,
    own_version,
    remarks_on_recipe,
)
from tada_studio.studio.opening import analysis, load_base, passports, read_adapter, read_pair
from tada_studio.studio.probing import probe, unprobed
from tada_studio.studio.scoring import (
    STRENGTHS,
    TURNED,
    Sides,
    evaluate,
    sample_inputs,
    sample_items,
    sample_validation,
    score_sides,
    score_tasks,
    tuned,
    variants,
)
from tada_studio.studio.streaming import stream

__all__ = [
    "STRENGTHS",
    "TURNED",
    "Kept",
    "MergeOrigin",
    "Sides",
    "analysis",
    "evaluate",
    "export",
    "gates",
    "load_base",
    "logged",
    "merge",
    "merge_core",
    "merge_mix",
    "mix",
    "own_version",
    "passports",
    "probe",
    "push",
    "read_adapter",
    "read_pair",
    "remarks_on_recipe",
    "sample_inputs",
    "sample_items",
    "sample_validation",
    "score_sides",
    "score_tasks",
    "stream",
    "tuned",
    "unprobed",
    "variants",
    "verify",
]
