"""Names that PEFT trips over: each merges, loads and adapts exactly the merge's layers, or is one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import nn
from transformers import DistilBertConfig, DistilBertModel, GPT2Config, GPT2LMHeadModel

from tada_studio import cli, pipeline
from tada_studio.base_model.model import Base
from tada_studio.errors import TadaError
from tada_studio.exporting.folder import write_adapter
from tada_studio.exporting.names import target_modules, task_type
from tada_studio.lora import CONFIG, WEIGHTS, Adapter, LoraModule
from tada_studio.pipeline.merge import merge

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ROOT = Path(__file__).resolve().parent.parent
CASES = next((found for up in ROOT.parents if (found := up / "shared" / "data" / "cases").is_dir()), None)
WIDTH, RANK = 8, 2


def adapter(folder, names, seed, heads=(), **config):
    """An adapter written by hand: square layers of those names, heads kept whole."""
    draw = torch.Generator().manual_seed(seed)
    held = {}
    for name in names:
        held[f"base_model.model.{name}.lora_A.weight"] = torch.randn(RANK, WIDTH, generator=draw)
        held[f"base_model.model.{name}.lora_B.weight"] = torch.randn(WIDTH, RANK, generator=draw)
    held |= {f"base_model.model.{head}.weight": torch.randn(WIDTH, WIDTH, generator=draw) for head in heads}
    folder.mkdir(parents=True)
    save_file(held, folder / WEIGHTS)
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": sorted(names),
                "modules_to_save": list(heads) or None, "base_model_name_or_path": "acme/base", **config}  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(settings))
    return folder


def pair(tmp_path, names, heads=((), ()), **config):
    sides = names if isinstance(names, tuple) else (names, names)
    roles = zip(("task", "domain"), sides, heads, strict=True)
    return pipeline.read_pair(
        *(adapter(tmp_path / role, own, i, kept, **config) for i, (role, own, kept) in enumerate(roles))
    )


def merged_from_case(name, tmp_path):
    if CASES is None:
        pytest.skip("no shared/data/cases beside the repository")
    options = ["merge", "--task", str(CASES / name / "task"), "--domain", str(CASES / name / "domain")]
    return cli.main([*options, "-o", str(tmp_path / "out")])


# -- names that end in a number ------------------------------------------------------------------------------------

NUMBERED = {
    "to_out.0": ["blocks.0.attn.to_q", "blocks.0.attn.to_out.0", "blocks.1.attn.to_q", "blocks.1.attn.to_out.0"],
    "mlp.0 and mlp.2": ["layers.0.mlp.0", "layers.0.mlp.2", "layers.1.mlp.0", "layers.1.mlp.2"],
    "a bare Sequential": ["0", "2", "4.1"],
}


@pytest.mark.parametrize("names", NUMBERED.values(), ids=NUMBERED)
def test_names_that_end_in_a_number_export(names, tmp_path):
    certificate = pipeline.export(merge(pair(tmp_path, names)), tmp_path / "out")
    assert certificate.holds and set(certificate.modules) == set(names)
    written = json.loads((tmp_path / "out" / CONFIG).read_text())["target_modules"]
    assert isinstance(written, str) or not {"0", "2"} & set(written) or "0" in names


def test_the_case_of_a_numbered_last_part(tmp_path):
    assert merged_from_case("numbered_last_part", tmp_path) == 0
    assert "0" not in json.loads((tmp_path / "out" / CONFIG).read_text())["target_modules"]


# -- task types ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("IMAGE_CLASSIFICATION", None),
        ("causal_lm", "CAUSAL_LM"),
        ("Seq_Cls", "SEQ_CLS"),
        ("", None),
        ("TEXT_GEN", None),
    ],
)
def test_task_types_are_those_that_peft_takes_or_none(written, found, tmp_path):
    adapter = merge(pair(tmp_path, ["layers.0.q"], task_type=written))
    assert pipeline.export(adapter, tmp_path / "out").holds
    config = LoraConfig.from_pretrained(tmp_path / "out")  # raises ValueError for what it does not know
    assert config.task_type == found == task_type(adapter)


def test_the_case_of_an_old_task_type(tmp_path):
    assert merged_from_case("task_type_image", tmp_path) == 0
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["task_type"] is None


# -- modules that PEFT cannot load together ------------------------------------------------------------------------

PAIRS = {  # modules of task and domain, heads of both, the sentence
    "a head that one adapts and the other keeps": ((["layers.0.q", "score"], ["layers.0.q"]), ((), ("score",)), "score"),
    "inside a head that is kept": ((["layers.0.q", "head.dense"], ["layers.0.q"]), ((), ("head",)), "score|head"),
    "the same head twice": ((["layers.0.q"], ["layers.0.q", "lm_head"]), (("lm_head",), ()), "score|head"),
    "q_proj beside q_proj.linear": ((["layers.0.q_proj"], ["layers.0.q_proj.linear"]), ((), ()), "q_proj|inner"),
    "k beside k.base.inner": ((["a.0.k", "a.0.v"], ["a.0.k.base.inner"]), ((), ()), "q_proj|inner"),
    "called type": ((["layers.0.type", "layers.0.q"],) * 2, ((), ()), "'type'"),
    "inside one called to": ((["layers.0.to.q"],) * 2, ((), ()), "'to'"),
    "called half": ((["layers.0.half"],) * 2, ((), ()), "'half'"),
    "called training": ((["layers.0.training"],) * 2, ((), ()), "'training'"),
}  # fmt: skip


@pytest.mark.parametrize(("names", "heads", "says"), PAIRS.values(), ids=PAIRS)
def test_what_peft_cannot_load_is_one_sentence_and_nothing_is_written(names, heads, says, tmp_path):
    """A sentence on opening is as good as one on exporting."""
    with pytest.raises(TadaError, match=says) as refused:
        pipeline.export(merge(pair(tmp_path, names, heads)), tmp_path / "out")
    assert "\n" not in str(refused.value) and str(refused.value).endswith(".") and not (tmp_path / "out").exists()


def test_the_case_of_a_head_both_adapted_and_kept_whole(tmp_path, capsys):
    assert merged_from_case("head_both_adapted_and_kept_whole", tmp_path) == 2
    assert "Traceback" not in capsys.readouterr().err and not (tmp_path / "out").exists()


# -- no wider than the merge ---------------------------------------------------------------------------------------


def gpt2():
    return GPT2LMHeadModel(GPT2Config(n_layer=3, n_embd=WIDTH, n_head=2, vocab_size=20))


def bert():
    return DistilBertModel(DistilBertConfig(n_layers=3, dim=WIDTH, hidden_dim=2 * WIDTH, n_heads=2, vocab_size=20))


class Towers(nn.Module):
    """A name that stands in the text tower and in the image tower."""

    def __init__(self):
        super().__init__()
        self.text = nn.ModuleList(nn.ModuleDict({"proj": nn.Linear(WIDTH, WIDTH)}) for _ in range(2))
        self.image = nn.ModuleList(nn.ModuleDict({"proj": nn.Linear(WIDTH, WIDTH)}) for _ in range(2))


REAL = {  # model, what the merge has, what is written
    "GPT-2's attn.c_proj, not mlp.c_proj": (gpt2, r".*attn\.(c_attn|c_proj)", ["attn.c_attn", "attn.c_proj"]),
    "GPT-2's c_attn": (gpt2, r".*\.c_attn", ["c_attn"]),
    "GPT-2, two of three layers": (gpt2, r"transformer\.h\.[01]\.attn\.c_attn",
                                  ["transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_attn"]),
    "DistilBERT's q_lin and lin1": (bert, r".*(q_lin|lin1)", ["lin1", "q_lin"]),
    "one of two towers": (Towers, r"text\.\d\.proj", ["text.0.proj", "text.1.proj"]),
}  # fmt: skip


def of_class(model, targets):
    """An adapter on just those layers of a real class, in memory."""
    turned = isinstance(model, GPT2LMHeadModel)
    wrapped = get_peft_model(model, LoraConfig(r=RANK, target_modules=targets, fan_in_fan_out=turned)).base_model.model
    layers = {name: layer for name, layer in wrapped.named_modules() if hasattr(layer, "lora_A")}
    draw = torch.Generator().manual_seed(0)

    def drawn(name, layer):
        up, down = layer.lora_B["default"].weight, layer.lora_A["default"].weight
        return LoraModule(name, *(torch.randn(factor.shape, generator=draw) for factor in (up, down)), 1.0)

    return Adapter("one", {name: drawn(name, layer) for name, layer in layers.items()})


@pytest.mark.parametrize(("make", "targets", "written"), REAL.values(), ids=REAL)
def test_the_real_class_gets_the_layers_of_the_merge_and_no_other(make, targets, written, tmp_path):
    adapter = of_class(make(), targets)
    model = make()
    base = Base("a base", model, None, digest="")
    write_adapter(adapter, tmp_path / "with", base)
    write_adapter(adapter, tmp_path / "without")
    assert json.loads((tmp_path / "with" / CONFIG).read_text())["target_modules"] == written
    assert json.loads((tmp_path / "without" / CONFIG).read_text())["target_modules"] == sorted(adapter.modules)
    for folder in ("with", "without"):
        loaded = PeftModel.from_pretrained(make(), tmp_path / folder)
        adapted = {name for name, layer in loaded.base_model.model.named_modules() if hasattr(layer, "lora_A")}
        assert adapted == set(adapter.modules)


def test_the_case_of_a_tail_that_hits_other_layers(tmp_path):
    assert merged_from_case("tail_hits_other_layers", tmp_path) == 0
    assert "c_proj" not in json.loads((tmp_path / "out" / CONFIG).read_text())["target_modules"]


def test_a_full_name_that_is_the_end_of_another_is_written_as_a_pattern(tmp_path):
    modules = {name: LoraModule(name, torch.ones(WIDTH, RANK), torch.ones(RANK, WIDTH), 1.0) for name in ("q", "q.0.k")}
    one = Adapter("one", {"q": modules["q"]})
    assert target_modules(one, ["q", "layers.0.q", "layers.0"]) == "(?:q)"
    assert target_modules(one, ["q", "layers.0"]) == ["q"]
    write_adapter(one, tmp_path / "out", Base("", Ends(), None, digest=""))
    loaded = PeftModel.from_pretrained(Ends(), tmp_path / "out").base_model.model
    assert hasattr(loaded.q, "lora_A") and not hasattr(loaded.layers[0].q, "lora_A")


class Ends(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList([nn.ModuleDict({"q": nn.Linear(WIDTH, WIDTH)})])


def test_layers_beyond_the_merge_fail_the_certificate(pico, tmp_path):
    base = pipeline.load_base(pico.base, device="cpu")
    whole = merge(pipeline.read_pair(pico.task, pico.domain))
    some = replace(whole, modules={name: m for name, m in whole.modules.items() if "layers.2" not in name})
    assert pipeline.export(some, tmp_path / "out", base).holds
    config = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert config["target_modules"] == sorted(some.modules)
    short = sorted({name.rpartition(".")[2] for name in some.modules})
    (tmp_path / "out" / CONFIG).write_text(json.dumps({**config, "target_modules": short}))
    from tada_studio.exporting.certify import certify

    found = certify(some, tmp_path / "out", base)
    assert not found.holds and len(found.beyond) == 7 and "7 layers adapted beyond the merge" in found.sentences[0]
