"""Adapters as strangers save them, written by hand: each is exactly the adapter it was made from, or one sentence."""

import json
import shutil

import pytest
import torch
from pico import pico_adapter
from safetensors.torch import load_file, save_file

from tada_studio import cli, pipeline
from tada_studio.errors import AdapterError, MismatchError
from tada_studio.exporting.readback import loaded_by_peft
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.read import read_adapter

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

OLD = ("peft_type", "base_model_name_or_path", "r", "lora_alpha", "target_modules", "task_type")
UNSLOTH = {
    "auto_mapping": {"base_model_class": "LlamaForCausalLM", "parent_library": "transformers", "unsloth_fixed": True},
    "loftq_config": {}, "megatron_core": "megatron.core", "megatron_config": None, "corda_config": None, "eva_config": None,
    "target_modules": "(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|k_proj|v_proj).*?)|(?:\\bmodel\\.layers.*)",
    "init_lora_weights": "gaussian", "layer_replication": None, "unsloth_version": "2026.1", "qalora_group_size": 16,
}  # fmt: skip


def config(change):
    def make(folder):
        file = folder / CONFIG
        file.write_text(json.dumps(change(json.loads(file.read_text()))))

    return make


def tensors(change):
    return lambda folder: save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


def named(rename):
    return tensors(lambda held: {rename(key): tensor for key, tensor in held.items()})


SAME = {
    "a config of 2023": config(lambda c: {**{k: c[k] for k in OLD}, "enable_lora": None, "merge_weights": False}),
    "a config of four fields": config(lambda c: {k: c[k] for k in ("r", "lora_alpha", "target_modules", "peft_type")}),
    "a config without a type": config(lambda c: {k: c[k] for k in ("r", "lora_alpha", "target_modules")}),
    "a type in lower case": config(lambda c: {**c, "peft_type": "lora"}),
    "a byte order mark": lambda folder: (folder / CONFIG).write_text((folder / CONFIG).read_text(), "utf-8-sig"),
    "a config that names no targets": config(lambda c: {**c, "target_modules": None}),
    "targets 'all-linear'": config(lambda c: {**c, "target_modules": "all-linear"}),
    "a flag turned for Conv1D": config(lambda c: {**c, "fan_in_fan_out": True}),
    "rank_pattern of regular expressions": config(
        lambda c: {**c, "rank_pattern": {r"^model\.layers\.(?:\d+)\.self_attn\.(q|k)_proj": 4, r".*mlp.*?up_proj": 4}}
    ),
    "saved by unsloth": config(lambda c: {**c, **UNSLOTH}),
    "saved by axolotl, with a trainer's leftovers": lambda folder: [
        (folder / name).write_text("x") for name in ("README.md", "trainer_state.json", "training_args.bin", "optimizer.pt")
    ],
    "names of an adapter": named(lambda k: k.replace(".weight", ".my_run.weight")),
    "wrapped twice": named(lambda k: f"base_model.model.{k}"),
    "neither prefix nor name": named(lambda k: k.removeprefix("base_model.model.")),
    "an unknown field": config(lambda c: {**c, "my_field": {"a": [1]}, "revision": "main"}),
}  # fmt: skip


def copied(pico, folder, make):
    shutil.copytree(pico.task, folder)
    make(folder)
    return folder


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_it_is_the_adapter_that_it_was_made_from(make, pico, tmp_path):
    found = read_adapter(copied(pico, tmp_path / "a", make))
    assert found.digest == read_adapter(pico.task).digest


NUMBERS = {"float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.mark.parametrize("dtype", NUMBERS.values(), ids=NUMBERS)
def test_number_formats_are_kept_and_merge(dtype, pico, tmp_path):
    folder = copied(pico, tmp_path / "a", tensors(lambda held: {k: t.to(dtype) for k, t in held.items()}))
    ours, plain = read_adapter(folder), read_adapter(pico.task)
    assert ours.dtype == dtype
    for name, module in ours.modules.items():
        torch.testing.assert_close(module.up.float(), plain.modules[name].up, rtol=1e-2, atol=1e-3)
    assert pipeline.export(merge(pipeline.read_pair(folder, pico.domain)), tmp_path / "out").holds


PATTERNS = {
    "a digit": {r"layers\.\d+\.self_attn\.q_proj": 5},
    "anything": {r".*self_attn.*": 3, "down_proj": 2},
    "up to the next dot": {r"layers\.[^.]+\.mlp\.up_proj": 7},
    "ends and choices": {r"^model\.layers\.(0|2)\.mlp\.(up|gate)_proj$": 3},
    "the whole path first": {"model.layers.1.self_attn.q_proj": 1, "q_proj": 6},
}


@pytest.mark.parametrize("rslora", [False, True], ids=["", "rsLoRA"])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_alpha_by_pattern_is_what_peft_makes_of_it(pattern, rslora, pico, tmp_path):
    folder = pico_adapter(tmp_path / "a", pico.base, seed=1, alpha_pattern=pattern, use_rslora=rslora)
    base = pipeline.load_base(pico.base, device="cpu")
    ours = read_adapter(folder)
    assert len({module.scale for module in ours.modules.values()}) > 1
    with loaded_by_peft(folder, base.model) as (model, _, _):
        for name, module in ours.modules.items():
            theirs = model.base_model.model.get_submodule(name).get_delta_weight("merged").double()
            assert (module.delta() - theirs).norm() <= 1e-6 * theirs.norm()


def resized(folder):
    """New tokens: both embedding tables trained whole, larger than the base's."""
    config(lambda c: {**c, "modules_to_save": ["embed_tokens", "lm_head"]})(folder)
    tables = {f"base_model.model.{name}.weight": torch.randn(60, 32) for name in ("model.embed_tokens", "lm_head")}
    tensors(lambda held: {**held, **tables})(folder)


def test_a_resized_vocabulary_is_carried_whole_and_no_other_base_wears_it(pico, tmp_path):
    folder = copied(pico, tmp_path / "a", resized)
    pair = pipeline.read_pair(folder, pico.domain)
    assert any("2 whole tensors are only in the task adapter" in note for note in pair.problems)
    assert merge(pair).whole["lm_head.weight"].shape == (60, 32)
    with pytest.raises(MismatchError, match="brings a tensor of 60x32"):
        pipeline.load_base(pico.base, device="cpu").check_fits(pair.task)


def moved_into(*names):
    def make(folder):
        for name in names:
            shutil.copytree(folder, folder / name, ignore=shutil.ignore_patterns(*names))
        for file in (CONFIG, WEIGHTS):
            (folder / file).unlink()

    return make


def lost(name):
    return lambda folder: (folder / name).unlink()


VERA = {
    "base_model.model.model.layers.0.self_attn.q_proj.vera_lambda_b": torch.ones(32),
    "base_model.vera_A": torch.ones(4, 32),
}
LOHA = {
    f"base_model.model.model.layers.0.self_attn.q_proj.hada_w{i}_{side}": torch.ones(4, 4)
    for i in "12"
    for side in "ab"
}
ONE_SENTENCE = {
    "only checkpoints inside": (moved_into("checkpoint-500", "checkpoint-1000"), "holds checkpoint-1000, checkpoint-500; give"),
    "an adapter saved under its name": (moved_into("default"), "holds default; give"),
    "only a README": (lambda f: [lost(n)(f) for n in (CONFIG, WEIGHTS)] + [(f / "README.md").write_text("hi")], "save_pretrained"),
    "no config": (lost(CONFIG), f"has no {CONFIG}"),
    "no weights": (lost(WEIGHTS), f"has no {WEIGHTS}"),
    "VeRA that says LORA": (tensors(lambda _: VERA), "no part of a LoRA update|no lora_A"),
    "LoHa that says LORA": (tensors(lambda _: LOHA), "LoHa"),
    "LoHa beside a LoRA": (tensors(lambda held: {**held, **LOHA}), "LoHa"),
    "experts of a mixture": (config(lambda c: {**c, "target_modules": [], "target_parameters": ["mlp.experts.down_proj"]}),
                             "target_parameters"),
    "experts that the config does not name": (named(lambda k: k.replace("down_proj", "experts.base_layer")), "fused experts"),
    "saved under ZeRO-3": (tensors(lambda held: {k: torch.zeros(0) for k in held}), "ZeRO-3"),
    "factors the other way round": (tensors(lambda held: {k: t.mT.contiguous() for k, t in held.items()}), "must be equal"),
    "8-bit numbers": (tensors(lambda held: {k: t.to(torch.float8_e4m3fn) for k, t in held.items()}), "float matrices"),
    "a resized vocabulary nobody named": (
        tensors(lambda held: {**held, "base_model.model.model.embed_tokens.weight": torch.randn(60, 32)}), "was resized"),
    "a rank that is not the tensors'": (config(lambda c: {**c, "r": 16, "lora_alpha": 8}), "by its tensors and 16 by the config"),
    "a rank of one projection that is not the tensors'": (
        config(lambda c: {**c, "rank_pattern": {"q_proj": 16}}), "q_proj has rank 4 by its tensors and 16"),
    "heads that are no names": (config(lambda c: {**c, "modules_to_save": [3]}), "modules_to_save"),
    "embeddings tied to the head": (
        config(lambda c: {**c, "ensure_weight_tying": True, "modules_to_save": ["embed_tokens"]}), "no such weights"),
    "a type that nobody knows": (config(lambda c: {**c, "peft_type": "LORA_PLUS_PLUS"}), "misspelled or newer"),
    "no tensors": (tensors(lambda _: {}), "ZeRO-3"),
    "experts with factors of three axes": (
        tensors(lambda held: {**held, "model.layers.0.moe.input_linear.lora_A.weight": torch.ones(4, 2, 8),
                              "model.layers.0.moe.input_linear.lora_B.weight": torch.ones(4, 6, 2)}),
        "4 experts"),
    "a rank as text": (config(lambda c: {**c, "r": "8"}), "whole number"),
    "PiSSA that kept its base": (config(lambda c: {**c, "init_lora_weights": "pissa_niter_16"}), "residual base"),
    "a pattern that could hang": (config(lambda c: {**c, "alpha_pattern": {r"(\\w+)+x": 3}}), "more than a name"),
    "kohya's names": (named(lambda k: k.replace("lora_A", "lora_down").replace("lora_B", "lora_up")), "kohya"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "says"), ONE_SENTENCE.values(), ids=ONE_SENTENCE)
def test_it_is_one_sentence(make, says, pico, tmp_path, capsys):
    folder = copied(pico, tmp_path / "a", make)
    with pytest.raises(AdapterError, match=says) as refused:
        read_adapter(folder)
    assert "\n" not in str(refused.value) and str(refused.value).endswith(".")
    assert cli.main(["passport", str(folder)]) == 2  # and the headers alone are enough to say so
    assert str(refused.value) in capsys.readouterr().err
