"""Names in adapter files: what each tensor is, and which module of the base it belongs to.

PEFT's own keys, with or without its prefix, with or without an adapter's name, from compiled or sharded training; and the
names that transformers 4 used for vision models that version 5 renamed.
"""

import re
from typing import NamedTuple

from tada_studio.errors import AdapterError
from tada_studio.files import shown


class Part(NamedTuple):
    """What one tensor is: ``role`` "A" or "B" (factors), "bias" (of lora_bias), "magnitude" (DoRA) or "whole"."""

    module: str
    role: str
    kind: str = "linear"
    adapter: str | None = None


_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<role>[AB])(?:\.(?P<adapter>[^.]+))?\.weight")
_EMBEDDING = re.compile(r"(?P<module>.+)\.lora_embedding_(?P<role>[AB])(?:\.(?P<adapter>[^.]+))?")
_BIAS = re.compile(r"(?P<module>.+)\.lora_B(?:\.(?P<adapter>[^.]+))?\.bias")
_MAGNITUDE = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(?:\.(?P<adapter>[^.]+?))??(?:\.weight)?")
_SHAPED = (
    (_FACTOR, None, "linear"),
    (_EMBEDDING, None, "embedding"),
    (_BIAS, "bias", "linear"),
    (_MAGNITUDE, "magnitude", "linear"),
)

#: Wrappers that torch puts around modules in compiled, checkpointed or sharded training, and saves as part of the name.
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")
_PREFIX = re.compile(r"(?:module\.(?=base_model\.))?(?:base_model\.model\.)*")  # a model that was wrapped twice has two
_NAME = re.compile(r"[\w-]+(?:\.[\w-]+)*", re.ASCII)
LONGEST_NAME = 300

#: Tensors of other formats, by a piece of their names.
_FOREIGN = (
    (re.compile(r"\.lora_[ab]$"), "a factor as MLX-LM names it. Give it with MLX-LM's own adapter_config.json"),
    (re.compile(r"lora_(down|up)\.weight$|\.alpha$"), "a tensor of kohya's format. Give that file alone, without PEFT's config"),
    (re.compile(r"\.lora\.(down|up)\.weight$"), "a tensor of diffusers' old format. Give that file alone, without PEFT's config"),
    (re.compile(r"hada_w[12]_[ab]$|lokr_w[12]"), "a factor of LoHa or LoKr. Convert it with PEFT's convert_to_lora"),
    (re.compile(r"trainable_tokens"), "trained token embeddings, which no LoRA can hold. Train without trainable_token_indices"),
    (re.compile(r"ranknum|lora_E$"), "a part of AdaLoRA. Train a LoRA instead"),
    (re.compile(r"prompt_embeddings|prefix_"), "a trained prompt, which is no update of weights. Train a LoRA instead"),
    (re.compile(r"\.(adapters|loras)\."), "a tensor of the AdapterHub library. Train a LoRA with PEFT instead"),
)  # fmt: skip


def part_of(key: str, where: str) -> Part | None:
    """What the tensor of that name is; None for a copy of the base's own that means nothing. Raises AdapterError."""
    name = (
        _WRAPPERS.sub("", key) if "._" in f".{key}" else key
    )  # looked for only where one may be: it takes as long as all else
    name = name[_PREFIX.match(name).end() :]  # type: ignore[union-attr]
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise AdapterError(
            f"{where}: holds a tensor called {shown(key)!r}, which is no module's name. Save it again with PEFT."
        )
    for shape, role, kind in _SHAPED:
        if match := shape.fullmatch(name):
            return Part(_module(match["module"], where), role or match["role"], kind, match["adapter"])
    for piece, what in _FOREIGN:
        if piece.search(name):
            raise AdapterError(f"{where}: holds {shown(key)!r}, {what}.")
    if ".original_module." in name:  # the base's head as it was before training, from bias="all"
        return None
    return Part(name.replace(".modules_to_save.default.", ".").replace(".modules_to_save.", "."), "whole")


def _module(name: str, where: str) -> str:
    if "base_layer" in name.split("."):
        raise AdapterError(
            f"{where}: {shown(name)} lies inside a wrapped layer (fused experts, nn.MultiheadAttention), which no plain LoRA "
            "names. Train without target_parameters and without such layers."
        )
    return name


# -- transformers 4 ------------------------------------------------------------------------------------------------

_QKV = ((r"\.query", ".q_proj"), (r"\.key", ".k_proj"), (r"\.value", ".v_proj"))
_MLP = ((r"\.intermediate\.dense", ".mlp.fc1"), (r"(?<!attention)\.output\.dense", ".mlp.fc2"))
_OUT = (r"\.attention\.output\.dense", ".attention.o_proj")
_NESTED = (r"\.attention\.attention(?=\.(query|key|value)\b)", ".attention")
_PLAIN = (r"\.attention\.self(?=\.(query|key|value)\b)", ".attention")
_VIT = ((r"(^|\.)encoder\.layer\.", r"\1layers."), _NESTED, *_QKV, _OUT, *_MLP)
#: Model families whose modules version 5 of transformers renamed: the name their modules start with, and the rules in order.
RENAMED: dict[str, tuple[tuple[str, str], ...]] = {
    **dict.fromkeys(("vit", "deit", "beit", "ijepa", "audio_spectrogram_transformer", "vivit"), _VIT),
    **dict.fromkeys(
        ("dinov2", "dinov2_with_registers"), (_NESTED, *_QKV, _OUT, (r"\.mlp\.weights_out\b", ".mlp.down_proj"))
    ),
    "swin": (_PLAIN, *_QKV, _OUT, *_MLP),
    "segformer": (
        (r"\.encoder\.block\.(\d+)\.", r".stages.\1.blocks."),
        (r"\.encoder\.patch_embeddings\.(\d+)\.", r".stages.\1.patch_embeddings."),
        _PLAIN, *_QKV, (r"\.attention\.self\.sr\b", ".attention.sequence_reduction.sequence_reduction"), _OUT,
        (r"\.mlp\.dense([12])\b", r".mlp.fc\1"),
    ),
}  # fmt: skip
#: Parts of a model beside its stack of layers, by the family of the rest.
_BESIDE = {"segformer": (("decode_head.linear_c.", "decode_head.linear_projections."),)}


def family(name: str, base: str | None = None) -> str | None:
    """The renamed family that a module belongs to, by its first part, or for a model without a head by the base's name."""
    first, spelled = name.split(".", 1)[0], (base or "").lower()
    if first in RENAMED:
        return (
            None if first == "vit" and "yolos" in spelled else first
        )  # YOLOS calls its body vit and kept the old names
    if name.startswith("encoder.layer.") and ".attention.attention." in name:
        return next((one for one in ("dinov2", "beit", "deit", "vit") if one in spelled), None)
    return None


def canonical(name: str, of: str | None) -> str:
    """The name that transformers 5 uses for a module (or tensor) of a family; other names as they are."""
    for old, new in _BESIDE.get(of or "", ()):
        if name.startswith(old):
            return new + name[len(old) :]
    inside = of is not None and name.startswith((f"{of}.", "encoder.layer."))
    for old, new in RENAMED[of] if of is not None and inside else ():
        name = re.sub(old, new, name)
    return name
