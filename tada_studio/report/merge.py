"""The merge in words: what is dropped, what a rank keeps, who is louder, where task and domain live."""

from collections.abc import Mapping, Sequence

from tada_studio.core.gates import BY_CHANCE, Depth, Gates
from tada_studio.core.merge import Merged
from tada_studio.core.methods import EVEN, METHODS, OF_BOTH_INPUTS, OF_READINGS
from tada_studio.core.module_detail import DirectionState, ModuleDetail
from tada_studio.core.selectors import target
from tada_studio.core.sizes import Norms, Ranks, ThreeWay
from tada_studio.report.inputs import ABOUT_TASK_INPUTS
from tada_studio.report.wording import counted, listed

#: Below this share of either adapter's energy, conflict is called hardly any.
HARDLY = 0.02
#: The share of a merge's energy that is called enough.
ENOUGH = 0.99
#: A trend over depth is called flat where rho is surely smaller than this, or the thirds' mean gates differ by less than that.
FLAT_RHO, FLAT_THIRDS = 0.2, 0.02
#: A mean gate below this leans to task, above one minus this to domain; the map says the same of cells.
LEANS = 0.45
#: From this factor on, norms are said to differ several-fold.
SEVERAL = 3.0


def percent(share: float) -> str:
    """A share as people read it; what is there but rounds to nothing is not called nothing."""
    return "less than 0.1%" if 0 < share < 0.001 else f"{share:.1%}"


def ignored_sentence(ignored: Sequence[str], method: str) -> str:
    """What was set and changes nothing (``core.methods.ignored``), why, and what would make it count; empty for nothing."""
    uses = [name for name in ignored if name in METHODS[method].uses]
    unread, inseparable = [[n for n in uses if n in some] for some in (OF_READINGS, OF_BOTH_INPUTS)]
    unused = [name for name in ignored if name not in uses]
    says = []
    if unused:
        users = [one.name for one in METHODS.values() if set(unused) <= one.uses]
        does = f"{listed(users)} {'does' if len(users) == 1 else 'do'}" if users else "No method uses all of that"
        says.append(f"The method {method} does not use {listed(unused)}; {does}.")
    if unread:
        does = "changes" if len(unread) == 1 else "change"
        says.append(
            f"Without probe readings {listed(unread)} {does} nothing: every computed gate is even. Probe the base first."
        )
    if inseparable:
        does = "changes" if len(inseparable) == 1 else "change"
        says.append(
            f"Without readings of both kinds of inputs {listed(inseparable)} {does} nothing. Probe with task inputs too."
        )
    return " ".join(says)


def missing_sentence(missing: Sequence[str], method: str, called: str) -> str:
    """That a method lacks its probe and what the merge is instead; empty if it lacks none."""
    if not missing:
        return ""
    adds = f" {ABOUT_TASK_INPUTS}" if "task" in missing else ""
    return (
        f"This is not {method}: it needs a probe of {listed([f'{kind} inputs' for kind in missing])}, so the merge is {called}"
        f"{', the sum less directions that oppose each other' if called == EVEN else ''}. Probe the base first.{adds}"
    )


def chain_sentence(
    responses: tuple[float, float] | None,
    even: float | None,
    shares: tuple[float, float],
    weights: tuple[float, float],
    part: float | None,
    separated: bool = False,
) -> str:
    """How one cell comes to its merge: responses, over what counts as even, the gate, the two weights, the merged energy.

    responses: task's and domain's, None without a probe; even: the ratio of both that gives a gate of .5, None where no ratio
    gives gates; shares: as computed, and as in force; part: of the merged energy the domain's
    """
    computed, share = shares
    by_hand = abs(computed - share) >= 5e-3
    read = "" if responses is None else f"Responses {responses[0]:.3g} task, {responses[1]:.3g} domain"
    if responses is not None and even is not None and responses[0] > 0:
        ratio = f"a ratio of {responses[1] / responses[0]:.3g}, where {even:.3g} counts as even"
        start = f"{read}: {ratio}. So the gate is {computed:.2f}{f'; a hand set {share:.2f}' if by_hand else ''}."
    else:
        about = f"{read}, which this method turns into no gate. " if read else ""
        start = f"{about}The share is {share:.2f}, {'set by hand' if by_hand else 'even until a hand sets it'}."
    says = f"{start} That is weight {weights[0]:.2f} for task and {weights[1]:.2f} for domain"
    says += ", before the two are separated." if separated else "."
    return says if part is None else f"{says} Of the merged update's energy {percent(part)} is the domain's."


def unread_lines_sentence(lines: Sequence[str], method: str) -> str:
    """That these lines (``core.methods.unread_lines``) change nothing, why, and what would make them count; "" for none."""
    if not lines:
        return ""
    planes = list(dict.fromkeys(target(line).plane for line in lines))
    quoted = [f"'{line}'" for line in lines[:3]] + ([f"{len(lines) - 3} more"] if len(lines) > 3 else [])
    nothing = f"{listed(quoted)} {'changes' if len(lines) == 1 else 'change'} nothing"
    if METHODS[method].planes >= set(planes):
        return f"Without readings of both kinds of inputs {nothing}. Probe with task inputs too."
    does = "; ".join(f"{readers(plane)} read the {plane}" if len(planes) > 1 else readers(plane) for plane in planes)
    return f"{nothing}: the method {method} does not read the map's {listed(planes)}; {does}."


def readers(plane: str) -> str:
    """Which methods read a plane of the map, such as "gates and tada do"."""
    names = [method.name for method in METHODS.values() if plane in method.planes]
    return f"{listed(names)} {'does' if len(names) == 1 else 'do'}" if names else "No method does"


def conflict_sentence(merged: Merged) -> str:
    """What dropping conflicting directions removes."""
    drops = merged.how.drops
    if drops is None:
        return "This method drops no directions."
    if not drops.count:
        pairs = int(drops.opposed.sum())
        if pairs:
            start = f"None of {drops.everything:,} directions is dropped"
            return f"{start}, though {counted(pairs, 'pair')} oppose each other: the recipe keeps them."
        return f"No directions conflict: none of {drops.everything:,} is dropped."
    cells = int((drops.task.any(1) | drops.domain.any(1)).sum())
    task, domain = drops.lost_of_each
    worst = float(drops.lost_by_cell.max())
    little = "That is hardly any conflict. " if worst < HARDLY else ""
    if max(task, domain) < HARDLY <= worst:
        little = f"In all that is little, but one module loses {percent(worst)} of an adapter's energy there. "
    return (
        f"Dropping removes {drops.count:,} of {drops.everything:,} directions, {percent(domain)} of domain and "
        f"{percent(task)} of task energy, in {counted(cells, 'cell')}. {little}This is geometry; evaluate to see its effect."
    )


def cell_sentence(merged: Merged, near: ModuleDetail) -> str:
    """What is dropped in one module, by name, and what rank r keeps of it."""
    kept = f"Rank {merged.rank} keeps {percent(float(merged.kept[near.row]))} of what is left."
    drops = merged.how.drops
    if drops is None:
        return f"This method drops no directions. {kept}"
    sides = (("task", near.task), ("domain", near.domain))
    gone = [f"{side} {direction.number}" for side, directions in sides for direction in directions if direction.dropped]
    if not gone:
        return f"Nothing is dropped here. {kept}"
    named = ", ".join(gone[:8]) + (f" and {len(gone) - 8} more" if len(gone) > 8 else "")
    task, domain = (percent(share) for share in drops.lost_by_cell[near.row].tolist())
    n, are = len(near.task) + len(near.domain), "is" if len(gone) == 1 else "are"
    lost = f"That is {task} of the task's and {domain} of the domain's energy in this module."
    return f"{len(gone)} of {n} directions {are} dropped here: {named}. {lost} {kept}"


def direction_says(direction: DirectionState, other: str) -> str:
    """Why a direction stays or goes; ``other`` is the other adapter's role."""
    word = "dropped" if direction.dropped else "kept"
    if direction.by_hand:
        return f"{word} by hand"
    if direction.dropped:
        return f"dropped: opposes {other} {direction.rival}"
    if direction.opposed:
        return f"kept, though it opposes {other} {direction.rival}"
    if direction.silenced and direction.kept is not None:
        own, foreign = direction.kept
        return f"silenced: {foreign / own:.0%} left on {other} inputs"
    return "kept"


def direction_meets(direction: DirectionState, other: str) -> tuple[str, str, str]:
    """The direction that it opposes most, and how, in multiples of chance: in the weights, over the probe inputs."""
    if direction.rival is None:
        return "nothing here", "", ""
    weight, activation = direction.units
    return f"{other} {direction.rival}", f"{weight:+.1f}", "" if activation is None else f"{activation:+.1f}"


def rank_sentence(merged: Merged) -> str:
    """How much of the merge rank r keeps."""
    everywhere, worst = merged.kept_in_all, float(merged.kept.min())
    return f"Rank {merged.rank} keeps {everywhere:.2%} of the merge's energy; the worst module keeps {worst:.1%}."


def rank_advice(found: Ranks, rank: int, accepted: Sequence[int], places: Sequence[str]) -> str:
    """Whether the rank in force is enough, the smallest that is, and where most is lost. places: names of the modules."""
    everywhere, worst, row = found.at(rank)
    enough = found.smallest(ENOUGH)
    served = next((r for r in accepted if r >= enough), None)
    start = f"Rank {rank} keeps {everywhere:.2%} of the merge; {places[row]} loses most and keeps {worst:.1%}."
    if served is None:
        return f"{start} {ENOUGH:.0%} takes rank {enough}, more than servers such as vLLM accept."
    also = "which servers accept" if served == enough else f"and the next that servers accept is {served}"
    return f"{start} The smallest rank that keeps {ENOUGH:.0%} is {enough}, {also}."


def norms_sentence(found: Norms, balance: float) -> str:
    """Who is louder, by how much, and what balance does about it."""
    task, domain = found.whole_before
    if not task or not domain:
        return f"Only the {'domain' if domain else 'task'} adapter changes anything."
    louder, factor = ("domain", domain / task) if domain >= task else ("task", task / domain)
    if factor < 1.05:
        return "The two adapters are about equally large."
    start = f"The {louder} adapter is {factor:.1f} times as large as the other ({domain:.3g} domain, {task:.3g} task)."
    if balance:
        low, high = sorted(found.whole_after)
        return f"{start} Balance {balance:g} makes that {high / low:.1f}."
    if factor < SEVERAL:
        return f"{start} Balance evens that out, if the louder one should not have more say."
    return (
        f"{start} Norms that differ several-fold let the louder one drown the other in every sum: try balance 0.25 to 0.5 and "
        "evaluate; size carries information too, so evening out fully often hurts."
    )


def three_way_sentence(found: ThreeWay, projections: Sequence[str]) -> str:
    """Which parent the merge is nearer to in one layer, and whether the parents have anything in common."""
    between, task, domain = found.cosines.unbind(1)
    nearer = int((domain.nan_to_num(-1) > task.nan_to_num(-1)).sum())
    start = f"The merge is nearer to the domain's update in {nearer} of {counted(len(projections), 'projection')}."
    known = [(float(value), name) for value, name in zip(between, projections, strict=True) if value == value]
    if not known:
        return f"{start} No projection here is changed by both adapters."
    most, where = max(known, key=lambda pair: abs(pair[0]))
    shared = "hardly share a direction" if abs(most) < 0.1 else "point apart" if most < 0 else "partly agree"
    return f"{start} Task and domain {shared}: their largest cosine is {most:+.3f}, at {where}."


def depth_sentences(
    depths: Mapping[str, Depth], probed: bool, edited: int = 0, generic: Mapping[str, Depth] | None = None
) -> str:
    """``depth_sentence`` of each tower, with its name before it where there are several."""
    if not probed or len(depths) == 1:
        tower, depth = next(iter(depths.items()))
        return depth_sentence(depth, probed, edited, generic[tower] if generic else None)
    each = [
        f"{titled(tower)}: {uncapitalized(depth_sentence(depth, probed, 0, generic[tower] if generic else None))}"
        for tower, depth in depths.items()
    ]
    return " ".join(each) + _by_hand(edited)


def titled(tower: str) -> str:
    """A tower at the beginning of a sentence: "Vision tower" of vision_tower."""
    return tower.replace("_", " ").capitalize()


def uncapitalized(sentence: str) -> str:
    """A sentence as it follows a colon."""
    return sentence[:1].lower() + sentence[1:]


def depth_sentence(depth: Depth, probed: bool, edited: int = 0, generic: Depth | None = None) -> str:
    """Whether the domain's share rises with depth, and, against a probe that has nothing to do with the domain, whether that is
    the domain's doing. edited: cells set by hand; generic: the profile by that other probe.
    """
    if not probed:
        return (
            "No readings yet: wherever both adapters have a module the computed gate is even. "
            f"Probe the base to see where task and domain live.{_by_hand(edited)}"
        )
    if depth.rho is None:
        return f"The gates do not vary, so there is no trend with depth.{_by_hand(edited)}"
    return f"The domain's share {_trend(depth)}: {rho_and_thirds(depth)}.{_against_generic(depth, generic)}{_by_hand(edited)}"


def _against_generic(depth: Depth, generic: Depth | None) -> str:
    """Whether the trend is more than any text shows: outside what other domain inputs would have given."""
    if generic is None or generic.rho is None or depth.rho is None:
        return " A generic probe would tell how much of that any text shows." if depth.direction else ""
    start = f" A generic probe gives rho {generic.rho:+.2f}"
    if depth.interval is None or not depth.direction:
        return f"{start}."
    more = generic.rho < depth.interval.low if depth.direction > 0 else generic.rho > depth.interval.high
    paper = (
        ": this pair shows the paper's asymmetry" if depth.direction > 0 else ": the reverse of the paper's asymmetry"
    )
    return (
        f"{start}, beyond which the domain's inputs go{paper}."
        if more
        else f"{start}: the trend is these adapters', whatever is read."
    )


def lean_sentence(gates: Gates) -> str:
    """Which layers' mean gates lean to either side, by tower; empty if all are about even."""
    says = {tower: _lean(part) for tower, part in gates.by_tower.items()}
    return " ".join(f"{titled(tower)}: {uncapitalized(one)}" if tower else one for tower, one in says.items() if one)


def asymmetry_sentence(asymmetry: Gates) -> str:
    """The same of what the adapters do as trained, which the view Asymmetry shows; that is about even where no layer leans."""
    leans = lean_sentence(asymmetry)
    return f"As trained: {uncapitalized(leans) if leans else 'all layers are about even.'}"


def _lean(gates: Gates) -> str:
    share = gates.values.nanmean(1)
    domain, task = (
        _runs([layer for layer, leans in zip(gates.layers, mask.tolist(), strict=True) if leans])
        for mask in (share > 1 - LEANS, share < LEANS)
    )
    if domain:
        return f"{domain} lean{_s(domain)} to domain{f', {task[0].lower()}{task[1:]} to task' if task else ''}."
    return f"{task} lean{_s(task)} to task, none to domain." if task else ""


def _s(layers: str) -> str:
    return "" if layers.startswith("Layers") else "s"


def _runs(layers: list[int]) -> str:
    """Such as "Layers 0-3, 7"; empty for none."""
    if not layers:
        return ""
    starts = [x for i, x in enumerate(layers) if not i or layers[i - 1] != x - 1]
    ends = [x for i, x in enumerate(layers) if i + 1 == len(layers) or layers[i + 1] != x + 1]
    message = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
    return f"Layer{'' if len(layers) == 1 else 's'} {message}"


def compared_depth_sentences(label: str, depths: Mapping[str, Depth]) -> str:
    """``compared_depth_sentence`` of each tower."""
    return " ".join(
        compared_depth_sentence(f"{label}, {tower}" if tower else label, one) for tower, one in depths.items()
    )


def compared_depth_sentence(label: str, depth: Depth) -> str:
    """The same of other readings of this pair, whose gates are as computed."""
    if depth.rho is None:
        return f"{label}: its gates do not vary."
    return f"{label}: the domain's share {_trend(depth)}: {rho_and_thirds(depth)}."


def rho_and_thirds(depth: Depth) -> str:
    thirds = " / ".join(f"{third:.2f}" for third in depth.thirds)
    rho = "undefined" if depth.rho is None else f"{depth.rho:+.2f}"
    of = {1: "the one layer", 2: "first and second layer"}.get(len(depth.thirds), "shallow, middle and deep third")
    return f"rho {rho} ({_spread(depth)}); {of} {thirds}"


def _by_hand(edited: int) -> str:
    return (
        ""
        if not edited
        else f" {counted(edited, 'cell')} set by hand {'counts as it is' if edited == 1 else 'count as they are'}."
    )


def _trend(depth: Depth) -> str:
    """In words. A trend has to hold for other draws of inputs and to be more than another order of the layers would show."""
    if depth.interval is None:
        return "has an unknown trend with depth"
    low, high = depth.interval
    if max(-low, high) < FLAT_RHO or max(depth.thirds) - min(depth.thirds) < FLAT_THIRDS:
        return "is flat over depth"
    if depth.direction:
        return "rises with depth" if depth.direction > 0 else "falls with depth"
    shuffled = f" (layers in another order show as much in {depth.by_chance:.0%} of cases)"
    return f"shows no clear trend with depth{shuffled if depth.by_chance >= BY_CHANCE else ''}"


def _spread(depth: Depth) -> str:
    """Each interval with what it covers."""
    if depth.interval is None:
        return "no interval: that takes at least two probe inputs"
    inputs = f"95 % interval {depth.interval.low:+.2f} to {depth.interval.high:+.2f} over probe inputs"
    layers = depth.over_layers
    return inputs if layers is None else f"{inputs}, {layers.low:+.2f} to {layers.high:+.2f} over inputs and layers"
