"""The plain sum of both after trimming each by size, as PEFT's ``magnitude_prune_svd``."""

from tada_studio.core.elementwise import KNOBS, entry_by_entry, trimmed
from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Moments, Outside
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Outside:
    keep = recipe.density
    return entry_by_entry(analysis, recipe, lambda task, domain, name: trimmed(task, keep) + trimmed(domain, keep))


METHOD = Method("magnitude_prune", run, says="sum of both after each lost its smallest entries", uses=KNOBS)
