"""TIES (Yadav et al. 2023), as PEFT's ``ties_svd``: trim by size, elect a sign, average what agrees with it."""

from tada_studio.core.elementwise import KNOBS, agreeing, entry_by_entry, trimmed
from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Moments, Outside
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Outside:
    keep = recipe.density
    return entry_by_entry(
        analysis, recipe, lambda task, domain, name: agreeing(trimmed(task, keep), trimmed(domain, keep))
    )


METHOD = Method(
    "ties", run, says="trim by size, elect a sign, average what agrees", uses=KNOBS, source="TIES, arXiv 2306.01708"
)
