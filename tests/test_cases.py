"""Small inputs that went wrong once, one of a kind each, with what should happen: every one is held to it here.

They lie beside the repository, not in it; without them this file has nothing to read. Instances of the same kinds that are made
here stand in tests/test_fit.py and tests/test_odd.py.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tada_studio import cli, pipeline
from tada_studio.errors import TadaError
from tada_studio.exporting.portable import portability
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
CASES = next((found for up in ROOT.parents if (found := up / "shared" / "data" / "cases").is_dir()), None)
pytestmark = pytest.mark.skipif(CASES is None, reason="no shared/data/cases beside the repository")
NAMES = sorted(case.parent.name for case in CASES.glob("*/expected.json")) if CASES else []


class Case:
    """One case's adapters, and what the command line and the API make of them."""

    def __init__(self, name, capsys, tmp_path):
        self.home, self.capsys, self.tmp_path = CASES / name, capsys, tmp_path
        self.sides = [str(self.home / side) for side in ("task", "domain") if (self.home / side).is_dir()]

    def passport(self, *refs, code=0):
        """(what the passport command says, the JSON it prints), after checking its exit code and that the JSON is JSON."""
        refs = [str(ref) for ref in refs] or self.sides
        assert cli.main(["passport", *refs]) == code
        printed = self.capsys.readouterr()
        assert cli.main(["passport", *refs, "--json"]) == code
        out = self.capsys.readouterr().out
        content = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON")) if out else None
        return printed.out + printed.err, content

    def merge(self, recipe=None, **flags):
        return merge(pipeline.read_pair(*self.sides, **flags), recipe=recipe or Recipe())

    def merge_command(self, code):
        out = self.tmp_path / "out"
        assert cli.main(["merge", "--task", self.sides[0], "--domain", self.sides[1], "-o", str(out)]) == code
        assert out.exists() == (code == 0)
        return self.capsys.readouterr()

    def export(self, adapter):
        assert pipeline.export(adapter, self.tmp_path / "out").holds
        return json.loads((self.tmp_path / "out" / CONFIG).read_text())

    def deltas(self, side):
        """Module name -> the dense update of one side, from its file."""
        config, tensors = json.loads((Path(side) / CONFIG).read_text()), load_file(Path(side) / WEIGHTS)
        ends = (".lora_A.weight", ".lora_B.weight")
        names = {
            key.removeprefix("base_model.model.").removesuffix(ends[0]) for key in tensors if key.endswith(ends[0])
        }
        scale = config["lora_alpha"] / config["r"]
        down, up = ({n: tensors[f"base_model.model.{n}{end}"].double() for n in names} for end in ends)
        return {n: scale * up[n] @ down[n] for n in names}


def fits_with(*words):
    def check(case):
        says, _ = case.passport()
        assert "Fits with notes" in says and all(word in says for word in words), says
        case.merge_command(0)

    return check


def refused(*words):
    """The passport, by itself, is one sentence with exit 2 that holds the words."""

    def check(case):
        says, _ = case.passport(code=2)
        assert all(word in says for word in words), says
        if len(case.sides) == 2:
            case.merge_command(2)

    return check


def exactly_the_task(recipe):
    def check(case):
        merged, wanted = case.merge(recipe), case.deltas(case.sides[0])
        for name, module in merged.modules.items():
            torch.testing.assert_close(module.delta(), wanted[name], rtol=1e-5, atol=1e-6)

    return check


def lone_modules(case):
    merged, (task, domain) = case.merge(Recipe(rank=8)), map(case.deltas, case.sides)
    for name, module in merged.modules.items():
        wanted = task[name] + domain.get(name, 0)
        torch.testing.assert_close(module.delta(), wanted, rtol=1e-5, atol=1e-6)


def not_a_number(case):
    says, content = case.passport(code=2)
    assert "Does not fit" in says and "NaN or infinity" in says
    assert content[1]["norm"] is None and content[1]["remarks"]
    refused()(case)


def same_adapter(case):
    says, _ = case.passport()
    assert "Both are the same adapter" in says
    assert "usual for unrelated" not in case.merge_command(0).out


def without_a_head(case):
    says, _ = case.passport()
    assert "classifier, score" in says


def mlx_numbered(case):
    says, _ = case.passport()
    assert "MLX-LM" in says


def weights_beside(case):
    says, _ = case.passport()
    assert "non_lora_trainables.bin" in says and "not read" in says


def kohya(case):
    folder = Path(case.sides[0])
    for ref in (folder, folder / "my_style.safetensors"):
        says, content = case.passport(ref)
        assert "kohya's format" in says and content[0]["modules"] == 1


def lm_and_classifier(case):
    fits_with("CAUSAL_LM and SEQ_CLS", "leaves out the domain adapter's score")(case)
    config = json.loads((case.tmp_path / "out" / CONFIG).read_text())
    assert config["modules_to_save"] is None and config["task_type"] == "CAUSAL_LM"
    assert not [key for key in load_file(case.tmp_path / "out" / WEIGHTS) if "score" in key]


def lm_head_on_a_tied_base(case):
    tick = {tick.loader: tick for tick in portability(case.sides[0])}["llama.cpp"]
    assert not tick.works or "tied" in tick.says


def numbered_last_part(case):
    assert "0" not in case.export(case.merge())["target_modules"]


def tail_hits_other_layers(case):
    targets = case.export(case.merge())["target_modules"]
    assert targets == ["attn.c_proj"] or all(name.startswith("transformer.h.") for name in targets)


def task_type_image(case):
    assert case.export(case.merge())["task_type"] is None


CHECKS = {
    "all_gates_to_task": exactly_the_task(Recipe(overrides=("* : 0",))),
    "empty_file_of_zero3": refused("ZeRO-3"),
    "experts_as_3d_factors": refused("experts"),
    "head_both_adapted_and_kept_whole": refused("classifier", "kept whole"),
    "kohya_single_file": kohya,
    "lm_and_classifier": lm_and_classifier,
    "lm_head_on_a_tied_base": lm_head_on_a_tied_base,
    "lone_modules": lone_modules,
    "mlx_numbered": mlx_numbered,
    "not_a_number": not_a_number,
    "numbered_last_part": numbered_last_part,
    "one_base_two_spellings_0": fits_with("unsloth/meta-llama-3.1-8b-instruct-bnb-4bit"),
    "one_base_two_spellings_3": fits_with("gemma3-270m-it"),
    "prefix_text_class_vs_vlm_class": refused("model.layers.N", "model.language_model.layers.N", "class"),
    "prefix_vlm_before_and_after_rename": refused("language_model.model.layers.N", "model.language_model.layers.N", "class"),
    "same_adapter_elsewhere": same_adapter,
    "seq_cls_without_a_head": without_a_head,
    "tail_hits_other_layers": tail_hits_other_layers,
    "task_type_image": task_type_image,
    "tensors_of_another_rank": refused("rank 12", "0.333", "PEFT does not load it"),
    "two_revisions": fits_with("revisions of the base differ"),
    "tying_flag_without_embeddings": lambda case: case.passport(),
    "untrained_partner": exactly_the_task(None),
    "weights_beside_the_adapter": weights_beside,
}  # fmt: skip


def test_every_case_has_its_check():
    assert set(NAMES) == set(CHECKS)


@pytest.mark.parametrize("name", NAMES)
def test_a_case_goes_as_it_should(name, capsys, tmp_path):
    try:
        CHECKS[name](Case(name, capsys, tmp_path))
    except TadaError as error:
        pytest.fail(f"refused: {error}")
