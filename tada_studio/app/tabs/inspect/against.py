"""What the map's view Difference compares with: another recipe, an earlier run, other readings of the pair, or the pair before."""

from typing import Any

from tada_studio.addresses import Address
from tada_studio.app.state import TabState
from tada_studio.pipeline.merge import Merge
from tada_studio.recipe import Recipe

#: Always there: name -> (what it is called, its recipe).
RECIPES = {"sum": ("the plain sum", Recipe(method="linear")), "usual": ("the usual recipe", Recipe())}
#: Until something else is chosen.
FIRST = "sum"


def choices(state: TabState) -> list[tuple[str, str]]:
    """(what it is called, name) of everything there is to compare with."""
    view = state.session.view
    runs = [(f"the recipe of run {run.number}", f"run {run.number}") for run in state.session.runs]
    readings = [(state.compared[0], "readings")] if view and state.compared and state.compared[1] is view.pair else []
    return [*((says, name) for name, (says, _) in RECIPES.items()), *runs, *readings, *_pair_before(state)]


def _pair_before(state: TabState) -> list[tuple[str, str]]:
    """The merge of the pair that was open before, as it was left, if both have a module in common."""
    view, before = state.session.view, state.before
    if view is None or before is None or not _places(view) & _places(before):
        return []
    return [(f"{before.pair.task.label} and {before.pair.domain.label}, open before", "before")]


def _places(view: Merge) -> set[Address]:
    return set(view.pair.addresses.values())


def choose(state: TabState, name: Any) -> None:
    """Compare with this from now on; with what there is if it is gone."""
    state.differs_from = name if name in {one for _, one in choices(state)} else FIRST


def against(state: TabState) -> tuple[str, Merge] | None:
    """(name, merge) that the map is compared with, kept for as long as neither it nor the pair changes; None until the view was
    looked at."""
    view = state.session.view
    _remember(state, view)
    if view is None or state.differs_from is None:
        return None
    says = {name: says for says, name in choices(state)}
    if state.differs_from not in says:
        state.differs_from = FIRST
    if state.differs_from == "before" and state.before is not None:
        return says["before"], state.before
    readings, recipe = view.readings, view.recipe
    if state.differs_from == "readings" and state.compared is not None:
        readings = state.compared[2]
    elif state.differs_from in RECIPES:
        recipe = RECIPES[state.differs_from][1].but(rank=view.recipe.rank)
    else:
        run = next(run for run in state.session.runs if f"run {run.number}" == state.differs_from)
        readings, recipe = run.readings, run.recipe
    known = state.reference
    if known is None or (known.pair, known.readings, known.recipe) != (view.pair, readings, recipe):
        state.reference = known = Merge(view.pair, readings, recipe)
    return says[state.differs_from], known


def _remember(state: TabState, view: Merge | None) -> None:
    """Of each pair the merge that was shown last, for when another one is open."""
    if state.latest is not None and view is not None and state.latest.pair is not view.pair:
        state.before = state.latest
    state.latest = view or state.latest
