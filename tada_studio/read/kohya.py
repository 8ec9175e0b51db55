"""LoRA files of kohya's scripts (and what writes like them), read exactly.

Their names are paths with every dot made an underscore: ``lora_unet_mid_block_attentions_0_proj_in``. Which underscores were dots
is found by the parts that such models have; a name that these do not spell in exactly one way is refused. The UNet of SDXL is
called as in its first code (``input_blocks_4_1``), which becomes diffusers' name for the same layer; so is Flux.1 (``flux.py``).
"""

import functools
import re
from collections.abc import Mapping
from pathlib import Path

from tada_studio.errors import AdapterError
from tada_studio.files import shown
from tada_studio.read import flux
from tada_studio.read.files import Entry
from tada_studio.read.formats import Foreign, by_key, numbers, scale_by

_KEY = re.compile(r"(?P<flat>(?:lora|lycoris)_[A-Za-z0-9_]+)\.(?P<what>[\w.]+)")
_ROLES = {
    "lora_down.weight": "A", "lora_up.weight": "B", "lora_A.weight": "A", "lora_B.weight": "B",
}  # fmt: skip
_WAY_OUT = "Load it into diffusers and save it with save_lora_weights, then give that file"
_NO_LORA = "Train a plain LoRA, or extract one from a base that it is merged into (kohya's networks/extract_lora_from_models.py)"
#: What else may lie beside a name, what it is, and what to do about it.
_OTHER = (
    (re.compile(r"\.hada_"), "a factor of LoHa (LyCORIS)"),
    (re.compile(r"\.lokr_"), "a factor of LoKr (LyCORIS)"),
    (re.compile(r"\.(oft_|boft_)"), "a rotation of OFT"),
    (re.compile(r"\.[ab][12]\.weight$"), "a factor of GLoRA (LyCORIS)"),
    (re.compile(r"\.on_input$"), "a part of IA3 (LyCORIS)"),
    (re.compile(r"\.lora_mid"), "the middle factor of a convolution in three parts (LoCon with CP, LyCORIS)"),
    (re.compile(r"\.dora_scale"), "a magnitude of DoRA, which rescales the base's own weights"),
    (re.compile(r"\.(diff|diff_b|w_norm|b_norm)$"), "a change of full size (LyCORIS)"),
)
_TEXT = (
    "text_model encoder layers self_attn q_proj k_proj v_proj out_proj mlp fc1 fc2 embeddings token_embedding position_embedding "
    "text_projection block layer SelfAttention DenseReluDense q k v o wi wi_0 wi_1 wo"
)
_UNET = (
    "down_blocks mid_block up_blocks attentions transformer_blocks resnets downsamplers upsamplers attn1 attn2 to_q to_k to_v "
    "to_out ff net proj proj_in proj_out conv conv1 conv2 conv_in conv_out conv_shortcut time_emb_proj time_embedding "
    "add_embedding class_embedding linear_1 linear_2 time_proj norm norm1 norm2 norm3"
)
_TRANSFORMER = (
    "transformer_blocks single_transformer_blocks attn to_q to_k to_v to_out to_add_out add_q_proj add_k_proj add_v_proj ff "
    "ff_context net proj proj_mlp proj_out norm norm1 norm1_context norm_out linear x_embedder context_embedder "
    "time_text_embed timestep_embedder text_embedder guidance_embedder"
)
#: Part of a pipeline by the start of a name, and the parts of names that it has.
_STARTS = (
    ("lora_unet_", "unet", _UNET),
    ("lora_te1_", "text_encoder", _TEXT),
    ("lora_te2_", "text_encoder_2", _TEXT),
    ("lora_te3_", "text_encoder_3", _TEXT),
    ("lora_te_", "text_encoder", _TEXT),
    ("lora_transformer_", "transformer", _TRANSFORMER),
    ("lycoris_", "transformer", _TRANSFORMER),
    ("lycoris_", "unet", _UNET),
)
#: UNets of the first code: every block has as many layers, and one more that makes it smaller or larger.
_LAYERS = 2
_SGM_IN_BLOCK = (
    ("in_layers_2", "conv1"), ("out_layers_3", "conv2"), ("emb_layers_1", "time_emb_proj"), ("skip_connection", "conv_shortcut"),
)  # fmt: skip
_SGM_OUTSIDE = {
    "input_blocks_0_0": "conv_in", "out_2": "conv_out", "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2", "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
}  # fmt: skip


def as_peft(file: Path, entries: Mapping[str, Entry]) -> Foreign:
    """The file as PEFT would have written it. Raises AdapterError for what is no plain LoRA, or has a name nobody can read."""
    layers: dict[str, dict[str, Entry]] = {}
    alphas: dict[str, Entry] = {}
    for key, entry in entries.items():
        flat, role = _layer_and_role(key, str(file))
        held = layers.setdefault(flat, {})
        if role is None:
            alphas[flat] = entry
        elif held.setdefault(f"lora_{role}.weight", entry) is not entry:
            raise AdapterError(f"{file}: holds lora_{role} of {flat} twice. Save it again.")
    first_code = flux.is_of(entries)
    named = {flat: _named(flat, held, first_code, str(file)) for flat, held in layers.items()}
    scales = {name: alphas[flat] for flat, ours in named.items() if flat in alphas for name in ours}
    config = {"peft_type": "LORA", "written_by": "kohya", "base_model_name_or_path": None}
    return Foreign(config, by_key(named.values(), str(file)), scale_by(numbers(file, scales)))


def _named(flat: str, held: Mapping[str, Entry], first_code: bool, where: str) -> Mapping[str, Mapping[str, Entry]]:
    """diffusers' layer -> its tensors, of those that a layer of the file has; first_code: the file is Flux's."""
    if first_code and not flat.startswith("lora_te"):
        return flux.taken_apart(re.sub(r"^(?:lora_unet|lora_transformer|lycoris)_", "", flat), held, where)
    return {module_name(flat, where): held}


def _layer_and_role(key: str, where: str) -> tuple[str, str | None]:
    """(layer as the file calls it, "A" or "B", or None for its alpha). Raises AdapterError for what else lies there."""
    match = _KEY.fullmatch(key)
    role = _ROLES.get(match["what"]) if match else None
    if match is None or (role is None and match["what"] != "alpha"):
        what = next((says for shape, says in _OTHER if shape.search(key)), None)
        says = f"{what}, and none is read. {_NO_LORA}" if what else f"no factor of a LoRA in kohya's format. {_WAY_OUT}"
        raise AdapterError(f"{where}: holds {shown(key)!r}, {says}.")
    return match["flat"], role


def module_name(flat: str, where: str) -> str:
    """diffusers' name of a layer, from the name in which every dot became an underscore. Raises AdapterError."""
    for start, tower, vocabulary in _STARTS:
        if flat.startswith(start):
            inside = flat[len(start) :]
            plain = _without_sgm(inside) if tower == "unet" else inside
            ways = _spellings(plain, vocabulary)
            if len(ways) == 1:
                return f"{tower}.{re.sub(r'linear.(?=[0-9])', 'linear_', ways[0])}"  # linear_1 is one word
    raise AdapterError(
        f"{where}: {shown(flat)!r} is a layer in kohya's format, in which dots became underscores; it is no layer of Stable "
        f"Diffusion (1, 2 or XL), of Flux.1 or of their text encoders, and its name cannot be read. {_WAY_OUT}."
    )


def _spellings(flat: str, vocabulary: str) -> tuple[str, ...]:
    """All ways to read underscores as dots such that every part is a number or one of the words; two at most are looked for."""
    words = frozenset(vocabulary.split())
    parts = flat.split("_")
    if len(parts) > 60:
        return ()

    @functools.cache
    def ways(i: int) -> tuple[str, ...]:
        if i == len(parts):
            return ("",)
        found = []
        for j in range(i + 1, min(len(parts), i + 4) + 1):
            word = "_".join(parts[i:j])
            if word in words or (j == i + 1 and word.isdecimal()):
                found += [f"{word}.{rest}" if rest else word for rest in ways(j)]
        return tuple(found[:2])

    return ways(0)


def _without_sgm(flat: str) -> str:
    """A layer of the first code's UNet under diffusers' name, still flat; others as they are."""
    if flat in _SGM_OUTSIDE:
        return _SGM_OUTSIDE[flat]
    match = re.fullmatch(r"(input|middle|output)_blocks?_(\d{1,3})(?:_(\d))?(?:_(.+))?", flat)
    if match is None:
        return flat
    side, number, inner, rest = match[1], int(match[2]), match[3], match[4] or ""
    if side == "middle":
        kind, place = ("attentions", 0) if number == 1 else ("resnets", number // 2)
        rest = "_".join(part for part in (inner, rest) if part is not None and part != "")
        return _in_block(f"mid_block_{kind}_{place}", rest)
    if inner is None:
        return flat
    number, block = (number - 1, "down_blocks") if side == "input" else (number, "up_blocks")
    place, layer = divmod(number, _LAYERS + 1)
    if side == "input" and rest == "op":
        return f"{block}_{place}_downsamplers_0_conv"
    if side == "output" and rest == "conv":
        return f"{block}_{place}_upsamplers_0_conv"
    return _in_block(f"{block}_{place}_{('resnets', 'attentions')[int(inner) % 2]}_{layer}", rest)


def _in_block(start: str, rest: str) -> str:
    rest = next((new for old, new in _SGM_IN_BLOCK if rest == old), rest)
    return f"{start}_{rest}" if rest else start
