"""What the two adapters of a pair are to each other, and the recipe that is right for each case. Shown, never applied unasked.

independent  trained apart: a merge is what this package is for
stacked      one was trained on top of the other: both together are the exact sum, at the sum of both ranks
siblings     checkpoints of one run, or one adapter twice: choose one, average them, or go beyond the later
alone        one adapter, its partner changes nothing: another rank, other blocks, another strength
"""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from tada_studio.core.relations import Relations, relations
from tada_studio.lora import Adapter, LoraModule, Pair
from tada_studio.pipeline.ancestry import parents_of
from tada_studio.recipe import Recipe, knobs

ROLES = ("independent", "stacked", "siblings", "alone")
#: How far beyond the later checkpoint "extrapolate" goes, in steps from the earlier to the later.
BEYOND = 0.5
#: What the missing partner of one adapter alone is called.
NOBODY = "nothing"
_FOUND: "weakref.WeakKeyDictionary[Pair, PairRole]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class PairRole:
    """What was found.

    why: "base" (one's config names the other), "parent" (one is a merge that holds the other), or the weights' kinship
    (``Relations.kinship``)
    later: "task" or "domain", which of two came after the other, as far as that is known; relations: of (task, domain)
    """

    role: str
    why: str
    later: str | None
    relations: Relations

    @property
    def cosine(self) -> float:
        """Of the two updates as a whole; NaN where one changes nothing."""
        return float(self.relations.cosine[0, 1])


def role_of(pair: Pair) -> PairRole:
    """What the two are to each other, by digests of their numbers' relations and by what their files say; worked out once."""
    if pair not in _FOUND:
        _FOUND[pair] = _role(pair)
    return _FOUND[pair]


def _role(pair: Pair) -> PairRole:
    found = relations([pair.task, pair.domain])
    kin = found.kinship(0, 1)
    if kin == "untrained":
        return PairRole("alone", kin, "task" if found.norms[0] > 0 else "domain", found)
    if kin == "same":
        return PairRole("siblings", kin, None, found)
    for later, upper, lower in (("domain", pair.domain, pair.task), ("task", pair.task, pair.domain)):
        if lower.is_base_of(upper) and not upper.is_base_of(lower):
            return PairRole("stacked", "base", later, found)
    for later, upper, lower in (("domain", pair.domain, pair.task), ("task", pair.task, pair.domain)):
        if any(
            parent.content_sha256 == lower.digest for parent in parents_of(upper)
        ):  # added again it would count twice
            return PairRole("siblings", "parent", later, found)
    if kin == "one run":  # updates grow while they are trained
        return PairRole("siblings", kin, "domain" if found.norms[1] >= found.norms[0] else "task", found)
    return PairRole("independent", kin, None, found)


def recipes_for(pair: Pair, role: str, later: str | None = None, start: Recipe | None = None) -> dict[str, Recipe]:
    """The recipes that fit a role, by what they do, the usual one first. What says nothing about the two updates (heads, number
    format) stays as in ``start``."""
    start = Recipe(**{name: getattr(start or Recipe(), name) for name in ("head", "dtype", "seed")})
    both = min(pair.task.rank + pair.domain.rank, int(knobs()["rank"].metadata["high"]))
    by_hand = start.but(method="gates", drop="none")
    choose = {f"the {side} adapter": by_hand.but(overrides=(f"* : {side}",)) for side in ("task", "domain")}
    if role == "stacked":
        return {"both, exactly": start.but(method="svd", rank=both)}
    if role == "siblings":
        after, before = ("task", "domain") if later == "task" else ("domain", "task")
        ahead = ("* : even", f"* : {before} x {-BEYOND:g}", f"* : {after} x {1 + BEYOND:g}")
        ways = {
            f"the {after} adapter": choose[f"the {after} adapter"],
            "their average": start.but(method="linear", strength=0.5),
        }
        beyond = {"beyond the later": by_hand.but(overrides=ahead)} if later else {}
        return {**ways, f"the {before} adapter": choose[f"the {before} adapter"], **beyond}
    if role == "alone":
        own = later or "task"
        return {f"the {own} adapter": choose[f"the {own} adapter"]}
    return {"the usual merge": start}


def alone(adapter: Adapter) -> Pair:
    """One adapter as a pair whose domain side changes nothing: all that is done to pairs can be done to it."""
    name, module = next(iter(adapter.modules.items()))
    d_out, d_in = module.layer_size
    up, down = torch.zeros(d_out, 1, dtype=module.up.dtype), torch.zeros(1, d_in, dtype=module.down.dtype)
    nobody = LoraModule(name, up, down, 1.0, module.kind, module.kernel)
    partner = replace(
        adapter, label=NOBODY, modules={name: nobody}, source=None, passport=None, origin=None, whole={}, heads=(), labels=(),
        stands_for=None,
    )  # fmt: skip
    return Pair(adapter, partner, problems=("One adapter alone: there is nothing to merge it with.",))


def pair_roles(adapters: Mapping[str, Adapter], found: Relations) -> dict[tuple[str, str], str]:
    """The role of every two of a rack, by name."""
    names, roles = list(adapters), {}
    held = {name: {parent.content_sha256 for parent in parents_of(one)} for name, one in adapters.items()}
    digests = {name: one.digest for name, one in adapters.items()} if any(held.values()) else {}
    for i, one in enumerate(names):
        for j in range(i + 1, len(names)):
            kin, other = found.kinship(i, j), names[j]
            stacked = adapters[one].is_base_of(adapters[other]) != adapters[other].is_base_of(adapters[one])
            within = digests.get(one) in held[other] or digests.get(other) in held[one]
            role = "siblings" if kin in ("same", "one run") or within else "stacked" if stacked else "independent"
            roles[one, other] = "alone" if kin == "untrained" else role
    return roles
