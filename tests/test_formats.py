"""LoRA files of other programs, written here as those programs write them: each is exactly the update it was made from, by a
dense computation in float64, or one sentence."""

import json

import gguf
import pytest
import torch
from foreign import (
    CONVOLUTIONS,
    FLUX,
    HEADS,
    KEYS,
    LAYERS,
    SD15,
    SDXL,
    XLABS,
    bare_processor_keys,
    dense,
    diffusers_file,
    factors,
    flux_file,
    gguf_file,
    kohya_file,
    of_comfy,
    of_fal,
    of_flux,
    of_kohya,
    of_xlabs,
    peft_keys,
    plain_keys,
)  # fmt: skip
from safetensors.torch import save_file

from tada_studio import pipeline
from tada_studio.errors import AdapterError
from tada_studio.pipeline.merge import merge
from tada_studio.read import look, read_adapter
from tada_studio.recipe import Recipe


def equal(adapter, wanted):
    assert set(adapter.modules) == set(wanted)
    for name, delta in wanted.items():
        torch.testing.assert_close(adapter.modules[name].delta(), delta, rtol=1e-12, atol=1e-12)


# -- kohya -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("names", [SD15, SDXL, dict([*CONVOLUTIONS.items()][:2]), dict([*CONVOLUTIONS.items()][2:])],
                         ids=["SD 1.5", "SDXL", "convolutions", "SDXL's convolution"])  # fmt: skip
def test_kohya_files_are_read_exactly_as_file_and_as_folder(names, dtype, tmp_path):
    wanted = kohya_file(tmp_path / "style.safetensors", names, dtype=dtype)
    for place in (tmp_path, tmp_path / "style.safetensors"):
        found = read_adapter(place)
        equal(found, wanted)
    assert found.label == "style" and found.passport.facts["written by"] == "kohya"


def test_towers_of_two_kohya_files_merge_with_the_text_encoder_that_one_has(tmp_path):
    ours = kohya_file(tmp_path / "a.safetensors", SD15)
    unet = {flat: name for flat, name in SD15.items() if "_unet_" in flat}
    theirs = kohya_file(tmp_path / "b.safetensors", unet, alpha=lambda i: 0.5)
    pair = pipeline.read_pair(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    merged = merge(pair, recipe=Recipe(method="linear", rank=8))
    assert set(merged.modules) == set(ours)
    only = next(name for name in ours if name.startswith("text_encoder"))
    found = merged.modules[only].delta()
    assert only not in theirs and found.norm() > 0
    torch.testing.assert_close(found / found.norm(), ours[only] / ours[only].norm(), rtol=1e-5, atol=1e-6)


#: Layers of a transformer of diffusers, as OneTrainer and LyCORIS flatten their names.
FLAT = {
    "lora_transformer_single_transformer_blocks_3_proj_mlp": "transformer.single_transformer_blocks.3.proj_mlp",
    "lora_transformer_transformer_blocks_0_attn_to_out_0": "transformer.transformer_blocks.0.attn.to_out.0",
    "lora_transformer_transformer_blocks_0_attn_add_q_proj": "transformer.transformer_blocks.0.attn.add_q_proj",
    "lora_transformer_transformer_blocks_0_ff_context_net_0_proj": "transformer.transformer_blocks.0.ff_context.net.0.proj",
    "lora_transformer_norm_out_linear": "transformer.norm_out.linear",
    "lora_transformer_time_text_embed_guidance_embedder_linear_2": "transformer.time_text_embed.guidance_embedder.linear_2",
}
LYCORIS = {
    "lycoris_transformer_blocks_1_attn_to_k": "transformer.transformer_blocks.1.attn.to_k",
    "lycoris_down_blocks_0_resnets_1_conv1": ("unet.down_blocks.0.resnets.1.conv1", (3, 3)),
}


@pytest.mark.parametrize("names", [FLAT, LYCORIS], ids=["OneTrainer", "LoCon"])
def test_layers_of_a_transformer_may_be_flattened_too(names, tmp_path):
    wanted = kohya_file(tmp_path / "a.safetensors", names)
    equal(read_adapter(tmp_path), wanted)


@pytest.mark.parametrize(("key", "layers", "alpha"), [(of_kohya, FLUX, "{}.alpha"), (of_comfy, FLUX, "{}.alpha"),
                         (of_flux, FLUX, None), (of_fal, FLUX, None), (of_xlabs, XLABS, None)])  # fmt: skip
def test_layers_of_flux_are_taken_apart_exactly_whoever_names_them(key, layers, alpha, tmp_path):
    wanted = flux_file(tmp_path / "flux.safetensors", key, layers, alpha)
    equal(read_adapter(tmp_path), wanted)


def test_one_flux_under_two_names_merges_and_goes_out_to_diffusers(tmp_path):
    wanted = flux_file(tmp_path / "a.safetensors", of_kohya)
    names = [name for name in wanted if ".attn." in name]
    tensors = {key: t for name in names for key, t in zip(peft_keys(name), factors(1, len(wanted[name]), wanted[name].shape[1]),
                                                          strict=True)}  # fmt: skip
    save_file(tensors, tmp_path / "b.safetensors")
    pair = pipeline.read_pair(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert set(pair.task.modules) == set(wanted) and set(pair.domain.modules) == set(names)
    certificate = pipeline.export(
        merge(pair, recipe=Recipe(method="linear", rank=4)), tmp_path / "out", formats=["diffusers"]
    )
    assert certificate.holds and certificate.formats["pytorch_lora_weights.safetensors"].modules == len(wanted)


NOT_READ = {
    "LoHa": ({"lora_unet_mid_block_attentions_0_proj_in.hada_w1_a": torch.ones(2, 2)}, "LoHa"),
    "LoKr": ({"lora_unet_mid_block_attentions_0_proj_in.lokr_w1": torch.ones(2, 2)}, "LoKr"),
    "CP": ({"lora_unet_down_blocks_0_downsamplers_0_conv.lora_mid.weight": torch.ones(2, 2, 3, 3)}, "middle factor"),
    "DoRA": ({"lora_unet_mid_block_attentions_0_proj_in.dora_scale": torch.ones(2, 1)}, "DoRA"),
    "Flux.2": (
        {f"double_blocks.0.img_mlp.0.lora_{x}.weight": torch.ones(n, k) for x, n, k in (("A", 2, 4), ("B", 24, 2))}, "Flux.2"),
    "a layer that Flux lacks": (
        {f"lora_unet_single_blocks_0_linear3.lora_{way}.weight": torch.ones(2, 2) for way in ("up", "down")}, "none that is known"),
    "Flux's last layer": ({f"{name}.lora_{x}.weight": torch.ones(2, 2) for x in "AB" for name in (
        "double_blocks.0.img_attn.proj", "final_layer.adaLN_modulation.1")}, "adaLN_modulation"),
    "SD 3": ({f"lora_unet_joint_blocks_0_x_block_attn_qkv.lora_{way}.weight": torch.ones(2, 2) for way in ("up", "down")},
             "cannot be read"),
    "LoKr of SimpleTuner": ({"lycoris_transformer_blocks_0_attn_to_q.lokr_w1": torch.ones(2, 2)}, "LoKr.*plain LoRA"),
    "GLoRA": ({"lora_unet_mid_block_attentions_0_proj_in.a1.weight": torch.ones(2, 2)}, "GLoRA"),
    "a full change": ({"lora_unet_mid_block_attentions_0_proj_in.diff": torch.ones(2, 2)}, "full size"),
    "alpha of two numbers": ({"lora_unet_time_embedding_linear_1.alpha": torch.ones(2)}, "one number"),
    "alpha NaN": ({"lora_unet_time_embedding_linear_1.alpha": torch.tensor(float("nan"))}, "ordinary size"),
    "a factor alone": ({"lora_unet_time_embedding_linear_1.lora_up.weight": torch.ones(2, 2)}, "partner"),
    "DoRA of diffusers": (
        {"unet.conv_in.lora_A.weight": torch.ones(2, 2), "unet.conv_in.lora_magnitude_vector": torch.ones(2)}, "DoRA"),
    "a bias of lora_A": ({"unet.conv_in.lora_A.bias": torch.ones(2)}, "no factor"),
    "a whole tensor": ({"unet.conv_in.lora_A.weight": torch.ones(2, 2), "unet.conv_in.weight": torch.ones(2, 2)}, "no factor"),
}  # fmt: skip


@pytest.mark.parametrize(("tensors", "says"), NOT_READ.values(), ids=NOT_READ)
def test_what_is_no_plain_lora_is_one_sentence_with_the_way_out(tensors, says, tmp_path):
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(AdapterError, match=says) as refused:
        read_adapter(tmp_path / "x.safetensors")
    assert "\n" not in str(refused.value) and "x.safetensors: " in str(refused.value)


def test_a_folder_with_two_files_asks_which(tmp_path):
    for name in ("a", "b"):
        kohya_file(tmp_path / f"{name}.safetensors", SD15)
    with pytest.raises(AdapterError, match=r"2 LoRA files \(a.safetensors, b.safetensors\)"):
        read_adapter(tmp_path)


# -- diffusers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [*KEYS, bare_processor_keys])
def test_diffusers_files_of_all_its_times_are_read_exactly(keys, tmp_path):
    names = LAYERS[:2] if keys is bare_processor_keys else LAYERS
    wanted = diffusers_file(tmp_path / "pytorch_lora_weights.safetensors", keys, names)
    equal(read_adapter(tmp_path), wanted)


@pytest.mark.parametrize("tower", ["transformer", "transformer_2", "unet"])
def test_the_metadata_of_diffusers_says_the_scales_of_each_part(tower, tmp_path):
    names = [f"{tower}.transformer_blocks.{i}.attn.to_q" for i in range(2)] + [LAYERS[2]]
    tensors, wanted = {}, {}
    for name, scale in zip(names, (8 / 2**0.5, 3 / 2**0.5, 1 / 2), strict=True):
        down, up = factors()
        tensors |= dict(zip(peft_keys(name), (down, up), strict=True))
        wanted[name] = dense(down, up, scale)
    about = {
        f"{tower}.r": 2, f"{tower}.lora_alpha": 8, f"{tower}.use_rslora": True,
        f"{tower}.alpha_pattern": {"transformer_blocks.1.attn.to_q": 3}, "text_encoder.r": 2, "text_encoder.lora_alpha": 1,
    }  # fmt: skip
    save_file(tensors, tmp_path / "a.safetensors", metadata={"lora_adapter_metadata": json.dumps(about)})
    equal(read_adapter(tmp_path / "a.safetensors"), wanted)
    save_file(tensors, tmp_path / "a.safetensors",
              metadata={"lora_adapter_metadata": json.dumps(about | {f"{tower}.use_qalora": True})})  # fmt: skip
    with pytest.raises(AdapterError, match="use_qalora"):
        read_adapter(tmp_path / "a.safetensors")


def test_an_alpha_tensor_of_a_diffusers_file_counts(tmp_path):
    down, up = factors(rank=4)
    save_file({**dict(zip(plain_keys(LAYERS[0]), (down, up), strict=True)), f"{LAYERS[0]}.alpha": torch.tensor(2.0)},
              tmp_path / "a.safetensors")  # fmt: skip
    equal(read_adapter(tmp_path / "a.safetensors"), {LAYERS[0]: dense(down, up, 0.5)})


def test_a_text_model_whose_names_start_with_transformer_is_none_of_diffusers(tmp_path):
    keys = [f"transformer.h.0.attn.c_attn.lora_{side}.weight" for side in "AB"]
    save_file({key: torch.ones(2, 2) for key in keys}, tmp_path / "a.safetensors")
    with pytest.raises(AdapterError, match=r"adapter_config\.json beside it"):
        read_adapter(tmp_path / "a.safetensors")


# -- llama.cpp -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
@pytest.mark.parametrize(("arch", "alpha"), [("llama", 5.0), ("qwen2", 3.0), ("gemma2", 0.0), ("qwen3", None)])
def test_loras_of_llama_cpp_are_read_exactly_whatever_order_their_rows_have(arch, alpha, kind, tmp_path):
    wanted = gguf_file(tmp_path / "a.gguf", arch, alpha, gguf.GGMLQuantizationType[kind])
    for place in (tmp_path, tmp_path / "a.gguf"):
        equal(read_adapter(place, heads=HEADS), wanted)


def test_the_order_of_the_rows_needs_the_base_and_takes_it_from_its_config(tmp_path):
    wanted = gguf_file(tmp_path / "a.gguf", "llama", 5.0)
    assert look(tmp_path / "a.gguf").modules  # headers need no base
    with pytest.raises(AdapterError, match="number of heads"):
        read_adapter(tmp_path / "a.gguf")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(
        json.dumps({"model_type": "llama", "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2})
    )
    equal(pipeline.read_adapter(tmp_path / "a.gguf", base=tmp_path / "base"), wanted)


NO_LORA = {
    "a model": ({"general": "model"}, "no LoRA"),
    "another architecture": ({"arch": "gptneox"}, "'gptneox'"),
}


@pytest.mark.parametrize(("how", "says"), NO_LORA.values(), ids=NO_LORA)
def test_what_is_no_lora_of_a_known_architecture_is_one_sentence(how, says, tmp_path):
    gguf_file(tmp_path / "a.gguf", **({"arch": "llama", "alpha": 1.0} | how))
    with pytest.raises(AdapterError, match=says):
        read_adapter(tmp_path / "a.gguf", heads=HEADS)


@pytest.mark.parametrize("cut", [0, 3, 40, 400, -20])
def test_a_gguf_file_that_is_cut_short_is_one_sentence(cut, tmp_path):
    gguf_file(tmp_path / "a.gguf", "qwen2", 1.0)
    content = (tmp_path / "a.gguf").read_bytes()
    (tmp_path / "a.gguf").write_bytes(content[:cut])
    with pytest.raises(AdapterError, match="Download or save it again"):
        read_adapter(tmp_path / "a.gguf")
