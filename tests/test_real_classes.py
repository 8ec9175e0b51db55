"""Merges on the real classes of transformers, tiny: what PEFT loads onto them answers as PEFT does with both adapters active.

And names: whatever an adapter calls its modules, they end as the class calls them, or it is one sentence.
"""

import json
import warnings

import pytest
import torch
import transformers as hf
from peft import PeftModel
from safetensors.torch import load_file, save_file
from zoo import ZOO, adapter_folder, answer, both_at_once, experts_folder, model_folder, opened

from tada_studio import pipeline
from tada_studio.base_model.skeleton import classes_of, real_class
from tada_studio.errors import AdapterError, MismatchError
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.read import read_adapter
from tada_studio.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
#: The plain sum of both updates.
SUM = Recipe(drop="none", rank=6)
#: What runs each time; the rest at night.
DAILY = ("Llama", "Gemma 3", "Phi-3", "GPT-2", "GPT-NeoX", "Falcon", "Mixtral, attention", "BERT", "DistilBERT", "ALBERT", "T5",
         "BART", "Whisper", "ViT", "CLIP", "LLaVA, text")  # fmt: skip


@pytest.mark.parametrize("name", [n if n in DAILY else pytest.param(n, marks=pytest.mark.nightly) for n in ZOO])
def test_a_merge_answers_on_its_class_as_both_adapters_at_once(name, tmp_path):
    kind = ZOO[name]
    base = model_folder(tmp_path / "base", kind)
    task = adapter_folder(tmp_path / "task", kind, base, kind.task, 1)
    domain = adapter_folder(tmp_path / "domain", kind, base, kind.domain, 2)
    pair = pipeline.read_pair(task, domain, base=base)
    certificate = pipeline.export(merge(pair, recipe=SUM), tmp_path / "out")
    assert certificate.holds and certificate.base_class == kind.model.__name__, certificate.sentences
    with warnings.catch_warnings(record=True) as said:
        merged = PeftModel.from_pretrained(opened(kind, base), str(tmp_path / "out"))
    assert not [one for one in said if "adapter keys" in str(one.message)], "PEFT warns of keys that it misses"
    wanted, plain = both_at_once(kind, base, task, domain), answer(opened(kind, base), kind)
    found = answer(merged.eval(), kind)
    assert (found - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))
    assert (wanted - plain).abs().max() > 1e-3, "the adapters must change something for that to mean anything"


# -- names -----------------------------------------------------------------------------------------------------------


def renamed(folder, to, change, **config):
    """A copy of an adapter whose tensors are called otherwise."""
    to.mkdir()
    tensors = load_file(folder / WEIGHTS)
    start = "base_model.model."
    save_file({start + change(key.removeprefix(start)): t for key, t in tensors.items()}, to / WEIGHTS)
    about = {**json.loads((folder / CONFIG).read_text()), "target_modules": None, **config}
    (to / CONFIG).write_text(json.dumps(about))
    return to


OLD_NAMES = {
    "a text model's class": ("LLaVA, text", lambda key: key.replace("model.language_model.layers", "model.layers")),
    "a vision-language class of 2024": ("LLaVA, text", lambda key: key.replace("model.language_model.", "language_model.model.")),
    "Qwen2-VL of 2024": ("Qwen2-VL, text", lambda key: key.replace("model.language_model.", "model.")),
    "a bare encoder": ("BERT", lambda key: key.removeprefix("bert.")),
    "a bare GPT-2": ("GPT-2", lambda key: key.removeprefix("transformer.")),
    "ViT of version 4": ("ViT", lambda key: key.replace("vit.layers.", "vit.encoder.layer.").replace(
        "attention.q_proj", "attention.attention.query").replace("attention.v_proj", "attention.attention.value")),
    "a bare DistilBERT": ("DistilBERT", lambda key: key.removeprefix("distilbert.")),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change"), OLD_NAMES.values(), ids=OLD_NAMES)
@pytest.mark.parametrize("known", ["base given", "base named by the adapters"])
def test_two_names_of_one_layer_become_the_class_s_own_where_the_base_is_at_hand(name, change, known, tmp_path):
    kind = ZOO[name]
    base = model_folder(tmp_path / "base", kind)
    task, domain = (
        adapter_folder(tmp_path / side, kind, base, kind.task, seed) for seed, side in ((1, "task"), (2, "domain"))
    )
    old = renamed(domain, tmp_path / "old", change)
    pair = pipeline.read_pair(task, old, base=base if known == "base given" else None)
    assert set(pair.domain.modules) == set(pair.task.modules) == set(read_adapter(task).modules)
    remarks = pair.domain.passport.remarks
    assert any("brought to the names" in remark or "transformers 4" in remark for remark in remarks)
    certificate = pipeline.export(merge(pair, recipe=SUM), tmp_path / "out")
    assert certificate.holds and certificate.base_class == kind.model.__name__
    merged = PeftModel.from_pretrained(opened(kind, base), str(tmp_path / "out"))
    wanted = both_at_once(kind, base, task, domain)
    assert (answer(merged.eval(), kind) - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize(("name", "change", "says"), [
    ("BERT", lambda key: key.replace("attention.self.query", "attention.q"), "has no such layer"),
    ("Llama", lambda key: key.replace("layers.1.", "layers.7."), "of the 4 modules"),
    ("T5", lambda key: key.replace("encoder.block", "encoder.layers"), "T5ForConditionalGeneration"),
    ("GPT-2", lambda key: key.replace("c_attn", "score"), "has no such layer"),
])  # fmt: skip
def test_a_module_that_would_not_load_is_an_error(name, change, says, tmp_path):
    kind = ZOO[name]
    base = model_folder(tmp_path / "base", kind)
    task = adapter_folder(tmp_path / "task", kind, base, kind.task, 1)
    other = renamed(task, tmp_path / "other", change)
    with pytest.raises(MismatchError, match=says):
        pipeline.read_pair(task, other, base=base)
    with pytest.raises(MismatchError, match=says):
        pipeline.passports([other], base=base)


def test_a_layer_of_another_size_is_an_error(tmp_path):
    kind = ZOO["Llama"]
    wide = kind._replace(config=lambda: hf.LlamaConfig(**{**kind.config().to_diff_dict(), "hidden_size": 32}))
    small, large = model_folder(tmp_path / "small", kind), model_folder(tmp_path / "large", wide)
    task, other = (adapter_folder(tmp_path / str(seed), kind, small, kind.task, seed) for seed in (1, 2))
    with pytest.raises(MismatchError, match=r"16x16 layer, the base large \(LlamaForCausalLM\) has a 16x32 layer"):
        pipeline.read_pair(task, other, base=large)


def test_a_config_is_enough_for_the_class(tmp_path):
    kind = ZOO["Llama"]
    kind.config().save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "config.json").write_text(
        json.dumps(
            {**json.loads((tmp_path / "base" / "config.json").read_text()), "architectures": ["LlamaForCausalLM"]}
        )
    )
    found = real_class(tmp_path / "base")
    assert found.name == "LlamaForCausalLM" and all(p.is_meta for p in found.model.parameters())
    assert next(one.name for one in classes_of(tmp_path / "base", "SEQ_CLS")) == "LlamaForSequenceClassification"
    assert real_class(tmp_path / "nothing") is None and real_class(None) is None


@pytest.mark.parametrize("name", ["BERT", "DistilBERT"])
def test_a_classifier_with_other_labels_than_the_base_is_checked_on_its_class(name, tmp_path):
    kind = ZOO[name]
    base = model_folder(tmp_path / "base", kind)
    more = kind._replace(config=lambda: type(kind.config())(**{**kind.config().to_diff_dict(), "num_labels": 5}))
    other = model_folder(tmp_path / "other", more)
    task = adapter_folder(tmp_path / "task", more, other, kind.task, 1, modules_to_save=["classifier"])
    domain = adapter_folder(tmp_path / "domain", more, other, kind.domain, 2, modules_to_save=["classifier"])
    for folder in (task, domain):
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": str(base)}))
    certificate = pipeline.export(merge(pipeline.read_pair(task, domain)), tmp_path / "out")
    assert certificate.holds and certificate.base_class == kind.model.__name__
    assert torch.equal(load_file(tmp_path / "out" / WEIGHTS)["base_model.model.classifier.bias"],
                       load_file(task / WEIGHTS)["base_model.model.classifier.bias"])  # fmt: skip


@pytest.mark.parametrize("name", ["Mixtral, attention", "Qwen3 MoE, attention"])
def test_stacked_experts_are_one_sentence(name, tmp_path):
    kind = ZOO[name]
    base = model_folder(tmp_path / "base", kind)
    with pytest.raises(AdapterError, match="fused experts"):
        read_adapter(experts_folder(tmp_path / "experts", kind, base))
    attention = adapter_folder(tmp_path / "attention", kind, base, kind.task, 1)
    each = renamed(attention, tmp_path / "each", lambda key: key.replace("self_attn.q_proj", "mlp.experts.0.w1"))
    with pytest.raises(MismatchError, match=r"experts\.0\.w1.*has no such layer"):  # transformers 5 stacks them
        pipeline.read_pair(attention, each, base=base)


def test_a_config_with_a_million_layers_builds_nothing(tmp_path):
    kind = ZOO["Llama"]
    kind.config().save_pretrained(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**about, "num_hidden_layers": 10**6}))
    assert real_class(tmp_path) is None
