"""The certificate finds whatever is not the merge: each of these breaks one thing and must be caught."""

import json
import shutil
import threading
from pathlib import Path

import menagerie
import pytest
import torch
from menagerie import FEATURES
from peft.tuners.lora import Linear
from safetensors.torch import load_file, save_file

from tada_studio import cli, pipeline
from tada_studio.base_model.loading import loading
from tada_studio.errors import AdapterError, ExportError
from tada_studio.exporting import compare
from tada_studio.exporting.certificate import CERTIFICATE, canonical, read_certificate
from tada_studio.exporting.certify import certify
from tada_studio.lora import CONFIG, WEIGHTS, LoraModule
from tada_studio.pipeline.merge import merge
from tada_studio.progress import silent
from tada_studio.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KEY = "base_model.model.model.layers.1.self_attn."


@pytest.fixture(scope="module")
def merged(pico):
    return merge(pipeline.read_pair(pico.task, pico.domain), None, Recipe(rank=5, dtype="float16"))


@pytest.fixture
def folder(merged, tmp_path):
    pipeline.export(merged, tmp_path / "out")
    return tmp_path / "out"


def tensors(change):
    def harm(folder):
        held = load_file(folder / WEIGHTS)
        save_file({**held, **change(held)}, folder / WEIGHTS, {"format": "pt"})

    return harm


def flip(held):
    """The lowest bit of one number in float16: a relative change of some 1e-6 of the module."""
    factor = held[f"{KEY}v_proj.lora_B.weight"]
    factor.view(torch.int16)[3, 2] ^= 1
    return {}


def swap(held):
    pairs = [(f"{KEY}q_proj.lora_{side}.weight", f"{KEY}o_proj.lora_{side}.weight") for side in "AB"]
    return {ours: held[theirs] for pair in pairs for ours, theirs in (pair, pair[::-1])}


def config(**change):
    def harm(folder):
        file = folder / CONFIG
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))

    return harm


def without(*names):
    def harm(folder):
        held = load_file(folder / WEIGHTS)
        gone = [key for key in held if any(name in key for name in names)]
        save_file({key: held[key] for key in held if key not in gone}, folder / WEIGHTS, {"format": "pt"})

    return harm


HARM = {
    "one flipped bit": tensors(flip),
    "another scale": config(lora_alpha=10),
    "a scale of its own for one module": config(alpha_pattern={"layers.1.self_attn.q_proj": 6}),
    "rsLoRA": config(use_rslora=True),
    "two modules swapped": tensors(swap),
    "both factors turned round": tensors(
        lambda held: {f"{KEY}q_proj.lora_B.weight": -held[f"{KEY}q_proj.lora_B.weight"]}
    ),
    "a missing module": without("layers.1.self_attn.q_proj"),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_what_is_not_the_merge_does_not_hold(harm, merged, folder):
    assert certify(merged, folder).holds
    harm(folder)
    assert not certify(merged, folder).holds


def test_a_factor_that_is_missing_is_one_sentence(merged, folder):
    without("layers.1.self_attn.q_proj.lora_B")(folder)
    with pytest.raises(AdapterError, match="not its partner"):
        certify(merged, folder)


@pytest.mark.parametrize("side", "AB")
def test_a_transposed_factor_of_another_shape_is_one_sentence_and_a_square_one_is_seen(side, merged, folder, tmp_path):
    key = f"{KEY}q_proj.lora_{side}.weight"
    tensors(lambda held: {key: held[key].mT.contiguous()})(folder)
    with pytest.raises(ExportError, match="PEFT cannot load it"):
        certify(merged, folder)
    square = LoraModule(
        "layers.0.q", *(torch.randn(6, 6, generator=torch.Generator().manual_seed(i)) for i in (1, 2)), 1.0
    )
    turned = {"A": (square.up, square.down.mT), "B": (square.up.mT, square.down)}[side]
    assert compare.check(square, layer(*turned)).relative_error > 0.1
    assert compare.check(square, layer(square.up, square.down)).relative_error == 0


def layer(up, down, alpha=None):
    """PEFT's own layer with these factors."""
    from peft import LoraConfig

    found = Linear(torch.nn.Linear(down.shape[1], len(up), bias=False), "merged",
                   LoraConfig(), len(down), lora_alpha=alpha or len(down))  # fmt: skip
    found.lora_A["merged"].weight.data, found.lora_B["merged"].weight.data = down, up
    return found.eval()


@pytest.mark.parametrize("rank", [1, 4, 12])
def test_the_distance_is_that_of_the_full_width_matrices(rank):
    draw = torch.Generator().manual_seed(rank)
    up, down = torch.randn(20, rank, generator=draw).double(), torch.randn(rank, 15, generator=draw).double()
    noise = 1e-5 * torch.randn(20, rank, generator=draw).double()
    ours, theirs = LoraModule("a", up, down, 0.5), layer(up + noise, down, alpha=0.5 * rank)
    found = compare.check(ours, theirs)
    gap = 0.5 * (up + noise) @ down - ours.delta()
    assert found.relative_error == pytest.approx(float(gap.norm() / ours.delta().norm()), rel=1e-9)
    assert float(gap.abs().max()) <= found.max_error * (1 + 1e-9) <= 100 * float(gap.abs().max())
    assert found.forward_error == pytest.approx(found.relative_error, rel=3)


def test_what_peft_computes_is_run_and_not_only_what_it_holds(merged, folder, monkeypatch):
    """A PEFT that held the right factors and used them wrongly."""
    honest = Linear.forward
    monkeypatch.setattr(Linear, "forward", lambda self, x, *a, **k: honest(self, x, *a, **k) * 1.001)
    found = certify(merged, folder)
    assert found.worst == 0 and not found.holds and "add what it adds, to 1.0e-03" in " ".join(found.sentences)


@pytest.mark.parametrize("feature", ["Conv2d 3x3", "embedding", "lora_bias", "Conv1D (GPT-2)", "bfloat16"])
def test_other_kinds_of_layers_are_run_too(feature, tmp_path):
    folders = [menagerie.adapter(tmp_path / str(seed), FEATURES[feature], seed) for seed in (1, 2)]
    adapter = merge(pipeline.read_pair(*folders))
    certificate = pipeline.export(adapter, tmp_path / "out")
    assert certificate.worst == 0 and max(m.forward_error for m in certificate.modules.values()) < 1e-12
    tensors(lambda held: {key: 1.01 * t for key, t in held.items() if "lora_B.weight" in key or "embedding_B" in key})(
        tmp_path / "out"
    )
    again = certify(adapter, tmp_path / "out")
    assert {round(m.relative_error, 2) for m in again.modules.values()} <= {0.01} and not again.holds


def test_float64_factors_may_lose_what_float32_loses_and_no_more(pico, tmp_path):
    """PEFT holds float32; in the number format of the file nothing is lost."""
    certificate = pipeline.export(merge(pipeline.read_pair(pico.task, pico.domain)), tmp_path / "out")
    assert certificate.delta_room == 0 and certificate.worst == 0


def old_certificate(content):
    """certificate.json as version 0.1 wrote it: no digest, two errors a module, fewer fields."""
    modules = {name: {k: m[k] for k in ("max_error", "relative_error")} for name, m in content["modules"].items()}
    dropped = ("digest", "beyond", "delta_room", "base")
    kept = {key: value for key, value in content.items() if key not in dropped}
    return {**kept, "format": "tada-studio certificate 1", "modules": modules}


def test_a_certificate_of_version_0_1_is_still_verified(folder, tmp_path, capsys):
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    (old / CERTIFICATE).write_text(canonical(old_certificate(read_certificate(folder))))
    assert cli.main(["verify", str(old)]) == 0
    assert capsys.readouterr().out.endswith("PASS\n")


def test_peft_builds_its_model_while_nobody_else_builds_one(merged, folder, pico):
    """PEFT changes torch's own classes meanwhile: a base that is loaded in another thread would come out empty, or fail."""
    done = threading.Event()

    def read_back():
        certify(merged, folder)
        done.set()

    register, reader = torch.nn.Module.register_parameter, threading.Thread(target=read_back)
    with loading(Path(pico.base), silent):
        reader.start()
        assert not done.wait(0.5)
    reader.join(60)
    assert done.is_set() and torch.nn.Module.register_parameter is register
