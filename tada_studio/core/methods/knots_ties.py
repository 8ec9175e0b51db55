"""KnOTS (Stoica et al. 2024, arXiv 2410.19735) with TIES: both updates in one shared output basis, TIES on coordinates."""

from tada_studio.core.elementwise import KNOBS, agreeing, of_product, shared_basis, taken_whole, trimmed
from tada_studio.core.gates import Gates
from tada_studio.core.mix import Analysis, Leading, Method, Moments, Outside, even_weights
from tada_studio.recipe import Recipe


def run(analysis: Analysis, gates: Gates, recipe: Recipe, moments: Moments) -> Outside:
    """``[dW_T dW_D] = U S [V_T V_D]``; the two ``S V`` (k, d_in) are trimmed, and what agrees with the elected sign is added (not
    averaged, as in the authors' code). That needs no full-width matrix.
    """

    whole = taken_whole(analysis, recipe)

    def leading(row: int, rank: int, many: int) -> Leading:
        task, domain = analysis.pair.both(analysis.space.names[row])
        basis, *parts = shared_basis(task, domain)
        if whole[row]:
            return of_product(basis, parts[0] + parts[1], rank, many)
        kept = [trimmed(part, recipe.density) for part in parts]
        return of_product(basis, agreeing(kept[0], kept[1], mean=False), rank, many)

    return Outside(leading, even_weights(analysis.space, recipe.strength))


METHOD = Method("knots_ties", run, says="TIES in a basis that both share", uses=KNOBS, source="KnOTS, arXiv 2410.19735")
