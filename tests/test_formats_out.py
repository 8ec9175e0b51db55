"""A merge in other programs' formats: each file is read by a reader of its own here, compared in float64, and certified."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from foreign import SD15, kohya_file, permuted
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from tada_studio import cli, pipeline
from tada_studio.errors import ExportError
from tada_studio.exporting import llama_cpp
from tada_studio.exporting.certificate import read_certificate
from tada_studio.exporting.formats import FILES
from tada_studio.exporting.portable import portability
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def merged(pico):
    return merge(pipeline.read_pair(pico.task, pico.domain))


def of_llama_cpp(file):
    """tensor of the base -> the dense update that llama.cpp adds to it: alpha / rank * lora_b @ lora_a."""
    reader = gguf.GGUFReader(file)
    alpha = reader.get_field("adapter.lora.alpha").contents()
    found = {tensor.name: np.array(tensor.data, dtype=np.float64) for tensor in reader.tensors}
    names = {name.rpartition(".")[0] for name in found}
    pairs = {n: (found[f"{n}.lora_b"], found[f"{n}.lora_a"]) for n in names}
    return {n: torch.tensor(alpha / len(down) * (up @ down)) for n, (up, down) in pairs.items()}


def test_a_gguf_lora_is_what_llama_cpp_s_own_rules_make_of_the_merge(pico, merged, tmp_path):
    certificate = pipeline.export(merged, tmp_path / "out", formats=["gguf"])
    assert certificate.holds and any(
        "adapter_model.gguf" in s and "number for number" in s for s in certificate.sentences
    )
    config, found = AutoConfig.from_pretrained(pico.base), of_llama_cpp(tmp_path / "out" / FILES["gguf"])
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    assert len(found) == len(merged.modules)
    for name, module in merged.modules.items():
        wanted = module.delta()
        if name.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if name.endswith("q_proj") else config.num_key_value_heads
            wanted = permuted(wanted, heads, None)
        torch.testing.assert_close(found[f"{table.get_name(name)}.weight"], wanted, rtol=1e-6, atol=1e-9)
    again = pipeline.read_adapter(tmp_path / "out" / FILES["gguf"])
    for name, module in merged.modules.items():
        assert torch.equal(again.modules[name].up, module.up) and torch.equal(again.modules[name].down, module.down)


def test_a_gguf_file_that_is_not_the_merge_fails_the_certificate(merged, tmp_path):
    pipeline.export(merged, tmp_path / "out", formats=["gguf"])
    file = tmp_path / "out" / FILES["gguf"]
    content = bytearray(file.read_bytes())
    content[-3] ^= 0x40
    file.write_bytes(content)
    wrong, found = pipeline.verify(tmp_path / "out")
    assert not found.holds and any("adapter_model.gguf is not the file" in one for one in wrong)


def test_the_file_of_diffusers_is_the_merge_of_two_kohya_files(tmp_path):
    for name in "ab":
        kohya_file(tmp_path / f"{name}.safetensors", SD15)
    merged = merge(pipeline.read_pair(tmp_path / "a.safetensors", tmp_path / "b.safetensors"), recipe=Recipe(rank=4))
    certificate = pipeline.export(merged, tmp_path / "out", formats=["diffusers"])
    file = tmp_path / "out" / FILES["diffusers"]
    assert certificate.holds and certificate.formats[file.name].modules == len(merged.modules)
    tensors = load_file(file)
    for name, module in merged.modules.items():  # diffusers' own rule without an alpha: scale 1
        found = tensors[f"{name}.lora_B.weight"].double() @ tensors[f"{name}.lora_A.weight"].double()
        torch.testing.assert_close(found, module.delta(), rtol=1e-12, atol=1e-12)
    assert read_certificate(tmp_path / "out")["outputs"].keys() >= {file.name}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "load_lora_weights" in card and "AutoModel" not in card
    assert {tick.loader: tick.works for tick in certificate.loaders} == {
        "PEFT": True, "vLLM": False, "llama.cpp": False, "LoRAX": False}  # fmt: skip
    save_file({**tensors, f"{name}.lora_B.weight": tensors[f"{name}.lora_B.weight"] * 2}, file)
    assert pipeline.verify(tmp_path / "out")[1].formats[file.name].wrong == (name,)


def test_layers_of_a_unet_alone_get_the_name_of_the_part(pico, merged, tmp_path):
    modules = {f"up_blocks.{i}.attentions.0.to_q": m for i, m in enumerate(list(merged.modules.values())[:2])}
    unet = replace(merged, base=None, modules={name: replace(m, name=name) for name, m in modules.items()})
    assert pipeline.export(unet, tmp_path / "out", formats=["diffusers"]).holds
    with safe_open(tmp_path / "out" / FILES["diffusers"], framework="pt") as file:
        assert all(key.startswith("unet.up_blocks.") for key in file.keys())


@pytest.mark.parametrize(("name", "says"), [("diffusers", "no layer of a pipeline"), ("onnx", "gguf or diffusers")])
def test_what_a_format_cannot_hold_is_one_sentence_and_nothing_is_written(name, says, merged, tmp_path):
    with pytest.raises(ExportError, match=says):
        pipeline.export(merged, tmp_path / "out", formats=[name])
    assert not (tmp_path / "out").exists()


def test_without_the_base_s_config_no_gguf_is_written(merged, tmp_path):
    with pytest.raises(ExportError, match="config is not at hand"):
        pipeline.export(replace(merged, base="nobody/nothing"), tmp_path / "out", formats=["gguf"])


def test_the_command_line_writes_the_format(pico, tmp_path, capsys):
    flags = [
        "--task",
        str(pico.task),
        "--domain",
        str(pico.domain),
        "--format",
        "gguf",
        "-o",
        str(tmp_path / "out"),
        "--json",
    ]
    assert cli.main(["merge", *flags]) == 0
    says = json.loads(capsys.readouterr().out)["says"]
    assert any("adapter_model.gguf" in one for one in says) and (tmp_path / "out" / FILES["gguf"]).is_file()
    assert "--lora adapter_model.gguf" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("works", [True, False])
def test_the_tick_of_llama_cpp_says_what_it_did_where_it_is_installed(works, merged, tmp_path, monkeypatch):
    asked = []

    class Llama:
        def __init__(self, model, lora_path, **_):
            asked.append((model, lora_path))
            if not works:
                raise RuntimeError("failed to load lora adapter")

        def close(self):
            pass

    monkeypatch.setitem(sys.modules, "llama_cpp", SimpleNamespace(Llama=Llama, __spec__=object()))
    monkeypatch.setattr(llama_cpp, "version", lambda _: "9.9")
    (tmp_path / "base.gguf").write_bytes(b"")
    pipeline.export(merged, tmp_path / "out", formats=["gguf"])
    ticks = portability(tmp_path / "out")
    assert llama_cpp.loaded_here(ticks, tmp_path / "out", str(tmp_path / "none.gguf")) == ticks and not asked
    found = {tick.loader: tick for tick in llama_cpp.loaded_here(ticks, tmp_path / "out", str(tmp_path / "base.gguf"))}
    assert found["llama.cpp"].works == works and len(asked) == 1 and found["vLLM"] in ticks
    assert ("was loaded here (llama-cpp-python 9.9)" if works else "failed to load lora adapter") in found[
        "llama.cpp"
    ].says
