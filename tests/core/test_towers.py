"""Towers: an address is tower, layer and projection, and nothing that is counted crosses from one tower to the next."""

import hashlib
from dataclasses import replace

import pytest
import torch
from dense import lora

from tada_studio import figures, report
from tada_studio.addresses import Address, addresses
from tada_studio.core import stats
from tada_studio.core.conflict import direction
from tada_studio.core.gates import Readings, gates
from tada_studio.core.mix import relative_depth
from tada_studio.core.selectors import families
from tada_studio.core.strokes import depth_ramp, painted
from tada_studio.errors import RecipeError
from tada_studio.lora import Adapter, Pair, Passport
from tada_studio.pipeline.merge import Merge
from tada_studio.read import measured
from tada_studio.recipe import Recipe

#: An encoder of three layers beside a decoder of six, which attends to itself and across.
ENCODER = [f"model.encoder.layers.{i}.self_attn.{p}" for i in range(3) for p in ("q_proj", "v_proj")]
DECODER = [
    f"model.decoder.layers.{i}.{attention}.{p}"
    for i in range(6)
    for attention in ("self_attn", "encoder_attn")
    for p in ("q_proj", "v_proj")
]
NAMES = [*ENCODER, *DECODER]


def pair_of_towers(names=NAMES):
    sides = [[lora(name, 100 * side + i, 6, 5, 2) for i, name in enumerate(names)] for side in (1, 2)]
    return Pair(*(Adapter(label, {m.name: m for m in side}) for label, side in zip("td", sides, strict=True)))


def readings_of(pair, inputs=8, seed=5):
    draw, n = torch.Generator().manual_seed(seed), len(pair.names)
    task, domain = torch.rand(2, n, inputs, generator=draw, dtype=torch.float64) + 0.1
    moment = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    about = {"task": pair.task.digest, "domain": pair.domain.digest}
    tokens, both = torch.full((inputs,), 3), torch.ones(n, 2, dtype=torch.bool)
    return Readings(pair.names, task, domain, task, domain, moment, tokens, both, about)


def only(readings, kept):
    """The readings of some modules."""
    rows = [readings.names.index(name) for name in kept]
    parts = [getattr(readings, name)[rows] for name in ("task", "domain", "rms_task", "rms_domain", "moment")]
    return Readings(tuple(kept), *parts, readings.tokens, readings.present[rows], readings.about)


# -- addresses ---------------------------------------------------------------------------------------------------------


def test_encoder_and_decoder_stand_apart_and_read_as_a_layer_computes():
    places = addresses(sorted(NAMES))
    assert places["model.encoder.layers.1.self_attn.q_proj"] == Address(1, "q_proj", "encoder")
    assert [p for p in places.values() if p.tower == "decoder" and p.layer == 5] == [
        Address(5, name, "decoder")
        for name in ("self_attn.q_proj", "self_attn.v_proj", "encoder_attn.q_proj", "encoder_attn.v_proj")
    ]
    assert (
        str(Address(1, "q_proj", "encoder")) == "encoder layer 1 q_proj"
        and str(Address(1, "q_proj")) == "layer 1 q_proj"
    )
    assert next(iter(places.values())).tower == "encoder", "what reads the input stands first"


@pytest.mark.parametrize(("names", "towers"), {
    "T5": (["encoder.block.0.layer.0.SelfAttention.q", "decoder.block.0.layer.1.EncDecAttention.q"], ["encoder", "decoder"]),
    "Whisper": (["model.encoder.conv1", "model.encoder.layers.0.fc1", "model.decoder.layers.0.fc1", "proj_out"],
                ["encoder", "encoder", "decoder", "decoder"]),
    "CLIP": (["vision_model.encoder.layers.0.mlp.fc1", "text_model.encoder.layers.0.mlp.fc1", "visual_projection",
              "text_projection"], ["vision_model", "text_model", "vision_model", "text_model"]),
    "LLaVA": (["model.vision_tower.encoder.layers.0.mlp.fc1", "model.language_model.layers.0.mlp.up_proj",
               "model.multi_modal_projector.linear_1", "lm_head", "model.vision_tower.embeddings.patch_embedding"],
              ["vision_tower", "language_model", "language_model", "language_model", "vision_tower"]),
    "Qwen2-VL": (["model.visual.blocks.0.attn.qkv", "model.visual.merger.mlp.0", "model.language_model.layers.0.mlp.up_proj"],
                 ["visual", "visual", "language_model"]),
    "a U-Net": (["down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.attentions.0.proj_in",
                 "mid_block.resnets.0.conv1", "up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"],
                ["down_blocks", "mid_block", "mid_block", "up_blocks"]),
    "a U-Net with its text encoder": (["unet.down_blocks.1.attentions.0.proj_in", "unet.up_blocks.1.attentions.0.proj_in",
                                       "text_encoder.text_model.encoder.layers.0.mlp.fc1"],
                                      ["unet.down_blocks", "unet.up_blocks", "text_encoder"]),
    "Flux": (["transformer.single_transformer_blocks.0.proj_mlp", "transformer.transformer_blocks.0.ff.net.2",
              "transformer.x_embedder", "transformer.proj_out"],
             ["single_transformer_blocks", "transformer_blocks", "transformer_blocks", "single_transformer_blocks"]),
    "Llama": (["model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj", "lm_head", "model.embed_tokens"], [""] * 4),
    "only the decoder": (DECODER[:3], [""] * 3),
}.values())  # fmt: skip
def test_every_family_has_its_towers(names, towers):
    places = addresses(names)
    assert [places[name].tower for name in names] == towers


#: A side of a U-Net like SDXL's: two blocks of two attentions of two transformer blocks each, and what is around them.
SDXL_DOWN = [
    f"unet.down_blocks.{block}.{part}"
    for block in (1, 2)
    for part in (*(f"attentions.{n}.{inside}" for n in (0, 1) for inside in (
        "proj_in", "proj_out", *(f"transformer_blocks.{i}.{layer}" for i in (0, 1) for layer in ("attn1.to_q", "attn2.to_q",
                                                                                                 "ff.net.0.proj")))),
        "resnets.0.conv1", "resnets.1.conv1", "downsamplers.0.conv")
]  # fmt: skip
BLOCK = "unet.down_blocks.2.attentions.1"


def test_rows_of_a_u_net_are_its_transformer_blocks_in_the_order_of_depth():
    around = ["unet.conv_in", "unet.time_embedding.linear_1", "unet.conv_out"]
    middle = [f"unet.mid_block.{part}.conv1" for part in ("resnets.0", "resnets.1")]
    places = addresses([*SDXL_DOWN, *around, *middle, "unet.up_blocks.0.resnets.2.conv1"])
    rows = {
        f"{BLOCK}.transformer_blocks.0.attn1.to_q": (6, "attn1.to_q"), f"{BLOCK}.proj_in": (6, "proj_in"),
        "unet.down_blocks.2.resnets.1.conv1": (6, "conv1"),  # beside the attention of its number
        f"{BLOCK}.transformer_blocks.1.ff.net.0.proj": (7, "ff.net.0.proj"), f"{BLOCK}.proj_out": (7, "proj_out"),
        "unet.down_blocks.2.downsamplers.0.conv": (7, "conv"), "unet.conv_in": (0, "conv_in"),
        "unet.time_embedding.linear_1": (0, "linear_1"), "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_q":
        (1, "attn2.to_q"),
    }  # fmt: skip
    for name, (layer, projection) in rows.items():
        assert places[name] == Address(layer, projection, "down_blocks"), name
    assert [places[name][::2] for name in middle] == [(0, "mid_block"), (1, "mid_block")]
    assert places["unet.conv_out"].tower == "up_blocks"
    down = [place for place in places.values() if place.tower == "down_blocks"]
    assert sorted({place.layer for place in down}) == list(range(8)) and len(set(down)) == len(down)
    assert [p.projection for p in down if p.layer == 1] == ["attn1.to_q", "attn2.to_q", "ff.net.0.proj", "proj_out"]


def test_attention_and_mlp_are_known_by_the_names_of_diffusers():
    labels = ("attn1.to_q", "attn2.to_out.0", "to_add_out", "add_k_proj", "ff.net.0.proj", "proj_mlp", "conv1")
    assert families(labels) == {"attn": [0, 1, 2, 3], "mlp": [4, 5]}


def test_a_block_without_attention_is_a_row_for_each_of_its_parts():
    places = addresses(
        ["up_blocks.0.upsamplers.0.conv", "up_blocks.0.attentions.2.proj_out", "down_blocks.0.resnets.1.conv1"]
    )
    assert [(p.tower, p.layer) for p in places.values()] == [("down_blocks", 0), ("up_blocks", 0), ("up_blocks", 0)]


# -- statistics --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calibration", ["projection", "global"])
def test_gates_and_depth_of_a_tower_are_those_that_it_has_alone(calibration):
    pair, recipe = pair_of_towers(), Recipe(method="gates", calibration=calibration)
    readings = readings_of(pair)
    merge = Merge(pair, readings, recipe)
    assert list(merge.gates.by_tower) == list(merge.depths) == ["encoder", "decoder"]
    for tower, names in (("encoder", ENCODER), ("decoder", DECODER)):
        ours = [name for name in pair.names if name in names]
        alone = Merge(pair_of_towers(names), None, recipe)
        gate_map, profile = gates(only(readings, ours), recipe), merge.depths[tower]
        part = merge.gates.by_tower[tower]
        assert torch.equal(part.values, gate_map.values) and part.layers == gate_map.layers == alone.gates.layers
        depth = torch.tensor(part.layers).double()[:, None].expand_as(part.values)[part.there]
        assert profile.rho == stats.spearman(depth, part.values[part.there])
        assert len(profile.share) == len(part.layers) and profile.low.shape == profile.share.shape
        assert profile.interval is not None and profile.over_layers is not None
    both = torch.cat([part.values[part.there] for part in merge.gates.by_tower.values()])
    assert len(both) == len(NAMES), "no cell is lost between the towers, and none is in two"
    assert list(merge.norms.towers) == ["encoder"] * 3 + ["decoder"] * 6


def test_each_tower_has_its_own_depth():
    pair = pair_of_towers()
    depth = dict(zip(pair.names, relative_depth(pair).tolist(), strict=True))
    assert depth["model.encoder.layers.2.self_attn.q_proj"] == depth["model.decoder.layers.5.self_attn.q_proj"] == 1
    assert depth["model.decoder.layers.1.self_attn.q_proj"] == 0.2
    ramp = Merge(pair, None, Recipe(overrides=depth_ramp(Merge(pair).gates, 0.0, 1.0)))
    assert ramp.gates.by_tower["encoder"].strength[0, :, 0].tolist() == [0, 0.5, 1]
    assert ramp.gates.by_tower["decoder"].strength[0, :, 0].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


def test_smoothing_stops_at_the_end_of_a_tower():
    pair = pair_of_towers()
    found = Merge(pair, None, Recipe(overrides=("encoder : 1", "decoder : 0", "* : smooth"))).gates
    assert (found.by_tower["encoder"].values == 1).all() and (found.by_tower["decoder"].values == 0).all()


# -- selector lines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "cells"), [
    ("encoder : layers 0-1 : attn : 0.75", {("encoder", 0): 2, ("encoder", 1): 2}),
    ("Decoder : 0.75", {("decoder", i): 4 for i in range(6)}),
    ("decoder : self_attn.q_proj : 0.75", {("decoder", i): 1 for i in range(6)}),
    ("encoder : deepest third : 0.75", {("encoder", 2): 2}),
    ("deepest third : 0.75", {("encoder", 2): 2, ("decoder", 4): 4, ("decoder", 5): 4}),
    ("layer 1 : 0.75", {("encoder", 1): 2, ("decoder", 1): 4}),
    ("layer 1 : encoder.q_proj : 0.75", {("encoder", 1): 1}),
    ("layer 1 : decoder.encoder_attn.q_proj,encoder.v_proj : 0.75", {("encoder", 1): 1, ("decoder", 1): 1}),
])  # fmt: skip
def test_a_line_may_name_a_tower(line, cells):
    found = Merge(pair_of_towers(), None, Recipe(overrides=(line,))).gates
    rows = zip(found.towers, found.layers, (found.values == 0.75).sum(1).tolist(), strict=True)
    assert {(tower, layer): n for tower, layer, n in rows if n} == cells


def test_recipes_from_before_there_were_towers_name_a_stack_by_its_path():
    names = ["model.vision_tower.encoder.layers.0.self_attn.q_proj", "model.language_model.layers.0.self_attn.q_proj"]
    found = Merge(
        pair_of_towers(names), None, Recipe(overrides=("layer 0 : vision_tower.encoder.q_proj : 0.75",))
    ).gates
    assert (
        found.by_tower["vision_tower"].values.item() == 0.75 and found.by_tower["language_model"].values.item() == 0.5
    )
    also = Merge(pair_of_towers(names), None, Recipe(overrides=("vision : q : 0.75",))).gates
    assert torch.equal(also.values, found.values), "the first word of a tower's name is enough"


@pytest.mark.parametrize(("names", "line", "says"), [
    (NAMES, "encodr : layer 0 : attn : 0.5", r"'encodr' names no tower \(encoder, decoder\)"),
    (DECODER, "decoder : layer 0 : attn : 0.5", "this base has only one tower"),
    (NAMES, "encoder : layer 5 : 0.5", "Layers go from 0 to 2 of encoder, from 0 to 5 of decoder"),
])  # fmt: skip
def test_a_line_about_a_tower_that_is_not_there_is_one_sentence(names, line, says):
    with pytest.raises(RecipeError, match=says):
        Merge(pair_of_towers(names), None, Recipe(overrides=(line,))).gates  # noqa: B018


def test_strokes_and_directions_write_the_tower_and_are_read_back():
    pair = pair_of_towers()
    gate_map = Merge(pair).gates
    lines = painted(gate_map, (), [Address(1, "q_proj", "encoder"), Address(1, "self_attn.q_proj", "decoder")], 0.25)
    assert lines == ("encoder : layer 1 : q_proj : 0.25", "decoder : layer 1 : self_attn.q_proj : 0.25")
    found = Merge(pair, None, Recipe(overrides=lines)).gates
    assert int((found.values == 0.25).sum()) == 2
    for line in (
        "encoder : layer 1 : v_proj : task 0",
        "layer 1 : encoder.v_proj : task 0",
        "layer 1 : v_proj : task 0",
    ):
        drops = Merge(pair, None, Recipe(discard=(line,))).how.drops
        row = pair.names.index("model.encoder.layers.1.self_attn.v_proj")
        assert drops.task_by_hand.nonzero().tolist() == [[row, 0]], line
    assert str(direction("encoder : layer 1 : v_proj : task 0")) == "encoder : layer 1 : v_proj : task 0"


def test_the_bytes_of_a_single_tower_do_not_move():
    """What 0.1.0's main gave for these factors, before there were towers."""
    names = [f"model.layers.{i}.self_attn.{p}" for i in range(6) for p in ("q_proj", "v_proj")]
    pair = pair_of_towers(names)
    sha = hashlib.sha256()
    recipe = Recipe(
        method="gates", calibration="global", overrides=("deepest third : +0.1", "* : smooth", "layer 1 : q : lock")
    )
    merged = Merge(pair, readings_of(pair), recipe).adapter
    for name in sorted(merged.modules):
        sha.update(merged.modules[name].up.numpy().tobytes() + merged.modules[name].down.numpy().tobytes())
    assert sha.hexdigest()[:16] == "3ad7bd2749c33dfd"


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_towers_are_drawn_one_below_the_other_and_told_one_after_the_other():
    pair = pair_of_towers()
    merge = Merge(pair, readings_of(pair), Recipe(method="gates"))
    plot = figures.depth_profile(merge.depths, merge.gates).plot
    assert plot.layout.yaxis.domain[0] > plot.layout.yaxis2.domain[1]
    means = [trace for trace in plot.data if trace.name and trace.name.endswith("mean gate")]
    assert len({trace.xaxis for trace in means}) == 2 and [len(trace.x) for trace in means] == [3, 6]
    norms = figures.norms_by_layer(merge.norms).plot
    assert norms.layout.yaxis.domain[0] > norms.layout.yaxis2.domain[1]
    says = report.depth_sentences(merge.depths, True)
    assert says.startswith("Encoder: the domain's share ") and "Decoder: the domain's share " in says
    leans = report.lean_sentence(Merge(pair, None, Recipe(overrides=("encoder : 1", "decoder : 0"))).gates)
    assert leans == "Encoder: layers 0-2 lean to domain. Decoder: layers 0-5 lean to task, none to domain."


#: A T5 whose encoder and decoder share a name, of one and of two layers.
SHORT = ["encoder.block.0.layer.0.SelfAttention.q", "encoder.block.0.layer.1.DenseReluDense.wi"] + [
    f"decoder.block.{i}.layer.{name}"
    for i in (0, 1)
    for name in ("0.SelfAttention.q", "1.EncDecAttention.q", "2.DenseReluDense.wi")
]


def test_columns_of_each_tower_stand_in_the_order_of_its_layers():
    towers = Merge(pair_of_towers(SHORT)).gates.by_tower
    assert towers["encoder"].projections == ("q", "wi")
    assert towers["decoder"].projections == ("SelfAttention.q", "EncDecAttention.q", "wi")


def test_towers_of_fewer_than_three_layers_have_no_third_that_is_not_there():
    pair = pair_of_towers(SHORT)
    says = report.depth_sentences(Merge(pair, readings_of(pair), Recipe(method="gates")).depths, True)
    assert "nan" not in says and says.count("first and second layer 0.") == 1
    found = measured(replace(pair.task, passport=Passport("t", {}))).passport.facts["norm by depth third"]
    assert [part.count("/") for part in found.split(", ")] == [0, 1]


def test_both_gates_over_depth_stay_within_a_tower():
    pair = pair_of_towers()
    readings = replace(readings_of(pair), on_task=readings_of(pair, seed=9))
    found = Merge(pair, readings, Recipe()).separation
    assert {tower: len(depth.on_domain.mean) for tower, depth in found.depths.items()} == {"encoder": 3, "decoder": 6}
    part = found.gates.cut("encoder", found.on_domain)
    assert torch.equal(found.depths["encoder"].on_domain.mean, part.nanmean(1)) and not part.isnan().any()
    plot = figures.separation_depth(found).plot
    assert plot.layout.yaxis.domain[0] > plot.layout.yaxis2.domain[1]
    says = report.separation_sentence(found)
    assert "Encoder: separation " in says and "Decoder: separation " in says
