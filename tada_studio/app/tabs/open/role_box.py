"""What the two adapters that were opened are to each other, and the merges that fit that, one click away each."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from markupsafe import Markup

from tada_studio import report
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.action_list import action_list, button, rows
from tada_studio.app.widgets.panel import Named
from tada_studio.errors import InputError
from tada_studio.lora import Pair
from tada_studio.markup import joined, template
from tada_studio.pipeline.roles import ROLES, recipes_for, role_of
from tada_studio.recipe import Recipe

_BOX = template("""
<div class="roles">{{ says }}{% if ways %}<div class="role-row"><span>Merge as:</span>{{ ways }}</div>{% endif %}
<div class="role-row"><span>They are to each other:</span>{{ others }}</div></div>
""")


def role_box() -> gr.HTML:
    """Events: press ("recipe", its name) or ("role", its name)."""
    return action_list("roles")


def show(state: TabState) -> Named:
    """The role that was found or chosen, its merges, and the other roles to choose from; nothing while nothing is open."""
    pair = state.session.pair
    return {"roles": rows(_box(state, pair) if pair is not None else Markup())}


def _box(state: TabState, pair: Pair) -> Markup:
    found, role = role_of(pair), role_in_force(state, pair)
    says = report.role_sentence(found.role, found.why, found.later, found.cosine)
    if role != found.role:
        says = f"{says} You say: {role}."
    fit = ways_of(state, pair)
    ways = Markup() if _is_taken(fit, state.session.recipe, role) else _choices(fit)
    others = joined(button(name, "role", name, f"Treat them as {name}") for name in ROLES if name != role)
    return _BOX(says=html.note(says, "" if role == "independent" else "next"), ways=ways, others=others)


def _is_taken(ways: Mapping[str, Recipe], recipe: Recipe, role: str) -> bool:
    """Whether nothing is left to choose. Two that were trained apart are merged as usual, whatever auto or a hand made of it."""
    [first, *more] = ways.values()
    return not more and (recipe == first or (role == "independent" and recipe.method == first.method))


def _choices(ways: Mapping[str, Recipe]) -> Markup:
    return joined(button(name, "recipe", name, f"Take the recipe: {name}") for name in ways)


def role_in_force(state: TabState, pair: Pair) -> str:
    """The person's word for this pair, or what was found."""
    chosen = state.role
    return chosen[1] if chosen is not None and chosen[0] is pair else role_of(pair).role


def ways_of(state: TabState, pair: Pair) -> dict[str, Recipe]:
    return recipes_for(pair, role_in_force(state, pair), role_of(pair).later, state.session.recipe)


def press(state: TabState, what: Any, key: Any) -> None:
    """A button of the box: another role, or the recipe of one. Raises InputError; a recipe is one step to undo."""
    pair = state.session.pair
    if pair is None:
        raise InputError("Nothing is open yet. Open two adapters first.")
    if what == "role" and key in ROLES:
        state.role = (pair, str(key))
        state.acted(f"The two adapters are treated as {key}. Choose the merge that fits.")
        return
    ways = ways_of(state, pair) if what == "recipe" else {}
    if key not in ways:
        raise InputError("Choose one of the merges or roles in the list.")
    state.session.restore(ways[key])
    state.acted(f"The recipe is now: {key}. Undo: Ctrl+Z.")
