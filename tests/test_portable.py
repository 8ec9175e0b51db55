"""The ticks for other loaders, against their public rules carried out here."""

import json
import math
import re

import menagerie
import pytest
import torch
from menagerie import FEATURES
from pico import ALL, pico_adapter
from safetensors.torch import load_file, save_file

from tada_studio import cli, pipeline
from tada_studio.exporting.portable import portability
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.read import read_adapter

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def ticks(folder):
    return {tick.loader: tick.field if not tick.works else "yes" for tick in portability(folder)}


def by_llama_cpp(folder):
    """Every module's update by the rules of convert_lora_to_gguf.py: one lora_alpha, divided by each tensor's own rank."""
    config, tensors = json.loads((folder / CONFIG).read_text()), load_file(folder / WEIGHTS)
    pairs = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        if match is None:
            raise SystemExit(f"Unexpected name '{name}': Not a lora_A or lora_B tensor")
        pairs.setdefault(match[1], {})[match[2]] = tensor.double()
    return {name: config["lora_alpha"] / len(p["A"]) * (p["B"] @ p["A"]) for name, p in pairs.items()}


def by_vllm(folder):
    """Every module's update by vLLM's peft_helper.py: r, lora_alpha and their patterns; classifiers' heads may be whole."""
    config, tensors = json.loads((folder / CONFIG).read_text()), load_file(folder / WEIGHTS)
    if config["use_dora"] or set(config["modules_to_save"] or ()) - {"score", "classifier"} or config["bias"] != "none":
        raise ValueError("refused by vLLM")

    def setting(name, field):
        patterns = config[f"{field.removeprefix('lora_')}_pattern"] if field != "r" else config["rank_pattern"]
        return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), config[field])

    def scale(name):
        rank = setting(name, "r")
        return setting(name, "lora_alpha") / (math.sqrt(rank) if config["use_rslora"] else rank)

    names = {key.removeprefix("base_model.model.").removesuffix(".lora_A.weight") for key in tensors if "lora_A" in key}
    held = {name: [tensors[f"base_model.model.{name}.lora_{side}.weight"].double() for side in "BA"] for name in names}
    return {name: scale(name) * up @ down for name, (up, down) in held.items()}


def by_lorax(folder, layers=3):
    """Every module's update by the rules of LoRAX's adapters/lora.py, on a Llama of so many layers.

    One scale; a projection is taken if every layer of the base has its full keys, and then stacked, which wants one rank.
    """
    config, tensors = json.loads((folder / CONFIG).read_text()), load_file(folder / WEIGHTS)
    scale, found = config["lora_alpha"] / (math.sqrt(config["r"]) if config["use_rslora"] else config["r"]), {}
    for projection in ALL:
        block = "mlp" if projection in ("gate_proj", "up_proj", "down_proj") else "self_attn"
        names = [f"model.layers.{i}.{block}.{projection}" for i in range(layers)]
        held = [[tensors.get(f"base_model.model.{name}.lora_{side}.weight") for side in "BA"] for name in names]
        if all(up is not None and down is not None for up, down in held):
            ups, downs = (torch.stack([pair[i].double() for pair in held]) for i in (0, 1))
            found.update(zip(names, scale * ups @ downs, strict=True))
    return found


def test_the_merge_of_the_sample_is_the_same_update_for_every_loader(pico, tmp_path):
    merged = merge(pipeline.read_pair(pico.task, pico.domain))
    certificate = pipeline.export(merged, tmp_path / "out")
    assert ticks(tmp_path / "out") == dict.fromkeys(("PEFT", "vLLM", "llama.cpp", "LoRAX"), "yes")
    assert "PEFT: yes." in certificate.sentences
    assert sum(": yes, by its rules (not run here)" in says for says in certificate.sentences) == 3
    for read in (by_llama_cpp, by_vllm, by_lorax):
        found = read(tmp_path / "out")
        assert set(found) == set(merged.modules)
        for name, module in merged.modules.items():
            torch.testing.assert_close(found[name], module.delta(), rtol=1e-6, atol=1e-9)


ONE_RANK = {"rank_pattern": {r"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {r"layers.1.self_attn.q_proj": 4}}
SETTINGS = {  # of LoraConfig; the field that stops vLLM, LoRAX and llama.cpp
    "plain": ({}, "yes", "yes", "yes"),
    "rsLoRA": ({"use_rslora": True}, "yes", "yes", "use_rslora"),
    "alpha_pattern": ({"alpha_pattern": {"q_proj": 3}}, "yes", "alpha_pattern", "alpha_pattern"),
    "rank_pattern": ({"rank_pattern": {"q_proj": 2}}, "yes", "rank_pattern", "yes"),
    "ranks of one scale": (ONE_RANK, "yes", "rank_pattern", "alpha_pattern"),
    "some layers": ({"layers_to_transform": [0, 2]}, "yes", "layers", "yes"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "vllm", "lorax", "llama"), SETTINGS.values(), ids=SETTINGS)
def test_a_tick_means_the_right_update_and_a_cross_a_wrong_one(settings, vllm, lorax, llama, pico, tmp_path):
    folder = pico_adapter(tmp_path / "a", pico.base, seed=3, rank=4, **settings)
    said, ours = ticks(folder), read_adapter(folder)
    assert (said["vLLM"], said["LoRAX"], said["llama.cpp"]) == (vllm, lorax, llama)
    for read, expected in ((by_vllm, vllm), (by_lorax, lorax), (by_llama_cpp, llama)):
        assert right(read, folder, ours) == (expected == "yes"), read


def right(read, folder, ours):
    """Whether a loader's rules give every update, and give it rightly."""
    try:
        found = read(folder)
    except RuntimeError:  # ranks that cannot be stacked
        return False
    wrong = max((float((found[name] - ours.modules[name].delta()).norm()) for name in found), default=0.0)
    return set(found) == set(ours.modules) and wrong < 1e-5


def test_keys_that_lorax_does_not_look_for_are_crossed_out(pico, tmp_path):
    folder = pico_adapter(tmp_path / "a", pico.base, seed=3, targets=("q_proj",))
    held = {key.removeprefix("base_model.model."): tensor for key, tensor in load_file(folder / WEIGHTS).items()}
    save_file(held, folder / WEIGHTS)
    assert ticks(folder)["LoRAX"] == "tensor names" and by_lorax(folder) == {}


def test_dora_is_for_peft_alone(pico, tmp_path):
    folder = pico_adapter(tmp_path / "a", pico.base, seed=3, targets=("q_proj",), use_dora=True)
    said = ticks(folder)
    assert said.pop("PEFT") == "yes" and set(said.values()) == {"use_dora"}


@pytest.mark.parametrize(("feature", "field"), [("modules_to_save", "modules_to_save"), ("bias = lora_only", "bias"),
                                                ("lora_bias", "lora_bias"), ("Conv2d 3x3", "target_modules"),
                                                ("embedding", "target_modules")])  # fmt: skip
def test_what_only_peft_reads_is_crossed_out_by_its_field(feature, field, tmp_path):
    folder = menagerie.adapter(tmp_path / "a", FEATURES[feature], seed=1)
    said = ticks(folder)
    assert said.pop("PEFT") == "yes"
    assert said.pop("vLLM") == ("yes" if feature == "modules_to_save" else field)  # it takes a classifier's head
    assert set(said.values()) == {field}
    with pytest.raises(
        (SystemExit, ValueError, KeyError, RuntimeError)
    ):  # the rules above agree that it cannot be read
        by_llama_cpp(folder)


@pytest.mark.parametrize(
    ("rank", "says"),
    [(8, "vLLM: yes, by its rules (not run here)."), (24, "--max-lora-rank 32"), (600, "rank 600 is more than 512")],
)
def test_ranks_that_vllm_takes(rank, says, pico, tmp_path):
    folder = pico_adapter(tmp_path / "a", pico.base, seed=3, rank=rank, targets=("q_proj",))
    assert says in next(tick.says for tick in portability(folder) if tick.loader == "vLLM")


def test_a_rank_that_the_config_does_not_say_is_what_peft_trips_over(pico, tmp_path):
    folder = pico_adapter(tmp_path / "a", pico.base, seed=3, rank=4)
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({name: value for name, value in config.items() if name != "r"}))
    assert ticks(folder)["PEFT"] == "r"  # without r in the config PEFT takes 8


@pytest.mark.parametrize(
    ("head", "works"), [("classifier", True), ("score", True), ("lm_head", False), ("qa_outputs", False)]
)
def test_vllm_takes_the_heads_of_classifiers_whole(head, works, pico, tmp_path):
    folder = pico_adapter(tmp_path / "a", pico.base, seed=3)
    config, tensors = json.loads((folder / CONFIG).read_text()), load_file(folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({**config, "modules_to_save": [head], "task_type": None}))
    save_file({**tensors, f"base_model.model.{head}.weight": torch.ones(3, 32)}, folder / WEIGHTS)
    said = {tick.loader: tick for tick in portability(folder)}["vLLM"]
    assert said.works == works and ("autumn 2026" in said.says) == works


@pytest.mark.parametrize(("base", "works"), [("google/gemma-2-2b-it", False), ("unsloth/gemma-3-4b-it-bnb-4bit", False),
                                             ("Qwen/Qwen2.5-0.5B", False), ("mistralai/Mistral-7B-v0.1", True)])  # fmt: skip
def test_llama_cpp_skips_the_head_of_a_base_that_ties_it(base, works, pico, tmp_path):
    folder = pico_adapter(tmp_path / "a", pico.base, seed=3, targets=("q_proj", "lm_head"))
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": base}))
    said = {tick.loader: tick for tick in portability(folder)}["llama.cpp"]
    assert said.works == works and ("ties its embeddings" in said.says) and (works or said.field == "lm_head")


def test_verify_prints_the_ticks(pico, tmp_path, capsys):
    pipeline.export(merge(pipeline.read_pair(pico.task, pico.domain)), tmp_path / "out")
    assert cli.main(["verify", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert all(f"{loader}: yes" in printed for loader in ("PEFT", "vLLM", "llama.cpp", "LoRAX"))
