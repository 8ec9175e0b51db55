"""Modules, adapters, pairs, and what a module's place in the base is called."""

from dataclasses import replace

import pytest
import torch

from tada_studio.errors import AdapterError, MismatchError
from tada_studio.lora import Adapter, Address, LoraModule, Pair, addresses


def lora(
    name="model.layers.0.self_attn.q_proj", up=((1.0,), (2.0,)), down=((3.0, 4.0, 5.0),), scale=2.0, dtype=torch.float32
):
    return LoraModule(name, torch.tensor(up, dtype=dtype), torch.tensor(down, dtype=dtype), scale)


def adapter(*modules, label="some"):
    return Adapter(label, {module.name: module for module in modules})


# -- addresses -------------------------------------------------------------------------------------------------------


def labels(*tails, stack="model.layers"):
    """What the projections of two layers are called, in the order of the map."""
    found = addresses(f"{stack}.{layer}.{tail}" for tail in tails for layer in (1, 0))
    places = list(found.values())
    assert [place.layer for place in places] == [0] * len(tails) + [1] * len(tails)
    assert [place.projection for place in places[: len(tails)]] == [place.projection for place in places[len(tails) :]]
    for name, place in found.items():
        assert f".{place.layer}." in name and name.endswith(f".{place.projection}")
    return [place.projection for place in places[: len(tails)]]


def test_llama_is_called_by_the_last_part_of_its_names_in_the_order_of_computation():
    mlp, attention = (
        ("mlp.down_proj", "mlp.up_proj", "mlp.gate_proj"),
        ("self_attn.o_proj", "self_attn.v_proj", "self_attn.k_proj"),
    )
    order = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert labels(*mlp, *attention, "self_attn.q_proj") == order


def test_gpt2_tells_its_two_c_proj_apart():
    tails = ("mlp.c_proj", "mlp.c_fc", "attn.c_proj", "attn.c_attn")
    assert labels(*tails, stack="transformer.h") == ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]
    assert labels("mlp.c_proj", stack="transformer.h") == ["c_proj"]


def test_bert_tells_its_denses_apart():
    tails = (
        "output.dense",
        "intermediate.dense",
        "attention.output.dense",
        "attention.self.value",
        "attention.self.query",
    )
    order = ["query", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
    assert labels(*tails, stack="bert.encoder.layer") == order


def test_vit_is_called_like_bert():
    tails = (
        "attention.attention.query",
        "attention.attention.key",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    )
    order = ["query", "key", "attention.output.dense", "intermediate.dense", "output.dense"]
    assert labels(*tails, stack="vit.encoder.layer") == order


def test_two_stacks_are_distinct():
    found = addresses(["model.encoder.layers.0.self_attn.q_proj", "model.decoder.layers.0.self_attn.q_proj"])
    assert sorted(map(str, found.values())) == [
        "decoder layer 0 q_proj", "encoder layer 0 q_proj",
    ]  # fmt: skip


def test_projections_are_called_by_what_tells_them_apart_within_their_tower():
    names = ["encoder.block.0.layer.0.SelfAttention.q", "decoder.block.0.layer.0.SelfAttention.q", "decoder.block.0.layer.1.Enc.q",
             "model.visual.blocks.3.attn.qkv", "lm_head"]  # fmt: skip
    found = {name: (place.tower, place.projection) for name, place in addresses(names).items()}
    assert found == {names[0]: ("encoder", "q"), names[1]: ("decoder", "SelfAttention.q"), names[2]: ("decoder", "Enc.q"),
                     names[3]: ("model", "qkv"), names[4]: ("decoder", "lm_head")}  # fmt: skip


@pytest.mark.parametrize("tails", [("to_out.0", "to_q"), ("mlp.0", "mlp.2", "attn.qkv"), ("net.0.proj", "net.2")])
def test_no_projection_is_called_by_a_number(tails):
    assert not any(label.isdecimal() for label in labels(*tails)) and len(set(labels(*tails))) == len(tails)


def test_layers_are_ordered_by_number_not_by_text():
    found = addresses(f"model.layers.{layer}.self_attn.q_proj" for layer in (10, 9, 2))
    assert [place.layer for place in found.values()] == [2, 9, 10]


def test_names_that_nobody_knows_come_last_in_alphabetical_order():
    assert labels("zeta", "self_attn.q_proj", "alpha") == ["q_proj", "alpha", "zeta"]


@pytest.mark.parametrize(
    ("name", "layer"), [("lm_head", 5), ("model.embed_tokens", 2), ("transformer.wte", 2), ("score.0", 5)]
)
def test_a_module_outside_the_layers_counts_with_the_layer_next_to_it(name, layer):
    found = addresses([name, "model.layers.2.self_attn.q_proj", "model.layers.5.self_attn.q_proj"])
    assert found[name].layer == layer and addresses([name])[name].layer == 0


def test_an_address_reads_as_people_say_it():
    assert str(Address(7, "v_proj")) == "layer 7 v_proj"


# -- modules and adapters --------------------------------------------------------------------------------------------


def test_a_module_by_hand():
    module = lora()
    assert module.rank == 1 and module.layer_size == (2, 3)
    assert module.delta().tolist() == [[6.0, 8.0, 10.0], [12.0, 16.0, 20.0]] and module.delta().dtype == torch.float64


def test_an_adapter_without_modules_is_refused():
    with pytest.raises(AdapterError, match="empty: holds no LoRA module at all"):
        Adapter("empty", {})


def test_rank_and_format_of_an_adapter_are_the_largest_of_its_modules():
    wide = lora("model.layers.1.self_attn.q_proj", up=((1.0, 0.0),), down=((1.0,), (0.0,)), dtype=torch.bfloat16)
    assert adapter(lora(), wide).rank == 2
    assert adapter(lora(), wide).dtype == torch.float32
    assert adapter(wide).dtype == torch.bfloat16


def test_the_digest_sees_all_content():
    base = adapter(lora(), lora("model.layers.1.self_attn.q_proj"))
    first, second = base.modules.values()
    others = [
        adapter(first),
        adapter(first, replace(second, scale=2.5)),
        adapter(first, replace(second, name="model.layers.1.self_attn.k_proj")),
        adapter(first, replace(second, up=second.up + 1e-6)),
        adapter(first, replace(second, down=-second.down)),
        adapter(first, replace(second, up=second.up.double(), down=second.down.double())),
        adapter(first, replace(second, up=second.up.half(), down=second.down.half())),
        adapter(first, lora(second.name, up=((1.0,), (2.0,), (0.0,)))),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == len(others) + 1


def test_the_digest_does_not_see_how_the_content_is_stored_or_labelled():
    module = lora(up=((1.0, 2.0), (3.0, 4.0)), down=((5.0, 6.0), (7.0, 8.0)))
    transposed = replace(module, up=module.up.mT.contiguous().mT, down=torch.stack([module.down, module.down])[1])
    sliced = replace(module, up=torch.cat([module.up, module.up], 1)[:, :2].requires_grad_())
    second = lora("model.layers.1.self_attn.q_proj")
    want = adapter(module, second).digest
    assert adapter(second, transposed, label="another").digest == adapter(sliced, second).digest == want


def test_half_precision_has_a_digest():
    halves = [adapter(lora(dtype=dtype)).digest for dtype in (torch.float16, torch.bfloat16)]
    assert halves[0] != halves[1] and all(len(digest) == 64 for digest in halves)


def test_the_same_bytes_in_another_format_are_other_content():
    half = lora(dtype=torch.float16)
    brain = replace(half, up=half.up.view(torch.bfloat16), down=half.down.view(torch.bfloat16))
    assert adapter(half).digest != adapter(brain).digest


# -- pairs -----------------------------------------------------------------------------------------------------------


def test_a_pair_names_every_module_of_either_adapter_once_in_order_of_depth():
    names = ["model.layers.2.self_attn.q_proj", "model.layers.0.self_attn.v_proj", "model.layers.0.self_attn.q_proj"]
    pair = Pair(adapter(lora(names[0]), lora(names[1])), adapter(lora(names[0]), lora(names[2])))
    assert pair.names == (names[2], names[1], names[0])
    assert pair.both(names[0]) == (pair.task.modules[names[0]], pair.domain.modules[names[0]])
    assert pair.both(names[1]) == (pair.task.modules[names[1]], None)
    assert pair.both(names[2]) == (None, pair.domain.modules[names[2]])


def test_adapters_of_layers_of_different_size_are_refused_with_name_and_sizes():
    with pytest.raises(
        MismatchError, match=r"layers.0.self_attn.q_proj: the task adapter was trained on a 2x3 layer, .* on a 2x1 one"
    ):
        Pair(adapter(lora()), adapter(lora(down=((1.0,),))))
    with pytest.raises(MismatchError, match="a 2x3 layer, the domain adapter on a 1x3 one"):
        Pair(adapter(lora()), adapter(lora(up=((1.0,),))))


def test_different_ranks_and_formats_are_a_pair():
    Pair(adapter(lora()), adapter(lora(up=((1.0, 0.0), (2.0, 0.0)), down=((1.0,) * 3,) * 2, dtype=torch.bfloat16)))
