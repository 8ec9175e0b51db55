"""The recipe with its undo: recipes are immutable, so what was before and what was taken back are two piles of them."""

from collections.abc import Sequence
from itertools import pairwise

from tada_studio.recipe import Recipe, changes


class History:
    """now: the recipe; before: what undo goes back to, after: what redo goes on to, each with the nearest last."""

    def __init__(self, now: Recipe | None = None, before: Sequence[Recipe] = (), after: Sequence[Recipe] = ()) -> None:
        self.now, self.before, self.after = now or Recipe(), [*before], [*after]
        self._worded: list[tuple[Recipe, Recipe, str]] = []  # of each step in the log: from, to, in words

    def take(self, recipe: Recipe) -> None:
        """A new step: there is no way on any more to what was undone."""
        self.before.append(self.now)
        self.now = recipe
        self.after.clear()

    def undo(self) -> bool:
        """Whether there was a step to take back."""
        return self._move(self.before, self.after)

    def redo(self) -> bool:
        """Whether there was a step to do again."""
        return self._move(self.after, self.before)

    def _move(self, source: list[Recipe], target: list[Recipe]) -> bool:
        if not source:
            return False
        target.append(self.now)
        self.now = source.pop()
        return True

    @property
    def log(self) -> tuple[str, ...]:
        """What was done, in order; what was undone is not in it."""
        worded, steps = self._worded, list(pairwise([*self.before, self.now]))
        for i, (old, new) in enumerate(steps):  # recipes do not change: only steps that are new have to be put in words
            if i == len(worded) or worded[i][0] is not old or worded[i][1] is not new:
                worded[i:] = [(old, new, changes(old, new))]
        return tuple(words for _, _, words in worded[: len(steps)])
