"""PEFT's other types with their base at hand: what stands in for them is their update in float64, or says what is lost."""

import pytest
import torch
from peft import FourierFTConfig, IA3Config, LoHaConfig, LoKrConfig, MissConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tada_studio import cli, pipeline
from tada_studio.errors import AdapterError
from tada_studio.lora import WEIGHTS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
TARGETS = ["q_proj", "down_proj"]


def saved(pico, folder, config, seed=0):
    """An adapter of that type with drawn numbers, saved by PEFT; returns (its dense updates by PEFT's merge, its folder)."""
    torch.manual_seed(seed)
    plain = AutoModelForCausalLM.from_pretrained(pico.base, dtype=torch.float64)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(pico.base, dtype=torch.float64), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    merged = dict(model.merge_and_unload().named_modules())
    names = [name for name, _ in plain.named_modules() if name.endswith(tuple(TARGETS))]
    return {name: merged[name].weight.detach() - plain.get_submodule(name).weight.detach() for name in names}, folder


TYPES = {
    "LoHa": LoHaConfig(r=2, alpha=3, target_modules=TARGETS),
    "LoKr": LoKrConfig(r=2, alpha=4, target_modules=TARGETS),
    "MiSS": MissConfig(r=4, target_modules=TARGETS),
    "FourierFT": FourierFTConfig(n_frequency=30, scaling=20.0, target_modules=TARGETS),
}


@pytest.mark.parametrize("config", TYPES.values(), ids=TYPES)
def test_with_its_base_the_update_is_the_types_own(config, pico, tmp_path):
    wanted, folder = saved(pico, tmp_path / "a", config)
    base = pipeline.load_base(pico.base, device="cpu")
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    found = pipeline.read_adapter(folder, base=base)
    assert set(found.modules) == set(wanted) and found.stands_for.kind == config.peft_type.value
    for name, update in wanted.items():
        gap = float((found.modules[name].delta() - update).norm() / update.norm())
        assert gap < 1e-5 and found.stands_for.worst < 1e-5, name
    after = base.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_loha_by_its_own_formula(pico, tmp_path):
    _, folder = saved(pico, tmp_path / "a", TYPES["LoHa"])
    tensors = {name.removeprefix("base_model.model."): t.double() for name, t in load_file(folder / WEIGHTS).items()}
    found = pipeline.read_adapter(folder, base=pico.base)
    for name, module in found.modules.items():
        first, second = (tensors[f"{name}.hada_w{i}_a"] @ tensors[f"{name}.hada_w{i}_b"] for i in (1, 2))
        torch.testing.assert_close(module.delta(), 3 / 2 * first * second, rtol=1e-4, atol=1e-6)
        assert module.rank <= 4  # the product of two of rank 2, entry by entry


def test_a_smaller_rank_says_what_it_loses_and_merges(pico, tmp_path, capsys):
    wanted, folder = saved(pico, tmp_path / "a", TYPES["LoKr"])
    found = pipeline.read_adapter(folder, base=pico.base, dora_rank=1)
    lost = sum(float((found.modules[n].delta() - u).norm() ** 2) for n, u in wanted.items())
    size = sum(float(u.norm() ** 2) for u in wanted.values())
    assert found.stands_for.lost == pytest.approx((lost / size) ** 0.5, rel=1e-3) and found.stands_for.lost > 0.01
    flags = ["--base", str(pico.base), "-o", str(tmp_path / "out")]
    assert cli.main(["passport", str(folder), "--base", str(pico.base)]) == 0
    assert "LOKR, replaced by its best LoRA" in capsys.readouterr().out
    assert cli.main(["merge", "--task", str(folder), "--domain", str(pico.domain), *flags]) == 0


def test_what_the_base_does_not_help_is_one_sentence(pico, tmp_path):
    _, folder = saved(pico, tmp_path / "a", TYPES["LoHa"])
    with pytest.raises(AdapterError, match="give its base too"):
        pipeline.read_adapter(folder)
    config = IA3Config(target_modules=TARGETS, feedforward_modules=["down_proj"])
    _, folder = saved(pico, tmp_path / "b", config)
    with pytest.raises(AdapterError, match="IA3 multiplies activations"):
        pipeline.read_adapter(folder, base=pico.base)
