"""The door where files come in: PEFT's own deltas, exactly, or one sentence that says where, what, and what would work."""

import importlib
import inspect
import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from pico import pico_adapter, pico_base
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tada_studio import pipeline
from tada_studio.errors import AdapterError, MismatchError
from tada_studio.lora import CONFIG, WEIGHTS, Pair
from tada_studio.pipeline.merge import merge
from tada_studio.read import read_adapter
from tada_studio.read.config import CONVERTIBLE


def changed(folder: Path, to: Path, **fields: object) -> Path:
    """A copy of an adapter with some fields of its config set; None takes a field out."""
    shutil.copytree(folder, to)
    config = json.loads((to / CONFIG).read_text())
    config.update(fields)
    (to / CONFIG).write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return to


def retensored(folder: Path, to: Path, change) -> Path:
    """A copy of an adapter with its tensors changed."""
    shutil.copytree(folder, to)
    save_file(change(load_file(to / WEIGHTS)), to / WEIGHTS, metadata={"format": "pt"})
    return to


SCALINGS = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "alpha pattern": {"alpha_pattern": {"layers.0.self_attn.v_proj": 5, "up_proj": 1}},
    "rank pattern": {"rank_pattern": {"q_proj": 2, r".*\.1\.mlp\.down_proj": 6}},
    "all of them": {"use_rslora": True, "rank_pattern": {"k_proj": 1}, "alpha_pattern": {"k_proj": 3}},
}


@pytest.mark.parametrize("settings", SCALINGS.values(), ids=SCALINGS)
def test_every_delta_is_the_one_that_peft_computes(settings, pico, tmp_path):
    folder = pico_adapter(tmp_path / "a", pico.base, seed=5, rank=4, alpha=16, **settings)
    ours = read_adapter(folder)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(pico.base), folder)
    assert len(ours.modules) == 3 * 7
    for name, module in ours.modules.items():
        theirs = model.base_model.model.get_submodule(name).get_delta_weight("default").double()
        torch.testing.assert_close(module.delta(), theirs, rtol=1e-6, atol=1e-7)


def test_unequal_ranks_and_modules_that_only_one_has_make_a_pair(pico, tmp_path):
    attention = pico_adapter(tmp_path / "attention", pico.base, seed=3, rank=2, targets=("q_proj", "v_proj"))
    pair = pipeline.read_pair(pico.task, attention)
    assert len(pair.names) == 21 and pair.domain.rank == 2
    assert any("only in the task adapter" in remark for remark in pair.problems)


def test_keys_with_an_adapter_name_or_without_prefix_are_the_same_adapter(pico, tmp_path):
    def renamed(tensors):
        return {
            k.removeprefix("base_model.model.").replace(".weight", ".default.weight"): t for k, t in tensors.items()
        }

    other = retensored(pico.task, tmp_path / "b", renamed)
    assert read_adapter(other).digest == read_adapter(pico.task).digest


def test_a_passport_says_what_the_files_say(pico):
    facts = read_adapter(pico.task).passport.facts
    assert (facts["rank"], facts["alpha"], facts["layers"], facts["modules"]) == ("4", 8, "3 (0 to 2)", 21)


def test_untrained_modules_are_remarked_on(pico, tmp_path):
    def zeroed(tensors):
        return {k: t * 0 if "layers.0" in k and "lora_B" in k else t for k, t in tensors.items()}

    folder = retensored(pico.task, tmp_path / "zero", zeroed)
    assert "7 of 21 modules are untrained" in " ".join(read_adapter(folder).passport.remarks)


REFUSED_FIELDS = [
    ("peft_type", "IA3"), ("use_dora", True), ("lora_bias", True), ("modules_to_save", ["lm_head"]),
    ("layer_replication", [[0, 2], [1, 3]]), ("init_lora_weights", "pissa"), ("init_lora_weights", "olora"),
    ("alora_invocation_tokens", [1]), ("use_qalora", True), ("target_parameters", ["experts"]), ("lora_alpha", "32"),
    ("lora_alpha", 1e38), ("lora_alpha", True), ("alpha_pattern", {"(a+)+b": 1}), ("alpha_pattern", ["q_proj"]),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), REFUSED_FIELDS)
def test_a_config_that_means_something_else_is_refused_by_its_field(field, value, pico, tmp_path):
    folder = changed(pico.task, tmp_path / "x", **{field: value})
    with pytest.raises(AdapterError, match=field):
        read_adapter(folder)


def _drop_one(tensors):
    return dict(list(tensors.items())[1:])


def _other_rank(tensors):
    first = next(k for k in tensors if "lora_A" in k)
    return {**tensors, first: tensors[first][:2].contiguous()}


REFUSED_TENSORS = {
    "its partner": _drop_one,
    "must be equal": _other_rank,
    "no part of a LoRA": lambda t: {**t, "base_model.model.lm_head.weight": torch.ones(2, 2)},
    "DoRA": lambda t: {**t, "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector": torch.ones(2)},
    "float matrices": lambda t: {k: v.to(torch.int8) for k, v in t.items()},
    "twice": lambda t: {**t, **{k.replace("base_model.model.", "_orig_mod."): v.clone() for k, v in t.items()}},
    "fused experts": lambda t: {k.replace(".lora_", ".base_layer.lora_"): v for k, v in t.items()},
    "two adapters at once": lambda t: {k.replace("_A.weight", "_A.other.weight"): v for k, v in t.items()},
    "MLX-LM": lambda t: {k.replace("lora_A.weight", "lora_a"): v for k, v in t.items()},
    "no module's name": lambda t: {k.replace("q_proj", "<img src=x>"): v for k, v in t.items()},
    "holds NaN or infinity": lambda t: {**t, "base_model.model.model.norm.bias": torch.tensor([torch.nan])},
    "ZeRO-3": lambda t: {},
    "no lora_A": lambda t: {"base_model.model.lm_head.bias": torch.zeros(3)},
}


@pytest.mark.parametrize(("says", "change"), REFUSED_TENSORS.items(), ids=REFUSED_TENSORS)
def test_tensors_that_are_no_lora_are_refused_in_words(says, change, pico, tmp_path):
    folder = retensored(pico.task, tmp_path / "x", change)
    with pytest.raises(AdapterError, match=says):
        read_adapter(folder)


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_nan_and_infinity_are_refused_by_module(number, pico, tmp_path):
    def spoil(tensors):
        key = next(k for k in tensors if "layers.1.mlp.up_proj.lora_B" in k)
        return {**tensors, key: tensors[key].index_fill(0, torch.tensor([0]), number)}

    spoiled = retensored(pico.domain, tmp_path / "nan", spoil)
    with pytest.raises(AdapterError, match=r"layers\.1\.mlp\.up_proj.*NaN or infinity"):
        pipeline.read_pair(pico.task, spoiled)
    with pytest.raises(AdapterError, match=r"layers\.1\.mlp\.up_proj.*NaN or infinity"):
        merge(Pair(read_adapter(pico.task), read_adapter(spoiled)))


WRONG_FILES = {
    "no such folder": lambda folder: shutil.rmtree(folder),
    "has no adapter_config.json": lambda folder: (folder / CONFIG).unlink(),
    "has no adapter_model.safetensors": lambda folder: (folder / WEIGHTS).unlink(),
    "not readable JSON": lambda folder: (folder / CONFIG).write_text("{"),
    "stands there twice": lambda folder: (folder / CONFIG).write_text('{"r": 4, "r": 8}'),
    "where PEFT writes an object": lambda folder: (folder / CONFIG).write_text("[1]"),
    "Git-LFS pointer": lambda folder: (folder / WEIGHTS).write_text(
        "version https://git-lfs.example/spec/v1\noid sha256:1"
    ),
    "web page": lambda folder: (folder / WEIGHTS).write_text("<!DOCTYPE html><html>"),
    "zip or pickle": lambda folder: (folder / WEIGHTS).write_bytes(b"PK\x03\x04" + b"\0" * 40),
    "cut short": lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:40]),
    "the file is cut short": lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-40]),
    "header is broken": lambda folder: (folder / WEIGHTS).write_bytes(struct.pack("<Q", 9) + b'{"a": 12}' + b"\0" * 9),
}


@pytest.mark.parametrize(("says", "harm"), WRONG_FILES.items(), ids=WRONG_FILES)
def test_files_that_are_not_an_adapter_are_refused_in_words(says, harm, pico, tmp_path):
    folder = tmp_path / "x"
    shutil.copytree(pico.task, folder)
    harm(folder)
    with pytest.raises(AdapterError, match=says) as refused:
        read_adapter(folder)
    assert str(folder) in str(refused.value)


def test_a_pickle_is_named_with_what_to_do(pico, tmp_path):
    folder = tmp_path / "bin"
    shutil.copytree(pico.task, folder)
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="safe_serialization"):
        read_adapter(folder)


def test_a_model_folder_is_not_taken_for_an_adapter(pico):
    with pytest.raises(AdapterError, match="whole model"):
        read_adapter(pico.base)


def test_two_bases_are_refused_and_two_spellings_are_noted(pico, tmp_path):
    named = [changed(pico.task, tmp_path / str(i), base_model_name_or_path=name)
             for i, name in enumerate(["meta-llama/Llama-2-7b-hf", "unsloth/llama-2-7b-bnb-4bit", "Qwen/Qwen3-8B"])]  # fmt: skip
    assert any("two number formats" in remark for remark in pipeline.read_pair(named[0], named[1]).problems)
    with pytest.raises(MismatchError, match="one base model"):
        pipeline.read_pair(named[0], named[2])


def test_layers_of_another_size_are_refused(pico, tmp_path):
    wide = pico_base(tmp_path / "wide", hidden=64)
    other = changed(pico_adapter(tmp_path / "w", wide, seed=1), tmp_path / "w2", base_model_name_or_path=str(pico.base))
    with pytest.raises(MismatchError, match=r"trained on a \S+ layer, the domain adapter on a \S+ one"):
        pipeline.read_pair(pico.task, other)


@pytest.mark.parametrize("kind", CONVERTIBLE)
def test_types_that_are_said_to_be_convertible_are_converted_by_peft(kind):
    layers = importlib.import_module(f"peft.tuners.{kind.lower()}.layer")
    says = [vars(one)["supports_lora_conversion"] for one in vars(layers).values()
            if isinstance(one, type) and one.__module__ == layers.__name__ and "supports_lora_conversion" in vars(one)]  # fmt: skip
    assert says and not any("return False" in inspect.getsource(method) for method in says)
