"""What an adapter is, as facts and plain sentences; and whether two of them fit, with reasons.

Everything but "trained" and "norm" comes from configs and headers, before any tensor is read.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from tada_studio.files import shown
from tada_studio.lora import Adapter, Layer, LoraModule, Passport, Verdict, addresses, layers_differ
from tada_studio.read.config import text
from tada_studio.read.dora import needs_base
from tada_studio.read.manifest import Factors, Manifest

#: Beyond this factor between two adapters' total norms the larger one drowns the smaller, and ``balance`` is worth a try.
UNEVEN = 3.0


def is_copy(name: str) -> bool:
    """Whether a tensor is PEFT's copy of an adapted embedding as it is in the base, which it saves unasked."""
    return name.endswith(".base_layer.weight")


# -- one adapter ---------------------------------------------------------------------------------------------------


def from_manifest(manifest: Manifest, read: bool = False) -> Passport:
    """The passport of an adapter by its config and headers alone; read: what the tensors say is added by the caller."""
    config, modules = manifest.config, list(manifest.modules.values())
    places = addresses(manifest.modules)
    layers = sorted({place.layer for place in places.values()})
    facts = {
        "base": manifest.base or "not named",
        "revision": text(config.get("revision")) or "not named",
        "rank": ", ".join(map(str, sorted({m.rank for m in modules}))),
        "alpha": config.get("lora_alpha", 8),
        "scale": ", ".join(f"{scale:g}" for scale in sorted({m.scale for m in modules})),
        "scaling rule": "alpha / sqrt(r) (rsLoRA)" if config.get("use_rslora") else "alpha / r",
        **({"kind": "DoRA: rows of the base rescaled to trained magnitudes"} if manifest.dora else {}),
        **_groups(modules, places),
        "projections": ", ".join(dict.fromkeys(place.projection for place in places.values())),
        "targets": _targets(config.get("target_modules")),
        "layers": f"{len(layers)} ({layers[0]} to {layers[-1]})",
        "modules": len(modules),
        "whole tensors": _whole(manifest),
        "number format": ", ".join(sorted({_FORMAT_NAMES[m.format] for m in modules})),
        "size": f"{manifest.size / 1e6:.1f} MB",
        "written by": f"PEFT {text(config['peft_version'])}" if text(config.get("peft_version")) else "not named",
        **({"Hub commit": manifest.revision} if manifest.revision else {}),
    }
    unread = [needs_base(manifest.label, manifest.base)] if manifest.dora and not read else []
    return Passport(manifest.label, facts, (*_remarks(manifest), *unread))


_FORMAT_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def _groups(modules: list[Factors], places: Mapping[str, Any]) -> dict[str, str]:
    """ "q_proj: rank 8, alpha 16; ..." where projections differ; nothing where all are alike."""
    kinds: dict[str, set[str]] = {}
    for module in modules:
        kinds.setdefault(places[module.name].projection, set()).add(f"rank {module.rank}, alpha {module.alpha:g}")
    if len(set().union(*kinds.values())) < 2:
        return {}
    return {"by projection": "; ".join(f"{name}: {' / '.join(sorted(message))}" for name, message in kinds.items())}


def _targets(value: Any) -> str:
    if isinstance(value, str):
        return f"the pattern {shown(value, 80)}"
    names = sorted(shown(name, 40) for name in value if isinstance(name, str)) if isinstance(value, list) else []
    return shown(", ".join(names), 200) if names else "not named"


def _whole(manifest: Manifest) -> str:
    heads = [f"{head} {_head_shape(manifest, head)}" for head in manifest.heads]
    biases, copies = len(_biases(manifest)), [name for name in manifest.whole if is_copy(name)]
    parts = [*heads, *([f"{biases} biases"] if biases else []), *(f"a copy of the base's {copy}" for copy in copies)]
    return shown(", ".join(parts), 300) or "none"


def _head_shape(manifest: Manifest, head: str) -> str:
    shapes = [e.shape for name, (_, e) in manifest.whole.items() if name.startswith(f"{head}.") and len(e.shape) > 1]
    return f"({len(shapes)} matrices)" if len(shapes) != 1 else "x".join(map(str, shapes[0]))


def _remarks(manifest: Manifest) -> Iterable[str]:
    return (*_remarks_on_scale(manifest), *_remarks_on_names(manifest), *_remarks_on_kinds(manifest))


def _remarks_on_scale(manifest: Manifest) -> Iterable[str]:
    config, modules = manifest.config, list(manifest.modules.values())
    ranks = sorted({module.rank for module in modules})
    if len(ranks) > 1:
        yield f"Ranks differ between modules ({ranks[0]} to {ranks[-1]}); the merge will have one rank everywhere."
    if config.get("alpha_pattern"):
        yield "alpha differs between modules (alpha_pattern); each module's own scale is used."
    if not config.get("rank_pattern") and config.get("r") not in (None, *ranks):
        yield f"The config says r = {config['r']}, the tensors have rank {ranks[0]}; the tensors are believed."
    if any(module.rank > min(module.layer[2:]) for module in modules):
        yield "Some ranks are larger than the layer is wide; part of them is idle."
    if any(module.scale == 0 for module in modules):
        yield "alpha is 0 for some modules: there the adapter does nothing."


def _remarks_on_names(manifest: Manifest) -> Iterable[str]:
    renamed = [module.written for module in manifest.modules.values() if module.name != module.written]
    if renamed:
        yield f"{len(renamed)} modules have names of transformers 4 ({renamed[0]}); the merge uses those of version 5."
    if manifest.ignored:
        yield (
            f"{len(manifest.ignored)} tensors repeat what the base or other tensors hold and are left out, such as "
            f"{shown(manifest.ignored[0], 80)}."
        )
    if "peft_type" not in manifest.config:
        yield "The config does not name its peft_type; by its tensors it is a LoRA."


def _remarks_on_kinds(manifest: Manifest) -> Iterable[str]:
    biases, modules = _biases(manifest), manifest.modules.values()
    if manifest.heads:
        yield f"Trained whole: {', '.join(manifest.heads)}; the recipe's head knob says whose the merge keeps."
    if biases:
        yield f"{len(biases)} biases of the base were trained; the head knob says whose the merge keeps."
    elif manifest.config.get("bias") not in (None, "none"):
        yield (
            f"bias = {shown(manifest.config['bias'], 20)!r} but no bias is in the file; nothing is missed if the base's "
            "layers have none."
        )
    if any("bias" in module.keys for module in modules):
        yield "lora_B has biases (lora_bias); they are merged with their updates' weights, and only PEFT reads the result."
    if any(module.layer[0] == "embedding" for module in modules):
        yield "Token embeddings are adapted; servers other than PEFT may refuse them."
    if any(module.layer[0] == "conv" for module in modules):
        yield "Convolutions are adapted; each is merged as a matrix and written back in its shape."


def _biases(manifest: Manifest) -> list[str]:
    return [
        name
        for name in manifest.whole
        if name.endswith(".bias") and not any(name.startswith(f"{head}.") for head in manifest.heads)
    ]


def trained_remarks(modules: Mapping[str, LoraModule]) -> list[str]:
    """What the tensors say about training: modules whose update is zero."""
    untrained = sum(not (module.up[:1].any() or module.up.any()) for module in modules.values())
    if not untrained:
        return []
    if untrained == len(modules):
        return [f"All {len(modules)} modules are untrained: their lora_B is all zero, so the adapter changes nothing."]
    return [f"{untrained} of {len(modules)} modules are untrained: their lora_B is all zero."]


# -- norms ---------------------------------------------------------------------------------------------------------


def norm_of(module: LoraModule) -> float:
    """Frobenius norm of ``scale * up @ down``, from the factors' Gram matrices in float64."""
    up, down = module.up.double(), module.down.double()
    return abs(module.scale) * float(((up.mT @ up) * (down @ down.mT)).sum().clamp_min(0).sqrt())


def measured(adapter: Adapter) -> Adapter:
    """The adapter with what its tensors say added to its passport: trained modules, norm as a whole and per depth third."""
    if adapter.passport is None:
        return adapter
    places, norms = addresses(adapter.modules), {name: norm_of(module) for name, module in adapter.modules.items()}
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    layers = torch.tensor(sorted({place.layer for place in places.values()}))
    thirds = [{int(n) for n in part} for part in layers.tensor_split(3)]
    depth = [sum(norms[name] ** 2 for name, place in places.items() if place.layer in third) ** 0.5 for third in thirds]
    trained = sum(norm > 0 for norm in norms.values())
    facts = {
        **adapter.passport.facts,
        "trained": "no" if not trained else "yes" if trained == len(norms) else f"{trained} of {len(norms)} modules",
        "norm": float(f"{total:.4g}"),
        "norm by depth third": " / ".join(f"{norm:.3g}" for norm in depth),
    }
    return replace(adapter, passport=replace(adapter.passport, facts=facts))


def balance_note(task: Passport | None, domain: Passport | None) -> list[str]:
    """A note where one adapter's total norm is several times the other's, if both were measured."""
    sizes = [passport.facts.get("norm") if passport else None for passport in (task, domain)]
    norms = [float(size) for size in sizes if size]
    if len(norms) < 2 or max(norms) < UNEVEN * min(norms):
        return []
    larger = "task" if norms[0] > norms[1] else "domain"
    return [
        f"The {larger} adapter is {max(norms) / min(norms):.3g} times as large as the other (norms {norms[0]:g} and "
        f"{norms[1]:g}); if it drowns the other, try the balance knob."
    ]


# -- two adapters --------------------------------------------------------------------------------------------------


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


def outline(one: Adapter | Manifest) -> Outline:
    """The outline of an adapter, or of what its headers declare."""
    if isinstance(one, Manifest):
        return Outline(
            one.label, one.base, {name: m.layer for name, m in one.modules.items()},
            {name: entry.shape for name, (_, entry) in one.whole.items()}, any("bias" in m.keys for m in one.modules.values()),
            dora=needs_base(one.label, one.base) if one.dora else None,
        )  # fmt: skip
    layers = {name: (m.kind, m.kernel, *m.layer_size) for name, m in one.modules.items()}
    whole = {name: tuple(tensor.shape) for name, tensor in one.whole.items()}
    return Outline(
        one.label, one.base, layers, whole, any(m.bias is not None for m in one.modules.values()), one.source,
        f"{one.label} is {one.stands_for}." if one.stands_for else None,
    )  # fmt: skip


def verdict(task: Outline, domain: Outline) -> Verdict:
    """Whether two adapters fit: reasons against it, and notes that do not forbid it."""
    against, notes = _bases(task, domain)
    shared = [name for name in task.layers if name in domain.layers]
    differ = [name for name in shared if task.layers[name] != domain.layers[name]]
    if differ:
        more = f" The same holds for {len(differ) - 1} more modules." if len(differ) > 1 else ""
        against.append(layers_differ(differ[0], task.layers[differ[0]], domain.layers[differ[0]]) + more)
    elif not shared:
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
    return Verdict(tuple(against), (*notes, *_notes_on_modules(task, domain), *_notes_on_heads(task, domain)))


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


def _bases(task: Outline, domain: Outline) -> tuple[list[str], list[str]]:
    if not task.base or not domain.base:
        return [], ["One of the adapters does not name its base; make sure that both were trained on the same one."]
    if task.base == domain.base:
        return [], []
    if _bare(task.base) == _bare(domain.base) or _is_path(task.base) or _is_path(domain.base):
        return [], [
            f"The bases are spelled differently ({task.base} and {domain.base}); make sure that they are the same model."
        ]
    return [
        f"The task adapter {task.label} was trained on {task.base}, the domain adapter {domain.label} on {domain.base}. "
        "A merge needs two adapters of one base model."
    ], []


def _bare(base: str) -> str:
    """The model's own name: no owner, no folder, no quantisation suffix, no case."""
    name = re.split(r"[/\\]", base.rstrip("/\\"))[-1].lower()
    return re.sub(r"([-_.](unsloth|bnb|4bit|8bit|gguf|gptq|awq|int4|int8|hf))+$", "", name)


def _is_path(base: str) -> bool:
    return base.startswith(("/", ".", "~")) or "\\" in base or base.count("/") > 1


def _notes_on_modules(task: Outline, domain: Outline) -> Iterable[str]:
    for role, own, other in (("task", task, domain), ("domain", domain, task)):
        if names := set(own.layers) - set(other.layers):
            yield f"{len(names)} modules are only in the {role} adapter, such as {min(names)}; there the gate is all {role}."
    if task.source is not None and task.source == domain.source:
        yield "Both are the same adapter."


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
        if names := {name for name in set(own.whole) - set(other.whole) if not is_copy(name)}:
            yield f"{len(names)} whole tensors are only in the {role} adapter, such as {min(names)}; the merge keeps them."


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
