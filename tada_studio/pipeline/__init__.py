"""THE FLOW: two paths -> pair -> core space; base + inputs -> readings; readings + recipe -> gates -> merge -> scores, folder.

Calls the stations in order and keeps what is expensive (reading, factoring, probing, scores) by content, so that a slider
re-runs only gates and the merge in core space. Every function here is what the API, the command line and the screen share.
"""

from tada_studio.base_model.model import load_base
from tada_studio.pipeline.analysis import unprobed
from tada_studio.pipeline.cache import LruCache
from tada_studio.pipeline.calibration import CANDIDATES, Calibration, Trial, calibrate
from tada_studio.pipeline.engines import open_engine
from tada_studio.pipeline.exporting import check_key, export, push, sign, signature, verify
from tada_studio.pipeline.items import (
    sample_inputs,
    sample_items,
    sample_readings,
    sample_split,
    sample_task_inputs,
    sample_validation,
)
from tada_studio.pipeline.merge import Merge
from tada_studio.pipeline.opening import check_size, passports, read_adapter, read_pair, shared_base
from tada_studio.pipeline.origin import MergeOrigin, calibrated_by, logged, own_version, remarks_on_recipe
from tada_studio.pipeline.probing import probe
from tada_studio.pipeline.provenance import Provenance
from tada_studio.pipeline.rack import Rack, read_rack
from tada_studio.pipeline.roles import ROLES, PairRole, alone, recipes_for, role_of
from tada_studio.pipeline.scoring import Sides, evaluate, score_sides, score_tasks
from tada_studio.pipeline.shared_bases import BASES
from tada_studio.pipeline.tuning import search
from tada_studio.pipeline.variants import STRENGTHS, TURNED, USUAL, Beside, by_name, recipes_of, tuned, variants

__all__ = [
    "BASES",
    "CANDIDATES",
    "ROLES",
    "STRENGTHS",
    "TURNED",
    "USUAL",
    "Beside",
    "Calibration",
    "LruCache",
    "Merge",
    "MergeOrigin",
    "PairRole",
    "Provenance",
    "Rack",
    "Sides",
    "Trial",
    "alone",
    "by_name",
    "calibrate",
    "calibrated_by",
    "check_key",
    "check_size",
    "evaluate",
    "export",
    "load_base",
    "logged",
    "open_engine",
    "own_version",
    "passports",
    "probe",
    "push",
    "read_adapter",
    "read_pair",
    "read_rack",
    "recipes_for",
    "recipes_of",
    "remarks_on_recipe",
    "role_of",
    "sample_inputs",
    "sample_items",
    "sample_readings",
    "sample_split",
    "sample_task_inputs",
    "sample_validation",
    "score_sides",
    "score_tasks",
    "search",
    "shared_base",
    "sign",
    "signature",
    "tuned",
    "unprobed",
    "variants",
    "verify",
]
