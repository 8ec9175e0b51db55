"""TIES in the Core Space (Panariello et al. 2025, arXiv 2509.17786): trimmed and elected over bases that both adapters share."""

from tada_studio.core.aligned import entry_by_entry
from tada_studio.core.elementwise import agreeing, trimmed
from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Mix, Moments
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """Of both k x k matrices the largest entries stay; where they agree with the sign of their sum, their mean."""
    keep = recipe.density
    return entry_by_entry(
        analysis.space, recipe.strength, lambda task, domain, name: agreeing(trimmed(task, keep), trimmed(domain, keep))
    )


METHOD = Method(
    "core_ties",
    run,
    says="TIES over bases that both adapters share, in k x k",
    uses=frozenset({"strength", "density"}),
    source="Core Space, arXiv 2509.17786",
)
