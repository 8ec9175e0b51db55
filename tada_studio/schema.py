"""What a file that was saved must look like: frozen pydantic models, checked as the file is read, each with its JSON schema."""

from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

#: Knobs by name, which the recipe judges itself.
Knobs: TypeAlias = dict[str, Any]


class Saved(BaseModel):
    """Fields that a later version adds are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SavedRecipe(Saved):
    """recipe.json. What it tells beside the knobs (log, auto, what was merged) is for people, and is taken as far as it goes."""

    format: str = ""
    recipe: Knobs


def first_problem(error: Exception) -> str:
    """Where in a file, and what: the first thing that is wrong with it, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())[:160]
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"[:160]
