"""DARE (Yu et al. 2024) before TIES' sign election, as PEFT's ``dare_ties_svd``: entries go by chance, the rest grows."""

from tada_studio.core.elementwise import KNOBS, Full, agreeing, entry_by_entry, generator, thinned
from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Method, Moments, Outside
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Outside:
    """The chance is drawn from the recipe's seed for each module and adapter, so neither order nor threads matter."""

    def combine(task: Full, domain: Full, name: str) -> Full:
        return agreeing(
            thinned(task, recipe.density, generator(recipe.seed, name, "task")),
            thinned(domain, recipe.density, generator(recipe.seed, name, "domain")),
        )

    return entry_by_entry(analysis, recipe, combine)


METHOD = Method(
    "dare_ties",
    run,
    says="drop entries by chance and grow the rest, elect a sign, average what agrees",
    uses=KNOBS | {"seed"},
    source="DARE, arXiv 2311.03099",
)
