"""Whether two adapters call one layer by two names: then a merge would hold both, and PEFT would load one half of it.

A model's modules carry other names before and after a renaming in transformers, with and without a head, as text model or as part
of a vision-language model, in Megatron, and with fused or split projections. Without the base only the names themselves can tell.
"""

from collections.abc import Iterable, Mapping

from tada_studio.addresses import split_name

Stacks = Mapping[str, frozenset[str]]

#: What a stack of layers called like this is a part of, most telling end first.
_CLASSES = (
    ("language_model.encoder.layers", "Megatron's own model"),
    ("decoder.layers", "a decoder"),
    ("language_model.model.layers", "a vision-language class before transformers 4.52"),
    ("model.language_model.layers", "a vision-language class of transformers 4.52 or later"),
    ("language_model.layers", "a vision-language class"),
    ("model.layers", "a text-only causal class"),
    ("layers", "a bare model without a head"),
    ("transformer.h", "a causal class"),
    ("h", "a bare model without a head"),
    ("down_blocks", "a UNet of diffusers"),
    ("up_blocks", "a UNet of diffusers"),
    ("transformer_blocks", "a transformer of diffusers"),
    ("encoder.stages", "a convolutional image model"),
)
_FUSED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"), "Wqkv": ("q_proj", "k_proj", "v_proj", "Wq", "Wk", "Wv"),
    "query_key_value": ("query", "key", "value", "q_proj", "k_proj", "v_proj"), "c_attn": ("q_proj", "k_proj", "v_proj"),
    "qkv": ("q", "k", "v", "query", "key", "value", "q_proj", "k_proj", "v_proj"), "linear_qkv": ("q_proj", "k_proj", "v_proj"),
    "in_proj": ("q_proj", "k_proj", "v_proj"), "to_qkv": ("to_q", "to_k", "to_v"), "att_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj", "w1", "w3"), "linear_fc1": ("gate_proj", "up_proj"),
    "kv_proj": ("k_proj", "v_proj"), "to_kv": ("to_k", "to_v"),
}  # fmt: skip
_SEEING, _HEARING = ("vision", "visual", "image_encoder"), ("audio", "speech")
_UNET = ("down_blocks", "mid_block", "up_blocks")


def one_layer_two_names(task: Iterable[str], domain: Iterable[str]) -> str | None:
    """The reason why two adapters cannot be merged by their modules' names, or None."""
    ours, theirs = set(task), set(domain)
    return (
        _two_prefixes(ours, theirs)
        or _fused_and_split(ours, theirs)
        or _fused_and_split(theirs, ours, "domain", "task")
    )


def _stacks(names: Iterable[str]) -> dict[str, set[str]]:
    """Stack of layers -> the paths of modules inside one layer of it; modules outside numbered layers are left out."""
    found: dict[str, set[str]] = {}
    for name in names:
        stack, layer, inside = split_name(name)
        if layer is not None:
            found.setdefault(stack, set()).add(inside)
    return found


def _two_prefixes(ours: set[str], theirs: set[str]) -> str | None:
    a, b = _stacks(ours), _stacks(theirs)
    nothing_shared = not (ours & theirs) and not (set(a) & set(b))
    for one in sorted(set(a) - set(b)):
        for other in sorted(set(b) - set(a)):
            if not _two_towers(one, other) and (nothing_shared or a[one] & b[other]):
                return _says(one, other, bool(ours & theirs))
    return None


def _says(one: str, other: str, partly: bool) -> str:
    shared = "only some modules have one name in both" if partly else "no module has one name in both"
    return (
        f"The task adapter's layers are called {_called(one)}, the domain adapter's {_called(other)}: {shared}, and PEFT "
        "would load a part of the merge only. Train both on one class of the base, or name the base (--base), whose own names "
        "then decide."
    )


def _called(stack: str) -> str:
    what = next((says for end, says in _CLASSES if f".{stack}".endswith(f".{end}")), None)
    if what is None and stack.endswith("encoder.layer"):
        what = "a bare encoder" if stack == "encoder.layer" else "a model with a head"
    name = f"{stack}.N" if stack else "N"
    return f"{name} ({what})" if what else name


def _two_towers(one: str, other: str) -> bool:
    """Whether two stacks are different parts of one model rather than one part under two names."""
    if one.replace("decoder", "encoder") == other.replace("decoder", "encoder"):
        return True
    if {one.split(".")[0], other.split(".")[0]} <= set(_UNET):
        return True
    return any(_has(one, words) != _has(other, words) for words in (_SEEING, _HEARING))


def _has(stack: str, words: tuple[str, ...]) -> bool:
    return any(word in stack.lower() for word in words)


def _fused_and_split(ours: set[str], theirs: set[str], role: str = "task", other: str = "domain") -> str | None:
    """The reason if one adapter updates a projection as a whole which the other updates in parts."""
    for name in sorted(ours - theirs):
        parent, _, last = name.rpartition(".")
        parts = (f"{parent}.{part}" if parent else part for part in _FUSED.get(last, ()))
        if part := next((part for part in parts if part in theirs and part not in ours), None):
            return (
                f"The {role} adapter updates {name} as one layer, the {other} adapter parts of it ({part}): one of the two was "
                "trained on a rewritten copy of the base. Name the base (--base), whose config says which rows are whose, or train "
                "both on the base as it is published."
            )
    return None
