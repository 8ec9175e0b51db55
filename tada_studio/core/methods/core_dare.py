"""DARE before TIES' sign election in the Core Space (Panariello et al. 2025, arXiv 2509.17786): entries go by chance."""

from torch import Tensor

from tada_studio.core.aligned import entry_by_entry
from tada_studio.core.elementwise import agreeing, generator, thinned
from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Mix, Moments
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Mix:
    """As ``dare_ties``, over bases that both adapters share. The chance is drawn from the recipe's seed for each module and
    adapter."""

    def combine(task: Tensor, domain: Tensor, name: str) -> Tensor:
        def thin(one: Tensor, role: str) -> Tensor:
            return thinned(one, recipe.density, generator(recipe.seed, name, "core", role))

        return agreeing(thin(task, "task"), thin(domain, "domain"))

    return entry_by_entry(analysis.space, recipe.strength, combine)


METHOD = Method(
    "core_dare",
    run,
    says="DARE, then TIES' sign election, over bases that both adapters share, in k x k",
    uses=frozenset({"strength", "density", "seed"}),
    source="Core Space, arXiv 2509.17786",
)
