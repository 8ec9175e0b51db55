"""A streamed file has the bytes of safetensors' own, and a merge made as it is written those of one held whole."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tada_studio import pipeline
from tada_studio.core import merge as merging
from tada_studio.core.merge import Expanded
from tada_studio.errors import AdapterError
from tada_studio.exporting import folder as folders
from tada_studio.exporting.stream import Outline, in_order, write_stream
from tada_studio.lora import WEIGHTS
from tada_studio.read import binding
from tada_studio.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
FORMATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.uint8, torch.bool,
           torch.int32, torch.int16)  # fmt: skip


@pytest.mark.parametrize("formats", [FORMATS, FORMATS[:1], FORMATS[1:3], ()], ids=len)
def test_the_bytes_are_those_of_safetensors(formats, tmp_path):
    shapes = ((3, 5), (1,), (), (2, 0, 3), (7, 2, 1, 1))
    held = {
        f"a.{i}.{j}.ü{len(shapes) - j}": torch.arange(100)[: torch.Size(shape).numel()].reshape(shape).to(dtype)
        for i, dtype in enumerate(formats)
        for j, shape in enumerate(shapes)
    }
    save_file(held, tmp_path / "theirs", {"format": "pt"})
    outlines = {name: Outline(tensor.dtype, tuple(tensor.shape)) for name, tensor in held.items()}
    write_stream(tmp_path / "ours", outlines, ((name, held[name]) for name in in_order(outlines)))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_tensor_of_another_size_or_out_of_turn_is_never_written(tmp_path):
    outlines = {"a": Outline(torch.float32, (2,)), "b": Outline(torch.float32, (2,))}
    two, three = torch.zeros(2), torch.zeros(3)
    for numbers in (
        [("a", two), ("b", three)],
        [("b", two), ("a", two)],
        [("a", two.half()), ("b", two)],
        [("a", two)],
    ):
        with pytest.raises(ValueError):
            write_stream(tmp_path / "file", outlines, iter(numbers))


@pytest.fixture
def streamed(monkeypatch):
    monkeypatch.setattr(merging, "HELD", 0)
    monkeypatch.setattr(binding, "IN_MEMORY", 0)
    monkeypatch.setattr(folders, "_AT_ONCE", 3)


@pytest.mark.parametrize(
    "recipe", [Recipe(), Recipe(rank=5, dtype="float16"), Recipe(rank=9, overrides=("layer 1 : * : .8",))]
)
def test_streamed_or_not_the_bytes_are_equal(recipe, pico, tmp_path, request):
    whole = pipeline.Merge(pipeline.read_pair(pico.task, pico.domain), None, recipe).adapter
    pipeline.export(whole, tmp_path / "whole")
    request.getfixturevalue("streamed")
    pipeline.opening._PAIRS.results.clear()
    lazy = pipeline.Merge(pipeline.read_pair(pico.task, pico.domain), None, recipe).adapter
    assert isinstance(lazy.modules, Expanded) and (lazy.rank, lazy.dtype) == (whole.rank, whole.dtype)
    certificate = pipeline.export(lazy, tmp_path / "lazy")
    assert certificate.holds and pipeline.verify(tmp_path / "lazy")[0] == []
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "lazy" / file.name).read_bytes(), file.name


def test_outlines_are_the_modules_without_their_numbers(pico, streamed):
    pair = pipeline.read_pair(pico.task, pico.domain)
    lazy = pipeline.Merge(pair).adapter
    for name, module in lazy.modules.items():
        outline = lazy.outlines[name]
        assert (outline.up.shape, outline.up.dtype, outline.kind, outline.scale) == (
            module.up.shape, module.up.dtype, module.kind, module.scale)  # fmt: skip
        assert outline.up.is_meta and not module.up.is_meta


def test_a_file_that_changes_while_the_merge_is_written_ends_it(pico, tmp_path, streamed, monkeypatch):
    import shutil

    task = shutil.copytree(pico.task, tmp_path / "task")
    lazy = pipeline.Merge(pipeline.read_pair(task, pico.domain)).adapter
    honest, asked = Expanded.__getitem__, []

    def meanwhile(self, name):
        asked.append(name)
        if len(asked) == 4:
            held = {key: tensor * 2 for key, tensor in load_file(task / WEIGHTS).items()}
            save_file(held, tmp_path / "other")
            (task / WEIGHTS).write_bytes((tmp_path / "other").read_bytes())
        return honest(self, name)

    monkeypatch.setattr(Expanded, "__getitem__", meanwhile)
    with pytest.raises(AdapterError, match="was changed after"):
        pipeline.export(lazy, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
