"""Tiny models of transformers' real classes, one of a family each, with what a PEFT adapter of them usually targets."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers as hf
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer

TEXT = {"input_ids": torch.tensor([[1, 5, 9, 3, 7, 2]])}
BOTH = {**TEXT, "decoder_input_ids": torch.tensor([[1, 4, 6, 8]])}
IMAGE = {"pixel_values": torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)}
SOUND = {
    "input_features": torch.linspace(-1, 1, 8 * 20).reshape(1, 8, 20),
    "decoder_input_ids": torch.tensor([[1, 4, 6]]),
}


class Kind(NamedTuple):
    """A class with a config of a few thousand weights, what it is fed, and two overlapping sets of target modules."""

    model: Any
    config: Callable[[], Any]
    inputs: dict[str, torch.Tensor]
    task: Sequence[str]
    domain: Sequence[str]
    task_type: str | None = "CAUSAL_LM"


#: Of decoders that name their sizes as Llama does.
USUAL: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ENCODER: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "num_labels": 3,
}
SEEING: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
    "num_labels": 3,
}
QV, MLP = ("q_proj", "v_proj"), ("gate_proj", "down_proj")


def llama_like(
    name: str, targets: Sequence[str] = QV, more: Sequence[str] = ("q_proj", "down_proj"), **config: Any
) -> Kind:
    about = getattr(hf, f"{name}TextConfig", None) or getattr(hf, f"{name}Config")
    return Kind(
        getattr(hf, f"{name}ForCausalLM"),
        lambda: about(**{**USUAL, **config}),
        TEXT,
        targets,
        more,
    )


def encoder(name: str, targets: Sequence[str], more: Sequence[str], **config: Any) -> Kind:
    kind = getattr(hf, f"{name}ForSequenceClassification")
    return Kind(kind, lambda: getattr(hf, f"{name}Config")(**{**ENCODER, **config}), TEXT, targets, more, "SEQ_CLS")


def image(kind: str, config: str, targets: Sequence[str], more: Sequence[str], **sizes: Any) -> Kind:
    return Kind(getattr(hf, kind), lambda: getattr(hf, config)(**{**SEEING, **sizes}), IMAGE, targets, more, None)


QUERY, FUSED = ("query", "value"), ("query_key_value", "dense_h_to_4h")
ZOO: dict[str, Kind] = {
    "Llama": llama_like("Llama"),
    "Mistral": llama_like("Mistral", sliding_window=8),
    "Qwen2": llama_like("Qwen2", MLP),
    "Qwen3": llama_like("Qwen3", head_dim=8),
    "Gemma": llama_like("Gemma", head_dim=8),
    "Gemma 2": llama_like("Gemma2", ("o_proj", "up_proj"), ("o_proj", "q_proj"), head_dim=8, sliding_window=8),
    "Gemma 3": llama_like("Gemma3", head_dim=8, sliding_window=8),
    "Phi": llama_like("Phi", ("q_proj", "dense"), ("dense", "fc1")),
    "Phi-3": llama_like("Phi3", ("qkv_proj",), ("qkv_proj", "gate_up_proj")),
    "StableLM": llama_like("StableLm"),
    "OLMo": llama_like("Olmo"),
    "OLMo 2": llama_like("Olmo2"),
    "Granite": llama_like("Granite"),
    "Cohere": llama_like("Cohere"),
    "Starcoder 2": llama_like("Starcoder2", ("q_proj", "c_fc"), ("c_fc", "c_proj")),
    "Mixtral, attention": llama_like("Mixtral", QV, ("q_proj", "o_proj"), num_local_experts=2, num_experts_per_tok=1),
    "Qwen3 MoE, attention": llama_like("Qwen3Moe", QV, ("v_proj",), head_dim=8, num_experts=2, num_experts_per_tok=1,
                                       moe_intermediate_size=8),
    "GPT-2": Kind(hf.GPT2LMHeadModel, lambda: hf.GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32,
                  bos_token_id=1, eos_token_id=2), TEXT, ("c_attn",), ("attn.c_proj", "c_attn")),
    "GPT-NeoX": llama_like("GPTNeoX", FUSED, ("query_key_value", "dense")),
    "GPT-J": Kind(hf.GPTJForCausalLM, lambda: hf.GPTJConfig(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32,
                  rotary_dim=4, bos_token_id=1, eos_token_id=2), TEXT, QV, ("q_proj", "fc_in")),
    "OPT": Kind(hf.OPTForCausalLM, lambda: hf.OPTConfig(**{**USUAL, "ffn_dim": 24, "word_embed_proj_dim": 16}), TEXT, QV,
                ("q_proj", "fc1")),
    "BLOOM": Kind(hf.BloomForCausalLM, lambda: hf.BloomConfig(vocab_size=40, hidden_size=16, n_layer=2, n_head=2, pad_token_id=0,
                  bos_token_id=1, eos_token_id=2), TEXT, FUSED, ("query_key_value",)),
    "Falcon": Kind(hf.FalconForCausalLM, lambda: hf.FalconConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2,
                   num_attention_heads=2, bos_token_id=1, eos_token_id=2), TEXT, FUSED, ("query_key_value", "dense")),
    "MPT": Kind(hf.MptForCausalLM, lambda: hf.MptConfig(vocab_size=40, d_model=16, n_layers=2, n_heads=2, max_seq_len=32), TEXT,
                ("Wqkv",), ("Wqkv", "out_proj")),
    "Mamba": Kind(hf.MambaForCausalLM, lambda: hf.MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, state_size=4),
                  TEXT, ("in_proj", "x_proj"), ("in_proj",)),
    "BERT": encoder("Bert", QUERY, ("query", "output.dense")),
    "RoBERTa": encoder("Roberta", QUERY, ("query", "intermediate.dense")),
    "XLM-RoBERTa": encoder("XLMRoberta", QUERY, ("key", "value")),
    "ELECTRA": encoder("Electra", QUERY, ("query", "dense"), embedding_size=16),
    "DeBERTa v2": encoder("DebertaV2", ("query_proj", "value_proj"), ("query_proj",)),
    "ALBERT": encoder("Albert", QUERY, ("query", "ffn"), embedding_size=16),
    "DistilBERT": Kind(hf.DistilBertForSequenceClassification, lambda: hf.DistilBertConfig(vocab_size=40, dim=16, hidden_dim=24,
                       n_layers=2, n_heads=2, max_position_embeddings=32, num_labels=3), TEXT, ("q_lin", "v_lin"),
                       ("q_lin", "lin1"), "SEQ_CLS"),
    "ModernBERT": encoder("ModernBert", ("Wqkv",), ("Wqkv", "Wo"), bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2),
    "T5": Kind(hf.T5ForConditionalGeneration, lambda: hf.T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2,
               num_heads=2, decoder_start_token_id=0), BOTH, ("q", "v"), ("q", "wi"), "SEQ_2_SEQ_LM"),
    "BART": Kind(hf.BartForConditionalGeneration, lambda: hf.BartConfig(vocab_size=40, d_model=16, encoder_layers=2,
                 decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
                 max_position_embeddings=32), BOTH, QV, ("q_proj", "fc1"), "SEQ_2_SEQ_LM"),
    "Whisper": Kind(hf.WhisperForConditionalGeneration, lambda: hf.WhisperConfig(vocab_size=40, d_model=16, encoder_layers=2,
                    decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
                    num_mel_bins=8, max_source_positions=10, max_target_positions=16, pad_token_id=0, bos_token_id=1,
                    eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None), SOUND, QV,
                    ("q_proj", "fc1"), None),
    "ViT": image("ViTForImageClassification", "ViTConfig", QV, ("q_proj", "fc1")),
    "DINOv2": image("Dinov2ForImageClassification", "Dinov2Config", QV, ("q_proj", "fc1"), mlp_ratio=2),
    "Swin": Kind(hf.SwinForImageClassification, lambda: hf.SwinConfig(image_size=16, patch_size=4, embed_dim=8, depths=[1, 1],
                 num_heads=[2, 2], window_size=2, num_labels=3), IMAGE, QV, ("q_proj", "fc1"), None),
    "ConvNeXt": Kind(hf.ConvNextForImageClassification, lambda: hf.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2,
                     num_labels=3, patch_size=4, image_size=16), IMAGE, ("pwconv1",), ("pwconv1", "pwconv2"), None),
    "CLIP": Kind(hf.CLIPModel, lambda: hf.CLIPConfig(text_config={**ENCODER, "eos_token_id": 2, "projection_dim": 8},
                 vision_config={**SEEING, "projection_dim": 8}, projection_dim=8), {**TEXT, **IMAGE}, QV, ("q_proj", "fc1"), None),
    "LLaVA, text": Kind(hf.LlavaForConditionalGeneration, lambda: hf.LlavaConfig(
        text_config={**USUAL, "model_type": "llama"},
        vision_config={**SEEING, "model_type": "clip_vision_model", "projection_dim": 8},
        image_token_index=39), TEXT, QV, ("q_proj", "fc1")),
    "Qwen2-VL, text": Kind(hf.Qwen2VLForConditionalGeneration, lambda: hf.Qwen2VLConfig(
        text_config={**USUAL, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}},
        vision_config={"depth": 2, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2, "patch_size": 8}), TEXT, QV,
        ("q_proj", "qkv")),
}  # fmt: skip


def model_folder(folder: Path, kind: Kind, seed: int = 0) -> Path:
    """The model as its files."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind.model(kind.config())
        for parameter in model.parameters():
            parameter.data = 0.2 * torch.randn_like(parameter)
        model.save_pretrained(folder)
    return folder


def opened(kind: Kind, folder: Path) -> Any:
    return kind.model.from_pretrained(folder, attn_implementation="eager").eval()


def adapter_folder(folder: Path, kind: Kind, base: Path, targets: Sequence[str], seed: int, **config: Any) -> Path:
    """An adapter of rank 3 that PEFT wrote, with every factor drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        about = LoraConfig(
            r=3, lora_alpha=6, target_modules=list(targets), task_type=kind.task_type, init_lora_weights=False, **config
        )
        peft_model = get_peft_model(opened(kind, base), about)
        for name, parameter in peft_model.named_parameters():
            if "lora_" in name:
                parameter.data = 0.3 * torch.randn_like(parameter)
        peft_model.save_pretrained(str(folder))
    return folder


@torch.inference_mode()
def answer(model: Any, kind: Kind) -> torch.Tensor:
    """What the model makes of its family's input: logits, a similarity, or hidden states."""
    found = model(**kind.inputs)
    first = next(name for name in ("logits", "logits_per_image", "last_hidden_state") if name in found)
    return found[first].double()


def experts_folder(folder: Path, kind: Kind, base: Path) -> Path:
    """An adapter of a mixture's stacked experts (target_parameters), as PEFT writes it."""
    about = LoraConfig(
        r=2,
        target_modules=[],
        target_parameters=["mlp.experts.down_proj"],
        task_type=kind.task_type,
        init_lora_weights=False,
    )
    get_peft_model(opened(kind, base), about).save_pretrained(str(folder))
    return folder


def both_at_once(kind: Kind, base: Path, task: Path, domain: Path) -> torch.Tensor:
    """The answer of PEFT's own model with both adapters active: the sum of their updates."""
    model = PeftModel.from_pretrained(opened(kind, base), str(task), adapter_name="task")
    model.load_adapter(str(domain), "domain")
    for layer in model.modules():
        if isinstance(layer, LoraLayer):  # a head that is kept whole stays the task adapter's
            layer.set_adapter(["task", "domain"])
    return answer(model.eval(), kind)
