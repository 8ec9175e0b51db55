"""Auto: how strongly to separate this pair, chosen without labels, answers or gradients.

Two-fold over the inputs: moments are read on one half, and on the other half each candidate's merge is compared with the parent
whose inputs they are: KL(parent || merge) of what follows the last token (for a classifier, of its labels), the domain parent on
domain inputs, the task parent on task inputs. The lowest mean wins; a tie goes to the gentler. What it looks at are prompts: no
answer key is ever opened. Found on the pairs that the documentation names; one pair of eleven lost (not significantly).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tada_studio.base_model.family import LONGEST_INPUT
from tada_studio.base_model.generate import next_log_probs
from tada_studio.base_model.inputs import Input, choose
from tada_studio.base_model.model import Base
from tada_studio.core.gates import Readings
from tada_studio.errors import InputError
from tada_studio.evaluation.labels import log_probs
from tada_studio.lora import Adapter, Pair
from tada_studio.pipeline.merge import Merge
from tada_studio.pipeline.probing import probe
from tada_studio.progress import Progress, ProgressFn, silent
from tada_studio.recipe import Recipe

#: The candidates, the gentlest first: what each turns in the recipe. The list is short on purpose: with dozens to choose from, 16
#: held-out inputs a side would be fitted, not judged.
CANDIDATES: Mapping[str, Mapping[str, Any]] = {
    "sum": {"overrides": ("* : sep 0",)},
    "n4:k10": {"ridge": 4.0, "own_weight": 10.0, "whole": "no"},
    "o4:k10": {"ridge": 4.0, "own_weight": 10.0, "whole": "yes"},
    "o2:k3": {"ridge": 2.0, "own_weight": 3.0, "whole": "yes"},
    "o1:k1": {"ridge": 1.0, "own_weight": 1.0, "whole": "yes"},
}
#: Divergences closer than this, relatively, are a tie.
TIE = 1e-3
#: Prompts that go through the base at once.
AT_ONCE = 8
#: Fewer inputs of a kind than this cannot be halved to any purpose.
LEAST = 4


class Trial(NamedTuple):
    """A candidate and how far its merge is from each parent on that one's inputs, KL in nats, over both folds."""

    name: str
    domain: float
    task: float

    @property
    def mean(self) -> float:
        return (self.domain + self.task) / 2


class Calibration(NamedTuple):
    """What auto chose: the recipe, all candidates as they were judged, and what it took.

    inputs: SHA-256 of the domain and of the task inputs that it looked at
    """

    recipe: Recipe
    chosen: str
    trials: tuple[Trial, ...]
    seconds: float
    inputs: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """What recipe.json keeps of it; the knobs are in the recipe itself, so no base is needed to repeat the merge."""
        return {
            "chosen": self.chosen,
            "candidates": [one._asdict() for one in self.trials],
            "inputs_sha256": dict(self.inputs),
            "seconds": round(self.seconds, 1),
        }


def calibrate(
    pair: Pair,
    base: Base,
    inputs: Sequence[Input],
    task_inputs: Sequence[Input],
    recipe: Recipe | None = None,
    n: int = 32,
    progress: ProgressFn = silent,
) -> Calibration:
    """The recipe (its method is ``tada``) with the separation that keeps the merge nearest to both parents.

    n: how many inputs of each kind to use, as in ``probe``. Lines that a hand set stay, and come after what is chosen. Raises
    InputError for fewer than ``LEAST`` inputs of a kind.
    """
    if not base.family.answers:
        raise InputError(
            f"{base.name} is {base.family.name}: auto has no answers of it to compare. Merge without (--no-auto)."
        )
    start, recipe = time.monotonic(), (recipe or Recipe()).but(method="tada")
    kinds = choose(inputs, n), choose(task_inputs, n)
    if min(map(len, kinds)) < LEAST:
        raise InputError(
            f"Auto takes at least {LEAST} inputs of each kind, found {len(kinds[0])} of the domain and {len(kinds[1])} of the task."
        )
    whole = probe(pair, base, kinds[0], n, task_inputs=kinds[1])
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CANDIDATES}
    for fold in (0, 1):
        # every other input: lists are often sorted by kind
        mine, held = [kind[fold::2] for kind in kinds], [kind[1 - fold :: 2] for kind in kinds]
        readings = probe(pair, base, mine[0], n, task_inputs=mine[1])
        parents = [_next_token(base, parent, parent, half) for parent, half in zip(_parents(pair), held, strict=True)]
        for i, name in enumerate(CANDIDATES):
            note = f"{name}, half {fold + 1} of 2"
            progress(Progress("calibrate", fold * len(CANDIDATES) + i, 2 * len(CANDIDATES), note))
            found[name].append(_apart(pair, base, readings, tried(recipe, name), held, parents))
    progress(Progress("calibrate", 2 * len(CANDIDATES), 2 * len(CANDIDATES), "all candidates judged"))
    trials = tuple(Trial(name, *(sum(side) / 2 for side in zip(*folds, strict=True))) for name, folds in found.items())
    chosen = gentlest(trials)
    digests = {"domain": whole.about["inputs"], "task": whole.about["task_inputs"]}
    return Calibration(tried(recipe, chosen), chosen, trials, time.monotonic() - start, digests)


def tried(recipe: Recipe, name: str) -> Recipe:
    """A recipe with a candidate's settings; its own selector lines have the last word."""
    turned = CANDIDATES[name]
    return recipe.but(**{**turned, "overrides": (*turned.get("overrides", ()), *recipe.overrides)})


def gentlest(trials: Sequence[Trial]) -> str:
    """The candidate of the lowest divergence; of those that tie, the one that comes first."""
    best = min(one.mean for one in trials)
    return next(one.name for one in trials if one.mean <= best * (1 + TIE))


def _parents(pair: Pair) -> tuple[Adapter, Adapter]:
    """In the order of the inputs: domain, task."""
    return pair.domain, pair.task


def _apart(
    pair: Pair,
    base: Base,
    readings: Readings,
    recipe: Recipe,
    held: Sequence[Sequence[Input]],
    parents: Sequence[Tensor],
) -> tuple[float, float]:
    """KL(parent || merge) on the held-out domain and task inputs, each merge under the head of the parent it is compared with."""
    adapter = Merge(pair, readings, recipe).adapter
    bare = adapter.bare if adapter.heads else adapter
    domain, task = (
        _divergence(known, _next_token(base, bare, parent, half))
        for parent, half, known in zip(_parents(pair), held, parents, strict=True)
    )
    return domain, task


def _divergence(parent: Tensor, merged: Tensor) -> float:
    """Mean KL(parent || merge) of log-probabilities, in nats."""
    return float((parent.double().exp() * (parent.double() - merged.double())).sum(1).mean())


def _next_token(base: Base, adapter: Adapter, head: Adapter, inputs: Sequence[Input]) -> Tensor:
    """(n, vocabulary or labels) log-probabilities of the answers to the inputs, with an adapter under the head of another."""
    with base.with_adapter(adapter), base.with_head(head):
        return torch.cat([_answers(base)(inputs[first : first + AT_ONCE]) for first in range(0, len(inputs), AT_ONCE)])


def _answers(base: Base) -> Callable[[Sequence[Any]], Tensor]:
    if base.classifies:
        return lambda some: log_probs(base, some)
    return lambda some: next_log_probs(base, [base.tokenizer(text).input_ids[-LONGEST_INPUT:] for text in some])
