"""Configs, headers, tensors and folders that were made to hurt, or broken on the way."""

import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tada_studio import cli, pipeline
from tada_studio.errors import AdapterError
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.read import files as reading
from tada_studio.read import read_adapter
from tada_studio.read.files import INDEX, PICKLE

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


def config(**fields):
    return lambda folder: (folder / CONFIG).write_text(
        json.dumps({**json.loads((folder / CONFIG).read_text()), **fields})
    )


def raw_config(content):
    return lambda folder: (folder / CONFIG).write_bytes(content)


def header(change):
    """The weights with their header changed, its length made right."""

    def harm(folder):
        content = (folder / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        new = change(json.loads(content[8 : 8 + length]))
        new = new if isinstance(new, bytes) else json.dumps(new).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(new)) + new + content[8 + length :])

    return harm


def first(change):
    """The header with its first tensor's entry changed."""

    def all_of(entries):
        key = next(k for k in entries if k != "__metadata__")
        return {**entries, key: {**entries[key], **change}}

    return header(all_of)


def weights(content):
    return lambda folder: (folder / WEIGHTS).write_bytes(content)


def tensors(change):
    return lambda folder: save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


def renamed(old, new):
    return tensors(lambda t: {k.replace(old, new): v for k, v in t.items()})


def one(key, tensor):
    return tensors(lambda t: {**t, key: tensor})


Q = "base_model.model.model.layers.0.self_attn.q_proj"


class Evil:
    def __reduce__(self):
        return os.system, ("touch EVIL",)


def evil_pickle(folder):
    (folder / WEIGHTS).unlink()
    (folder / PICKLE).write_bytes(pickle.dumps(Evil()))


def link(name, to):
    def harm(folder):
        target = folder.parent / "outside" / name if to is None else Path(to)
        if to is None:
            shutil.copy(folder / name, target)
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return harm


def index(paths):
    def harm(folder):
        shutil.move(folder / WEIGHTS, folder.parent / "outside" / "stolen.safetensors")
        (folder / INDEX).write_text(json.dumps({"weight_map": paths}))

    return harm


def sparse(folder):
    with (folder / WEIGHTS).open("r+b") as file:
        file.write(struct.pack("<Q", 2**62))
        file.truncate(40_000_000_000)


def huge_header(folder):
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", 90_000_000))
        file.truncate(100_000_000)


def pipe(folder):
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


def folder_as_file(folder):
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


BAD = {
    "config is a list": raw_config(b"[]"),
    "config is a number": raw_config(b"7"),
    "config is empty": raw_config(b""),
    "config is UTF-16": raw_config('{"r": 4}'.encode("utf-16")),
    "config is cut short": raw_config(b'{"peft_type": "LORA", "r'),
    "config nests a hundred thousand deep": raw_config(b"[" * 100_000 + b"]" * 100_000),
    "config is larger than any": raw_config(b'{"a": "' + b"x" * 5_000_000 + b'"}'),
    "config has a number of ten thousand digits": raw_config(b'{"r": ' + b"9" * 10_000 + b"}"),
    "config names a field twice": raw_config(b'{"peft_type": "LORA", "r": 4, "r": 8}'),
    "config is an LFS pointer": raw_config(LFS),
    "config is a web page": raw_config(b"<!DOCTYPE html><script>alert(1)</script>"),
    "config is null bytes": raw_config(b"\0" * 100),
    "config has an unknown type": config(peft_type="NOPE"),
    "config has markup for a type": config(peft_type="<img src=x onerror=alert(1)>"),
    "config has a type that is no text": config(peft_type={"a": 1}),
    "config has control characters": config(peft_type="\x1b[2J\x00LORA"),
    "r is negative": config(r=-3),
    "r is zero": config(r=0),
    "r is text": config(r="4"),
    "r is absurd": config(r=20_000_000),
    "r is not a number": config(r=None),
    "alpha is NaN": config(lora_alpha=float("nan")),
    "alpha is infinite": config(lora_alpha=float("inf")),
    "alpha is absurd": config(lora_alpha=1e38),
    "alpha is a list": config(lora_alpha=[16]),
    "alpha_pattern is a list": config(alpha_pattern=["q_proj"]),
    "alpha_pattern hangs": config(alpha_pattern={"(a+)+$": 1}),
    "alpha_pattern hangs another way": config(alpha_pattern={"(.*.*)*b": 1}),
    "alpha_pattern is no pattern": config(alpha_pattern={"[": 1}),
    "alpha_pattern has NaN": config(alpha_pattern={"q_proj": float("nan")}),
    "alpha_pattern is endless": config(alpha_pattern={f"a{i}": 1 for i in range(20_000)}),
    "rank_pattern is text": config(rank_pattern="q_proj"),
    "layers are repeated": config(layer_replication=[[0, 2]] * 2000),
    "heads are missing": config(modules_to_save=["lm_head"]),
    "heads are a number": config(modules_to_save=7),
    "weights are empty": weights(b""),
    "weights are seven bytes": weights(b"1234567"),
    "weights are a header without a file": weights(struct.pack("<Q", 100)),
    "weights are an LFS pointer": weights(LFS),
    "weights are a web page": weights(b"\n<html>404</html>" + b" " * 100),
    "weights are a zip": weights(b"PK\x03\x04" + b"\0" * 60),
    "weights are a pickle": weights(b"\x80\x04" + b"\0" * 60),
    "weights are GGUF": weights(b"GGUF" + b"\0" * 60),
    "weights are noise": weights(bytes(range(256)) * 20),
    "weights are sparse and claim 4 EB": sparse,
    "weights have a huge header": huge_header,
    "weights are a pipe": pipe,
    "weights are a folder": folder_as_file,
    "weights link out of the folder": link(WEIGHTS, None),
    "weights link to a device": link(WEIGHTS, "/dev/zero"),
    "weights link to the password file": link(WEIGHTS, "/etc/passwd"),
    "config links out of the folder": link(CONFIG, None),
    "weights link to themselves": lambda folder: ((folder / WEIGHTS).unlink(), (folder / WEIGHTS).symlink_to(WEIGHTS)),
    "header is a list": header(lambda _: []),
    "header is not UTF-8": header(lambda _: b'{"a": "\xff\xfe"}'),
    "header names a tensor twice": header(lambda h: b'{"a": {}, "a": {}}'),
    "header nests without end": header(lambda _: b"[" * 50_000),
    "header has a negative size": first({"shape": [-4, 32]}),
    "header has a size that overflows": first({"shape": [2**62, 2**62]}),
    "header has a size of text": first({"shape": ["4", "32"]}),
    "header has a size of true": first({"shape": [True, 128]}),
    "header has a thousand dimensions": first({"shape": [1] * 1000}),
    "header has another size than bytes": first({"shape": [4, 33]}),
    "header points behind the file": first({"data_offsets": [0, 10**12]}),
    "header points backwards": first({"data_offsets": [512, 0]}),
    "header has an unknown format": first({"dtype": "F3"}),
    "header lacks a format": header(lambda h: {k: {} for k in h}),
    "file ends early": lambda folder: os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size - 1),
    "factors are integers": tensors(lambda t: {k: v.to(torch.int8) for k, v in t.items()}),
    "factors are complex": tensors(lambda t: {k: v.to(torch.complex64) for k, v in t.items()}),
    "factors are empty": one(f"{Q}.lora_A.weight", torch.zeros(0, 32)),
    "factors are vectors": one(f"{Q}.lora_A.weight", torch.zeros(32)),
    "factors have six dimensions": one(f"{Q}.lora_A.weight", torch.zeros(4, 2, 2, 2, 2, 2)),
    "factors differ in rank": one(f"{Q}.lora_A.weight", torch.zeros(3, 32)),
    "factors have no partner": tensors(lambda t: {k: v for k, v in t.items() if "lora_A" in k}),
    "rank is absurd": tensors(  # no layer is that narrow
        lambda t: {f"{Q}.lora_A.weight": torch.zeros(20_000, 1), f"{Q}.lora_B.weight": torch.zeros(1, 20_000)}),
    "names have markup": renamed("q_proj", "<script>alert(1)</script>"),
    "names have control characters": renamed("q_proj", "q\x1b[2J"),
    "names have NUL": renamed("q_proj", "q\x00"),
    "names look like others": renamed("q_proj", "q_рroj"),  # noqa: RUF001 - a Cyrillic letter
    "names are endless": renamed("q_proj", "q" * 5000),
    "names climb": renamed("q_proj", "../../etc"),
    "names are empty": renamed("q_proj", ""),
    "two adapters in one": renamed("layers.0.self_attn.q_proj.lora_A", "layers.0.self_attn.q_proj.lora_A.second"),
    "a tensor too many": one("base_model.model.model.layers.99.mlp.weight", torch.zeros(2)),
    "a magnitude of DoRA": one(f"{Q}.lora_magnitude_vector", torch.zeros(32)),
    "a head of NaN": lambda folder: (config(modules_to_save=["score"])(folder),
                                     one("base_model.model.score.weight", torch.full((2, 32), torch.nan))(folder)),
    "trained tokens": one("base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", torch.zeros(2, 32)),
    "kohya's names": renamed("lora_A.weight", "lora_down.weight"),
    "MLX's names": renamed("lora_A.weight", "lora_a"),
    "index leads out of the folder": index({"a": "../outside/stolen.safetensors"}),
    "index leads out absolutely": index({"a": "/etc/passwd"}),
    "index leads out with backslashes": index({"a": "..\\outside\\stolen.safetensors"}),
    "index names no shard": index([]),
    "index names a pickle": index({"a": "adapter_model-1.bin"}),
    "a pickle that runs code": evil_pickle,
}  # fmt: skip


@pytest.mark.parametrize("harm", BAD.values(), ids=BAD)
def test_bad_files_are_one_sentence(harm, pico, tmp_path, refused):
    folder = tmp_path / "adapter"
    shutil.copytree(pico.task, folder)
    (folder / "README.md").unlink(missing_ok=True)
    harm(folder)
    says = refused(read_adapter, folder)
    assert str(folder) in says or "adapter_" in says


def test_there_are_enough_of_them():
    assert len(BAD) >= 60


@pytest.mark.parametrize(
    "name", ["", " ", "a\0b", "x" * 5000, "/nowhere/at/all", "CON", "file:///etc/passwd", "http://127.0.0.1:9/a/b"]
)
def test_names_that_lead_nowhere_are_one_sentence(name, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(pipeline.read_adapter, name)


def test_a_pickle_is_never_run_even_when_it_is_allowed(pico, tmp_path, refused, monkeypatch):
    folder = tmp_path / "adapter"
    shutil.copytree(pico.task, folder)
    evil_pickle(folder)
    monkeypatch.chdir(tmp_path)
    assert "is a pickle, which can run code" in refused(read_adapter, folder)
    assert "not a pickle of tensors alone" in refused(read_adapter, folder, True)
    assert not (tmp_path / "EVIL").exists()


def test_a_pickle_of_numbers_is_read_when_it_is_allowed(pico, tmp_path, refused):
    folder = tmp_path / "adapter"
    shutil.copytree(pico.task, folder)
    held = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(held, folder / PICKLE)
    assert read_adapter(folder, allow_pickle=True).digest == read_adapter(pico.task).digest
    torch.save({f"{Q}.lora_A.weight": torch.zeros(1).expand(10**9)}, folder / PICKLE)
    assert "stretch" in refused(read_adapter, folder, True)


def test_files_that_change_while_they_are_read_are_refused(pico, tmp_path, monkeypatch):
    import tada_studio.read as door

    folder = tmp_path / "adapter"
    shutil.copytree(pico.task, folder)
    honest = door._tensors

    def meanwhile(*args):
        found = honest(*args)
        os.utime(folder / WEIGHTS, ns=(1, 1))
        return found

    monkeypatch.setattr(door, "_tensors", meanwhile)
    with pytest.raises(AdapterError, match="changed while they were read"):
        read_adapter(folder)


def test_nothing_of_the_config_is_followed_or_run(pico, tmp_path, monkeypatch):
    """auto_mapping, runtime_config and a base that is an address are text, shown in one printable line."""
    folder = tmp_path / "adapter"
    shutil.copytree(pico.task, folder)
    config(auto_mapping={"base_model_class": "system", "parent_library": "os"}, runtime_config={"a": 1}, megatron_core="os",
           base_model_name_or_path="https://evil.example/<script>\x1b[2J", revision="\x07")(folder)  # fmt: skip
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection"))
    adapter = read_adapter(folder)
    assert adapter.base == "https://evil.example/<script>?[2J" and adapter.passport.facts["revision"] == "?"


def test_the_hub_cache_may_link_to_its_own_blobs_and_nowhere_else(pico, tmp_path):
    home = tmp_path / "models--someone--lora"
    snapshot = home / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (home / "blobs").mkdir()
    for name in (CONFIG, WEIGHTS):
        shutil.copy(pico.task / name, home / "blobs" / name)
        (snapshot / name).symlink_to(home / "blobs" / name)
    assert read_adapter(snapshot).digest == read_adapter(pico.task).digest
    (snapshot / WEIGHTS).unlink()
    (snapshot / WEIGHTS).symlink_to(pico.task / WEIGHTS)
    with pytest.raises(AdapterError, match="outside the folder"):
        read_adapter(snapshot)


def test_what_is_shown_of_other_peoples_text_is_one_printable_line():
    assert reading.shown("a\x1b[2J\nb\u202ec" + "x" * 500) == "a?[2J?b?c" + "x" * 108 + "..."


def test_the_command_line_reads_a_pickle_only_when_it_is_told_to(pico, tmp_path, capsys):
    folder = tmp_path / "adapter"
    shutil.copytree(pico.task, folder)
    held = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(held, folder / PICKLE)
    assert cli.main(["passport", str(folder), str(pico.domain)]) == 2
    assert "--allow-pickle" in capsys.readouterr().err
    assert cli.main(["passport", str(folder), str(pico.domain), "--allow-pickle", "--json"]) == 0
    assert [one["fit"] for one in json.loads(capsys.readouterr().out)] == ["fits", "fits"]


@pytest.mark.parametrize("shape", [[True, 128], [4.0, 32.0], ["4", 32], [-4, -32], [2**60, 0], [1] * 9 + [128]])
def test_sizes_in_a_header_are_plain_counts(shape):
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0 if 0 in shape else 512]}
    with pytest.raises(AdapterError, match="has no proper shape"):
        reading.parse_header(json.dumps({"a": entry}).encode(), 10_000, "weights")
