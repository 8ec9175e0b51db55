"""The class that transformers builds for a base, without its weights: the names and sizes of all layers that it really has.

A config.json is enough. The class is built on the meta device, so a 70B base costs a second and no memory; nothing of the model's
own code is run and nothing but the config is fetched. What an adapter calls its modules is brought to the names of this class,
by transformers' own table of renamings first (an adapter of version 4, a bare encoder, a text model that is now a part of a
vision-language model), then by the few rules below.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tada_studio.base_model.family import quietly, text_part
from tada_studio.base_model.files import packaged_copy
from tada_studio.base_model.fused import refitted
from tada_studio.base_model.model import Base, layer_size, module_at
from tada_studio.errors import MismatchError
from tada_studio.files import path_of, shown
from tada_studio.lazy import lazy
from tada_studio.lora import Adapter, Layer
from tada_studio.read import Heads
from tada_studio.read.fit import heads_without_place

#: More than any model has; a config that names more was made to keep us busy.
_MOST_LAYERS = 2_000
#: transformers' name of the class to build, by PEFT's task type.
_BY_TASK = {
    "CAUSAL_LM": "AutoModelForCausalLM", "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM", "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification", "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "AutoModel",
}  # fmt: skip
#: What is tried after the task type's class and the one that the config names.
_OTHERS = (
    "AutoModelForImageClassification", "AutoModelForImageTextToText", "AutoModelForSpeechSeq2Seq", "AutoModelForCausalLM",
    "AutoModelForSequenceClassification", "AutoModelForTokenClassification", "AutoModelForQuestionAnswering",
    "AutoModelForSeq2SeqLM", "AutoModelForMaskedLM", "AutoModel",
)  # fmt: skip
#: Renamings that transformers' own table does not hold, since weights are never saved under these names, but adapters are.
_RULES = (
    (r"^model\.layers\.", "model.language_model.layers."),  # a text model's class, beside a vision-language one
    (r"^language_model\.model\.", "model.language_model."),
    (r"^language_model\.layers\.", "model.language_model.layers."),
    (r"^model\.language_model\.", "language_model.model."),  # classes that kept the old names
    (r"^model\.language_model\.", "model."),  # and the other way round: a text model's class is what there is
    (r"^language_model\.model\.", "model."),
    (r"^(?:model\.)?(vision_tower|visual|vision_model|audio_tower|multi_modal_projector)\.", r"model.\1."),
    (r"^model\.(vision_tower|visual|vision_model|audio_tower|multi_modal_projector)\.", r"\1."),
)


@dataclass(frozen=True, eq=False)
class RealClass:
    """A model on the meta device (or a loaded base's own) and how names find their way into it."""

    model: nn.Module

    @property
    def name(self) -> str:
        return type(self.model).__name__

    def place(self, name: str, tensor: str = "weight") -> str | None:
        """What the class calls a module that an adapter calls ``name``; None if it has no such module."""
        if self._has(name):
            return name
        candidates = (self._renamed(f"{name}.{tensor}").rpartition(".")[0], *(re.sub(a, b, name) for a, b in _RULES))
        return next((found for found in candidates if self._has(found)), None)

    def size(self, name: str) -> tuple[int, int] | None:
        """(d_out, d_in) of one of its layers; None for a module that is no layer with a matrix."""
        return layer_size(self.model.get_submodule(name))

    def resize(self, tensor: str, shape: Iterable[int]) -> None:
        """Give a tensor of the class another shape, as a head for other labels or more tokens has; not for a loaded base."""
        owner, _, last = tensor.rpartition(".")
        layer = self.model.get_submodule(owner) if self._has(owner) else None
        if (
            layer is not None
            and isinstance(own := getattr(layer, last, None), nn.Parameter)
            and own.shape != tuple(shape)
        ):
            setattr(layer, last, nn.Parameter(torch.empty(tuple(shape), device="meta"), requires_grad=False))

    def _has(self, name: str) -> bool:
        return module_at(self.model, name) is not None

    def _renamed(self, key: str) -> str:
        """A tensor's name by transformers' conversions, and with or without the prefix of the model's body."""
        try:
            from transformers.core_model_loading import rename_source_key

            prefix = getattr(self.model, "base_model_prefix", "") or None
            return rename_source_key(key, self._renamings, [], prefix, self._tensors)[0]
        except (ImportError, AttributeError, TypeError):  # a part of transformers that may change
            return key

    @lazy
    def _renamings(self) -> list[Any]:
        from transformers import PreTrainedModel
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming

        rules = get_model_conversion_mapping(self.model) if isinstance(self.model, PreTrainedModel) else []
        return [rule for rule in rules if isinstance(rule, WeightRenaming)]

    @lazy
    def _tensors(self) -> dict[str, Any]:
        return self.model.state_dict()


def config_of(ref: str | Path, fetch: bool = False) -> Any | None:
    """The config of a base by folder, GGUF file or Hub id; None if none is at hand.

    fetch: a Hub id's config.json alone may be downloaded. Raises nothing: whoever needs the base says what is wrong with it.
    """
    from transformers import AutoConfig

    options = {"local_files_only": not fetch, "trust_remote_code": False}
    try:
        path = path_of(ref)
        packaged = None if path.exists() else packaged_copy(str(ref))
        gguf = path if path.suffix == ".gguf" and path.is_file() else packaged
        with quietly():
            if gguf is not None:
                return AutoConfig.from_pretrained(str(gguf.parent), gguf_file=gguf.name, **options)
            return AutoConfig.from_pretrained(str(path) if path.is_dir() else str(ref), **options)
    except Exception:  # transformers and the Hub's client raise anything for what they cannot read
        return None


def heads_of(base: Base | str | Path) -> Heads | None:
    """How many heads the attention of a base has, by its config alone; None if none is at hand, or it does not say."""
    config: Any = base.model.config if isinstance(base, Base) else config_of(base)
    text = text_part(config)
    query = getattr(text, "num_attention_heads", None)
    key = getattr(text, "num_key_value_heads", None) or query
    return Heads(query, key) if isinstance(query, int) and isinstance(key, int) else None


def classes_of(ref: str | Path, task_type: str | None = None, fetch: bool = False) -> Iterator[RealClass]:
    """The classes that a base can be opened as, the likeliest first: of the task, of the config, then any that takes it."""
    config = config_of(ref, fetch)
    if config is None:
        return
    seen: set[type] = set()
    for wanted in (_BY_TASK.get(task_type or ""), *(getattr(config, "architectures", None) or ()), *_OTHERS):
        kind = _class(wanted, config)
        if kind is not None and kind not in seen:
            seen.add(kind)
            if (model := _built(kind, config)) is not None:
                yield RealClass(model)


def _class(wanted: str | None, config: Any) -> type | None:
    import transformers

    found: Any = getattr(transformers, wanted, None) if wanted else None
    if found is None or not hasattr(found, "_model_mapping"):
        return found
    try:
        return found._model_mapping[type(config)]
    except KeyError:
        return None


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _built(kind: Any, config: Any) -> nn.Module | None:
    text = text_part(config)
    if max(_number(getattr(one, "num_hidden_layers", 0)) for one in (config, text)) > _MOST_LAYERS:
        return None
    try:
        with torch.device("meta"), quietly():
            return kind(config).eval()
    except Exception:  # a class may want another part of the config, or a package that is not there
        return None


def real_class(
    base: Base | str | Path | None,
    adapters: Iterable[Adapter] = (),
    task_type: str | None = None,
    fetch: bool = False,
) -> RealClass | None:
    """The class of a base that the adapters' modules all find their place in; None if no base is at hand.

    One in which nothing has to be renamed comes first. If none takes all of them, the likeliest: ``at_home`` then says what is
    wrong. fetch: a Hub id's config.json alone may be downloaded.
    """
    if base is None:
        return None
    if isinstance(base, Base):
        return RealClass(base.model)
    adapters, first = list(adapters), None
    task_type = task_type or next((one.task_type for one in adapters if one.task_type), None)
    names = [name for one in adapters for name in (*one.modules, *one.heads)]
    names = [name for name in names if name not in heads_without_place(task_type, names)]
    fits = None
    for kind in classes_of(base, task_type, fetch):
        first = first or kind
        places = [kind.place(name) for name in names]
        if None in places:
            continue
        if places == names:
            return kind
        fits = fits or kind
    return fits or first


def at_home(adapter: Adapter, kind: RealClass, base: str) -> Adapter:
    """The adapter under the names of the base's real class, with a remark if any had to be changed.

    Raises MismatchError for a module that the class does not have, or has in another size: PEFT would leave it out.
    """
    adapter, example = refitted(adapter, kind)
    if example is not None:
        adapter = _with_remark(
            adapter, f"{example[0]} becomes {example[1]}, which is how {kind.name} has it; the update is the same."
        )
    places = {name: kind.place(name) for name in adapter.modules}
    lost = [name for name, place in places.items() if place is None]
    if lost:
        raise MismatchError(no_place(adapter.label, lost, len(places), kind.name, base))
    modules = {}
    for name, module in adapter.modules.items():
        place = places[name] or name
        _check_size(kind, place, (module.kind, module.kernel, *module.layer_size), adapter.label, base)
        modules[place] = replace(module, name=place)
    if len(modules) < len(places):
        raise MismatchError(
            f"{adapter.label}: two of its modules are one of {base} ({kind.name}). Save the adapter again."
        )
    if all(name == place for name, place in places.items()):
        return adapter
    heads = tuple(kind.place(head) or head for head in adapter.heads)
    whole = {_home_of_tensor(kind, name): tensor for name, tensor in adapter.whole.items()}
    return _remarked(replace(adapter, modules=modules, whole=whole, heads=heads), places, kind.name)


def _home_of_tensor(kind: RealClass, name: str) -> str:
    owner, _, last = name.rpartition(".")
    return f"{kind.place(owner, last) or owner}.{last}" if owner else name


def _remarked(adapter: Adapter, places: Mapping[str, str | None], kind: str) -> Adapter:
    old, new = next((old, new) for old, new in places.items() if old != new)
    return _with_remark(adapter, f"Its modules are brought to the names of {kind}, such as {old} to {new}.")


def _with_remark(adapter: Adapter, says: str) -> Adapter:
    """The adapter with a remark in its passport."""
    if adapter.passport is None:
        return adapter
    return replace(adapter, passport=replace(adapter.passport, remarks=(*adapter.passport.remarks, says)))


def no_place(label: str, lost: list[str], of: int, kind: str, base: str) -> str:
    """The sentence for modules that the base's class does not have."""
    return (
        f"{shown(lost[0])}: the base {base} ({kind}) has no such layer, so {len(lost)} of the {of} modules of {label} would never "
        "load. Give the base that the adapter was trained on, or train the adapter on this class of it."
    )


def _check_size(kind: RealClass, name: str, layer: Layer, label: str, base: str) -> None:
    size = kind.size(name)
    if size != layer[2:]:
        there = "no layer with a matrix" if size is None else f"a {size[0]}x{size[1]} layer"
        raise MismatchError(
            f"{name}: {label} was trained on a {layer[2]}x{layer[3]} layer, the base {base} ({kind.name}) has {there} there. "
            "Give the base that the adapter was trained on."
        )
