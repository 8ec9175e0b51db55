"""LoRA files as other programs write them, with drawn numbers, each beside the dense updates that it means, in float64."""

import gguf
import torch
from safetensors.torch import save_file

from tada_studio.read import Heads

DRAW = torch.Generator().manual_seed(0)


def factors(rank=2, d_out=6, d_in=8, kernel=(), dtype=torch.float32):
    """(lora_A, lora_B) of a layer."""
    ones = (1,) * len(kernel)
    return (
        torch.randn(rank, d_in, *kernel, generator=DRAW).to(dtype),
        torch.randn(d_out, rank, *ones, generator=DRAW).to(dtype),
    )


def dense(down, up, scale):
    return scale * up.double().flatten(1) @ down.double().flatten(1)


# -- kohya -----------------------------------------------------------------------------------------------------------

#: kohya's name -> diffusers' name of the same layer; the second kind are of SDXL's first code.
BLOCK = "transformer_blocks.0"
SD15 = {
    "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q": f"unet.down_blocks.0.attentions.1.{BLOCK}.attn1.to_q",
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0": f"unet.mid_block.attentions.0.{BLOCK}.attn2.to_out.0",
    "lora_unet_up_blocks_1_attentions_2_transformer_blocks_0_ff_net_0_proj": f"unet.up_blocks.1.attentions.2.{BLOCK}.ff.net.0.proj",
    "lora_unet_down_blocks_1_resnets_0_time_emb_proj": "unet.down_blocks.1.resnets.0.time_emb_proj",
    "lora_unet_time_embedding_linear_1": "unet.time_embedding.linear_1",
    "lora_te_text_model_encoder_layers_11_self_attn_out_proj": "text_encoder.text_model.encoder.layers.11.self_attn.out_proj",
}
SDXL = {
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "lora_unet_middle_block_1_transformer_blocks_3_ff_net_2": "unet.mid_block.attentions.0.transformer_blocks.3.ff.net.2",
    "lora_unet_output_blocks_5_1_proj_out": "unet.up_blocks.1.attentions.2.proj_out",
    "lora_unet_input_blocks_1_0_emb_layers_1": "unet.down_blocks.0.resnets.0.time_emb_proj",
    "lora_unet_label_emb_0_2": "unet.add_embedding.linear_2",
    "lora_te1_text_model_encoder_layers_0_mlp_fc1": "text_encoder.text_model.encoder.layers.0.mlp.fc1",
    "lora_te2_text_model_encoder_layers_3_self_attn_q_proj": "text_encoder_2.text_model.encoder.layers.3.self_attn.q_proj",
}
CONVOLUTIONS = {
    "lora_unet_down_blocks_0_downsamplers_0_conv": ("unet.down_blocks.0.downsamplers.0.conv", (3, 3)),
    "lora_unet_mid_block_attentions_0_proj_in": ("unet.mid_block.attentions.0.proj_in", (1, 1)),
    "lora_unet_input_blocks_3_0_op": ("unet.down_blocks.0.downsamplers.0.conv", (3, 3)),
}


def kohya_file(path, names, alpha=lambda i: float(i + 1), dtype=torch.float32):
    """Each module with its own rank and alpha; the first without one. Returns the dense updates by diffusers' names."""
    tensors, wanted = {}, {}
    for i, (flat, name) in enumerate(names.items()):
        name, kernel = name if isinstance(name, tuple) else (name, ())
        rank = 1 + i % 3
        down, up = factors(rank, kernel=kernel, dtype=dtype)
        tensors |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}
        if i:
            tensors[f"{flat}.alpha"] = torch.tensor(alpha(i), dtype=dtype)
        wanted[name] = dense(down, up, alpha(i) / rank if i else 1.0)
    save_file(tensors, path)
    return wanted


# -- Flux ------------------------------------------------------------------------------------------------------------

#: Layers of Flux.1's first code: outputs and inputs in widths of the model, and diffusers' layers with their shares of the outputs.
QKV, ADDED = (tuple((f"attn.{name}", 1) for name in names)
              for names in (("to_q", "to_k", "to_v"), ("add_q_proj", "add_k_proj", "add_v_proj")))  # fmt: skip
DOUBLE, SINGLE = "transformer.transformer_blocks.2", "transformer.single_transformer_blocks.7"
FLUX = {
    "double_blocks.2.img_attn.qkv": (3, 1, DOUBLE, QKV), "double_blocks.2.txt_attn.qkv": (3, 1, DOUBLE, ADDED),
    "double_blocks.2.img_attn.proj": (1, 1, DOUBLE, (("attn.to_out.0", 1),)),
    "double_blocks.2.txt_attn.proj": (1, 1, DOUBLE, (("attn.to_add_out", 1),)),
    "double_blocks.2.img_mlp.0": (4, 1, DOUBLE, (("ff.net.0.proj", 4),)),
    "double_blocks.2.txt_mlp.2": (1, 4, DOUBLE, (("ff_context.net.2", 1),)),
    "double_blocks.2.img_mod.lin": (6, 1, DOUBLE, (("norm1.linear", 6),)),
    "single_blocks.7.linear1": (7, 1, SINGLE, (*QKV, ("proj_mlp", 4))),
    "single_blocks.7.linear2": (1, 5, SINGLE, (("proj_out", 1),)),
    "single_blocks.7.modulation.lin": (3, 1, SINGLE, (("norm.linear", 3),)),
    "img_in": (1, 2, "transformer", (("x_embedder", 1),)),
    "time_in.in_layer": (1, 2, "transformer", (("time_text_embed.timestep_embedder.linear_1", 1),)),
}  # fmt: skip
XLABS = {
    "double_blocks.2.processor.qkv_lora1": (3, 1, DOUBLE, QKV), "double_blocks.2.processor.qkv_lora2": (3, 1, DOUBLE, ADDED),
    "double_blocks.2.processor.proj_lora1": (1, 1, DOUBLE, (("attn.to_out.0", 1),)),
    "double_blocks.2.processor.proj_lora2": (1, 1, DOUBLE, (("attn.to_add_out", 1),)),
    "single_blocks.7.processor.qkv_lora": (3, 1, SINGLE, QKV),
    "single_blocks.7.processor.proj_lora": (1, 5, SINGLE, (("proj_out", 1),)),
}  # fmt: skip


def flux_file(path, key, layers=FLUX, alpha="{}.alpha", width=4):
    """A LoRA of Flux.1 with rank 2 and an alpha for each layer. Returns the dense updates by diffusers' names.

    key: (layer, lora_A and lora_B) -> the two keys; alpha: the key of an alpha, or None for a file that has none
    """
    tensors, wanted = {}, {}
    for i, (layer, (d_out, d_in, there, parts)) in enumerate(layers.items()):
        down, up = factors(2, d_out=d_out * width, d_in=d_in * width)
        tensors |= dict(zip(key(layer), (down, up), strict=True))
        if alpha:
            tensors[alpha.format(key(layer)[0].rpartition(".lora")[0])] = torch.tensor(float(i + 1))
        rows = iter(dense(down, up, (i + 1) / 2 if alpha else 1.0).split(width))
        wanted |= {f"{there}.{name}": torch.cat([next(rows) for _ in range(share)]) for name, share in parts}
    save_file(tensors, path)
    return wanted


def of_kohya(layer):
    return tuple(f"lora_unet_{layer.replace('.', '_')}.lora_{side}.weight" for side in ("down", "up"))


def of_comfy(layer):
    return tuple(f"diffusion_model.{layer}.lora_{side}.weight" for side in "AB")


def of_flux(layer):
    return tuple(f"{layer}.lora_{side}.weight" for side in "AB")


def of_fal(layer):
    return tuple(f"base_model.model.{key}" for key in of_flux(layer))


def of_xlabs(layer):
    return tuple(f"{layer}.{side}.weight" for side in ("down", "up"))


# -- diffusers -------------------------------------------------------------------------------------------------------

LAYERS = ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
          "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0",
          "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
          "text_encoder.text_model.encoder.layers.0.self_attn.out_proj")  # fmt: skip


def peft_keys(name):
    return f"{name}.lora_A.weight", f"{name}.lora_B.weight"


def plain_keys(name):
    return f"{name}.lora.down.weight", f"{name}.lora.up.weight"


def linear_layer_keys(name):
    return f"{name}.lora_linear_layer.down.weight", f"{name}.lora_linear_layer.up.weight"


def processor_keys(name):
    owner, _, last = name.removesuffix(".0").rpartition(".")
    which = {"q_proj": "q", "out_proj": "out", "to_q": "q", "to_out": "out"}[last]
    mark = ".processor" if name.startswith("unet") else ""
    return tuple(f"{owner}{mark}.to_{which}_lora.{side}.weight" for side in ("down", "up"))


def bare_processor_keys(name):
    return tuple(key.removeprefix("unet.") for key in processor_keys(name))


def diffusers_file(path, keys, names=LAYERS):
    """Two parts of a pipeline, without alphas. Returns the dense updates."""
    tensors, wanted = {}, {}
    for name in names:
        down, up = factors()
        tensors |= dict(zip(keys(name), (down, up), strict=True))
        wanted[name] = dense(down, up, 1.0)
    save_file(tensors, path)
    return wanted


KEYS = [peft_keys, plain_keys, linear_layer_keys, processor_keys]


# -- llama.cpp -------------------------------------------------------------------------------------------------------

OF_LLAMA_CPP = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.o_proj": "attn_output", "mlp.up_proj": "ffn_up",
}  # fmt: skip
HEADS = Heads(4, 2)


def permuted(weights, n_head, n_head_kv):
    """LlamaModel.permute of llama.cpp's conversion/llama.py, as it stands there."""
    if n_head_kv is not None and n_head != n_head_kv:
        n_head = n_head_kv
    halves = weights.reshape(n_head, 2, weights.shape[0] // n_head // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def gguf_file(path, arch, alpha, kind=gguf.GGMLQuantizationType.F32, general="adapter", extra=None):
    """A LoRA as convert_lora_to_gguf.py writes it, of two layers. Returns the dense updates by transformers' names."""
    writer, wanted = gguf.GGUFWriter(path, arch), {}
    writer.add_type(general)
    writer.add_string("adapter.type", "lora")
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    for i in range(2):
        for name, there in OF_LLAMA_CPP.items():
            down, up = factors(2, d_out=16)
            down, up = (t.to(torch.bfloat16).float() for t in (down, up)) if kind.name == "BF16" else (down, up)
            down, up = (t.half().float() for t in (down, up)) if kind.name == "F16" else (down, up)
            wanted[f"model.layers.{i}.{name}"] = dense(down, up, (alpha or 2) / 2)
            if arch == "llama" and name.endswith(("q_proj", "k_proj")):
                up = permuted(up, 4, 4 if name.endswith("q_proj") else 2)
            for side, tensor in (("a", down), ("b", up)):
                if kind.name == "BF16":
                    numbers = tensor.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
                    writer.add_tensor(f"blk.{i}.{there}.weight.lora_{side}", numbers, raw_dtype=kind)
                else:
                    numbers = tensor.contiguous().numpy().astype("float16" if kind.name == "F16" else "float32")
                    writer.add_tensor(f"blk.{i}.{there}.weight.lora_{side}", numbers)
    for key, value in (extra or {}).items():
        writer.add_string(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return wanted
