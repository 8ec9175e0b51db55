"""What an adapter is, as facts and plain sentences.

Everything but "trained" and "norm" comes from configs and headers, before any tensor is read.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from tada_studio.addresses import Address, addresses
from tada_studio.core.gram import gram, one_blas_thread
from tada_studio.files import shown
from tada_studio.lora import Adapter, LoraModule, Passport
from tada_studio.read.config import heads_listed, text
from tada_studio.read.dora import needs_base
from tada_studio.read.fit import heads_without_place, is_copy
from tada_studio.read.manifest import Factors, Manifest

#: Beyond this factor between two adapters' total norms the larger one drowns the smaller, and ``balance`` is worth a try.
UNEVEN = 3.0


# -- one adapter ---------------------------------------------------------------------------------------------------


def from_manifest(manifest: Manifest, read: bool = False) -> Passport:
    """The passport of an adapter by its config and headers alone; read: what the tensors say is added by the caller."""
    config, modules = manifest.config, list(manifest.modules.values())
    places = addresses(manifest.modules)
    facts = {
        "base": manifest.base or "not named",
        "revision": text(config.get("revision")) or "not named",
        "rank": ", ".join(map(str, sorted({m.rank for m in modules}))),
        "alpha": config.get("lora_alpha", 8) if "lora_alpha" in config or "r" in config else _alphas(modules),
        "scale": ", ".join(f"{scale:g}" for scale in sorted({m.scale for m in modules})),
        "scaling rule": "alpha / sqrt(r) (rsLoRA)" if config.get("use_rslora") else "alpha / r",
        **({"kind": "DoRA: rows of the base rescaled to trained magnitudes"} if manifest.dora else {}),
        **_groups(modules, places),
        "projections": ", ".join(dict.fromkeys(place.projection for place in places.values())),
        "targets": _targets(config.get("target_modules")),
        "layers": _layers(places.values()),
        "modules": len(modules),
        "whole tensors": _whole(manifest),
        "number format": ", ".join(sorted({_FORMAT_NAMES[m.format] for m in modules})),
        "size": f"{manifest.size / 1e6:.1f} MB",
        "written by": _writer(config),
        **({"Hub commit": manifest.revision} if manifest.revision else {}),
    }
    unread = [needs_base(manifest.label, manifest.base)] if manifest.dora and not read else []
    return Passport(manifest.label, facts, (*_remarks(manifest), *unread))


def _layers(places: Iterable[Address]) -> str:
    """ "12 (0 to 11)", and in a base of several towers "12 (0 to 11) of encoder, 12 (0 to 11) of decoder"."""
    rows = sorted({(place.tower, place.layer) for place in places}, key=lambda row: row[1])
    of: dict[str, list[int]] = {tower: [] for tower in dict.fromkeys(place.tower for place in places)}
    for tower, layer in rows:
        of[tower].append(layer)
    return ", ".join(f"{len(n)} ({n[0]} to {n[-1]}){f' of {tower}' if tower else ''}" for tower, n in of.items())


def _alphas(modules: Iterable[Factors]) -> str:
    """The alphas of a file in which each module has its own."""
    found = sorted({module.alpha for module in modules})
    return ", ".join(f"{alpha:g}" for alpha in found[:6]) + (", ..." if len(found) > 6 else "")


def _writer(config: Mapping[str, Any]) -> str:
    version = text(config.get("peft_version"))
    return f"PEFT {version}" if version else text(config.get("written_by")) or "not named"


_FORMAT_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def _groups(modules: list[Factors], places: Mapping[str, Address]) -> dict[str, str]:
    """ "q_proj: rank 8, alpha 16; ..." where projections differ; nothing where all are alike."""
    kinds: dict[str, set[str]] = {}
    for module in modules:
        place = places[module.name]
        kind = f"{place.tower} {place.projection}".strip()
        kinds.setdefault(kind, set()).add(f"rank {module.rank}, alpha {module.alpha:g}")
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
    if "r" not in config and "peft_type" in config and "written_by" not in config and ranks != [8]:
        yield (
            f"The config names no rank (r); PEFT takes 8 then, and does not load it. The tensors' own, {ranks[0]}, is used, in "
            "alpha / r too."
        )
    if config.get("alpha_pattern"):
        yield "alpha differs between modules (alpha_pattern); each module's own scale is used."
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
    if says := _WRITERS.get(str(manifest.config.get("written_by"))):
        yield f"{says}; the merge is an adapter of PEFT."
    if manifest.beside:
        yield beside_says(manifest.beside)
    if "peft_type" not in manifest.config:
        yield "The config does not name its peft_type; by its tensors it is a LoRA."


def beside_says(names: Sequence[str]) -> str:
    """The remark about files of weights that lie beside an adapter."""
    return (
        f"There are weights beside the adapter that are not read ({', '.join(names[:4])}); if they were trained with it "
        "(a projector, new embeddings, a value head), the merge is without them."
    )


def _remarks_on_kinds(manifest: Manifest) -> Iterable[str]:
    biases, modules = _biases(manifest), manifest.modules.values()
    yield from _remarks_on_task(manifest)
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


def _remarks_on_task(manifest: Manifest) -> Iterable[str]:
    of = manifest.task_type
    if of and of not in TASK_TYPES:
        yield f"task_type {of} is none that PEFT takes today; the merge names none."
    for name in heads_without_place(of, manifest.modules)[:1]:
        yield f"{name} is adapted, a head that a {of} model does not have; there that part never loads."
    unsaved = [
        name for name in heads_listed(manifest.config) if not any(head.endswith(name) for head in manifest.heads)
    ]
    if unsaved:
        yield (
            f"modules_to_save names {shown(', '.join(map(str, unsaved)), 80)}, of which the file holds nothing; nothing is missed "
            "if the model has no such module."
        )


#: What is to be said of other programs' adapters.
_WRITERS = {
    "MLX-LM": "Its factors are stored as MLX-LM does, transposed",
    "kohya": "It is a LoRA in kohya's format, with an alpha for each module; its layers are called as diffusers calls them",
    "diffusers": "It is a LoRA as diffusers saves it, for the parts of a pipeline that its names start with",
    "llama.cpp": "It is a LoRA of llama.cpp (GGUF); its layers are called as transformers calls them",
}

#: The task types that PEFT 0.21 takes.
TASK_TYPES = ("SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")


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
    inner = gram(module.up.double()) * gram(module.down.double().mT)
    return abs(module.scale) * float(inner.sum().clamp_min(0).sqrt())


def not_numbers(module: str, count: int = 1) -> str:
    """The sentence about factors that are NaN or infinite."""
    more = f" (and {count - 1} more modules)" if count > 1 else ""
    return f"{module}{more} holds NaN or infinity; its training diverged, or the file is damaged. Use an earlier checkpoint."


def measured(adapter: Adapter) -> Adapter:
    """The adapter with what its tensors say added to its passport: trained modules, norm as a whole and per depth third."""
    if adapter.passport is None:
        return adapter
    with one_blas_thread():
        places, norms = addresses(adapter.modules), {name: norm_of(module) for name, module in adapter.modules.items()}
    if wrong := [name for name, norm in norms.items() if not math.isfinite(norm)]:
        says = not_numbers(wrong[0], len(wrong))
        facts = {**adapter.passport.facts, "trained": "no: NaN or infinity", "norm": None}
        remarks = (*adapter.passport.remarks, says)
        return replace(
            adapter,
            passport=replace(adapter.passport, facts=facts, remarks=remarks, refused=f"{adapter.label}: {says}"),
        )
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    trained = sum(norm > 0 for norm in norms.values())
    facts = {
        **adapter.passport.facts,
        "trained": "no" if not trained else "yes" if trained == len(norms) else f"{trained} of {len(norms)} modules",
        "norm": float(f"{total:.4g}"),
        "norm by depth third": _by_third(places, norms),
    }
    return replace(adapter, passport=replace(adapter.passport, facts=facts))


def _by_third(places: Mapping[str, Address], norms: Mapping[str, float]) -> str:
    """The norm of the shallow, middle and deep third, of each tower; of one or two layers, of each."""
    says = []
    for tower in dict.fromkeys(place.tower for place in places.values()):
        ours = {name: place.layer for name, place in places.items() if place.tower == tower}
        layers = torch.tensor(sorted(set(ours.values())))
        thirds = [set(part.tolist()) for part in layers.tensor_split(min(3, len(layers)))]
        depth = [sum(norms[name] ** 2 for name, layer in ours.items() if layer in third) ** 0.5 for third in thirds]
        says.append(" / ".join(f"{norm:.3g}" for norm in depth) + (f" ({tower})" if tower else ""))
    return ", ".join(says)


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
