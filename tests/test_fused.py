"""Fused projections beside split ones: each adapter is brought to what the base's class has, and the numbers are the same.

Every layout is written out here as a loop over heads, and compared with the weights that transformers' own class runs.
"""

import json

import pytest
import torch
import transformers as hf
from peft import PeftModel
from safetensors.torch import save_file
from zoo import ZOO, adapter_folder, answer, model_folder, opened

from tada_studio import pipeline
from tada_studio.errors import MismatchError
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
SUM = Recipe(drop="none", rank=24)


def by_hand(folder, sizes, seed, alpha=6):
    """An adapter of rank 3 whose modules are called and shaped like this; (folder, name -> dense update in float64)."""
    draw, tensors, deltas = torch.Generator().manual_seed(seed), {}, {}
    for name, (d_out, d_in) in sizes.items():
        up, down = 0.3 * torch.randn(d_out, 3, generator=draw), 0.3 * torch.randn(3, d_in, generator=draw)
        start = f"base_model.model.{name}"
        tensors |= {f"{start}.lora_A.weight": down, f"{start}.lora_B.weight": up}
        deltas[name] = alpha / 3 * (up.double() @ down.double())
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS)
    ends = sorted({name.rpartition(".")[2] for name in sizes})
    about = {"peft_type": "LORA", "r": 3, "lora_alpha": alpha, "target_modules": ends, "task_type": "CAUSAL_LM"}
    (folder / CONFIG).write_text(json.dumps(about))
    return folder, deltas


def contiguous(sizes, heads):
    """Which rows of the fused layer are q's, k's, v's: one after the other."""
    rows, start = [], 0
    for size in sizes:
        rows.append(list(range(start, start + size)))
        start += size
    return rows


def by_group(sizes, heads):
    """The heads of q that share a key, that key's, its value's; group after group."""
    queries, groups, head = heads
    q, k, v, row = [], [], [], 0
    for _ in range(groups):
        for part, many in ((q, queries // groups), (k, 1), (v, 1)):
            part += range(row, row + many * head)
            row += many * head
    return [q, k, v]


#: Class with a fused layer -> its name, what its parts are called elsewhere, the layout, (heads of q, of k, their size).
FUSED = {
    "Phi-3": ("model.layers.{}.self_attn.{}", "qkv_proj", contiguous, (2, 2, 8)),
    "GPT-NeoX": ("gpt_neox.layers.{}.attention.{}", "query_key_value", by_group, (2, 2, 8)),
}


@pytest.mark.parametrize("name", FUSED)
def test_split_updates_of_a_fused_base_are_one_update_of_its_layer(name, tmp_path):
    kind, (path, fused, layout, heads) = ZOO[name], FUSED[name]
    base = model_folder(tmp_path / "base", kind)
    task = adapter_folder(tmp_path / "task", kind, base, [fused], 1)
    parts = ("q_proj", "k_proj", "v_proj")
    sizes = {path.format(i, part): (16, 16) for i in (0, 1) for part in parts if (i, part) != (1, "k_proj")}
    split, deltas = by_hand(tmp_path / "split", sizes, 2)
    pair = pipeline.read_pair(task, split, base=base)
    assert set(pair.domain.modules) == {path.format(i, fused) for i in (0, 1)}
    assert any(f"becomes {path.format(0, fused)}" in remark for remark in pair.domain.passport.remarks)
    certificate = pipeline.export(merge(pair, recipe=SUM), tmp_path / "out")
    assert certificate.holds, certificate.sentences
    found = answer(PeftModel.from_pretrained(opened(kind, base), str(tmp_path / "out")).eval(), kind)
    wanted = PeftModel.from_pretrained(opened(kind, base), str(task)).merge_and_unload()
    for layer in (0, 1):
        weight = wanted.get_submodule(path.format(layer, fused)).weight
        for part, rows in zip(parts, layout([16, 16, 16], heads), strict=True):
            if (delta := deltas.get(path.format(layer, part))) is not None:
                weight.data[rows] += delta.float()
    assert (found - answer(wanted.eval(), kind)).abs().max() <= 1e-5 * max(1.0, float(found.abs().max()))


#: Names of a fused layer -> the layout that they always had; the rest of Megatron's names beside it.
MEGATRON = {"linear_proj": ("o_proj", (16, 16)), "linear_fc2": ("down_proj", (16, 24))}


@pytest.mark.parametrize(("path", "layout"), [
    ("model.layers.{}.self_attn.qkv_proj", contiguous), ("decoder.layers.{}.self_attention.linear_qkv", by_group),
    ("language_model.encoder.layers.{}.self_attention.query_key_value", by_group),
])  # fmt: skip
def test_a_fused_update_of_a_split_base_is_one_of_each_part(path, layout, tmp_path):
    kind = ZOO["Llama"]._replace(config=lambda: hf.LlamaConfig(**{**ZOO["Llama"].config().to_diff_dict(), "num_attention_heads": 4,
                                                                  "num_key_value_heads": 2, "head_dim": 4}))  # fmt: skip
    base = model_folder(tmp_path / "base", kind)
    task = adapter_folder(tmp_path / "task", kind, base, ["q_proj", "down_proj"], 1)
    sizes = {path.format(i): (32, 16) for i in (0, 1)}
    fc1 = path.replace("self_attention", "mlp").rpartition(".")[0] + ".linear_fc1"
    megatron = path.startswith("decoder")
    sizes |= {fc1.format(0): (48, 16), fc1.replace("fc1", "fc2").format(1): (16, 24)} if megatron else {}
    folder, deltas = by_hand(tmp_path / "fused", sizes, 2)
    pair = pipeline.read_pair(task, folder, base=base)
    certificate = pipeline.export(merge(pair, recipe=SUM), tmp_path / "out")
    assert certificate.holds, certificate.sentences
    found = answer(PeftModel.from_pretrained(opened(kind, base), str(tmp_path / "out")).eval(), kind)
    wanted = PeftModel.from_pretrained(opened(kind, base), str(task)).merge_and_unload()
    for i in (0, 1):
        block = wanted.get_submodule(f"model.layers.{i}")
        for part, rows in zip("qkv", layout([16, 8, 8], (4, 2, 4)), strict=True):
            getattr(block.self_attn, f"{part}_proj").weight.data += deltas[path.format(i)][rows].float()
    if megatron:
        first, last = wanted.get_submodule("model.layers.0.mlp"), wanted.get_submodule("model.layers.1.mlp")
        first.gate_proj.weight.data += deltas[fc1.format(0)][:24].float()
        first.up_proj.weight.data += deltas[fc1.format(0)][24:].float()
        last.down_proj.weight.data += deltas[fc1.replace("fc1", "fc2").format(1)].float()
    assert (found - answer(wanted.eval(), kind)).abs().max() <= 1e-5 * max(1.0, float(found.abs().max()))


@pytest.mark.parametrize(("path", "rows"), [
    ("model.layers.{}.self_attn.query_key_value", 48),  # by group in one family, one after the other in another
    ("model.layers.{}.self_attn.qkv_proj", 40),  # not the rows that the parts have
])  # fmt: skip
def test_a_layout_that_is_not_known_is_refused_by_name(path, rows, tmp_path):
    kind = ZOO["Llama"]
    base = model_folder(tmp_path / "base", kind)
    task = adapter_folder(tmp_path / "task", kind, base, kind.task, 1)
    folder, _ = by_hand(tmp_path / "fused", {path.format(0): (rows, 16)}, 2)
    with pytest.raises(MismatchError, match=rf"{path.rpartition('.')[2]}.*has no such layer"):
        pipeline.read_pair(task, folder, base=base)


def test_without_the_base_it_is_refused_with_the_way_out(tmp_path):
    task, _ = by_hand(tmp_path / "a", {"model.layers.0.self_attn.qkv_proj": (48, 16)}, 1)
    domain, _ = by_hand(tmp_path / "b", {"model.layers.0.self_attn.q_proj": (16, 16)}, 2)
    with pytest.raises(MismatchError, match="Name the base"):
        pipeline.read_pair(task, domain)
