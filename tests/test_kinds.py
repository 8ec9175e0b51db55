"""Every kind of layer and every feature of PEFT's LoRA: PEFT's own delta, exactly, also after a merge, or a refusal by name."""

import json

import menagerie
import pytest
import torch
from menagerie import FEATURES, adapter, loaded, output
from safetensors.torch import load_file, save_file
from transformers import (
    ASTConfig,
    ASTModel,
    BeitConfig,
    BeitModel,
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    SegformerConfig,
    SegformerModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTMSNConfig,
    ViTMSNForImageClassification,
    YolosConfig,
    YolosForObjectDetection,
)
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key

from tada_studio import pipeline
from tada_studio.base_model.model import Base
from tada_studio.errors import AdapterError, MismatchError
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.read import look, read_adapter
from tada_studio.read.files import INDEX
from tada_studio.read.keys import canonical, family
from tada_studio.recipe import Recipe

EXACT = {name: feature for name, feature in FEATURES.items() if feature.ours == "exact"}
REFUSED = {name: feature for name, feature in FEATURES.items() if feature.ours != "exact"}
#: The merge that is the task adapter and nothing else.
IDENTITY = Recipe(method="gates", overrides=("* : 0",), drop="none", dtype="float32", rank=6)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT warns about most of these features itself


def matrix(layer, adapter_name="default"):
    """PEFT's delta as the (d_out, d_in) matrix that a LoraModule stands for."""
    delta = layer.get_delta_weight(adapter_name).double()
    turned = getattr(layer, "fan_in_fan_out", False) or isinstance(layer.get_base_layer(), torch.nn.Embedding)
    return delta.mT if turned else delta.reshape(len(delta), -1)


@pytest.mark.parametrize("feature", EXACT.values(), ids=EXACT)
def test_every_delta_is_the_one_that_peft_computes(feature, tmp_path):
    ours = read_adapter(adapter(tmp_path / "a", feature, seed=1))
    theirs = loaded(tmp_path / "a").float()
    layers = {n: m for n, m in theirs.base_model.model.named_modules() if hasattr(m, "get_delta_weight")}
    assert set(layers) == set(ours.modules)
    for name, module in ours.modules.items():
        assert (module.delta() - matrix(layers[name])).norm() <= 1e-6 * module.delta().norm()


@pytest.mark.parametrize("feature", EXACT.values(), ids=EXACT)
def test_a_merge_that_keeps_the_task_alone_answers_as_the_task(feature, tmp_path):
    """Identity [1, 0]: read, merge, export, read back by PEFT, run: the task adapter's own outputs."""
    folders = [
        adapter(tmp_path / n, feature, seed, k)
        for (n, seed), k in zip((("t", 1), ("d", 2)), feature.classes, strict=True)
    ]
    merged = merge(pipeline.read_pair(*folders), recipe=IDENTITY)
    assert pipeline.export(merged, tmp_path / "out").holds
    wanted, found = output(loaded(folders[0]).float()), output(loaded(tmp_path / "out"))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("feature", EXACT.values(), ids=EXACT)
def test_the_base_wearing_an_adapter_answers_as_peft(feature, tmp_path):
    ours = read_adapter(adapter(tmp_path / "a", feature, seed=1))
    base = Base("menagerie", menagerie.model(), None, "")
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    base.check_fits(ours)
    with base.with_adapter(ours) as model:
        torch.testing.assert_close(output(model), output(loaded(tmp_path / "a").float()), rtol=0, atol=2e-6)
    after = base.model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("feature", REFUSED.values(), ids=REFUSED)
def test_what_no_lora_can_hold_is_refused_by_its_field(feature, tmp_path):
    with pytest.raises(AdapterError, match=feature.ours):
        read_adapter(adapter(tmp_path / "a", feature, seed=1))


@pytest.mark.parametrize("name", ["lora_bias", "Conv2d 3x3", "embedding"])
def test_the_sum_of_two_is_the_sum_of_their_deltas(name, tmp_path):
    """Strength 2 and even gates: the plain sum, of updates and of biases of lora_B."""
    pair = pipeline.read_pair(*(adapter(tmp_path / f"{seed}", FEATURES[name], seed) for seed in (1, 2)))
    merged = merge(pair, recipe=Recipe(method="gates", drop="none", rank=8))
    for at, module in merged.modules.items():
        task, domain = pair.both(at)
        torch.testing.assert_close(module.delta(), task.delta() + domain.delta(), rtol=1e-5, atol=1e-6)
        if module.bias is not None:
            wanted = task.scale * task.bias.double() + domain.scale * domain.bias.double()
            torch.testing.assert_close(module.bias.double(), wanted, rtol=1e-6, atol=1e-7)
    assert pipeline.export(merged, tmp_path / "out").holds


def test_the_head_knob_says_whose_head_is_kept(tmp_path):
    feature = FEATURES["modules_to_save"]
    pair = pipeline.read_pair(adapter(tmp_path / "t", feature, 1), adapter(tmp_path / "d", feature, 2))
    task, domain = pair.task.whole["classifier.weight"], pair.domain.whole["classifier.weight"]
    for head, wanted in (("task", task), ("domain", domain), ("average", (task + domain) / 2)):
        merged = merge(pair, recipe=Recipe(head=head))
        torch.testing.assert_close(merged.whole["classifier.weight"], wanted)
        assert merged.heads == ("classifier",)


def test_heads_of_two_sizes_are_kept_whole_and_never_averaged(tmp_path):
    feature = FEATURES["modules_to_save"]
    pair = pipeline.read_pair(
        adapter(tmp_path / "t", feature, 1, classes=4), adapter(tmp_path / "d", feature, 2, classes=6)
    )
    assert any("4x12 and 6x12" in note for note in pair.problems)
    assert merge(pair, recipe=Recipe(head="domain")).whole["classifier.bias"].shape == (6,)
    with pytest.raises(MismatchError, match="cannot be averaged"):
        merge(pair, recipe=Recipe(head="average"))


def test_embeddings_are_probed_as_one_vector_a_token(pico, tmp_path):
    from pico import pico_adapter

    folders = [
        pico_adapter(tmp_path / n, pico.base, s, targets=("embed_tokens", "q_proj", "lm_head"))
        for n, s in (("t", 1), ("d", 2))
    ]
    for folder in folders:  # PEFT starts lora_embedding_A at zero
        tensors = load_file(folder / WEIGHTS)
        spread = {k: torch.randn(t.shape, generator=torch.Generator().manual_seed(len(k))) if "embedding_" in k else t
                  for k, t in tensors.items()}  # fmt: skip
        save_file(spread, folder / WEIGHTS)
    pair, base = pipeline.read_pair(*folders), pipeline.load_base(pico.base, device="cpu")
    text = "what is the hard red metal"
    readings = pipeline.probe(pair, base, [text])
    module = pair.task.modules["model.embed_tokens"]
    answers = module.delta()[:, base.tokenizer(text).input_ids[1:]].norm(dim=0) / module.delta().norm()
    torch.testing.assert_close(readings.task[readings.names.index(module.name), 0], answers.mean(), rtol=1e-5, atol=0)
    assert pipeline.export(merge(pair, readings), tmp_path / "out", base=base).holds
    assert pair.task.passport.facts["whole tensors"].count("a copy of the base's") == 2
    tensors = load_file(folders[1] / WEIGHTS)
    key = next(key for key in tensors if key.endswith("embed_tokens.base_layer.weight"))
    save_file({**tensors, key: tensors[key] + 1}, folders[1] / WEIGHTS)
    with pytest.raises(MismatchError, match="copy of the base's embeddings"):
        pipeline.read_pair(*folders)
    save_file({**tensors, key: tensors[key][:-1].clone()}, folders[1] / WEIGHTS)
    with pytest.raises(MismatchError, match=r"embeddings \(.*x32\) is not"):
        pipeline.read_pair(*folders)


def test_shards_are_one_adapter(pico, tmp_path):
    whole, folder = load_file(pico.task / WEIGHTS), tmp_path / "shards"
    folder.mkdir()
    (folder / CONFIG).write_bytes((pico.task / CONFIG).read_bytes())
    names, places = sorted(whole), {}
    for i in range(3):
        file = f"adapter_model-{i + 1:05d}-of-00003.safetensors"
        save_file({name: whole[name] for name in names[i::3]}, folder / file)
        places.update(dict.fromkeys(names[i::3], file))
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    assert read_adapter(folder).digest == read_adapter(pico.task).digest
    (folder / file).unlink()
    with pytest.raises(AdapterError, match=r"has no adapter_model-00003"):
        read_adapter(folder)


@pytest.mark.parametrize("wrap", ["_orig_mod.{}", "module.{}", "{}"])
def test_names_from_compiled_and_distributed_training_are_the_same_modules(wrap, pico, tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / CONFIG).write_bytes((pico.task / CONFIG).read_bytes())
    held = load_file(pico.task / WEIGHTS)
    save_file({wrap.format(k).replace(".mlp.", "._checkpoint_wrapped_module.mlp."): t for k, t in held.items()},
              folder / WEIGHTS)  # fmt: skip
    assert read_adapter(folder).digest == read_adapter(pico.task).digest


# -- names of transformers 4 -----------------------------------------------------------------------------------------

SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
VISION = {
    "vit": (lambda: ViTForImageClassification(ViTConfig(**SMALL, image_size=8, patch_size=4)), "vit."),
    "deit": (lambda: DeiTModel(DeiTConfig(**SMALL, image_size=8, patch_size=4)), "deit."),
    "beit": (lambda: BeitModel(BeitConfig(**SMALL, image_size=8, patch_size=4)), "beit."),
    "ast": (lambda: ASTModel(ASTConfig(**SMALL, max_length=32, num_mel_bins=16)), "audio_spectrogram_transformer."),
    "msn": (lambda: ViTMSNForImageClassification(ViTMSNConfig(**SMALL, image_size=8, patch_size=4)), "vit."),
    "mae": (lambda: ViTMAEForPreTraining(ViTMAEConfig(**SMALL, image_size=8, patch_size=4)), "vit."),
    "dinov2": (lambda: Dinov2Model(Dinov2Config(**SMALL, image_size=28)), "dinov2."),
    "dinov2 giant": (lambda: Dinov2Model(Dinov2Config(**SMALL, image_size=28, use_swiglu_ffn=True)), "dinov2."),
    "swin": (lambda: SwinModel(SwinConfig(embed_dim=8, depths=[1, 1], num_heads=[2, 2], image_size=16, window_size=2)), "swin."),
    "segformer": (lambda: SegformerModel(SegformerConfig(hidden_sizes=[8, 8, 8, 8], num_attention_heads=[1, 1, 1, 1],
                                                         decoder_hidden_size=8)), "segformer."),
}  # fmt: skip
NESTED, MLP = ("attention.attention.{}", "attention.output.dense"), ("intermediate.dense", "output.dense")
#: The linear layers of one block, as transformers 4 called them.
FOUR = {
    **dict.fromkeys(("vit", "deit", "beit", "ast", "msn", "mae"), ("encoder.layer.1.", (*NESTED, *MLP))),
    "dinov2": ("encoder.layer.1.", (*NESTED, "mlp.fc1", "mlp.fc2")),
    "dinov2 giant": ("encoder.layer.1.", (*NESTED, "mlp.weights_out")),
    "swin": ("encoder.layers.1.blocks.0.", ("attention.self.{}", "attention.output.dense", *MLP)),
    "segformer": (
        "encoder.block.1.0.",
        ("attention.self.{}", "attention.output.dense", "attention.self.sr", "mlp.dense1", "mlp.dense2"),
    ),
}


@pytest.mark.parametrize("kind", VISION)
def test_names_of_transformers_4_become_those_of_the_model_in_memory(kind):
    """Against transformers' own mapping, and against the names that its model really has."""
    make, prefix = VISION[kind]
    model = make()
    there = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)}
    rules = [rule for rule in get_model_conversion_mapping(model) if isinstance(rule, WeightRenaming)]
    block, inside = FOUR[kind]
    old = [block + part.format(side) for part in inside for side in ("query", "key", "value")]
    for name in dict.fromkeys(old):
        ours = canonical(prefix + name, family(prefix + name))
        bare = ours.removeprefix(prefix)
        assert ours != prefix + name or name.endswith(("mlp.fc1", "mlp.fc2"))
        assert bare in there or ours in there, (name, ours)
        asked = name if ours not in there else prefix + name
        assert rename_source_key(f"{asked}.weight", rules, [])[0].removesuffix(".weight") in (bare, ours)
        assert canonical(ours, family(ours)) == ours  # a name of version 5 stays


def test_names_of_other_models_stay():
    for name in (
        "bert.encoder.layer.3.attention.self.query",
        "model.layers.0.self_attn.q_proj",
        "encoder.layer.0.attention.self.key",
    ):
        assert canonical(name, family(name, "bert-base")) == name


def test_yolos_which_calls_its_body_vit_keeps_its_names():
    model = YolosForObjectDetection(YolosConfig(**SMALL, image_size=[32, 32], num_detection_tokens=2, patch_size=16))
    there = [
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and "encoder" in name
    ]
    assert len(there) == 12 and all(canonical(name, family(name, "hustvl/yolos-tiny")) == name for name in there)


def test_a_model_without_a_head_is_told_by_its_base():
    name = "encoder.layer.3.attention.attention.query"
    assert canonical(name, family(name, "google/vit-base-patch16-224")) == "layers.3.attention.q_proj"
    assert canonical(name, family(name, "facebook/dinov2-small")) == "encoder.layer.3.attention.q_proj"
    assert canonical(name, family(name, None)) == name


def test_an_adapter_of_transformers_4_and_one_of_5_are_a_pair(tmp_path):
    config = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["query"],
        "base_model_name_or_path": "google/vit",
    }
    for folder, key in (
        ("four", "vit.encoder.layer.0.attention.attention.query"),
        ("five", "vit.layers.0.attention.q_proj"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / CONFIG).write_text(json.dumps(config))
        shapes = {"A": (2, 8), "B": (8, 2)}
        factors = {f"base_model.model.{key}.lora_{side}.weight": torch.ones(shape) for side, shape in shapes.items()}
        save_file(factors, tmp_path / folder / WEIGHTS)
    pair = pipeline.read_pair(tmp_path / "four", tmp_path / "five")
    assert pair.names == ("vit.layers.0.attention.q_proj",) and None not in pair.both(pair.names[0])
    assert "transformers 4" in " ".join(pair.task.passport.remarks)
    assert look(tmp_path / "four").modules[pair.names[0]].written.startswith("vit.encoder.layer.0")
