"""Configs and headers of every shape that hypothesis can think of: an adapter or one sentence, never anything else."""

import json
import shutil
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tada_studio.errors import AdapterError
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.read import read_adapter
from tada_studio.read.config import judge
from tada_studio.read.files import parse_header, parse_json

MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
FIELDS = ["peft_type", "r", "lora_alpha", "target_modules", "alpha_pattern", "rank_pattern", "use_rslora", "use_dora", "bias",
          "modules_to_save", "init_lora_weights", "lora_bias", "layer_replication", "base_model_name_or_path", "revision",
          "task_type",
          "peft_version", "fan_in_fan_out", "layers_to_transform", "loftq_config", "trainable_token_indices"]  # fmt: skip
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["LORA", "q_proj", "none"])
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
sizes, offsets = st.lists(st.integers(-2, 2**60), max_size=5), st.lists(st.integers(-5, 10_000), min_size=2, max_size=2)
formats = st.sampled_from(["F32", "BF16", "I64", "F3", 7])
entry = st.fixed_dictionaries(
    {}, optional={"dtype": formats, "shape": anything | sizes, "data_offsets": anything | offsets}
)
keys = st.text(max_size=30) | st.sampled_from(["__metadata__", "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                                               "a.lora_B.weight", "a.lora_A.weight", "a.0.b.lora_embedding_A"])  # fmt: skip


def taken_or_refused(verb, *arguments):
    """Any outcome but an adapter or a proper sentence is an error of ours, and raises."""
    try:
        return verb(*arguments)
    except AdapterError as error:
        says = str(error)
        assert says.endswith(".") and len(says) < 900 and all(c.isprintable() for c in says), says
        return None


@MANY
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_as_a_config(content):
    config = taken_or_refused(parse_json, content, "config")
    if config is not None:
        taken_or_refused(judge, config, "config")


@MANY
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=10), anything, max_size=8))
def test_any_fields_in_a_config(fields):
    taken_or_refused(judge, fields, "config")


@MANY
@given(fields=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=3))
def test_any_fields_in_the_config_of_a_real_adapter(pico, tmp_path, fields):
    folder = tmp_path / "adapter"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pico.task, folder)
    (folder / CONFIG).write_text(json.dumps({**json.loads((folder / CONFIG).read_text()), **fields}))
    found = taken_or_refused(read_adapter, folder)
    if found is not None:
        assert len(found.modules) == 21 and all(str(value).isprintable() for value in found.passport.facts.values())


@MANY
@given(st.dictionaries(keys, entry | anything, max_size=5), st.integers(0, 5000))
def test_any_header(header, size):
    taken_or_refused(parse_header, json.dumps(header).encode(), size, "weights")


@MANY
@given(data=st.data())
def test_any_bytes_changed_in_real_weights(pico, tmp_path, data):
    content = bytearray((pico.task / WEIGHTS).read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, length + 7))] = data.draw(st.integers(0, 255))
    folder = tmp_path / "adapter"
    folder.mkdir(exist_ok=True)
    shutil.copy(pico.task / CONFIG, folder / CONFIG)
    (folder / WEIGHTS).write_bytes(content)
    taken_or_refused(read_adapter, folder)


@pytest.mark.parametrize("count", [pytest.param(50_000, marks=pytest.mark.nightly), 300_000])
def test_a_header_of_very_many_tensors_ends_soon(count, pico, tmp_path, refused):
    folder = tmp_path / "adapter"
    shutil.copytree(pico.task, folder)
    header = json.dumps(
        {f"a{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(count)}
    ).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header)
    refused(read_adapter, folder)
