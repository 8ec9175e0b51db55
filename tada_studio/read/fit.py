"""Whether two adapters fit together: reasons that forbid a merge, and notes that do not; by their configs and headers alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from tada_studio.lora import Adapter, Layer, Verdict, layers_differ, names_adapter
from tada_studio.read.base_names import compare
from tada_studio.read.dora import needs_base
from tada_studio.read.manifest import Manifest
from tada_studio.read.two_names import one_layer_two_names


def is_copy(name: str) -> bool:
    """Whether a tensor is PEFT's copy of an adapted embedding as it is in the base, which it saves unasked."""
    return name.endswith(".base_layer.weight")


@dataclass(frozen=True)
class Outline:
    """What decides whether two adapters fit: their base, the layer of every module, and the shapes of whole tensors."""

    label: str
    base: str | None
    layers: Mapping[str, Layer]
    whole: Mapping[str, tuple[int, ...]]
    bias: bool
    source: str | None = None
    dora: str | None = None  # what is to be said of it, if it is DoRA
    revision: str | None = None
    task_type: str | None = None
    heads: tuple[str, ...] = ()


def outline(one: Adapter | Manifest) -> Outline:
    """The outline of an adapter, or of what its headers declare."""
    if isinstance(one, Manifest):
        return Outline(
            one.label, one.base, {name: m.layer for name, m in one.modules.items()},
            {name: entry.shape for name, (_, entry) in one.whole.items()}, any("bias" in m.keys for m in one.modules.values()),
            dora=needs_base(one.label, one.base) if one.dora else None, revision=one.revision_of_base,
            task_type=one.task_type, heads=one.heads,
        )  # fmt: skip
    layers = {name: (m.kind, m.kernel, *m.layer_size) for name, m in one.modules.items()}
    whole = {name: tuple(tensor.shape) for name, tensor in one.whole.items()}
    return Outline(
        one.label, one.base, layers, whole, any(m.bias is not None for m in one.modules.values()), one.source,
        f"{one.label} is {one.stands_for}." if one.stands_for else None, one.revision, one.task_type, one.heads,
    )  # fmt: skip


def verdict(task: Outline, domain: Outline, same_base: bool = False) -> Verdict:
    """Whether two adapters fit: reasons against it, and notes that do not forbid it.

    same_base: somebody vouches that both were trained on one base, whatever it is called
    """
    against, notes = _bases(task, domain, same_base)
    if (says := one_layer_two_names(task.layers, domain.layers)) is not None:
        against.append(says)
    reasons, about_tasks = _task_types(task, domain)
    against, notes = [*against, *reasons], [*notes, *about_tasks]
    shared = [name for name in task.layers if name in domain.layers]
    differ = [name for name in shared if task.layers[name] != domain.layers[name]]
    if differ:
        more = f" The same holds for {len(differ) - 1} more modules." if len(differ) > 1 else ""
        against.append(layers_differ(differ[0], task.layers[differ[0]], domain.layers[differ[0]]) + more)
    elif not shared and says is None:
        notes.append("No module is in both adapters: nothing overlaps, and every gate is all task or all domain.")
    against += _kept_whole_and_updated(task, domain)
    resized = [
        name for name in task.whole if is_copy(name) and task.whole[name] != domain.whole.get(name, task.whole[name])
    ]
    if resized:
        against.append(
            vocabularies_differ(resized[0], _shape(task.whole[resized[0]]), _shape(domain.whole[resized[0]]))
        )
    if (task.bias or domain.bias) and any(
        layer[0] == "embedding" for one in (task, domain) for layer in one.layers.values()
    ):
        against.append(
            "One adapter has biases of lora_B, one adapts embeddings; PEFT can hold no adapter with both. Train one without."
        )
    notes += [one.dora for one in (task, domain) if one.dora]
    about_modules = () if says is not None else _notes_on_modules(task, domain)
    return Verdict(tuple(against), (*notes, *about_modules, *_notes_on_heads(task, domain)))


def _kept_whole_and_updated(task: Outline, domain: Outline) -> Iterable[str]:
    """PEFT puts no LoRA into a module that it keeps whole: the update would be lost without a word."""
    for role, own, other, whose in (("task", task, domain, "domain"), ("domain", domain, task, "task")):
        if name := next((name for name in own.layers if f"{name}.weight" in other.whole), None):
            yield (
                f"{name}: the {role} adapter updates this layer, which the {whose} adapter trained whole; no LoRA can hold both. "
                f"Train the {role} adapter without it (exclude_modules)."
            )


def vocabularies_differ(name: str, task: str, domain: str) -> str:
    """The sentence for two adapters whose copies of the base's embeddings are not the same."""
    return (
        f"{name}: the task adapter's copy of the base's embeddings ({task}) is not the domain adapter's ({domain}): the bases "
        "differ, or one was given new tokens. Train both on one base with one vocabulary."
    )


def _bases(task: Outline, domain: Outline, same_base: bool) -> tuple[list[str], list[str]]:
    if not task.base or not domain.base:
        return [], ["One of the adapters does not name its base; make sure that both were trained on the same one."]
    same, says = compare(task.base, domain.base)
    if same:
        return [], [*([says] if says else []), *_revisions(task, domain)]
    for upper, lower in ((domain, task), (task, domain)):
        if names_adapter(upper.base, lower.label, lower.source):
            return [], [f"{upper.label} names {lower.label} as its base: it was trained on top of it."]
    if same_base:
        return [], [f"{task.base} and {domain.base} are taken for one model, since you said so (same base)."]
    return [
        f"The task adapter {task.label} was trained on {task.base}, the domain adapter {domain.label} on {domain.base}. "
        f"{says + ' ' if says else ''}A merge needs two adapters of one base model; if these are the same, say so "
        "(--same-base, or the tick on the Open tab)."
    ], []


def _revisions(task: Outline, domain: Outline) -> Iterable[str]:
    """A note where both name a state of the base, and not the same one; none named is the newest, "main"."""
    ours, theirs = (one.revision or "main" for one in (task, domain))
    if ours != theirs and not (ours.startswith(theirs) or theirs.startswith(ours)):
        yield f"The revisions of the base differ ({ours[:40]} and {theirs[:40]}); make sure that its weights were the same."


#: Heads that only classifiers have, by the last part of their names.
_CLASSIFIERS = ("score", "classifier", "classification_head", "qa_outputs", "logits_proj", "pre_classifier", "v_head")
#: Task types of models that write, and have none of those heads.
_WRITES = ("CAUSAL_LM", "SEQ_2_SEQ_LM")


def heads_without_place(writer: str | None, heads: Iterable[str]) -> tuple[str, ...]:
    """Which heads a model of the task type ``writer`` does not have."""
    return tuple(head for head in heads if writer in _WRITES and head.rpartition(".")[2] in _CLASSIFIERS)


def _task_types(task: Outline, domain: Outline) -> tuple[list[str], list[str]]:
    """(reasons, notes) about two adapters that were trained for different kinds of task, or for a head that is not there."""
    against = [
        f"{name}: the {role} adapter updates this head, which a {task.task_type} model, as the task adapter's is, does not have: "
        "that part of the merge would never load. Train without it."
        for role, one in (("task", task), ("domain", domain))
        for name in heads_without_place(task.task_type, one.layers)[:1]
    ]
    if not task.task_type or not domain.task_type or task.task_type == domain.task_type:
        return against, []
    kinds = (
        f"The task types differ ({task.task_type} and {domain.task_type}); the merge is a {task.task_type} adapter, as the task "
        "adapter is."
    )
    lost = heads_without_place(task.task_type, domain.heads)
    without = (
        f" It leaves out the domain adapter's {', '.join(lost)}, which such a model does not have." if lost else ""
    )
    return against, [kinds + without]


def _notes_on_modules(task: Outline, domain: Outline) -> Iterable[str]:
    for role, own, other in (("task", task, domain), ("domain", domain, task)):
        if names := set(own.layers) - set(other.layers):
            yield f"{len(names)} modules are only in the {role} adapter, such as {min(names)}; there the gate is all {role}."


def _notes_on_heads(task: Outline, domain: Outline) -> Iterable[str]:
    both = [name for name in task.whole if name in domain.whole and not is_copy(name)]
    sizes = [name for name in both if task.whole[name] != domain.whole[name]]
    if sizes:
        name = max(sizes, key=lambda name: len(task.whole[name]))  # the weight says more than its bias
        yield (
            f"Both carry {name}, of {_shape(task.whole[name])} and {_shape(domain.whole[name])}: the merge keeps the one that "
            "the head knob names (task); they cannot be averaged."
        )
    elif both:
        yield f"Both carry {len(both)} whole tensors, such as {both[0]}: the merge keeps those that the head knob names (task)."
    for role, own, other in (("task", task, domain), ("domain", domain, task)):
        lost = tuple(f"{head}." for head in heads_without_place(task.task_type, own.heads))
        if names := {n for n in set(own.whole) - set(other.whole) if not is_copy(n) and not n.startswith(lost)}:
            yield f"{len(names)} whole tensors are only in the {role} adapter, such as {min(names)}; the merge keeps them."


def same_content(task: Adapter, domain: Adapter) -> bool:
    """Whether two adapters hold the same numbers, wherever they were read from; stops at the first that differs."""
    if set(task.modules) != set(domain.modules) or set(task.whole) != set(domain.whole):
        return False
    pairs = ((task.modules[name], domain.modules[name]) for name in task.modules)
    return all(
        a.scale == b.scale and torch.equal(a.up, b.up) and torch.equal(a.down, b.down) for a, b in pairs
    ) and all(torch.equal(tensor, domain.whole[name]) for name, tensor in task.whole.items())


SAME_ADAPTER = "Both are the same adapter: their numbers are equal, so the merge is that adapter again."


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
